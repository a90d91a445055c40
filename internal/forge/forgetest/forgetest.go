// Package forgetest simulates the part of a forge's API that canary-verify
// uses, for tests and demonstrations: GitHub and Gitea, each with its own paths,
// status codes and habits, and with faults that can be switched on.
//
// It takes a history of commits and the rights of a token, and answers as an
// [http.Handler] or, without any socket, as an [http.RoundTripper].
package forgetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A Right is something that a token may do.
type Right int

// The rights that a forge tells apart.
const (
	ReadContents Right = iota
	WriteStatuses
	ReadActions
)

// A Status is one that was set on a commit.
type Status struct {
	SHA         string `json:"-"`
	State       string `json:"state"`
	TargetURL   string `json:"target_url"`
	Description string `json:"description"`
	Context     string `json:"context"`
}

// A Run is the state of the one run of actions, which has number 7. The zero Run is
// at work.
type Run struct{ Status, Conclusion string }

// A Fault answers in the place of the forge. It reports whether it did.
type Fault func(w http.ResponseWriter, r *http.Request) bool

// A Forge is a simulated forge with one repository. Change its exported fields
// before it is used only.
type Forge struct {
	Gitea      bool
	Repository string // "owner/name"
	Token      string
	Rights     []Right
	Fault      Fault // nil: none
	Run        Run
	// IgnoreNot leaves out what a Gitea before 1.20 doesn't know.
	IgnoreNot bool

	mu       sync.Mutex
	parents  map[string][]string
	order    []string // of the commits, oldest first
	statuses []Status
	requests []string
}

// Commit adds a commit of 40 hex digits with its parents.
func (f *Forge) Commit(sha string, parents ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parents == nil {
		f.parents = map[string][]string{}
	}
	f.parents[sha] = parents
	f.order = append(f.order, sha)
}

// Statuses returns every status that was set, oldest first.
func (f *Forge) Statuses() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.statuses)
}

// Requests returns method and path of every request.
func (f *Forge) Requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// Prefix is the path of the API below the host: "/api/v1" on a Gitea, and
// "/api/v3", as an enterprise server has it, on a GitHub.
func (f *Forge) Prefix() string {
	if f.Gitea {
		return "/api/v1"
	}
	return "/api/v3"
}

// RoundTrip answers a request without a socket.
func (f *Forge) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err // it hung until the caller gave up
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// ServeHTTP answers as the forge would.
func (f *Forge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	if f.Fault != nil && f.Fault(w, r) {
		return
	}
	path, found := strings.CutPrefix(r.URL.Path, f.Prefix()+"/repos/"+f.Repository+"/")
	if !f.authorized(w, r) {
		return
	}
	if !found {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Gitea {
		f.gitea(w, r, path)
		return
	}
	f.github(w, r, path)
}

// authorized checks the token as each forge spells it.
func (f *Forge) authorized(w http.ResponseWriter, r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	known := strings.EqualFold(scheme, "token") || strings.EqualFold(scheme, "bearer")
	if known && token == f.Token && token != "" {
		return true
	}
	if f.Gitea {
		fail(w, http.StatusUnauthorized, "invalid username, password or token")
		return false
	}
	fail(w, http.StatusUnauthorized, "Bad credentials")
	return false
}

// may checks a right, and refuses without it.
func (f *Forge) may(w http.ResponseWriter, right Right) bool {
	if slices.Contains(f.Rights, right) {
		return true
	}
	if f.Gitea {
		fail(w, http.StatusForbidden, "token does not have at least one of required scope(s)")
		return false
	}
	fail(w, http.StatusForbidden, "Resource not accessible by integration")
	return false
}

func (f *Forge) github(w http.ResponseWriter, r *http.Request, path string) {
	kind, rest, _ := strings.Cut(path, "/")
	switch r.Method + " " + kind {
	case "POST statuses":
		f.githubStatus(w, r, rest)
	case "GET commits":
		if sha := f.expand(rest); sha != "" && f.may(w, ReadContents) {
			reply(w, http.StatusOK, map[string]any{"sha": sha})
		} else if sha == "" {
			fail(w, http.StatusUnprocessableEntity, "No commit found for SHA: "+rest)
		}
	case "GET compare":
		f.githubCompare(w, rest)
	case "GET actions":
		f.run(w, rest)
	default:
		fail(w, http.StatusNotFound, "Not Found")
	}
}

// run shows the run; a conclusion that is not there yet is null.
func (f *Forge) run(w http.ResponseWriter, rest string) {
	switch {
	case !f.may(w, ReadActions):
	case rest != "runs/7":
		fail(w, http.StatusNotFound, "Not Found")
	default:
		answer := map[string]any{"id": 7, "status": cmp.Or(f.Run.Status, "in_progress"), "conclusion": nil}
		if f.Run.Conclusion != "" {
			answer["conclusion"] = f.Run.Conclusion
		}
		reply(w, http.StatusOK, answer)
	}
}

// githubStatus wants all 40 digits and at most 140 characters.
func (f *Forge) githubStatus(w http.ResponseWriter, r *http.Request, sha string) {
	s := Status{SHA: sha}
	switch {
	case !f.may(w, WriteStatuses):
	case json.NewDecoder(r.Body).Decode(&s) != nil:
		fail(w, http.StatusBadRequest, "Problems parsing JSON")
	case f.parents[sha] == nil && !slices.Contains(f.order, sha):
		fail(w, http.StatusUnprocessableEntity, "No commit found for SHA: "+sha)
	case len([]rune(s.Description)) > 140 || !slices.Contains([]string{"error", "failure", "pending", "success"}, s.State):
		fail(w, http.StatusUnprocessableEntity, "Validation Failed")
	default:
		f.statuses = append(f.statuses, s)
		reply(w, http.StatusCreated, s)
	}
}

func (f *Forge) githubCompare(w http.ResponseWriter, basehead string) {
	left, right, _ := strings.Cut(basehead, "...")
	base, head := f.expand(left), f.expand(right)
	if base == "" || head == "" {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	if !f.may(w, ReadContents) {
		return
	}
	ahead, behind := f.only(head, base), f.only(base, head)
	status := "diverged"
	switch {
	case len(ahead) == 0 && len(behind) == 0:
		status = "identical"
	case len(behind) == 0:
		status = "ahead"
	case len(ahead) == 0:
		status = "behind"
	}
	// An ordered object: the status stands before the commits.
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	fmt.Fprintf(w, `{"url":"x","base_commit":{"sha":%q,"status":"decoy"},"status":%q,"ahead_by":%d,"behind_by":%d,"commits":[`, base, status, len(ahead), len(behind))
	fmt.Fprint(w, strings.Repeat(`{"sha":"x","patch":"a long one"},`, 1000), `{}]}`)
}

func (f *Forge) gitea(w http.ResponseWriter, r *http.Request, path string) {
	kind, rest, _ := strings.Cut(path, "/")
	switch r.Method + " " + kind {
	case "POST statuses":
		f.giteaStatus(w, r, rest)
	case "GET git":
		if sha := f.expand(strings.TrimPrefix(rest, "commits/")); sha != "" && f.may(w, ReadContents) {
			reply(w, http.StatusOK, map[string]any{"url": "x", "sha": sha})
		} else if sha == "" {
			fail(w, http.StatusNotFound, rest)
		}
	case "GET commits":
		f.giteaCommits(w, r, rest)
	case "GET actions":
		f.run(w, rest)
	default:
		fail(w, http.StatusNotFound, "The target couldn't be found.")
	}
}

// giteaStatus answers 500 for a commit that it doesn't know, stores a
// description whole, and calls the state "status" in its answer.
func (f *Forge) giteaStatus(w http.ResponseWriter, r *http.Request, sha string) {
	s := Status{SHA: sha}
	switch {
	case !f.may(w, WriteStatuses):
	case json.NewDecoder(r.Body).Decode(&s) != nil:
		fail(w, http.StatusUnprocessableEntity, "malformed body")
	case f.expand(sha) == "":
		fail(w, http.StatusInternalServerError, "object does not exist [id: "+sha+", rel_path: ]")
	default:
		f.statuses = append(f.statuses, s)
		reply(w, http.StatusCreated, map[string]string{"status": s.State, "description": s.Description, "context": s.Context, "target_url": s.TargetURL})
	}
}

// giteaCommits lists what one commit has and another lacks, newest first.
func (f *Forge) giteaCommits(w http.ResponseWriter, r *http.Request, rest string) {
	query := r.URL.Query()
	sha, not := f.expand(query.Get("sha")), query.Get("not")
	switch {
	case rest != "": // GitHub's way to name one commit
		fail(w, http.StatusNotFound, "The target couldn't be found.")
		return
	case !f.may(w, ReadContents):
		return
	case sha == "" || not != "" && f.expand(not) == "":
		fail(w, http.StatusInternalServerError, "object does not exist")
		return
	}
	if f.IgnoreNot {
		not = ""
	}
	list := []map[string]string{}
	limit, _ := strconv.Atoi(query.Get("limit"))
	for _, commit := range f.only(sha, f.expand(not)) {
		if limit == 0 || len(list) < limit {
			list = append(list, map[string]string{"sha": commit})
		}
	}
	reply(w, http.StatusOK, list)
}

// expand finds the one commit with this beginning; "" when there is none.
func (f *Forge) expand(prefix string) string {
	for _, sha := range f.order {
		if len(prefix) >= 4 && strings.HasPrefix(sha, prefix) {
			return sha
		}
	}
	return ""
}

// only lists what can be reached from a and not from b, newest first.
func (f *Forge) only(a, b string) []string {
	from, without := f.reach(a), f.reach(b)
	var list []string
	for _, sha := range slices.Backward(f.order) {
		if from[sha] && !without[sha] {
			list = append(list, sha)
		}
	}
	return list
}

func (f *Forge) reach(sha string) map[string]bool {
	seen := map[string]bool{}
	queue := []string{sha}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		if next != "" && !seen[next] {
			seen[next] = true
			queue = append(queue, f.parents[next]...)
		}
	}
	return seen
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, status int, message string) {
	reply(w, status, map[string]string{"message": message, "url": "https://forge.example.com/api/swagger"})
}

// Answer is a fault that always answers alike.
func Answer(status int, body string, header ...string) Fault {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
		return true
	}
}

// First is a fault for the first n requests alone.
func First(n int, fault Fault) Fault {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		n--
		left := n >= 0
		mu.Unlock()
		return left && fault(w, r)
	}
}

// Hang is a fault that answers nothing until the caller gives up.
func Hang(_ http.ResponseWriter, r *http.Request) bool {
	<-r.Context().Done()
	return true
}

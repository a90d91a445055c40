package sim

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// An AuthKind is how a [Registry] identifies its clients.
type AuthKind int

// The kinds of authentication.
const (
	NoAuth    AuthKind = iota
	BasicAuth          // each request carries name and password
	TokenAuth          // name and password buy a token for a scope at the registry's own /token
)

// An Account may read everything and, unless it is read-only, write it.
type Account struct {
	Username, Password string
	ReadOnly           bool // a write is answered with 401, as Gitea does
}

// tokens are those that a registry has handed out.
type tokens struct {
	mu     sync.Mutex
	scopes map[string][]string // token → "org/app:pull"
	count  int
}

func (t *tokens) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count = 0
}

func (t *tokens) issue(scopes []string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.scopes == nil {
		t.scopes = map[string][]string{}
	}
	token := "sim-registry-token-" + rand.Text()
	t.scopes[token] = scopes
	t.count++
	return token
}

// allows reports whether the token is known, and whether it covers the scope.
func (t *tokens) allows(token, scope string) (known, covered bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	scopes, known := t.scopes[token]
	return known, known && (scope == "" || slices.Contains(scopes, scope))
}

// TokenHandshakes returns how many tokens were handed out since the last
// [Registry.ResetLog].
func (r *Registry) TokenHandshakes() int {
	r.auth.mu.Lock()
	defer r.auth.mu.Unlock()
	return r.auth.count
}

// user returns the name in basic authentication.
func user(r *http.Request) string {
	name, _, _ := r.BasicAuth()
	return name
}

// account finds who asks by basic authentication.
func (r *Registry) account(req *http.Request) (Account, bool) {
	name, password, ok := req.BasicAuth()
	if !ok {
		return Account{}, false
	}
	i := slices.IndexFunc(r.cfg.Accounts, func(a Account) bool { return a.Username == name && a.Password == password })
	if i < 0 {
		return Account{}, false
	}
	return r.cfg.Accounts[i], true
}

// authorize returns the refusal of a request that may not be made, or the
// answer of the token service, or nil.
func (r *Registry) authorize(req *http.Request, body []byte) *Answer {
	switch r.cfg.Auth {
	case BasicAuth:
		a, ok := r.account(req)
		if !ok || a.ReadOnly && action(req.Method) != "pull" {
			return challenge(`Basic realm="simulated registry"`)
		}
	case TokenAuth:
		if req.URL.Path == "/token" {
			return r.token(req, body)
		}
		return r.bearer(req)
	}
	return nil
}

// bearer checks a request's token against the scope that it needs.
func (r *Registry) bearer(req *http.Request) *Answer {
	scope, asked := "", ""
	if repository, ok := repositoryOf(req.URL.Path); ok {
		scope = repository + ":" + action(req.Method)
		asked = "repository:" + repository + ":pull"
		if action(req.Method) != "pull" {
			asked += "," + action(req.Method)
		}
	}
	token, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	known, covered := r.auth.allows(token, scope)
	if covered {
		return nil
	}
	header := fmt.Sprintf(`Bearer realm="%s/token",service="simulated registry"`, r.URL())
	if asked != "" {
		header += fmt.Sprintf(`,scope=%q`, asked)
	}
	if known {
		header += `,error="insufficient_scope"`
	}
	return challenge(header)
}

// token hands out a token for what was asked, as far as the account may.
func (r *Registry) token(req *http.Request, body []byte) *Answer {
	form := req.URL.Query()
	if req.Method == http.MethodPost {
		if posted, err := url.ParseQuery(string(body)); err == nil {
			form = posted
			req.SetBasicAuth(form.Get("username"), form.Get("password"))
		}
	}
	a, ok := r.account(req)
	if !ok {
		return registryError(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	}
	var granted []string
	for _, scope := range strings.Fields(strings.Join(form["scope"], " ")) {
		parts := strings.Split(scope, ":") // repository:org/app:pull,push
		if len(parts) != 3 || parts[0] != "repository" {
			continue
		}
		for _, act := range strings.Split(parts[2], ",") {
			if act == "pull" || !a.ReadOnly {
				granted = append(granted, parts[1]+":"+act)
			}
			if act == "push" && !a.ReadOnly {
				granted = append(granted, parts[1]+":delete")
			}
		}
	}
	token := r.auth.issue(granted)
	return &Answer{
		Status: http.StatusOK,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   mustJSON(map[string]any{"token": token, "access_token": token, "expires_in": 300}),
	}
}

// challenge is a 401 that says how to authenticate.
func challenge(header string) *Answer {
	a := registryError(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	a.Header.Set("WWW-Authenticate", header)
	return a
}

// action is the right that a method needs.
func action(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		return "pull"
	case http.MethodDelete:
		return "delete"
	default:
		return "push"
	}
}

// repositoryOf returns the repository that a path is about.
func repositoryOf(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return "", false
	}
	for _, kind := range []string{"/manifests/", "/blobs/", "/referrers/", "/tags/"} {
		if i := strings.LastIndex(rest, kind); i > 0 {
			return rest[:i], true
		}
	}
	return "", false
}

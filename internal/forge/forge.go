package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// Config says which forge and repository a [Client] talks to.
type Config struct {
	// API is the base address, as GITHUB_API_URL has it on both forges.
	API        string
	Repository string // "owner/name"
	Token      secret.Value
	// Gitea says that the forge is a Gitea; an API that ends in /api/v1 is one
	// in any case.
	Gitea     bool
	UserAgent string // "canary-verify" when empty
	// Proxy chooses the proxy of a request; nil: none.
	Proxy func(*http.Request) (*url.URL, error)
	// Transport carries all requests; nil: one of the client's own, with Proxy.
	Transport http.RoundTripper
}

// A Client talks to one repository of one forge. It may be used by several
// goroutines at once.
type Client struct {
	repo      *url.URL // …/repos/owner/name
	gitea     bool
	token     secret.Value
	redact    *secret.Redactor
	userAgent string
	transport http.RoundTripper
	// comparing is held while commits are compared, so that nobody asks twice.
	comparing chan struct{}
	relations map[[2]string]promote.Relation // of this run; guarded by comparing
}

// ownerAndName is what both forges take for a repository's full name.
var ownerAndName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$`)

// New checks the configuration and makes no request. The error joins one error
// for each fault.
func New(c Config) (*Client, error) {
	base, err := parseAPI(c.API)
	faults := []error{err}
	owner, repo, _ := strings.Cut(c.Repository, "/")
	if !ownerAndName.MatchString(c.Repository) || isDots(owner) || isDots(repo) {
		faults = append(faults, fmt.Errorf("repository: %q is not owner/name", untrusted.Line(c.Repository, 80)))
	}
	if c.Token.IsZero() || strings.ContainsFunc(c.Token.Reveal(), func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		faults = append(faults, errors.New("github-token: it is empty, or holds a character that no header can carry"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	client := &Client{
		gitea: c.Gitea || strings.HasSuffix(base.Path, "/api/v1"), repo: base.JoinPath("repos", owner, repo),
		token: c.Token, redact: secret.NewRedactor(c.Token), userAgent: c.UserAgent, transport: c.Transport,
		comparing: make(chan struct{}, 1), relations: map[[2]string]promote.Relation{},
	}
	if client.userAgent == "" {
		client.userAgent = "canary-verify"
	}
	if client.transport == nil {
		client.transport = ownTransport(c.Proxy)
	}
	return client, nil
}

func isDots(s string) bool { return strings.Trim(s, ".") == "" }

// parseAPI takes https, and http to this machine alone: the token goes there.
func parseAPI(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("GITHUB_API_URL: it is no address of the web; it looks like https://api.github.com or https://host/api/v1")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("GITHUB_API_URL: it holds credentials, a query or a fragment")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, errors.New("GITHUB_API_URL: plain http to another machine would show the token to the network; use https")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// name is what people call the forge.
func (c *Client) name() string {
	if c.gitea {
		return "Gitea"
	}
	return "GitHub"
}

// A State is that of a commit status. Both forges use these words.
type State string

// The states of a commit status.
const (
	Pending State = "pending"
	Success State = "success"
	Failure State = "failure"
	Error   State = "error"
)

// A Status is shown beside a commit.
type Status struct {
	State       State
	Context     string // whose status it is, for example "canary-verify/latest"
	Description string // for people; cut at 140 characters, as GitHub demands
	TargetURL   string // of the run; left out when it is no address of the web
}

// maxDescription is how many characters GitHub takes.
const maxDescription = 140

// SetStatus sets the status of a commit of 7 to 40 hex digits. Setting the same
// again is harmless, so that it is retried.
func (c *Client) SetStatus(ctx context.Context, sha string, s Status) error {
	call := call{what: "set the commit status", needs: statusesWrite, method: http.MethodPost}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	full, err := c.resolve(ctx, sha)
	if err != nil {
		return err
	}
	body := map[string]string{
		"state": string(s.State), "context": untrusted.Line(s.Context, 100),
		"description": untrusted.Line(c.redact.Redact(s.Description), maxDescription),
	}
	if target := webAddress(s.TargetURL); target != "" {
		body["target_url"] = target
	}
	call.path, call.body, call.again = []string{"statuses", full}, body, true
	_, err = c.do(ctx, call)
	return err
}

var (
	commitForm = regexp.MustCompile(`^[0-9a-f]{7,40}$`)
	fullForm   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// resolve finds all 40 digits of a commit.
func (c *Client) resolve(ctx context.Context, sha string) (string, error) {
	sha = strings.ToLower(sha)
	if fullForm.MatchString(sha) {
		return sha, nil
	}
	if !commitForm.MatchString(sha) {
		return "", fmt.Errorf("%s: %q is not a commit of 7 to 40 hex digits", c.name(), untrusted.Line(sha, 80))
	}
	call := call{what: "look up the commit " + sha, needs: contentsRead, method: http.MethodGet, path: []string{"commits", sha}, again: true}
	if c.gitea {
		call.path = []string{"git", "commits", sha}
		call.query = url.Values{"stat": {"false"}, "verification": {"false"}, "files": {"false"}}
	}
	answer, err := c.do(ctx, call)
	if err != nil {
		return "", err
	}
	full := strings.ToLower(field(answer, "sha"))
	if !fullForm.MatchString(full) || !strings.HasPrefix(full, sha) {
		return "", fmt.Errorf("%s: look up the commit %s: the answer names no such commit", c.name(), sha)
	}
	return full, nil
}

// CreateIssue opens an issue and returns its address. Body is Markdown whose
// foreign parts the caller has escaped. Labels are names; on a Gitea those that
// the repository doesn't have are left out. It is not retried once it was sent.
func (c *Client) CreateIssue(ctx context.Context, title, body string, labels []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	content := map[string]any{"title": untrusted.Line(c.redact.Redact(title), 200), "body": untrusted.Text(c.redact.Redact(body), maxIssue)}
	if len(labels) > 0 {
		content["labels"] = labels
	}
	if len(labels) > 0 && c.gitea {
		ids, err := c.labelIDs(ctx, labels)
		if err != nil {
			return "", err
		}
		content["labels"] = ids
	}
	answer, err := c.do(ctx, call{what: "open an issue", needs: issuesWrite, method: http.MethodPost, path: []string{"issues"}, body: content})
	if err != nil {
		return "", err
	}
	return webAddress(field(answer, "html_url")), nil
}

// maxIssue is how many characters of an issue's body are sent; GitHub takes 65,536.
const maxIssue = 60000

// webAddress returns an absolute http or https address without credentials, and
// "" for anything else.
func webAddress(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(s) > 2000 {
		return ""
	}
	u.User = nil
	return u.String()
}

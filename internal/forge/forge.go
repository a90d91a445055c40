package forge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-retryablehttp"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// Config says which forge and repository a [Client] talks to.
type Config struct {
	// API is the base URL of the API, as runners of both forges give it in
	// GITHUB_API_URL.
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
	http      *retryablehttp.Client
	good      atomic.Bool // the token was taken once
	// comparing is held while commits are compared, so that nobody asks twice.
	comparing chan struct{}
	relations map[[2]report.Commit]report.Relation // of this run; guarded by comparing
}

// ownerAndName is what both forges take for a repository's full name.
var ownerAndName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$`)

// New checks the configuration and makes no request. The error joins one
// [*report.InvalidError] for each problem, of the fields "API", "Repository" and
// "Token".
func New(c Config) (*Client, error) {
	var errs []error
	invalid := func(field string, missing bool, problem string) {
		errs = append(errs, &report.InvalidError{Field: field, Missing: missing, Problem: problem})
	}
	base, problem := parseAPI(c.API)
	if problem != "" {
		invalid("API", c.API == "", problem)
	}
	owner, repo, _ := strings.Cut(c.Repository, "/")
	if !ownerAndName.MatchString(c.Repository) || isDots(owner) || isDots(repo) {
		invalid("Repository", c.Repository == "", fmt.Sprintf("%q is not owner/name", untrusted.Line(c.Repository, 80)))
	}
	if c.Token.IsZero() || strings.ContainsFunc(c.Token.Reveal(), func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		invalid("Token", c.Token.IsZero(), "is empty, or contains a character that cannot be sent in a header")
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if c.Transport == nil {
		c.Transport = web.Transport(c.Proxy)
	}
	return &Client{
		repo: base.JoinPath("repos", owner, repo), gitea: c.Gitea || strings.HasSuffix(base.Path, "/api/v1"),
		token: c.Token, redact: secret.NewRedactor(c.Token), userAgent: cmp.Or(c.UserAgent, "canary-verify"),
		http: web.Client(c.Transport, web.Policy{
			Retries: retries, Lowest: backoffMin, Highest: backoffMax, Attempt: attemptTimeout, Again: again,
		}),
		comparing: make(chan struct{}, 1), relations: map[[2]report.Commit]report.Relation{},
	}, nil
}

func isDots(s string) bool { return strings.Trim(s, ".") == "" }

// parseAPI takes https, and http to this machine alone: the token goes there.
func parseAPI(raw string) (base *url.URL, problem string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		return nil, "is not a URL; it looks like https://api.github.com or https://host/api/v1"
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, "contains credentials, a query or a fragment"
	case u.Scheme == "http" && !web.IsLoopback(u.Hostname()):
		return nil, "plain http to another machine would show the token to the network; use https"
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, ""
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
	TargetURL   string // of the run; left out when it is not an http or https URL
}

// maxDescription is how many characters GitHub takes.
const maxDescription = 140

// SetStatus sets the status of a commit. It is retried, since setting the same
// again is harmless. The error is a [*RequestError] where a request failed.
func (c *Client) SetStatus(ctx context.Context, sha report.Commit, s Status) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	whole, err := c.resolve(ctx, sha)
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
	_, err = c.do(ctx, call{what: "set the commit status", needs: statusesWrite, path: []string{"statuses", string(whole)}, body: body})
	return err
}

// resolve finds all digits of a commit.
func (c *Client) resolve(ctx context.Context, commit report.Commit) (report.Commit, error) {
	sha, err := report.ParseCommit(string(commit))
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.name(), err)
	}
	if sha.Whole() {
		return sha, nil
	}
	call := call{what: "look up the commit " + string(sha), needs: contentsRead, path: []string{"commits", string(sha)}}
	if c.gitea {
		call.path = []string{"git", "commits", string(sha)}
		call.query = url.Values{"stat": {"false"}, "verification": {"false"}, "files": {"false"}}
	}
	answer, err := c.do(ctx, call)
	if err != nil {
		return "", err
	}
	whole, err := report.ParseCommit(field(answer, "sha"))
	if err != nil || !whole.Whole() || !whole.Same(sha) {
		return "", fmt.Errorf("%s: %s: the answer shows another commit, or none", c.name(), call.what)
	}
	return whole, nil
}

// webAddress returns an absolute http or https URL without credentials, and "" for
// anything else.
func webAddress(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(s) > 2000 {
		return ""
	}
	u.User = nil
	return u.String()
}

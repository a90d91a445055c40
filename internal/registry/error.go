package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
)

// An Error is one request that did not do what it should. Its texts are
// sanitised and redacted.
type Error struct {
	What       string        // was tried: "read tag latest"
	On         string        // the repository, with its host
	Status     int           // of the answer; 0: there was none, or its content is wrong
	Said       string        // by the registry, or what is wrong
	Hint       string        // what to do; empty where that is not known
	RetryAfter time.Duration // that the registry asked for; 0: it did not
	Err        error         // the cause where there was no answer
}

// Error returns one sentence.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: ", e.On, e.What)
	if e.Status != 0 {
		fmt.Fprintf(&b, "%d %s", e.Status, http.StatusText(e.Status))
		if e.Said != "" {
			b.WriteString(": ")
		}
	}
	b.WriteString(e.Said)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Absent reports whether the registry said that there is no such thing.
func Absent(err error) bool { return statusOf(err) == http.StatusNotFound }

// Denied reports whether the registry refused the credential.
func Denied(err error) bool {
	status := statusOf(err)
	return status == http.StatusUnauthorized || status == http.StatusForbidden
}

// Rejected reports whether a write certainly did not happen: the registry
// answered, and not with a failure of its own.
func Rejected(err error) bool {
	status := statusOf(err)
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout
}

// Temporary reports whether the same request may succeed a moment later.
func Temporary(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == 0 || temporary(e.Status))
}

// RetryWait is how long to wait before attempt n is repeated, counted from 0: no
// shorter than the registry asked for, within limits.
func RetryWait(n int, err error) time.Duration {
	wait := web.Backoff(lowestWait, highestWait, n, nil)
	var e *Error
	if errors.As(err, &e) {
		wait = max(wait, min(e.RetryAfter, highestWait))
	}
	return wait
}

func statusOf(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// maxSaid is how much of a registry's own words an error repeats, in characters.
const maxSaid = 300

// refusal makes the error of an answer with an unexpected status.
func (r *Repository) refusal(what string, write bool, a *answer) *Error {
	return &Error{
		What: what, On: r.name.String(), Status: a.status, Said: r.clean(words(a.body)),
		Hint: r.hint(a.status, write), RetryAfter: web.RetryAfter(a.header),
	}
}

// invalid makes the error of an answer whose content is wrong.
func (r *Repository) invalid(what string, err error) *Error {
	return &Error{What: what, On: r.name.String(), Said: r.clean(err.Error()), Err: err}
}

// broken makes the error of a request that got no answer, or whose sign-in was
// refused.
func (r *Repository) broken(what string, write bool, err error) *Error {
	e := &Error{What: what, On: r.name.String(), Err: err}
	var refused *transport.Error
	if errors.As(err, &refused) {
		e.Status, e.Err = refused.StatusCode, nil
		e.Said = r.clean("at the sign-in: " + diagnostics(refused))
		e.Hint = r.hint(e.Status, write)
		return e
	}
	for shaped := (*url.Error)(nil); errors.As(err, &shaped); {
		err = shaped.Err // without the URL, whose query may be signed
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "no token in bearer response"):
		text = "the token server's answer holds no token" // the rest is the answer itself
	case errors.Is(err, context.DeadlineExceeded):
		text = "no answer in time"
	}
	e.Said = r.clean(text)
	return e
}

// clean makes foreign text fit to be shown.
func (r *Repository) clean(text string) string {
	return untrusted.Line(r.options.Redact.Redact(text), maxSaid)
}

// words returns what an error answer says, in the form of the distribution
// specification or as it is.
func words(body []byte) string {
	var parsed struct {
		Errors []transport.Diagnostic `json:"errors"`
	}
	if json.Unmarshal(body, &parsed) == nil && len(parsed.Errors) > 0 {
		return diagnostics(&transport.Error{Errors: parsed.Errors[:min(3, len(parsed.Errors))]})
	}
	return strings.TrimSpace(string(body[:min(len(body), 4*maxSaid)]))
}

func diagnostics(e *transport.Error) string {
	var parts []string
	for _, d := range e.Errors {
		parts = append(parts, strings.TrimSpace(string(d.Code)+" "+d.Message))
	}
	if len(parts) == 0 {
		return "refused"
	}
	return strings.Join(parts, "; ")
}

// hint says what to do about a refused credential.
func (r *Repository) hint(status int, write bool) string {
	switch {
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
		return ""
	case !write && r.anonymous.Load():
		return "there is no credential for this registry: give a username and password, or log in (DOCKER_CONFIG)"
	case !write:
		return "the credential may not read this repository: check username and password"
	case r.name.Host() == "ghcr.io":
		return "the credential may not write: it lacks `packages: write`, and the repository must have access to the package"
	default:
		return "the credential may not write: GHCR needs `packages: write`; Gitea needs a token with package write as the password (a job's own token can't)"
	}
}

package promote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// A failure is one request that did not do what it should: what was tried, on
// what, what came back, and what to do where that is known.
type failure struct {
	what       string // "read tag latest"
	on         string // the repository
	status     int    // 0: no answer was had
	said       string // of the registry, or of the connection
	hint       string
	retryAfter time.Duration
	err        error // the cause where there was no answer
}

// Error returns one sentence.
func (f *failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: ", f.on, f.what)
	if f.status != 0 {
		fmt.Fprintf(&b, "%d %s", f.status, http.StatusText(f.status))
		if f.said != "" {
			b.WriteString(": ")
		}
	}
	b.WriteString(f.said)
	if f.hint != "" {
		b.WriteString("; " + f.hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }

// denied reports whether the registry refused the credential.
func denied(err error) bool {
	var f *failure
	return errors.As(err, &f) && (f.status == http.StatusUnauthorized || f.status == http.StatusForbidden)
}

// absent reports whether the registry said that there is no such thing.
func absent(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.status == http.StatusNotFound
}

// temporary reports whether the same request may succeed a moment later.
func temporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// maxSaid is how much of a registry's own words an error repeats, in characters.
const maxSaid = 300

// refusal makes the failure of an answer that is not the one hoped for.
func (r *repository) refusal(what string, write bool, a *answer) *failure {
	f := &failure{what: what, on: r.name.Name(), status: a.status, said: r.clean(words(a.body))}
	f.retryAfter = retryAfter(a.header)
	f.hint = r.hint(f.status, write)
	return f
}

// broken makes the failure of a request that got no answer, or whose handshake
// was refused.
func (r *repository) broken(what string, write bool, err error) *failure {
	f := &failure{what: what, on: r.name.Name(), err: err}
	var refused *transport.Error
	var shaped *url.Error
	switch {
	case errors.As(err, &refused):
		f.status, f.err = refused.StatusCode, nil
		f.said = r.clean("at the sign-in: " + diagnostics(refused))
		f.hint = r.hint(f.status, write)
		return f
	case errors.As(err, &shaped):
		err = shaped.Err // without the URL, whose query may be signed
	}
	text := err.Error()
	if strings.Contains(text, "no token in bearer response") {
		text = "the token server's answer holds no token" // the rest is the answer itself
	}
	if errors.Is(err, context.DeadlineExceeded) {
		text = "no answer in time"
	}
	f.said = r.clean(text)
	return f
}

// clean makes foreign text fit to be shown.
func (r *repository) clean(text string) string {
	return untrusted.Line(r.redact.Redact(text), maxSaid)
}

// words returns what an error answer says, in the form of the distribution
// specification or as it is.
func words(body []byte) string {
	parsed := parseDiagnostics(body)
	if parsed == "" {
		return strings.TrimSpace(string(body[:min(len(body), 4*maxSaid)]))
	}
	return parsed
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
func (r *repository) hint(status int, write bool) string {
	switch {
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
		return ""
	case !write && r.anonymous.Load():
		return "there is no credential for this registry: set registry-username and registry-password, or log in (DOCKER_CONFIG)"
	case !write:
		return "the credential may not read this repository: check registry-username and registry-password"
	case r.name.RegistryStr() == "ghcr.io":
		return "the credential may not write: it lacks `packages: write`, and the repository must have access to the package"
	default:
		return "the credential may not write: GHCR wants `packages: write`; Gitea wants a token with package write in registry-password (a job's own token can't)"
	}
}

// retryAfter reads the header, in seconds or as a date; 0 when there is none.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if d, err := time.ParseDuration(v + "s"); err == nil && d > 0 {
		return d
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// cause names why a context ended.
func cause(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return errCancelled
}

var errCancelled = errors.New("cancelled")

package smoke

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/molecule"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A reason is why a check did not pass. What result it leads to is decided in
// this file alone.
type reason int

const (
	none          reason = iota
	skipped              // the tenant has not what the check is about
	mismatch             // the answer is not what was expected
	tokenRefused         // our own token was refused
	orgGuard             // the answer is that of the org guard
	unavailable          // 429, 502, 503 or 504, after retries
	noAnswer             // transport error or timeout, after retries
	overLimit            // the expectation could not be evaluated on this answer
	withoutCommit        // the step needs ${sha}, and the run has none
	stopped              // the run ended
	internalError        // a panic of this program
)

// ended reports whether a check with that reason ends a soak.
func (r reason) ended() bool { return r != none && r != skipped }

// reasonOfAnswer says why an answer that does not satisfy its step does not.
func reasonOfAnswer(st *step, r *fleet.Response) reason {
	switch {
	case web.Unavailable(r.Status):
		return unavailable
	case st.auth == fleet.AuthAdmin && (r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden):
		return tokenRefused
	case st.org == fleet.OrgOwn && guarded(r):
		return orgGuard
	default:
		return mismatch
	}
}

// guarded reports whether an answer is that of the org guard.
func guarded(r *fleet.Response) bool { return r.Complete && molecule.Guarded(r.Status, r.Body) }

// reasonOfError says why there is no answer, what to write for it without
// anything that differs from tenant to tenant, and what to do.
func reasonOfError(err error) (why reason, answer, hint string) {
	var transport *fleet.TransportError
	if !errors.As(err, &transport) {
		return noAnswer, "no answer", ""
	}
	switch transport.Kind {
	case fleet.FailureStopped:
		return stopped, "stopped", "the run ended before this check did; give it more time"
	case fleet.FailureRequest:
		return noAnswer, "nothing was sent", transport.Hint
	default:
		return noAnswer, "no answer: " + transport.Kind.String(), transport.Hint
	}
}

// A credentialLog is what the answers of one tenant showed about our credentials,
// over all checks and rounds. Its methods may be called by several goroutines at
// once.
type credentialLog struct {
	mu       sync.Mutex
	accepted string // an admin route that accepted our token
	guarded  bool   // a guarded route answered
	admitted bool   // and one of them not as the org guard does
}

// note enters one answer. One to a request with another org id than the tenant's
// own says nothing of our credentials.
func (l *credentialLog) note(request fleet.Request, r *fleet.Response) {
	if molecule.Public(request.Path) || request.Org != fleet.OrgOwn {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guarded = true
	l.admitted = l.admitted || !guarded(r)
	// A page proves nothing: the web front end answers everybody.
	if request.Auth == fleet.AuthAdmin && r.Status >= 200 && r.Status < 300 && !isHTML(r.Header) && l.accepted == "" {
		path, _, _ := strings.Cut(request.Path, "?")
		l.accepted = request.Method + " " + path
	}
}

// waits reports whether the result of a reason depends on other answers.
func (r reason) waits() bool { return r == tokenRefused || r == orgGuard }

// result says what a reason makes of a check, once all answers are in: a refusal
// of our credentials is the build's failure only where another answer proves that
// they are right.
func (l *credentialLog) result(r reason) report.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case r == none:
		return report.Passed
	case r == skipped:
		return report.NotRun
	case r == mismatch, r == tokenRefused && l.accepted != "", r == orgGuard && (l.admitted || !l.guarded):
		return report.Failed
	default:
		return report.Errored
	}
}

// hint is the likely cause of a refusal of our credentials, and what to do.
func (l *credentialLog) hint(r reason, hasOrg bool) string {
	failed := l.result(r) == report.Failed
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case r == orgGuard:
		return molecule.GuardHint(failed, hasOrg)
	case failed:
		return fmt.Sprintf("the token is right: %s accepted it. This build refuses it on this route", l.accepted)
	default:
		return "every admin route refuses our token: check this tenant's token (its place in the list, a rotated token), not the build"
	}
}

// answerHint is the likely cause of an answer that is not the expected one, and
// what to do; empty when there is nothing to add.
func answerHint(st *step, r *fleet.Response) string {
	switch {
	case web.Unavailable(r.Status) && molecule.Outage(r.Body):
		return molecule.OutageHint
	case r.Status == http.StatusTooManyRequests:
		return "the tenant limits requests; run again later, or check fewer tenants at once"
	case web.Unavailable(r.Status):
		return "a proxy in front of the tenant can't reach it: it may be restarting or overloaded"
	case r.Status >= 500:
		return "the service failed on this request; the tenant's log of this moment says why"
	case isHTML(r.Header):
		return "a web page came: the web front end or a proxy answers in place of this route"
	case r.Status == http.StatusNotFound && bytes.HasPrefix(r.Body, []byte("404 page not found")):
		return "this build has no such route"
	case r.Status >= 300 && r.Status < 400:
		return "redirects are not followed; check the scheme and the host of the tenant's URL"
	case st.org != fleet.OrgOwn:
		return "the tenant let a request without its org id, or with a wrong one, through its org guard: it may be open to every org"
	case st.auth != fleet.AuthAdmin && (r.Status < 300 || r.Status == http.StatusBadRequest || r.Status == http.StatusUnprocessableEntity):
		return "a request without a valid token was accepted: the build may be open to everybody"
	default:
		return ""
	}
}

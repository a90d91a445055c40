package smoke

import (
	"bytes"
	"errors"
	"net/http"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/molecule"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
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
	serverError          // another 5xx, also when it was asked again
	unconfirmed          // the same, and it is not known whether the tenant's dependencies are up
	noAnswer             // transport error or timeout, after retries
	tooLarge             // more of the answer is needed than is read
	overLimit            // the expectation could not be evaluated on this answer
	withoutCommit        // the step needs ${sha}, and the run has none
	stopped              // the run ended
	internalError        // a panic of this program
)

// ended reports whether a check with that reason ends a soak.
func (r reason) ended() bool { return r != none && r != skipped }

// reasonOfAnswer says why an answer that does not satisfy its step does not.
func (t *tenantRun) reasonOfAnswer(st *step, r *fleet.Response) reason {
	switch {
	case web.Unavailable(r.Status):
		return unavailable
	case r.Status >= 500:
		return serverError
	case st.auth == fleet.AuthAdmin && (r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden):
		return tokenRefused
	case st.org == fleet.OrgOwn && guarded(r) && (t.suite.product || t.session.HasOrg()):
		return orgGuard
	default:
		return mismatch
	}
}

// guarded reports whether an answer is that of the org guard.
func guarded(r *fleet.Response) bool { return r.Complete && molecule.Guarded(r.Status, r.Body) }

// missing reports whether an answer is that of a router, or of a web front end, that
// does not know the route.
func missing(r *fleet.Response) bool {
	return r.Status == http.StatusNotFound && (isHTML(r.Header) || bytes.HasPrefix(r.Body, []byte("404 page not found")))
}

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

// waits reports whether the result of a reason, or its hint, depends on other answers.
func (r reason) waits() bool {
	return r == tokenRefused || r == orgGuard || r == serverError || r == unconfirmed
}

// final reports whether polling can't change a reason.
func (r reason) final() bool {
	return r == none || r == tooLarge || r == overLimit || r == withoutCommit || r == stopped
}

// answerHint is the likely cause of an answer that is not the expected one, and
// what to do; empty when there is nothing to add.
func (t *tenantRun) answerHint(st *step, r *fleet.Response) string {
	switch {
	case web.Unavailable(r.Status) && t.evidence.isDown():
		return outageHint(t.suite.product)
	case r.Status == http.StatusTooManyRequests:
		return "the tenant limits requests: raise soak-interval, check fewer tenants at once, or run again later"
	case web.Unavailable(r.Status):
		return "a proxy in front of the tenant can't reach it: it may be restarting or overloaded"
	case t.suite.product && missing(r) && molecule.OtherSuite(st.line()) != "":
		return molecule.OtherSuite(st.line())
	case isHTML(r.Header):
		return "a web page came: the web front end or a proxy answers in place of this route"
	case r.Status == http.StatusNotFound && len(r.Body) == 0, missing(r):
		return "this route is not there: the build lost it, or the suite is not for this server"
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

package smoke

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/molecule"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// An evidence is what the answers of one tenant showed about our credentials and
// about the tenant's own dependencies, over all checks and rounds. Its methods may
// be called by several goroutines at once.
type evidence struct {
	mu       sync.Mutex
	accepted string // an admin route that accepted our token
	guarded  bool   // a guarded route answered
	admitted bool   // and one of them not as the org guard does
	hidden   bool   // a route that answers everybody is not there
	down     bool   // the tenant said that its own dependencies are down
	refused  int    // connections
}

// note enters one answer. One to a request with another org id than the tenant's
// own says nothing of our credentials.
func (e *evidence) note(request fleet.Request, r *fleet.Response) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refused += r.Refused
	if molecule.Public(request.Path) {
		e.hidden = e.hidden || r.Status == http.StatusNotFound
		return
	}
	if request.Org != fleet.OrgOwn {
		return
	}
	e.guarded = true
	e.admitted = e.admitted || !guarded(r)
	// A page proves nothing: the web front end answers everybody.
	if request.Auth == fleet.AuthAdmin && r.Status >= 200 && r.Status < 300 && !isHTML(r.Header) && e.accepted == "" {
		path, _, _ := strings.Cut(request.Path, "?")
		e.accepted = request.Method + " " + path
	}
}

// noteError enters a request without an answer.
func (e *evidence) noteError(err error) {
	if t := new(fleet.TransportError); errors.As(err, &t) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.refused += t.Refused
	}
}

// noteDown enters that the tenant said that its dependencies are down.
func (e *evidence) noteDown() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = true
}

func (e *evidence) isDown() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.down
}

// refusals is how many connections the tenant refused.
func (e *evidence) refusals() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refused
}

// result says what a reason makes of a check, once all answers are in: a refusal
// of our credentials is the build's failure only where another answer proves that
// they are right, and a 5xx only where the tenant reported no outage of its own
// dependencies.
func (e *evidence) result(r reason) report.Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case r == none:
		return report.Passed
	case r == skipped:
		return report.NotRun
	case r == mismatch, r == serverError && !e.down,
		r == tokenRefused && e.accepted != "", r == orgGuard && (e.admitted || !e.guarded):
		return report.Failed
	default:
		return report.Errored
	}
}

// hint is the likely cause of what other answers decide about, and what to do.
func (e *evidence) hint(r reason, product, hasOrg bool) string {
	failed := e.result(r) == report.Failed
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case r == serverError && failed:
		return "the service failed on this request, and reports no outage of what it depends on; the tenant's log of this moment says why"
	case (r == serverError || r == unconfirmed) && e.down:
		return outageHint(product)
	case r == unconfirmed && product:
		return molecule.MaybeOutageHint
	case r == unconfirmed:
		return "the service failed on this request, and it could not be learned whether what it depends on is up; run again"
	case r == orgGuard && product && !e.hidden:
		return molecule.GuardHint(failed, hasOrg)
	case r == orgGuard && failed:
		return "there is nothing here, while other routes of this tenant answer: this build lost the route, or hides it"
	case r == orgGuard:
		return "every route answers 404 with an empty body: check this tenant's URL and org id"
	case failed:
		return fmt.Sprintf("the token is right: %s accepted it. This build refuses it on this route", e.accepted)
	default:
		return "every admin route refuses our token: check this tenant's token (its place in the list, a rotated token), not the build"
	}
}

// outageHint says what an outage of a tenant's dependencies means.
func outageHint(product bool) string {
	if product {
		return molecule.OutageHint
	}
	return "the tenant reports that something it depends on is down, which says nothing about the build; run again when it is back"
}

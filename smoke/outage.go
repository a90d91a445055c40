package smoke

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/molecule"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
)

// againPause is the longest wait before a request that was answered with a 5xx is
// sent again; it is jittered down to half of that.
const againPause = 500 * time.Millisecond

// A confirmation is the request that tells whether a tenant's own dependencies are
// up, and the condition under which its answer says that they are not.
type confirmation struct {
	request step
	down    *expr.Expr
}

// askAgain decides about a step that was answered with a 5xx other than those of
// proxies. It may be the build's failure, or an outage of the tenant's
// dependencies, which some handlers answer with a bare 500. So the tenant is asked
// whether they are up, now and after a short pause, and beside it the step is sent
// again where that does no harm: what fails once and then passes is flaky. What
// the failure counts for is known when all answers of the tenant are in.
func (x *execution) askAgain(ctx context.Context, st *step, before outcome) {
	first := x.outcome
	known := x.confirm(ctx)
	if err := x.pause(ctx, web.Jitter(againPause)); err != nil {
		x.reason, x.answer, x.detail = stopped, "stopped", "stopped before it could be asked again; the answer: "+first.detail
		return
	}
	if st.repeatable() {
		x.outcome = before
		x.elapsed, x.flaky, x.remark = first.elapsed, first.flaky, first.remark
		x.try(ctx, st)
		x.attempts += first.attempts
		if x.reason == none {
			x.flaked(first.detail)
		}
		if x.reason != serverError {
			return
		}
		x.detail += " (asked twice)"
	}
	if !x.confirm(ctx) || !known {
		x.reason = unconfirmed
	}
}

// repeatable reports whether sending the step twice does no harm.
func (st *step) repeatable() bool {
	return st.idempotent || st.method != http.MethodPost && st.method != http.MethodPatch
}

// confirm asks whether the tenant's dependencies are up, unless it is known that
// they are not, and keeps the answer. It reports false where that can't be learned:
// there was no answer, or one only after a retry, which hides the first one.
func (x *execution) confirm(ctx context.Context) (known bool) {
	c := x.suite.confirm
	if c == nil || x.evidence.isDown() {
		return true
	}
	request, err := c.request.request(x.values)
	if err != nil {
		return false
	}
	response, err := x.send(ctx, request)
	if err != nil {
		return false
	}
	if x.saysDown(response) {
		x.evidence.noteDown()
		return true
	}
	return response.Attempts <= 1 && !web.Unavailable(response.Status)
}

// saysDown reports whether an answer says that the tenant's dependencies are down.
func (t *tenantRun) saysDown(response *fleet.Response) bool {
	t.evaluating <- struct{}{}
	defer func() { <-t.evaluating }()
	if response.Status >= 500 && molecule.Outage(response.Body) {
		return true
	}
	if t.suite.confirm == nil {
		return false
	}
	down, err := expr.NewEvaluation(t.seen(response, t.values())).True(t.suite.confirm.down)
	return down && err == nil
}

// send sends a request and keeps what its answer shows of the tenant.
func (t *tenantRun) send(ctx context.Context, request fleet.Request) (*fleet.Response, error) {
	response, err := t.session.Do(ctx, request)
	if err != nil {
		t.evidence.noteError(err)
		return nil, err
	}
	t.evidence.note(request, response)
	if response.Status >= 500 && !t.evidence.isDown() && t.saysDown(response) {
		t.evidence.noteDown()
	}
	return response, nil
}

// flaked notes that a step passed only when it was asked again.
func (x *execution) flaked(what string) {
	x.flaky = true
	if x.remark == "" {
		x.remark = fmt.Sprintf("it passed only after a retry; first, %s", what)
	}
}

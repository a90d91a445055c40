package smoke

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
)

// firstPoll and longestPoll are the first and the longest wait between two polls
// of a step with "within"; each is twice the one before.
const (
	firstPoll   = 100 * time.Millisecond
	longestPoll = time.Second
)

// An outcome is what one execution of a check came to, before it is known what
// the other answers of the tenant show about our credentials.
type outcome struct {
	reason   reason
	attempts int
	flaky    bool
	remark   string // what came before it passed, where it was asked again
	elapsed  []time.Duration
	started  time.Time
	duration time.Duration
	// Why it did not pass; all but detail and hint are clean.
	expected, got, answer, again string
	detail, hint                 string
}

// fail records why the check did not pass. The first reason stays.
func (o *outcome) fail(r reason, detail string) {
	if o.reason == none {
		o.reason, o.detail = r, detail
	}
}

// An execution is one check on one tenant in one round.
type execution struct {
	*tenantRun
	check  *check
	values map[string]any
	inside bool // it has entered its session
	// late outlives the run for a moment, in which answers are waited for that say
	// what was created, and what was created is deleted.
	late   context.Context
	hurry  bool   // the run was stopped
	unsure string // a request that may have created something, but whose answer did not say what
	outcome
}

// leave releases the slot, unless other checks of the tenant still use it.
func (x *execution) leave() {
	if x.inside {
		x.session.Leave()
	}
	x.inside = false
}

// pause waits without occupying the slot.
func (x *execution) pause(ctx context.Context, d time.Duration) error {
	x.leave()
	if err := web.Pause(ctx, d); err != nil {
		return err
	}
	err := x.session.Enter(ctx)
	x.inside = err == nil
	return err
}

// run runs the steps up to the first that fails, then the clean-ups.
func (x *execution) run(ctx context.Context) {
	x.values = x.tenantRun.values()
	x.values["probe"] = newProbe()
	var done context.CancelFunc
	x.late, done = web.Outlive(ctx, web.AfterCancelTenant, web.AfterCancelTenant)
	defer done()
	defer func() { x.cleanUp(ctx.Err() != nil) }()
	for i := range x.check.steps {
		if x.step(ctx, &x.check.steps[i]); x.reason != none {
			if len(x.check.steps) > 1 {
				x.detail = fmt.Sprintf("step %d: %s", i+1, x.detail)
			}
			return
		}
	}
}

// step sends a request until its answer is right, or there is no time left.
func (x *execution) step(ctx context.Context, st *step) {
	began, wait := time.Now(), firstPoll
	before := x.outcome
	for {
		x.try(ctx, st)
		left := st.within - time.Since(began)
		if x.reason.final() || left <= 0 || ctx.Err() != nil {
			break
		}
		if x.pause(ctx, min(wait, left)) != nil {
			x.reason, x.answer, x.detail = stopped, "stopped", "stopped while it waited; the last answer: "+x.detail
			return
		}
		wait = min(2*wait, longestPoll)
		// The next poll decides; what the last one found counts no more, but that
		// the tenant failed is said.
		last := x.outcome
		x.outcome = before
		x.elapsed, x.flaky, x.remark = last.elapsed, last.flaky, last.remark
		if last.reason == serverError || last.reason == unavailable {
			x.flaked(last.detail)
		}
	}
	if x.reason == serverError && ctx.Err() == nil {
		x.askAgain(ctx, st, before)
	}
}

// try sends a request once and evaluates the answer.
func (x *execution) try(ctx context.Context, st *step) {
	request, err := st.request(x.values)
	if err != nil {
		x.notSent(st, err)
		return
	}
	request.Unpaced = x.hurry
	if ctx.Err() != nil {
		x.fail(stopped, "stopped: "+web.Cause(ctx).Error())
		x.answer = "stopped"
		return
	}
	response, err := x.send(x.patience(ctx, st), request)
	if err != nil {
		x.noAnswer(st, request, err)
		return
	}
	if response.Status >= 500 && len(st.save) > 0 {
		x.unsure = plain(request)
	}
	x.attempts = max(x.attempts, response.Attempts)
	x.flaky = x.flaky || response.Attempts > 1
	x.elapsed = append(x.elapsed, response.Elapsed)
	x.evaluating <- struct{}{}
	defer func() { <-x.evaluating }()
	x.evaluate(ctx, st, request, response)
}

// withoutCommitHint says what to do where ${sha} is needed and there is none.
const withoutCommitHint = "this run has no commit to compare with; give it a sha"

// notSent records that the present values make no valid request: an id that a
// tenant sent, say, is not one.
func (x *execution) notSent(st *step, err error) {
	r := mismatch
	if x.options.SHA == "" && st.path.uses("sha") {
		r, x.hint = withoutCommit, withoutCommitHint
	}
	x.fail(r, fmt.Sprintf("%s can't be sent: %v", st.line(), err))
	x.expect(st)
	x.got, x.answer = "nothing was sent", "nothing was sent"
}

// expect shows the whole expectation, where it is not known which clause failed.
func (x *execution) expect(st *step) {
	if st.expect != nil {
		x.expected = x.cleaner().line(st.expect.String(), maxText)
	}
}

// noAnswer records that no answer came.
func (x *execution) noAnswer(st *step, request fleet.Request, err error) {
	why, answer, hint := reasonOfError(err)
	what := err.Error()
	if t := new(fleet.TransportError); errors.As(err, &t) {
		what = t.Cause
		x.attempts = t.Attempts
		if t.Sent && len(st.save) > 0 {
			x.unsure = plain(request)
		}
	}
	x.fail(why, st.line()+": "+what)
	x.expect(st)
	x.got, x.answer, x.hint = "no answer", answer, hint
	x.again = x.reproduce(st, request)
}

// evaluate tests the expectation on an answer and saves what the step saves. What
// can be saved is saved also when the expectation is not met: the clean-up needs
// to know what was created.
func (x *execution) evaluate(ctx context.Context, st *step, request fleet.Request, response *fleet.Response) {
	a := x.seen(response, x.values)
	e := expr.NewEvaluation(a).Within(ctx).Showing(x.session.Redactor().Redact)
	if st.expect != nil {
		if clause, err := e.Unmet(st.expect); clause != nil {
			x.unmet(ctx, st, request, a, unmet{clause: clause, err: err})
		}
	}
	a.lenient = x.reason != none
	for _, s := range st.save {
		v, err := e.Value(s.value)
		if err == nil && isNothing(v) {
			err = fmt.Errorf("it is %s", expr.Describe(v)) // nothing that could be secret
		}
		if err != nil {
			x.unmet(ctx, st, request, a, unmet{clause: s.value, err: err, save: s.name})
			continue
		}
		x.values[s.name] = v
	}
}

// isNothing reports whether there is nothing in a value that could be used.
func isNothing(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	default:
		return false
	}
}

// An unmet is a clause that is not true of an answer, or a value to save that is
// not there.
type unmet struct {
	clause *expr.Expr
	err    error  // why it can't be decided; nil where it is plainly false
	save   string // the name under which its value should have been saved; empty: it is a clause
}

// unmet records how an answer is not what the step expects.
func (x *execution) unmet(ctx context.Context, st *step, request fleet.Request, a *answer, u unmet) {
	if x.reason != none {
		return
	}
	c := x.cleaner()
	expected := u.clause.String()
	if u.save != "" {
		expected = "a value to save as " + u.save + " in " + expected
	}
	values := c.values(u.clause, a)
	why, hint := x.reasonOfAnswer(st, a.response), x.answerHint(st, a.response)
	if why.waits() && st.org == fleet.OrgOwn {
		hint = "" // it depends on other answers
	}
	detail := fmt.Sprintf("%s: expected %s, got %s", st.line(), expected, u.got(a, values))
	x.answer = c.line(a.summary(), maxValueShown)
	if limit := new(expr.LimitError); errors.As(u.err, &limit) {
		why, hint, x.answer = overLimit, limit.Hint, "could not be evaluated"
		if ctx.Err() != nil {
			why, x.answer = stopped, "stopped"
		}
		detail = fmt.Sprintf("%s answered %d, but %s could not be evaluated: %v", st.line(), a.response.Status, u.clause, u.err)
	} else if errors.Is(u.err, errWithoutCommit) {
		why, hint, x.answer = withoutCommit, withoutCommitHint, "could not be evaluated"
	} else if large := new(tooLargeError); errors.As(u.err, &large) {
		why, hint, x.answer = tooLarge, tooLargeHint, large.Error()
		detail = fmt.Sprintf("%s: %v, so that %s could not be evaluated", st.line(), large, expected)
	}
	x.fail(why, detail)
	x.hint = hint
	x.attempts = a.response.Attempts
	x.expected = c.line(expected, maxText)
	x.got = c.got(a, values)
	x.again = x.reproduce(st, request)
}

// got says in a few words what came in place of what was expected.
func (u unmet) got(a *answer, values []string) string {
	status := fmt.Sprint(a.response.Status)
	switch {
	case u.err != nil:
		return status + ": " + u.err.Error()
	case len(values) > 0:
		return strings.Join(values, ", ")
	case u.clause.Mentions("status"):
		return status
	default:
		return status + " " + a.contentType()
	}
}

// patience is how long an answer is waited for: one that says what finally has to
// delete, also for a moment after the run has ended.
func (x *execution) patience(ctx context.Context, st *step) context.Context {
	if len(x.check.finally) > 0 && len(st.save) > 0 && st.method != http.MethodGet && st.method != http.MethodHead {
		return x.late
	}
	return ctx
}

// plain names a request by its real path.
func plain(r fleet.Request) string {
	path, _, _ := strings.Cut(r.Path, "?")
	return r.Method + " " + path
}

// cleanUp runs the steps of finally, all of them, whatever happened before, and
// for a moment also when the run was stopped: then no rate limit holds them up.
func (x *execution) cleanUp(hurry bool) {
	x.hurry = hurry
	for i := range x.check.finally {
		x.cleanUpStep(x.late, &x.check.finally[i])
	}
}

// cleanUpStep runs one step of finally. One that needs a value which no step
// saved has nothing to clean up, as far as one can know.
func (x *execution) cleanUpStep(ctx context.Context, st *step) {
	request, err := st.request(x.values)
	if err != nil {
		if x.unsure != "" {
			x.leftBehind(fmt.Sprintf("%s may have been carried out, but no answer shows what it created (probe %s)", x.unsure, x.values["probe"]))
			x.unsure = ""
		}
		return
	}
	if st.expect != nil && x.reason == none {
		if x.try(ctx, st); x.reason != none {
			x.detail = strings.Replace("finally: "+x.detail, st.line(), plain(request), 1)
		}
		return
	}
	request.Unpaced = x.hurry
	response, err := x.send(ctx, request)
	switch {
	case err != nil:
		x.leftBehind(err.Error())
	case response.Status < 200 || response.Status > 299:
		x.leftBehind(fmt.Sprintf("%s answered %d", plain(request), response.Status))
	}
}

// leftBehind notes that a clean-up did not do what it should. The check does not
// fail by that: what it expects of the tenant was met.
func (x *execution) leftBehind(what string) {
	if x.detail != "" {
		x.detail += "; "
	}
	x.detail += "something may be left behind on the tenant: " + what
}

package smoke

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
)

const (
	// pollFirst and pollMost bound the waits between two polls of a step with
	// "within"; each is twice the one before.
	pollFirst = 100 * time.Millisecond
	pollMost  = time.Second
	// cleanUpGrace is how long clean-ups may go on after the run was stopped. The
	// whole program has 6 s then (design).
	cleanUpGrace = 2 * time.Second
)

// An outcome is what one execution of a check came to, before it is known what
// the other answers of the tenant say of our credentials.
type outcome struct {
	broken   bool
	cause    cause
	attempts int
	flaky    bool
	elapsed  []time.Duration
	started  time.Time
	duration time.Duration
	// What broke it; all but detail and hint are clean.
	expected, got, reproduce string
	detail, hint             string
	auth                     fleet.Auth
	response                 *fleet.Response // header and status only; nil: none came
}

// fail records why the check did not pass. The first reason stays.
func (o *outcome) fail(c cause, detail string) {
	if o.broken {
		return
	}
	o.broken, o.cause, o.detail = true, c, detail
}

// An execution is one check on one tenant in one round.
type execution struct {
	*tenantRun
	check  *check
	began  time.Time
	values map[string]any
	inside bool   // it has entered its session
	unsure string // a request that may have made something of which no answer tells
	outcome
}

// leave gives the share in the slot back.
func (x *execution) leave() {
	if x.inside {
		x.session.Leave()
	}
	x.inside = false
}

// pause waits without a share in the slot.
func (x *execution) pause(ctx context.Context, d time.Duration) error {
	x.leave()
	if err := sleep(ctx, d); err != nil {
		return err
	}
	err := x.session.Enter(ctx)
	x.inside = err == nil
	return err
}

// run runs the steps up to the first that breaks, then the clean-ups.
func (x *execution) run(ctx context.Context) {
	x.values = map[string]any{
		"probe": newProbe(), "sha": x.options.SHA, "tenant": x.session.Tenant().Name,
	}
	defer x.cleanUp(ctx)
	for i := range x.check.steps {
		if x.step(ctx, &x.check.steps[i]); x.broken {
			if len(x.check.steps) > 1 {
				x.detail = fmt.Sprintf("step %d: %s", i+1, x.detail)
			}
			return
		}
	}
}

// step sends a request until its answer is right, or there is no time left.
func (x *execution) step(ctx context.Context, st *step) {
	began, wait := time.Now(), pollFirst
	before := x.outcome
	for {
		x.try(ctx, st)
		left := st.within - time.Since(began)
		if !x.broken || left <= 0 || ctx.Err() != nil || x.cause == beyondLimits {
			return
		}
		if x.pause(ctx, min(wait, left)) != nil {
			x.cause, x.detail = stopped, "stopped while it waited; the last answer: "+x.detail
			return
		}
		wait = min(2*wait, pollMost)
		// The next poll decides; what the last one found counts no more.
		elapsed, flaky := x.elapsed, x.flaky
		x.outcome = before
		x.elapsed, x.flaky = elapsed, flaky
	}
}

// try sends a request once and judges the answer.
func (x *execution) try(ctx context.Context, st *step) {
	request, err := st.request(x.values)
	if err != nil {
		x.notSent(st, err)
		return
	}
	response, err := x.session.Do(ctx, request)
	if err != nil {
		x.noAnswer(st, request, err)
		return
	}
	if response.Status >= 500 && len(st.save) > 0 {
		x.unsure = line(st)
	}
	x.attempts = max(x.attempts, response.Attempts)
	x.flaky = x.flaky || response.Attempts > 1
	x.elapsed = append(x.elapsed, response.Elapsed)
	x.ledger.note(request.Method, request.Path, request.Auth, response)
	x.judging <- struct{}{}
	defer func() { <-x.judging }()
	x.judge(ctx, st, request, response)
}

// notSent records that the values in hand make no request: what a tenant gave
// for an id, say, is none.
func (x *execution) notSent(st *step, err error) {
	c := contradiction
	if x.options.SHA == "" && slices.Contains(st.path.names(), "sha") {
		c, x.hint = withoutSHA, withoutSHAHint
	}
	x.fail(c, fmt.Sprintf("%s can't be sent: %v", line(st), err))
	x.expect(st)
	x.got = "nothing was sent"
}

// withoutSHAHint says what to do where ${sha} is asked for and there is none.
const withoutSHAHint = "this run has no commit to compare with; give it a sha"

// expect shows the whole expectation, where it is not known which clause broke.
func (x *execution) expect(st *step) {
	if st.expect != nil {
		x.expected = x.clean.line(st.expect.text, maxText)
	}
}

// noAnswer records that no answer came.
func (x *execution) noAnswer(st *step, request fleet.Request, err error) {
	c, hint := causeOfError(err)
	if t := new(fleet.TransportError); errors.As(err, &t) {
		x.attempts = t.Attempts
		x.fail(c, fmt.Sprintf("%s: %s", line(st), t.Cause))
		if t.Sent && len(st.save) > 0 {
			x.unsure = line(st)
		}
	} else {
		x.fail(c, fmt.Sprintf("%s: %v", line(st), err))
	}
	x.hint = hint
	x.expect(st)
	x.got = "no answer"
	x.reproduce = x.clean.curl(x.session.Tenant(), request)
}

// judge tests the expectation on an answer and saves what the step saves. What
// can be saved is saved also when the expectation broke: the clean-up needs to
// know what was made.
func (x *execution) judge(ctx context.Context, st *step, request fleet.Request, response *fleet.Response) {
	e := &evaluation{ctx: ctx, answer: &answer{response: response}, vars: x.values}
	if st.expect != nil {
		if f := st.expect.test(e); f != nil {
			x.contradicted(st, request, e, f)
		}
	}
	e.answer.lenient = x.broken
	for _, s := range st.save {
		v, err := e.value(s.value)
		if err == nil && isNothing(v) {
			err = fmt.Errorf("%s is %s, which is nothing to save", s.text, describe(v))
		}
		if err != nil {
			x.contradicted(st, request, e, &finding{clause: s.value, reason: err.Error(), save: s.name})
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

// contradicted records how an answer broke an expectation.
func (x *execution) contradicted(st *step, request fleet.Request, e *evaluation, f *finding) {
	if x.broken {
		return
	}
	response := e.answer.response
	c := causeOfAnswer(st.auth, response)
	switch {
	case f.limit == nil:
	case e.ctx.Err() != nil:
		c = stopped
	default:
		c = beyondLimits
		x.hint = f.limit.hint
	}
	clause := f.clause.String()
	broken := clause + " does not hold"
	if f.save != "" {
		broken = f.save + " can't be saved"
	}
	detail := fmt.Sprintf("%s answered %d %s, but %s", line(st), response.Status, e.answer.contentType(), broken)
	if f.reason != "" {
		detail += ": " + f.reason
	}
	x.fail(c, detail)
	x.attempts = response.Attempts
	// The steps of the evaluation are counted anew: what broke may have used them up.
	fresh := &evaluation{ctx: context.WithoutCancel(e.ctx), answer: e.answer, vars: e.vars}
	x.expected = x.clean.line(clause, maxText)
	x.got = x.clean.got(e.answer, f.values(fresh, x.clean))
	x.reproduce = x.clean.curl(x.session.Tenant(), request)
	x.auth = st.auth
	// A report of thousands of failures must not keep their bodies.
	kept := *response
	kept.Body = slices.Clone(kept.Body[:min(len(kept.Body), 1024)])
	x.response = &kept
}

// cleanUp runs the steps of finally, all of them, whatever happened before, and
// for a moment also when the run was stopped.
func (x *execution) cleanUp(ctx context.Context) {
	if len(x.check.finally) == 0 {
		return
	}
	ctx, cancel := outlive(ctx, cleanUpGrace)
	defer cancel()
	for i := range x.check.finally {
		x.cleanUpStep(ctx, &x.check.finally[i])
	}
}

// cleanUpStep runs one step of finally. One that needs a value which no step
// saved has nothing to clean up, as far as one can know.
func (x *execution) cleanUpStep(ctx context.Context, st *step) {
	request, err := st.request(x.values)
	if err != nil {
		if x.unsure != "" {
			x.leftBehind(x.unsure + " may have been carried out, but no answer told what it made")
			x.unsure = ""
		}
		return
	}
	if st.expect != nil && !x.broken {
		if x.try(ctx, st); x.broken {
			x.detail = "finally: " + x.detail
		}
		return
	}
	response, err := x.session.Do(ctx, request)
	switch {
	case err != nil:
		x.leftBehind(err.Error())
	case response.Status < 200 || response.Status > 299:
		x.leftBehind(fmt.Sprintf("%s answered %d", line(st), response.Status))
	}
}

// leftBehind notes that a clean-up did not do what it should. It does not make
// the check fail: no expectation was broken.
func (x *execution) leftBehind(what string) {
	if x.detail != "" {
		x.detail += "; "
	}
	x.detail += "something may be left behind on the tenant: " + what
}

// outlive returns a context that ends when ctx has been done for the given time.
func outlive(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = sleep(longer, grace)
		cancel(context.Cause(ctx))
	})
	return longer, func() { stop(); cancel(nil) }
}

// line names a step for people, without values of the query.
func line(st *step) string {
	var b strings.Builder
	for _, p := range st.path {
		if p.name != "" {
			b.WriteString("${" + p.name + "}")
		}
		b.WriteString(p.literal)
	}
	return st.method + " " + b.String()
}

// request builds what the session sends.
func (st *step) request(values map[string]any) (fleet.Request, error) {
	r := fleet.Request{Method: st.method, Auth: st.auth, Idempotent: st.idempotent, Header: http.Header{}}
	var err error
	if r.Path, err = st.path.expand(values); err != nil {
		return r, err
	}
	if err := fleet.CheckPath(r.Path); err != nil {
		return r, fmt.Errorf("with the saved values, %w", err)
	}
	if st.body != nil {
		body, err := st.body.expand(values)
		if err != nil {
			return r, err
		}
		r.Body = []byte(body)
		r.Header.Set("Content-Type", st.contentType)
	}
	for _, h := range st.header {
		value, err := h.value.expand(values)
		if err != nil {
			return r, err
		}
		r.Header.Set(h.name, value)
	}
	return r, nil
}

package smoke

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// DefaultSoakInterval is how long a tenant rests between two rounds of a soak, which
// is to show that it keeps working, not how much load it can take.
const DefaultSoakInterval = 5 * time.Second

// RunOptions says how a suite is run.
type RunOptions struct {
	SHA  report.Commit // the candidate, for ${sha}; may be empty
	Soak time.Duration // repeat the checks for this long; 0: one round
	// SoakInterval is the pause between two rounds; 0: [DefaultSoakInterval].
	SoakInterval time.Duration
	// Checked, when set, is called as each check ends (in its last round under
	// Soak), with the index of its session, one call at a time.
	Checked func(tenant int, c report.CheckResult)
	// Warn, when set, is called with a sentence about a tenant that is no result of
	// a check: what was removed of an earlier run that was killed, say. Calls come
	// one at a time, those of Checked included.
	Warn func(tenant int, text string)
}

// Run runs the suite on all tenants at once, limited by the fleet's slots, and
// returns one result for each session, in their order, with Name, URL and Checks.
// The checks of a tenant run side by side, the steps of a check one after the
// other. Texts in the results are sanitised, and free of the secrets that the
// sessions know.
//
// With Soak the rounds repeat until it is over; the first round in which a check
// does not pass ends it. When ctx ends, checks that had not ended are
// [report.Errored], and clean-ups get a moment more. A panic makes its check
// Errored.
func (s *Suite) Run(ctx context.Context, sessions []*fleet.Session, o RunOptions) []report.Tenant {
	r := &runner{suite: s, options: o, evaluating: make(chan struct{}, runtime.GOMAXPROCS(0))}
	results := make([]report.Tenant, len(sessions))
	var tenants sync.WaitGroup
	for i, session := range sessions {
		tenant := session.Tenant()
		results[i].Name, results[i].URL = tenant.Name, tenant.URL
		t := &tenantRun{runner: r, index: i, tenant: tenant, session: session, states: make([]checkState, len(s.checks))}
		// Entering here, and not in the goroutine, keeps a fleet of thousands from
		// having a goroutine each while they wait.
		if err := session.Enter(ctx); err != nil {
			results[i].Checks = t.results(t.all(endedBy(err)))
			continue
		}
		tenants.Go(func() {
			err := parallel.Guard(func() error {
				results[i].Checks = t.run(ctx)
				results[i].Refused = t.evidence.refusals()
				return nil
			})
			if err != nil {
				results[i].Checks = t.results(t.all(panicked(err)))
			}
		})
	}
	tenants.Wait()
	return results
}

// A runner is one run of a suite.
type runner struct {
	suite     *Suite
	options   RunOptions
	reporting sync.Mutex
	// evaluating is taken while an answer is evaluated, by as many as there are
	// processors: parsed answers of a hostile fleet would else fill the memory.
	evaluating chan struct{}
}

// checked passes a result on as it is known.
func (r *runner) checked(tenant int, c report.CheckResult) {
	if r.options.Checked != nil {
		r.tell(func() { r.options.Checked(tenant, c) })
	}
}

// tell calls the caller, who is called once at a time. A panic there must not end
// the process before the report is out.
func (r *runner) tell(call func()) {
	r.reporting.Lock()
	defer r.reporting.Unlock()
	_ = parallel.Guard(func() error {
		call()
		return nil
	})
}

// warn passes a sentence about the tenant on.
func (t *tenantRun) warn(text string) {
	if t.options.Warn != nil {
		t.tell(func() { t.options.Warn(t.index, t.cleaner().line(text, maxText)) })
	}
}

// A tenantRun is the run of a suite on one tenant.
type tenantRun struct {
	*runner
	index    int
	tenant   fleet.Tenant
	session  *fleet.Session
	evidence evidence
	states   []checkState
}

// values are the values of the placeholders that do not change.
func (t *tenantRun) values() map[string]any {
	return map[string]any{"sha": string(t.options.SHA), "tenant": t.tenant.Name}
}

// seen is a response as an expression sees it.
func (t *tenantRun) seen(response *fleet.Response, values map[string]any) *answer {
	return &answer{response: response, values: values, redact: t.session.Redactor()}
}

func (t *tenantRun) cleaner() cleaner { return cleaner{t.session.Redactor()} }

// A checkState is what is kept of a check over all rounds.
type checkState struct {
	latency  samples
	rounds   int
	flaky    bool
	remark   string // of the first round that was flaky
	reported bool
}

// add keeps what one round showed.
func (s *checkState) add(o outcome) {
	s.rounds++
	s.flaky, s.remark = s.flaky || o.flaky, cmp.Or(s.remark, o.remark)
	for _, d := range o.elapsed {
		s.latency.add(d)
	}
}

// run runs the sweep and, beside it, rounds until the soak is over. The caller has
// entered.
func (t *tenantRun) run(ctx context.Context) []report.CheckResult {
	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	if t.suite.sweep != nil && t.session.Enter(ctx) == nil {
		sweeping.Go(func() {
			defer t.session.Leave()
			_ = parallel.Guard(func() error { // a panic there is no result of a check
				t.sweep(ctx)
				return nil
			})
		})
	}
	return t.rounds(ctx)
}

// rounds runs rounds until the soak is over.
func (t *tenantRun) rounds(ctx context.Context) []report.CheckResult {
	began := time.Now()
	for {
		last := time.Since(began) >= t.options.Soak
		outcomes := t.round(ctx, last)
		if last || slices.ContainsFunc(outcomes, func(o outcome) bool { return o.reason.ended() }) {
			return t.results(outcomes)
		}
		err := web.Pause(ctx, min(cmp.Or(t.options.SoakInterval, DefaultSoakInterval), t.options.Soak-time.Since(began)))
		if err == nil {
			err = t.session.Enter(ctx)
		}
		if err != nil {
			return t.results(t.all(endedBy(fmt.Errorf("%w before the soak was over", err))))
		}
	}
}

// round runs every check once. It hands the slot that the caller entered over
// to the checks, each of which leaves it while it waits: a tenant all of whose
// checks wait occupies none.
func (t *tenantRun) round(ctx context.Context, last bool) []outcome {
	outcomes := make([]outcome, len(t.suite.checks))
	var checks sync.WaitGroup
	for i := range t.suite.checks {
		if err := t.session.Enter(ctx); err != nil {
			outcomes[i] = endedBy(err)
			continue
		}
		checks.Go(func() {
			outcomes[i] = t.check(ctx, &t.suite.checks[i])
			t.states[i].add(outcomes[i])
			if last && !outcomes[i].reason.waits() {
				t.report(i, t.result(i, outcomes[i]))
			}
		})
	}
	t.session.Leave()
	checks.Wait()
	return outcomes
}

// check runs one check, which has entered.
func (t *tenantRun) check(ctx context.Context, c *check) outcome {
	if c.asksOrg && !t.session.HasOrg() {
		t.session.Leave()
		return outcome{reason: skipped, detail: withoutOrg}
	}
	x := &execution{tenantRun: t, check: c, inside: true}
	began := time.Now()
	err := parallel.Guard(func() error {
		defer x.leave()
		x.run(ctx)
		return nil
	})
	if err != nil {
		x.outcome = panicked(err)
	}
	x.started, x.duration = began, time.Since(began)
	return x.outcome
}

// results makes results of the outcomes of the last round, and reports those
// that were not reported yet.
func (t *tenantRun) results(outcomes []outcome) []report.CheckResult {
	results := make([]report.CheckResult, len(outcomes))
	for i, o := range outcomes {
		results[i] = t.result(i, o)
		t.report(i, results[i])
	}
	return results
}

// report passes a result on, unless that was done.
func (t *tenantRun) report(i int, c report.CheckResult) {
	if !t.states[i].reported {
		t.states[i].reported = true
		t.checked(t.index, c)
	}
}

// result is the outcome of a check as the caller sees it.
func (t *tenantRun) result(i int, o outcome) report.CheckResult {
	state := &t.states[i]
	c := report.CheckResult{
		Name: t.suite.checks[i].name, Result: t.evidence.result(o.reason), Attempts: o.attempts,
		Started: o.started, Duration: report.Millis(o.duration), Rounds: state.rounds, Latency: state.latency.latency(),
		Expected: o.expected, Got: o.got, Answer: o.answer, Reproduce: o.again,
	}
	switch {
	// What let a foreign org in has its hint, unless our token is the reason.
	case o.reason.waits() && (o.hint == "" || c.Result != report.Failed):
		o.hint = t.evidence.hint(o.reason, t.suite.product, t.session.HasOrg())
	case c.Result == report.Passed && state.flaky:
		c.Flaky = true
		if o.detail == "" {
			o.detail = cmp.Or(state.remark, "it passed only after a retry")
		}
	}
	clean := t.cleaner()
	c.Detail, c.Hint = clean.line(o.detail, maxText), clean.line(o.hint, maxText)
	return c
}

// all is one outcome for every check.
func (t *tenantRun) all(o outcome) []outcome {
	return slices.Repeat([]outcome{o}, len(t.suite.checks))
}

// withoutOrg is why a check of the org guard is skipped.
const withoutOrg = "there is no org id for this tenant, so that nothing can be learned of its org guard; configure its org id"

// endedBy is the outcome of a check that had not ended when the run did.
func endedBy(err error) outcome {
	o := outcome{started: time.Now(), answer: "stopped"}
	o.fail(stopped, "stopped: "+err.Error())
	return o
}

// panicked is the outcome of a check in which this program panicked.
func panicked(err error) outcome {
	o := outcome{started: time.Now(), answer: "internal error", hint: "this is an error of canary-verify, which says nothing about the build"}
	o.fail(internalError, err.Error())
	return o
}

package smoke

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
)

// soakPause is how long a tenant rests between two rounds: soaking shall show
// that it keeps working, not how much it can take.
const soakPause = time.Second

// Run runs the suite on all tenants at once, bounded by the fleet's slots, and
// returns one result for each session, in their order. The checks of a tenant
// run side by side, the steps of a check one after the other.
//
// With Soak the rounds repeat until it is over; the first round in which a check
// does not pass ends it. When ctx ends, checks that had not ended are [Errored],
// and clean-ups get a moment more. A panic makes its check Errored.
func (s *Suite) Run(ctx context.Context, sessions []*fleet.Session, o RunOptions) []TenantResult {
	r := &runner{suite: s, options: o, clean: cleaner{o.Redact}, judging: make(chan struct{}, runtime.GOMAXPROCS(0))}
	results := make([]TenantResult, len(sessions))
	var tenants sync.WaitGroup
	for i, session := range sessions {
		results[i].Tenant = session.Tenant()
		t := &tenantRun{runner: r, index: i, session: session, states: make([]checkState, len(s.checks))}
		// Entering here, and not in the goroutine, keeps a fleet of thousands from
		// having a goroutine each while they wait.
		if err := session.Enter(ctx); err != nil {
			results[i].Checks = t.report(t.everywhere(endOf(err)))
			continue
		}
		tenants.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					results[i].Checks = t.report(t.everywhere(brokenDown(p)))
				}
			}()
			results[i].Checks = t.run(ctx)
		})
	}
	tenants.Wait()
	return results
}

// A runner is one run of a suite.
type runner struct {
	suite   *Suite
	options RunOptions
	clean   cleaner
	telling sync.Mutex
	// judging is held while an answer is judged, by as many as there are
	// processors: parsed answers of a hostile fleet would else fill the memory.
	judging chan struct{}
}

// tell passes a result on as it is known.
func (r *runner) tell(tenant int, c CheckResult) {
	if r.options.Checked == nil {
		return
	}
	r.telling.Lock()
	defer r.telling.Unlock()
	// A panic of the caller's must not end the process before the report is out; what
	// it was told is in the results as well.
	defer func() { _ = recover() }()
	r.options.Checked(tenant, c)
}

// A tenantRun is the run of a suite on one tenant.
type tenantRun struct {
	*runner
	index   int
	session *fleet.Session
	ledger  ledger
	states  []checkState
}

// A checkState is what is kept of a check over all rounds.
type checkState struct {
	latency samples
	rounds  int
	flaky   bool
	told    bool
}

// add keeps what one round showed.
func (s *checkState) add(o outcome) {
	s.rounds++
	s.flaky = s.flaky || o.flaky
	for _, d := range o.elapsed {
		s.latency.add(d)
	}
}

// run runs rounds until the soak is over. The caller has entered.
func (t *tenantRun) run(ctx context.Context) []CheckResult {
	began := time.Now()
	for {
		last := time.Since(began) >= t.options.Soak
		outcomes := t.round(ctx, last)
		if last || slices.ContainsFunc(outcomes, func(o outcome) bool { return o.broken }) {
			return t.report(outcomes)
		}
		err := sleep(ctx, min(soakPause, t.options.Soak-time.Since(began)))
		if err == nil {
			err = t.session.Enter(ctx)
		}
		if err != nil {
			return t.report(t.everywhere(endOf(fmt.Errorf("%w before the soak was over", err))))
		}
	}
}

// round runs every check once. It hands the slot that the caller entered over
// to the checks, each of which leaves it while it waits: a tenant all of whose
// checks wait holds none.
func (t *tenantRun) round(ctx context.Context, last bool) []outcome {
	outcomes := make([]outcome, len(t.suite.checks))
	var checks sync.WaitGroup
	for i := range t.suite.checks {
		entered := t.session.Enter(ctx)
		if entered != nil {
			outcomes[i] = endOf(entered)
			continue
		}
		checks.Go(func() {
			outcomes[i] = t.check(ctx, &t.suite.checks[i])
			t.states[i].add(outcomes[i])
			if last && !outcomes[i].cause.waits() {
				t.tellOnce(i, t.result(i, outcomes[i]))
			}
		})
	}
	t.session.Leave()
	checks.Wait()
	return outcomes
}

// check runs one check, which has entered, and stands for it when it panics.
func (t *tenantRun) check(ctx context.Context, c *check) (o outcome) {
	x := &execution{tenantRun: t, check: c, began: time.Now(), inside: true}
	defer func() {
		if p := recover(); p != nil {
			o = brokenDown(p)
		}
		o.started, o.duration = x.began, time.Since(x.began)
	}()
	defer x.leave()
	x.run(ctx)
	return x.outcome
}

// report makes results of the outcomes of the last round, and tells those that
// were not told yet.
func (t *tenantRun) report(outcomes []outcome) []CheckResult {
	results := make([]CheckResult, len(outcomes))
	for i, o := range outcomes {
		results[i] = t.result(i, o)
		t.tellOnce(i, results[i])
	}
	return results
}

// tellOnce passes a result on, unless that was done.
func (t *tenantRun) tellOnce(i int, c CheckResult) {
	if !t.states[i].told {
		t.states[i].told = true
		t.tell(t.index, c)
	}
}

// result is the outcome of a check as the caller sees it.
func (t *tenantRun) result(i int, o outcome) CheckResult {
	state := &t.states[i]
	c := CheckResult{
		Name: t.suite.checks[i].name, Result: Passed, Attempts: o.attempts,
		Started: o.started, Duration: o.duration, Rounds: state.rounds, Latency: state.latency.latency(),
		Expected: o.expected, Got: o.got, Detail: t.clean.line(o.detail, maxText), Reproduce: o.reproduce,
	}
	if !o.broken {
		c.Flaky = state.flaky
		if c.Flaky && c.Detail == "" {
			c.Detail = "it held only after a retry"
		}
		return c
	}
	c.Result = t.ledger.result(o.cause)
	if o.hint == "" && o.response != nil {
		o.hint = t.ledger.hint(o.cause, o.auth, o.response, t.session.Tenant().OrgID != "")
	}
	c.Hint = t.clean.line(o.hint, maxText)
	return c
}

// everywhere is one outcome for every check.
func (t *tenantRun) everywhere(o outcome) []outcome {
	return slices.Repeat([]outcome{o}, len(t.suite.checks))
}

// endOf is the outcome of a check that the end of the run overtook.
func endOf(err error) outcome {
	o := outcome{started: time.Now()}
	o.fail(stopped, "stopped: "+err.Error())
	return o
}

// brokenDown is the outcome of a check in which this program panicked.
func brokenDown(p any) outcome {
	o := outcome{started: time.Now(), hint: "this is a fault of canary-verify; please report it"}
	o.fail(internal, fmt.Sprintf("internal error: %v", p))
	return o
}

// sleep waits, or returns the cause of the context's end.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

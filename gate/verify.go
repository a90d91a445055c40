package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// verify gathers the evidence, judges it, and acts on the verdict. Mode smoke
// is the same without a registry.
func (r *run) verify(ctx context.Context) {
	e := evidence{identity: r.identity(), checks: len(r.plan.Suite.CheckNames())}
	r.report.Suite = &Suite{
		Name: r.plan.Suite.Name, Hash: r.plan.Suite.Hash,
		Checks: e.checks, Warnings: r.plan.Suite.Warnings,
	}
	r.gather(ctx, &e)
	if ctx.Err() != nil {
		e.doubt = cause(ctx) // whatever it broke on its way: this is why
	}
	r.report.IdentityProven = proven(e)
	verdict, reason := judge(e)
	r.decide(verdict, reason)
	r.phase("verdict")
	r.log("%s: %s", verdict, reason)
	if ctx.Err() != nil {
		r.draft()
	}
	if r.promoter != nil && r.moves != nil {
		r.act(ctx, verdict)
	}
}

// proven reports whether every tenant told the candidate before and after.
func proven(e evidence) bool {
	for _, t := range e.tenants {
		if t.before.State != fleet.Current || t.after.State != fleet.Current {
			return false
		}
	}
	return e.identity && len(e.tenants) > 0
}

// gather runs steps 2 to 5 of the design. It ends early where nothing further
// could change the verdict.
func (r *run) gather(ctx context.Context, e *evidence) {
	if r.promoter != nil {
		if err := r.candidate(ctx, promote.ForVerify); err != nil {
			e.blame(err)
			return
		}
		if err := r.moveCanary(ctx); err != nil {
			e.doubt = err
			return
		}
	}
	e.tenants = make([]tenantEvidence, len(r.plan.Tenants))
	for i, t := range r.plan.Tenants {
		e.tenants[i].name = t.Name
	}
	preflight := r.background(func() error { return r.preflight(ctx) })
	if err := r.rollout(ctx, e); err != nil {
		e.doubt = err
	}
	r.judgePreflight(<-preflight, e)
	if ctx.Err() == nil && e.refused == nil && r.smoke(ctx, e) {
		r.confirm(ctx, e)
	}
}

// blame files an error of the registry side as what it is.
func (e *evidence) blame(err error) {
	if !errors.As(err, &e.refused) {
		e.doubt = err
	}
}

// candidate is step 2: digests, labels, records and the rules on them.
func (r *run) candidate(ctx context.Context, policy promote.Policy) error {
	r.phase("candidate")
	moves, err := r.promoter.Resolve(ctx, r.plan.SHA, policy)
	r.moves = moves
	if moves == nil {
		return err
	}
	r.joinWarnings()
	for _, image := range moves.Images {
		r.log("%s: %s is %s, %s is %s", image.Image, image.Source, orNone(image.Digest), image.Target, orNone(image.Previous))
	}
	return err
}

// preflight proves the way back and the right to push while tenants roll.
func (r *run) preflight(ctx context.Context) error {
	if r.promoter == nil {
		return nil
	}
	return r.promoter.Preflight(ctx, r.moves)
}

// judgePreflight files what the preflight found. That a move would fail does
// not change what the tenants answer, so the checks go on: the reader learns
// both, and the move is not tried.
func (r *run) judgePreflight(err error, e *evidence) {
	var failed *promote.MoveError
	switch {
	case err == nil:
	case errors.As(err, &failed):
		r.preflightFailed = failed
		r.warn("the promotion can't succeed: " + err.Error())
	default:
		e.blame(err)
	}
}

// background runs f beside the caller. A panic in f is an error like another.
func (r *run) background(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("internal error: %v", p)
			}
		}()
		done <- f()
	}()
	return done
}

// rollout is step 4: it waits until every tenant tells the candidate, or for
// the settle time where the fleet can't tell. The error is the run's end, never
// a tenant's state.
func (r *run) rollout(ctx context.Context, e *evidence) (err error) {
	if !e.identity {
		return r.settle(ctx)
	}
	r.phase("rollout")
	beat := r.heartbeat(ctx)
	defer func() {
		if broken := beat.stop(); err == nil {
			err = broken
		}
	}()
	opts := r.waitOptions(r.expected())
	opts.Changed = func(i int, now fleet.Rollout) {
		beat.tell(i, now)
	}
	rollouts, cut := r.fleet.Wait(ctx, opts)
	for i := range min(len(rollouts), len(e.tenants)) {
		e.tenants[i].before = rollouts[i]
		r.report.Tenants[i].Rollout = rolloutOf(rollouts[i])
	}
	if cut != nil {
		return cause(ctx)
	}
	return nil
}

// expected is the commit that tenants must tell: the longest form known of it.
func (r *run) expected() string {
	sha := r.plan.SHA
	if r.moves == nil {
		return sha
	}
	for _, image := range r.moves.Images {
		if len(image.Revision) > len(sha) && shaForm.MatchString(image.Revision) && fleet.SameCommit(sha, image.Revision) {
			sha = image.Revision
		}
	}
	return sha
}

// settle waits the fixed time for a fleet that can't tell its commit.
func (r *run) settle(ctx context.Context) error {
	r.warn("identity is unproven: nothing shows which commit the tenants run")
	if r.plan.SHA == "" || r.plan.Settle == 0 {
		return nil
	}
	r.phase("rollout")
	r.log("waiting %v for the tenants to settle", r.plan.Settle)
	end := time.NewTimer(r.plan.Settle)
	defer end.Stop()
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-ctx.Done():
			return cause(ctx)
		case <-end.C:
			return nil
		case <-tick.C:
			r.log("settling: %v of %v", time.Since(began).Round(time.Second), r.plan.Settle)
		}
	}
}

// maxTold is how many checks that did not hold the log tells as they end: a
// fleet of thousands that is broken in the same way is one fact.
const maxTold = 100

// maxWarned is how many checks that held, but not quietly, are warned of.
const maxWarned = 5

// smoke is the first half of step 5: the checks, on every tenant that can be
// judged. It reports whether any tenant was.
func (r *run) smoke(ctx context.Context, e *evidence) bool {
	sessions, index := r.judgeable(e)
	if len(sessions) == 0 {
		return false
	}
	r.phase("smoke")
	r.log("running %s on %s", count(e.checks, "check"), count(len(sessions), "tenant"))
	done, told, total := 0, 0, e.checks*len(sessions)
	results := r.plan.Suite.Run(ctx, sessions, smoke.RunOptions{
		SHA: r.plan.SHA, Soak: r.plan.Soak, Redact: r.plan.Redact,
		Checked: func(tenant int, c smoke.CheckResult) {
			done++
			r.observer.Progress(done, total, "checks")
			if c.Result == smoke.Passed {
				return
			}
			if told++; told <= maxTold {
				r.log("%s: %s: %s: %s", sessions[tenant].Tenant().Name, c.Name, c.Result, c.Detail)
			} else if told == maxTold+1 {
				r.log("more checks did not hold; the report lists them")
			}
		},
	})
	r.report.Ran = true
	r.warnOfPasses(results)
	for i := range min(len(results), len(index)) {
		e.tenants[index[i]].results = results[i].Checks
		r.report.Tenants[index[i]].Checks = checksOf(results[i].Checks)
	}
	r.report.Suite.Rounds = rounds(results)
	return true
}

// warnOfPasses tells what held but not quietly: only on a later try, or leaving
// something behind on the tenant.
func (r *run) warnOfPasses(results []smoke.TenantResult) {
	told := 0
	for _, t := range results {
		for _, c := range t.Checks {
			if c.Result != smoke.Passed || c.Detail == "" {
				continue
			}
			if told++; told > maxWarned {
				continue
			}
			r.warn(fmt.Sprintf("%s: %s: %s", t.Tenant.Name, c.Name, c.Detail))
		}
	}
	if told > maxWarned {
		r.warn(fmt.Sprintf("%d more checks held, but not quietly; the report lists them", told-maxWarned))
	}
}

// judgeable returns the sessions of the tenants that can be checked, with their
// places in the fleet: all, or those that run the candidate. One of them may
// contradict an expectation, and that is worth knowing also when another is
// not there.
func (r *run) judgeable(e *evidence) ([]*fleet.Session, []int) {
	var sessions []*fleet.Session
	var index []int
	for i, s := range r.fleet.Sessions() {
		if !e.identity || e.tenants[i].before.State == fleet.Current {
			sessions = append(sessions, s)
			index = append(index, i)
		}
	}
	return sessions, index
}

// confirm is the second half of step 5 and the first of step 7, beside each
// other: tenants tell their commit again, the tags are read again, and what the
// records of a green verdict will hold is uploaded.
func (r *run) confirm(ctx context.Context, e *evidence) {
	_, red := contradiction(e.tenants)
	cause := e.held()
	tags := r.background(func() error {
		if r.promoter == nil || red { // after a contradiction there is nothing to confirm
			return nil
		}
		return r.confirmTags(ctx, cause)
	})
	if e.identity {
		r.phase("identity")
		for i, after := range r.fleet.Probe(ctx, r.waitOptions(r.expected())) {
			e.tenants[i].after = after
			r.report.Tenants[i].After = rolloutOf(after)
		}
	}
	if err := <-tags; err != nil {
		e.blame(err)
	}
}

// confirmTags is the registry's part of it. What is uploaded means nothing to
// anybody unless the verdict, whose cause it holds, is green.
func (r *run) confirmTags(ctx context.Context, cause string) error {
	prepared := r.background(func() error {
		return r.promoter.Prepare(ctx, r.moves, r.decision(cause))
	})
	return errors.Join(r.promoter.Confirm(ctx, r.moves), <-prepared)
}

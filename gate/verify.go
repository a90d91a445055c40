package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// verify gathers the evidence, judges it, and acts on the verdict. Mode smoke
// is the same without a registry.
func (r *run) verify(ctx context.Context) {
	e := evidence{identity: r.identity(), steady: r.plan.FlakyInconclusive, checks: len(r.plan.Suite.CheckNames()), tenants: r.report.Tenants}
	r.report.Suite = &report.Suite{
		Name: r.plan.Suite.Name, Hash: r.plan.Suite.Hash,
		Checks: e.checks, Warnings: r.plan.Suite.Warnings,
	}
	r.gather(ctx, &e)
	if ctx.Err() != nil {
		e.doubt = web.Cause(ctx) // whatever it broke on its way: this is why
	}
	r.report.IdentityProven = e.identity && report.IdentityProven(e.tenants)
	verdict, reason := judge(e)
	r.decide(verdict, reason)
	r.phase(report.PhaseVerdict)
	r.log("%s: %s", verdict, reason)
	if err := r.observed(); err != nil && verdict == report.Green {
		r.decideObserver(err)
	}
	if ctx.Err() != nil {
		r.draft()
	}
	if r.candidate != nil {
		r.act(ctx)
	}
}

// gather collects the evidence. It ends early where nothing further could change
// the verdict.
func (r *run) gather(ctx context.Context, e *evidence) {
	if r.promoter != nil {
		if err := r.resolve(ctx, promote.ForVerify); err != nil {
			e.add(err)
			return
		}
		if err := r.moveCanary(ctx); err != nil {
			e.doubt = err
			return
		}
	}
	preflight := parallel.Background(func() error { return r.preflight(ctx) })
	if err := r.rollout(ctx, e); err != nil {
		e.doubt = err
	}
	r.takePreflight(<-preflight, e)
	if ctx.Err() != nil || e.refused != nil {
		return
	}
	reading, beside := r.readBeside(ctx, e)
	checked := r.smoke(ctx, e)
	if err := <-reading; err != nil {
		e.doubt = err
	}
	if checked {
		r.confirm(ctx, e, *beside)
		r.warnOfUnrest(e.tenants)
	}
}

// add files an error of the registry side as what it is.
func (e *evidence) add(err error) {
	if !errors.As(err, &e.refused) {
		e.doubt = err
	}
}

// resolve pins the candidate: digests, labels, records and the rules on them.
func (r *run) resolve(ctx context.Context, policy promote.Policy) error {
	r.phase(report.PhaseCandidate)
	resolved, err := r.promoter.Resolve(ctx, r.plan.SHA, policy)
	r.report.Images, r.candidate = resolved.Images, resolved.Candidate
	r.report.Held = r.cleanHold(resolved.Held)
	for _, warning := range resolved.Warnings {
		r.warn(warning)
	}
	for _, image := range resolved.Images {
		r.log("%s: %s is %s, %s is %s", image.Image, image.Source, orAbsent(image.Digest), image.Target, orAbsent(image.Previous))
		if revision, err := report.ParseCommit(image.Revision); err == nil {
			r.commit = r.commit.Longest(revision)
		}
	}
	if err == nil && r.candidate == nil {
		return errors.New("the registry side gave no candidate") // it promises one
	}
	return err
}

// preflight proves the way back and the right to push while tenants roll.
func (r *run) preflight(ctx context.Context) error {
	if r.candidate == nil {
		return nil
	}
	return r.candidate.Preflight(ctx)
}

// takePreflight files what the preflight found. That a move would fail does not
// change what the tenants answer, so the checks go on: the reader learns both, and
// the move is not tried.
func (r *run) takePreflight(err error, e *evidence) {
	var failed *promote.MoveError
	switch {
	case err == nil:
	case errors.As(err, &failed):
		r.cannotMove = failed
		r.warn("the promotion can't succeed: " + err.Error())
	default:
		e.add(err)
	}
}

// rollout waits until every tenant reports the candidate, or for the settle time
// where the fleet can't report it. The error is the run's end, never a tenant's
// state.
func (r *run) rollout(ctx context.Context, e *evidence) (err error) {
	if !e.identity {
		return r.settle(ctx)
	}
	r.phase(report.PhaseRollout)
	beat := r.startHeartbeat(ctx)
	defer func() {
		if failed := beat.stop(); err == nil {
			err = failed
		}
	}()
	options := r.waitOptions()
	options.Changed = beat.changed
	options.Reads, _, _ = r.plan.identityReads()
	rollouts, cut := r.fleet.Wait(ctx, options)
	for i := range min(len(rollouts), len(e.tenants)) {
		e.tenants[i].Rollout = &rollouts[i]
	}
	if cut != nil {
		return web.Cause(ctx)
	}
	return nil
}

// settle waits the fixed time for a fleet that can't report its commit.
func (r *run) settle(ctx context.Context) error {
	r.warn("identity is unproven: nothing shows which commit the tenants run")
	if r.plan.SHA == "" || r.plan.Settle <= 0 {
		return nil
	}
	r.phase(report.PhaseRollout)
	r.log("waiting %v for the tenants to settle", r.plan.Settle)
	began := time.Now()
	for left := r.plan.Settle; left > 0; left = r.plan.Settle - time.Since(began) {
		if web.Pause(ctx, min(left, heartbeatEvery)) != nil {
			return web.Cause(ctx)
		}
		r.log("settling: %v of %v", time.Since(began).Round(time.Second), r.plan.Settle)
	}
	return nil
}

// maxLogged is how many checks that did not pass the log shows as they end: a
// fleet of thousands that is broken in the same way is one fact.
const maxLogged = 100

// maxWarned is how many checks that passed with a remark are warned of.
const maxWarned = 5

// smoke runs the checks on every tenant that can be judged. It reports whether
// any was.
func (r *run) smoke(ctx context.Context, e *evidence) bool {
	sessions, index := r.judgeable(e)
	if len(sessions) == 0 {
		return false
	}
	r.phase(report.PhaseSmoke)
	r.log("running %s on %s", report.Count(e.checks, "check"), report.Count(len(sessions), "tenant"))
	done, logged, total := 0, 0, e.checks*len(sessions)
	results := r.plan.Suite.Run(ctx, sessions, smoke.RunOptions{
		SHA: r.plan.SHA, Soak: r.plan.Soak, SoakInterval: r.plan.SoakInterval,
		Warn: func(tenant int, text string) { r.warn(sessions[tenant].Tenant().Name + ": " + text) },
		Checked: func(tenant int, c report.CheckResult) {
			done++
			r.progress(done, total, "checks")
			if c.Result == report.Passed {
				return
			}
			if logged++; logged <= maxLogged {
				r.log("%s: %s: %s: %s", sessions[tenant].Tenant().Name, c.Name, c.Result, c.Detail)
			} else if logged == maxLogged+1 {
				r.log("more checks did not pass; the report lists them")
			}
		},
	})
	r.report.Ran = true
	r.warnOfPasses(results)
	for i := range min(len(results), len(index)) {
		e.tenants[index[i]].Checks, e.tenants[index[i]].Refused = results[i].Checks, results[i].Refused
	}
	r.report.Suite.Rounds = rounds(results)
	return true
}

// rounds is the fewest rounds that any check of any tenant was through.
func rounds(results []report.Tenant) int {
	fewest := -1
	for _, t := range results {
		for _, c := range t.Checks {
			if fewest < 0 || c.Rounds < fewest {
				fewest = c.Rounds
			}
		}
	}
	return max(fewest, 0)
}

// warnOfPasses says what passed with a remark: only after a retry, or leaving
// something behind on the tenant.
func (r *run) warnOfPasses(results []report.Tenant) {
	found := 0
	for _, t := range results {
		for _, c := range t.Checks {
			if c.Result != report.Passed || c.Detail == "" {
				continue
			}
			if found++; found <= maxWarned {
				r.warn(fmt.Sprintf("%s: %s: %s", t.Name, c.Name, c.Detail))
			}
		}
	}
	if found > maxWarned {
		r.warn(report.Count(found-maxWarned, "more check") + " passed with a remark; the report lists them")
	}
}

// judgeable returns the sessions of the tenants that can be checked, with their
// places in the fleet: all, or those that run the candidate. A check may fail on
// one of them, and that is worth knowing also when another is not there.
func (r *run) judgeable(e *evidence) ([]*fleet.Session, []int) {
	var sessions []*fleet.Session
	var index []int
	for i, s := range r.fleet.Sessions() {
		if !e.identity || e.tenants[i].Rollout.IsCurrent() {
			sessions = append(sessions, s)
			index = append(index, i)
		}
	}
	return sessions, index
}

// confirm asks the tenants for their commit again and, beside that, reads the
// tags again. After a failure there is nothing to confirm in the registry.
func (r *run) confirm(ctx context.Context, e *evidence, beside []report.Rollout) {
	red := e.failed()
	tags := parallel.Background(func() error {
		if r.candidate == nil || red {
			return nil
		}
		return r.candidate.Confirm(ctx)
	})
	if e.identity {
		r.readAfter(ctx, e, beside)
	}
	if err := <-tags; err != nil {
		e.add(err)
	}
}

func orAbsent(digest report.Digest) string {
	if digest == "" {
		return "absent"
	}
	return string(digest)
}

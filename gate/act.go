package gate

import (
	"context"
	"slices"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// act does what the verdict asks for. Only green moves the target.
func (r *run) act(ctx context.Context) {
	switch r.report.Verdict {
	case report.Green:
		r.moveTarget(ctx, report.Green)
	case report.Red:
		r.restoreCanary()
		r.phase(report.PhaseRecords)
		r.candidate.Reject(r.cleanup, r.decision()) //nolint:contextcheck // it outlives ctx, see web.Cleanup
	default:
		r.restoreCanary()
	}
}

// decision is what the records say of this run.
func (r *run) decision() promote.Decision {
	d := promote.Decision{Reason: r.report.Reason}
	if r.plan.Reason != "" {
		d.Reason = r.clean(r.plan.Reason)
	}
	if r.plan.Suite != nil {
		d.Suite, d.Hash = r.plan.Suite.Name, r.plan.Suite.Hash
	}
	return d
}

// moveTarget moves all targets to the candidate, or none. moved is the verdict
// that stays when the registry refuses.
func (r *run) moveTarget(ctx context.Context, moved report.Verdict) {
	if r.cannotMove != nil {
		r.decideError(moved, r.cannotMove)
		return
	}
	r.phase(report.PhasePromote)
	if err := r.observed(); err != nil {
		r.decideObserver(err)
		r.restoreCanary()
		return
	}
	// A runner may kill the process while a move is undone, so that the report
	// of an interrupted promotion has to be out before.
	interrupted := r.interrupted()
	drafted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drafted)
		r.observe(func(o Observer) { o.Draft(interrupted) })
	})
	err := r.candidate.Promote(ctx, r.decision())
	if !stop() {
		<-drafted
	}
	if err == nil {
		r.takeTags()
		r.logMoves()
		return
	}
	r.decideError(moved, err)
	if r.report.Verdict == report.Inconclusive {
		r.restoreCanary()
	}
}

// logMoves logs where the targets point.
func (r *run) logMoves() {
	for _, image := range r.report.Images {
		if image.State == report.Unchanged {
			r.log("%s: %s would move to %s (dry run)", image.Image, image.Target, image.Digest)
			continue
		}
		r.log("%s: %s is %s (%s)", image.Image, image.Target, orAbsent(image.Now), image.State)
	}
}

// snapshot is a copy of the report that no later change reaches.
func (r *run) snapshot() *report.Report {
	r.takeTags()
	draft := *r.report
	draft.Images = slices.Clone(r.report.Images)
	draft.Causes = report.CausesOf(draft.Tenants)
	return &draft
}

// interrupted is the report to keep when the run is cut short from here on.
func (r *run) interrupted() *report.Report {
	draft := r.snapshot()
	draft.Verdict, draft.Exit = report.Inconclusive, report.ExitInconclusive
	draft.Reason = "the run was cut short while tags were moving"
	draft.Next = "Compare the tags with the digests below: `canary-verify history` shows where they point."
	for i := range draft.Images {
		if !draft.Images[i].AtCandidate() {
			draft.Images[i].State = report.UnknownState
		}
	}
	return draft
}

// draft hands the report over before things are put back.
func (r *run) draft() {
	snapshot := r.snapshot()
	r.observe(func(o Observer) { o.Draft(snapshot) })
}

// moveCanary moves the canary tag, where there is one, so that the fleet rolls.
func (r *run) moveCanary(ctx context.Context) error {
	tag := r.candidate.Canary().Tag
	if tag == "" {
		return nil
	}
	if r.plan.Promote.DryRun {
		r.warn("dry run: the canary tag " + tag + " is not moved, so the fleet will not update by itself")
		return nil
	}
	r.phase(report.PhaseCanaryTag)
	if err := r.candidate.MoveCanary(ctx); err != nil {
		return err
	}
	r.log("canary tag %s moved to the candidate", tag)
	return nil
}

// restoreCanary puts the canary tag back where it was. It may be called at any
// time, also when the tag was never moved.
func (r *run) restoreCanary() {
	if r.candidate == nil || r.plan.Promote.DryRun {
		return
	}
	canary := r.candidate.Canary()
	if canary.Tag == "" || canary.State == report.CanaryUntouched {
		return
	}
	r.phase(report.PhaseRestore)
	if err := r.candidate.RestoreCanary(r.cleanup); err != nil {
		r.warn("the canary tag could not be put back: " + err.Error())
		return
	}
	r.log("canary tag %s put back", canary.Tag)
}

// promote is the mode: a commit that was green before, moved by hand.
func (r *run) promote(ctx context.Context) {
	err := r.resolve(ctx, promote.ForPromote)
	if err == nil {
		err = r.preflight(ctx)
	}
	if err != nil {
		r.decideError(report.None, err)
		return
	}
	reason := "promoted by hand"
	if r.plan.Promote.DryRun {
		reason = "would be promoted by hand"
	}
	r.decide(report.None, reason)
	r.moveTarget(ctx, report.None)
}

// rollback is the mode: the target is put back to an earlier commit's digests.
func (r *run) rollback(ctx context.Context) {
	r.phase(report.PhaseRollback)
	result, err := r.promoter.Rollback(ctx, r.plan.SHA, r.plan.Reason)
	r.report.Images = result.Images
	for _, w := range result.Warnings {
		r.warn(w)
	}
	if to := result.Rollback.ToSHA; to != "" {
		r.report.SHA = to
	}
	if err != nil {
		r.decideError(report.None, err)
	} else {
		r.decide(report.None, r.rolledBack(result.Rollback))
		r.logMoves()
	}
	if r.report.Verdict == report.None { // else nothing was replaced
		r.report.Rollback = &result.Rollback
	}
}

// rolledBack is one sentence on a rollback that went well.
func (r *run) rolledBack(back report.Rollback) string {
	text := "rolled back"
	if r.plan.Promote.DryRun {
		text = "would roll back"
	}
	text += " from " + orUnknown(back.FromSHA) + " to " + orUnknown(back.ToSHA)
	if r.plan.Reason != "" {
		text += ": " + r.plan.Reason
	}
	return text
}

func orUnknown(sha report.Commit) string {
	if sha == "" {
		return "an unknown commit"
	}
	return sha.Short()
}

// history is the mode: the chain of records behind the target tag.
func (r *run) history(ctx context.Context) {
	r.phase(report.PhaseHistory)
	var err error
	r.report.History, err = r.promoter.History(ctx)
	if err != nil {
		r.decide(report.Inconclusive, err.Error())
		return
	}
	r.decide(report.None, report.Count(len(r.report.History), "step")+" behind "+r.plan.Promote.TargetTag)
}

// status is the mode: one question to every tenant.
func (r *run) status(ctx context.Context) {
	r.phase(report.PhaseRollout)
	rollouts := make([]report.Rollout, len(r.plan.Tenants)) // unknown, all of them
	if r.identity() {
		rollouts = r.fleet.Probe(ctx, r.waitOptions())
	} else {
		r.warn("no tenant was asked: the fleet has no version endpoint, so it can't report its commit")
	}
	current := 0
	for i := range rollouts {
		r.report.Tenants[i].Rollout = &rollouts[i]
		if rollouts[i].IsCurrent() {
			current++
		}
	}
	r.decide(report.None, report.Count(current, "tenant")+" of "+report.Count(len(r.plan.Tenants), "tenant")+" current")
	if ctx.Err() != nil {
		r.decide(report.None, web.Cause(ctx).Error())
	}
	if current == 0 || current != len(r.plan.Tenants) || ctx.Err() != nil {
		r.report.Exit = report.ExitInconclusive
	}
}

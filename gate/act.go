package gate

import (
	"context"
	"errors"
	"slices"

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
	d := promote.Decision{Reason: r.report.Reason, Fleet: len(r.plan.Tenants)}
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
	if r.cancelled(ctx) {
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
		r.settleTags(ctx, moved)
		return
	}
	green := r.report.Reason
	r.decideError(moved, err)
	if isHeld(err) && moved == report.Green {
		r.decide(report.Refused, green+", but "+r.report.Reason)
	}
	if v := r.report.Verdict; v == report.Inconclusive || v == report.Refused {
		r.restoreCanary()
	}
}

// cancelled asks the forge whether this run was cancelled there, where a signal
// may not have come through; then nothing is moved.
func (r *run) cancelled(ctx context.Context) bool {
	if r.plan.Cancelled == nil || r.plan.Promote.DryRun {
		return false
	}
	why, err := r.plan.Cancelled(ctx)
	if err != nil {
		r.warn("whether this run was cancelled on the forge is not known: " + err.Error())
	}
	if why == "" {
		return false
	}
	r.decide(report.Inconclusive, why)
	r.restoreCanary()
	return true
}

// settleTags makes sure that what was moved stays: a registry may still carry out
// an older write of somebody else. Nobody waits for it but this run.
func (r *run) settleTags(ctx context.Context, moved report.Verdict) {
	if r.plan.Promote.DryRun {
		return
	}
	r.phase(report.PhaseSettle)
	err := r.candidate.Settle(ctx)
	r.takeTags()
	var failed *promote.MoveError
	switch {
	case errors.As(err, &failed):
		r.decideError(moved, err)
	case err != nil:
		r.afterwards("it was promoted, but the tags could not be read once more after the move: " + err.Error())
	}
}

// afterwards ends a run whose targets were moved and in which something that
// follows failed: neither the verdict nor the tags change.
func (r *run) afterwards(reason string) {
	r.report.Exit, r.report.Reason = report.ExitAfterwards, r.clean(reason)
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

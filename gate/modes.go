package gate

import (
	"context"
	"errors"
	"fmt"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

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
	r.report.Held = r.cleanHold(result.Held)
	var notHeld *promote.NotHeldError
	switch {
	case errors.As(err, &notHeld):
		r.decide(report.None, r.rolledBack(result))
		r.afterwards(err.Error())
		r.logMoves()
	case err != nil:
		r.decideError(report.None, err)
	default:
		r.decide(report.None, r.rolledBack(result))
		r.logMoves()
	}
	if r.report.Verdict == report.None { // else nothing was replaced
		r.report.Rollback = &result.Rollback
	}
}

// rolledBack is one sentence on a rollback that went well.
func (r *run) rolledBack(result promote.RollbackResult) string {
	back := result.Rollback
	text := "rolled back"
	switch {
	case result.Already:
		return "already rolled back to " + orUnknown(back.ToSHA)
	case r.plan.Promote.DryRun:
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

// hold is the mode: promotions of the target are forbidden from here on.
func (r *run) hold(ctx context.Context) {
	r.phase(report.PhaseHold)
	result, err := r.promoter.Hold(ctx, r.plan.Reason)
	r.takeHold(result, err, func() string {
		target := r.plan.Promote.TargetTag
		switch {
		case !result.Changed && result.Held != nil:
			return target + " is already " + result.Held.String()
		case r.plan.Promote.DryRun:
			return target + " would be put on hold: " + r.plan.Reason
		default:
			return target + " is on hold: " + r.plan.Reason
		}
	})
}

// release is the mode: promotions of the target are allowed again.
func (r *run) release(ctx context.Context) {
	r.phase(report.PhaseRelease)
	result, err := r.promoter.Release(ctx, r.plan.Reason)
	r.takeHold(result, err, func() string {
		target := r.plan.Promote.TargetTag
		switch {
		case !result.Changed && result.Held == nil:
			return target + " is not on hold"
		case r.plan.Promote.DryRun:
			return target + " would be released: " + r.plan.Reason
		default:
			return target + " is released: " + r.plan.Reason
		}
	})
}

// takeHold takes over what a hold or a release did; done says it in a sentence.
func (r *run) takeHold(result promote.HoldResult, err error, done func() string) {
	for _, w := range result.Warnings {
		r.warn(w)
	}
	r.report.Held = r.cleanHold(result.Held)
	if err != nil {
		r.decideError(report.None, err)
		return
	}
	r.decide(report.None, done())
}

// cleanHold makes a hold fit for the report; nil: there is none.
func (r *run) cleanHold(h *report.Hold) *report.Hold {
	if h == nil {
		return nil
	}
	return &report.Hold{By: r.clean(h.By), At: h.At, Reason: r.clean(h.Reason)}
}

// admit is the mode: may this image run?
func (r *run) admit(ctx context.Context) {
	r.phase(report.PhaseAdmission)
	admission, err := promote.Admit(ctx, r.plan.Promote, r.plan.Reference)
	if err != nil {
		r.decideError(report.None, fmt.Errorf("%s: %w", r.plan.Reference, err))
		return
	}
	admission.Reason = r.clean(admission.Reason)
	r.report.Admission = &admission
	if !admission.Admitted {
		r.decide(report.Refused, r.plan.Reference+" may not run: "+admission.Reason)
		return
	}
	r.decide(report.None, r.plan.Reference+" may run as "+string(admission.Digest))
}

// history is the mode: the decisions about the target tag.
func (r *run) history(ctx context.Context) {
	r.phase(report.PhaseHistory)
	var err error
	r.report.History, err = r.promoter.History(ctx)
	r.report.Held = r.cleanHold(heldBy(r.report.History))
	if err != nil {
		r.decide(report.Inconclusive, err.Error())
		return
	}
	target := r.plan.Promote.TargetTag
	reason := report.Count(len(r.report.History), "decision") + " about " + target
	if r.report.Held != nil {
		reason += ", which is " + r.report.Held.String()
	}
	r.decide(report.None, reason)
	for i := range r.report.History {
		if d := &r.report.History[i]; d.Broken != "" {
			r.warn("the history of " + target + " is not whole: " + d.Broken + lastGood(r.report.History[:i+1]))
		}
	}
}

// heldBy finds, newest first, the decision that put the target on the hold that is
// still on it; nil: it is not on hold.
func heldBy(history []report.Decision) *report.Hold {
	var hold *report.Hold
	for _, d := range history {
		if !d.Held {
			break
		}
		by := d.Actor
		if by == "" {
			by = d.RunURL
		}
		hold = &report.Hold{By: by, At: d.Time, Reason: d.Reason}
	}
	return hold
}

// lastGood names the last commit, newest first, that the history shows as good
// before it ends.
func lastGood(history []report.Decision) string {
	for i := len(history) - 1; i >= 0; i-- {
		if d := history[i]; d.Event.Positive() && d.SHA != "" {
			return "; the last good commit that it shows is " + string(d.SHA)
		}
	}
	return "; it shows no good commit"
}

// status is the mode: one question to every tenant.
func (r *run) status(ctx context.Context) {
	r.phase(report.PhaseRollout)
	held := parallel.Background(func() error { return r.readHold(ctx) })
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
	if err := <-held; err != nil {
		r.warn("it is not known whether " + r.plan.Promote.TargetTag + " is on hold: " + err.Error())
	}
	r.decide(report.None, report.Count(current, "tenant")+" of "+report.Count(len(r.plan.Tenants), "tenant")+" current")
	if ctx.Err() != nil {
		r.decide(report.None, web.Cause(ctx).Error())
	}
	if current == 0 || current != len(r.plan.Tenants) || ctx.Err() != nil {
		r.report.Exit = report.ExitInconclusive
	}
}

// readHold finds the hold that is on the target, where images are given.
func (r *run) readHold(ctx context.Context) (err error) {
	if r.promoter == nil {
		return nil
	}
	held, _, err := r.promoter.Held(ctx)
	r.report.Held = r.cleanHold(held)
	return err
}

// isHeld reports whether an error is the refusal of a promotion because the target
// is on hold.
func isHeld(err error) bool {
	var refused *promote.RefusedError
	return errors.As(err, &refused) && refused.Rule == promote.RuleHeld
}

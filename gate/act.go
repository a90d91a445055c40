package gate

import (
	"context"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
)

// act does what the verdict asks for. Only green moves the target.
func (r *run) act(ctx context.Context, v Verdict) {
	switch v {
	case Green:
		r.moveTarget(ctx, Green)
	case Red:
		r.restoreCanary()
		r.phase("records")
		r.promoter.Reject(r.late, r.moves, r.decision(r.report.Reason)) //nolint:contextcheck // see Grace
	default:
		r.restoreCanary()
	}
}

// decision is what the records tell of this run, whose verdict has the cause.
func (r *run) decision(cause string) promote.Decision {
	d := promote.Decision{Reason: r.clean(cause)}
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
func (r *run) moveTarget(ctx context.Context, moved Verdict) {
	if r.preflightFailed != nil {
		r.decideError(moved, r.preflightFailed)
		return
	}
	r.phase("promote")
	r.observer.Progress(0, len(r.moves.Images), "images moved")
	// A runner may kill the process while a move is undone, so that the report
	// of an interrupted promotion has to be out before.
	interrupted := r.interrupted()
	drafted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drafted)
		r.observer.Draft(interrupted)
	})
	err := r.promoter.Promote(ctx, r.moves, r.decision(r.report.Reason))
	if !stop() {
		<-drafted
	}
	if err == nil {
		r.tellMoves()
		return
	}
	r.decideError(moved, err)
	if r.report.Verdict == Inconclusive {
		r.restoreCanary()
	}
}

// tellMoves logs where the targets point after a promotion.
func (r *run) tellMoves() {
	for _, image := range r.moves.Images {
		switch {
		case image.State == promote.Unchanged:
			r.log("%s: %s would move to %s (dry run)", image.Image, image.Target, image.Digest)
		default:
			r.log("%s: %s is %s (%s)", image.Image, image.Target, orNone(image.Now), image.State)
		}
	}
}

// interrupted is the report to keep when the run is cut short from here on.
func (r *run) interrupted() *Report {
	r.copyPlan()
	draft := *r.report
	draft.Images = append([]Image{}, r.report.Images...)
	draft.Verdict, draft.Exit = Inconclusive, ExitInconclusive
	draft.Reason = "the run was cut short while tags were moving"
	draft.Next = "compare the tags with the digests below: `canary-verify history` tells where they point"
	for i := range draft.Images {
		if draft.Images[i].Now != draft.Images[i].Digest {
			draft.Images[i].State = promote.UnknownTag.String()
		}
	}
	return &draft
}

// draft hands the report over before things are put back.
func (r *run) draft() {
	r.copyPlan()
	snapshot := *r.report
	snapshot.Images = append([]Image{}, r.report.Images...)
	r.observer.Draft(&snapshot)
}

// moveCanary is step 3.
func (r *run) moveCanary(ctx context.Context) error {
	if r.moves.Canary.Tag == "" {
		return nil
	}
	if r.plan.Promote.DryRun {
		r.warn("dry run: the canary tag " + r.moves.Canary.Tag + " is left alone, so the fleet will not update by itself")
		return nil
	}
	r.phase("canary tag")
	if err := r.promoter.MoveCanary(ctx, r.moves); err != nil {
		return err
	}
	r.log("canary tag %s moved to the candidate", r.moves.Canary.Tag)
	return nil
}

// restoreCanary puts the canary tag back where it was. It may be called at any
// time, also when the tag was never moved.
func (r *run) restoreCanary() {
	if r.promoter == nil || r.moves == nil || r.moves.Canary.Tag == "" || r.plan.Promote.DryRun {
		return
	}
	if r.moves.Canary.State == "untouched" || r.moves.Canary.State == "" {
		return
	}
	r.phase("restore")
	if err := r.promoter.RestoreCanary(r.late, r.moves); err != nil {
		r.warn("the canary tag could not be put back: " + err.Error())
		return
	}
	r.log("canary tag %s put back", r.moves.Canary.Tag)
}

// promote is the mode: a sha that was green before, moved by hand.
func (r *run) promote(ctx context.Context) {
	if err := r.candidate(ctx, promote.ForPromote); err != nil {
		r.decideError(None, err)
		return
	}
	if err := r.preflight(ctx); err != nil {
		r.decideError(None, err)
		return
	}
	if r.plan.Promote.DryRun {
		r.decide(None, "would be promoted by hand")
	} else {
		r.decide(None, "promoted by hand")
	}
	r.moveTarget(ctx, None)
}

// rollback is the mode: the target goes to an earlier commit's digests.
func (r *run) rollback(ctx context.Context) {
	r.phase("rollback")
	result, err := r.promoter.Rollback(ctx, r.plan.SHA, r.plan.Reason)
	if result != nil {
		r.moves = result.Plan
		for _, w := range result.Warnings {
			r.warn(w)
		}
		if result.ToSHA != "" {
			r.report.SHA = result.ToSHA
		}
	}
	switch {
	case err != nil:
		r.decideError(None, err)
	case result == nil || result.Plan == nil:
		r.decide(Inconclusive, "the rollback told nothing about where the tags are")
	default:
		r.decide(None, r.rolledBack(result))
		r.tellMoves()
	}
	if result != nil && r.report.Verdict == None { // else nothing was left
		r.report.Rollback = rollbackOf(result)
	}
}

// rolledBack is one sentence on a rollback that went well.
func (r *run) rolledBack(result *promote.RollbackResult) string {
	text := "rolled back"
	if r.plan.Promote.DryRun {
		text = "would roll back"
	}
	text += " from " + orUnknown(short(result.FromSHA)) + " to " + orUnknown(short(result.ToSHA))
	if r.plan.Reason != "" {
		text += ": " + r.plan.Reason
	}
	return text
}

// history is the mode: the chain of records behind the target tag.
func (r *run) history(ctx context.Context) {
	r.phase("history")
	entries, err := r.promoter.History(ctx)
	for _, e := range entries {
		r.report.History = append(r.report.History, historyOf(e))
	}
	if err != nil {
		r.decide(Inconclusive, err.Error())
		return
	}
	r.decide(None, count(len(entries), "step")+" behind "+r.plan.Promote.TargetTag)
}

// status is the mode: one question to every tenant.
func (r *run) status(ctx context.Context) {
	r.phase("rollout")
	rollouts := make([]fleet.Rollout, len(r.plan.Tenants)) // unknown, all of them
	if r.identity() {
		rollouts = r.fleet.Probe(ctx, r.waitOptions(r.plan.SHA))
	} else {
		r.warn("no tenant was asked: version-path is none, so the fleet can't tell its commit")
	}
	current := 0
	for i, now := range rollouts {
		r.report.Tenants[i].Rollout = rolloutOf(now)
		if now.State == fleet.Current {
			current++
		}
	}
	r.decide(None, count(current, "tenant")+" of "+count(len(r.plan.Tenants), "tenant")+" current")
	if ctx.Err() != nil {
		r.decide(None, cause(ctx).Error())
	}
	if current == 0 || current != len(r.plan.Tenants) || ctx.Err() != nil {
		r.report.Exit = ExitInconclusive
	}
}

func orNone(digest string) string {
	if digest == "" {
		return "absent"
	}
	return digest
}

func orUnknown(sha string) string {
	if sha == "" {
		return "an unknown commit"
	}
	return sha
}

// joinWarnings moves what the promoter warned of into the report.
func (r *run) joinWarnings() {
	if r.moves == nil {
		return
	}
	warnings := r.moves.Warnings
	r.moves.Warnings = nil
	for _, w := range warnings {
		r.warn(w)
	}
}

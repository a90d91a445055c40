package gate

import (
	"fmt"
	"slices"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// rolloutOf is the report's form of a rollout.
func rolloutOf(r fleet.Rollout) *Rollout {
	return &Rollout{
		State: r.State.String(), Version: r.Version, Detail: r.Detail,
		WaitedMS: r.Waited.Milliseconds(), Polls: r.Polls,
	}
}

// checksOf is the report's form of one tenant's results.
func checksOf(results []smoke.CheckResult) []Check {
	checks := make([]Check, 0, len(results))
	for _, c := range results {
		checks = append(checks, Check{
			Name: c.Name, Result: c.Result.String(), Attempts: c.Attempts, Flaky: c.Flaky,
			Started: c.Started, DurationMS: c.Duration.Milliseconds(), Rounds: c.Rounds,
			P50MS: c.Latency.P50.Milliseconds(), P95MS: c.Latency.P95.Milliseconds(), MaxMS: c.Latency.Max.Milliseconds(),
			Expected: c.Expected, Got: c.Got, Detail: c.Detail, Hint: c.Hint, Reproduce: c.Reproduce,
		})
	}
	return checks
}

// rounds is the fewest rounds that any check of any tenant was through.
func rounds(results []smoke.TenantResult) int {
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

// copyPlan writes into the report what the promoter knows of images and tags.
func (r *run) copyPlan() {
	if r.moves == nil {
		return
	}
	r.report.Images = make([]Image, 0, len(r.moves.Images))
	for _, m := range r.moves.Images {
		r.report.Images = append(r.report.Images, imageOf(m))
	}
	r.report.Promoted = (r.plan.Mode == ModeVerify || r.plan.Mode == ModePromote) && everywhere(r.moves.Images)
	if c := r.moves.Canary; c.Tag != "" {
		r.report.Canary = &Canary{Tag: c.Tag, State: c.State, Detail: r.clean(c.Detail)}
	}
}

func imageOf(m promote.ImagePlan) Image {
	image := Image{
		Image: m.Image, Source: m.Source, Digest: m.Digest, Revision: m.Revision,
		Target: m.Target, Previous: m.Previous, PreviousRevision: m.PreviousRevision,
		State: m.State.String(), Now: m.Now, Detail: m.Detail,
	}
	if !m.Created.IsZero() {
		image.Created = &m.Created
	}
	return image
}

// everywhere reports whether every target points at the candidate now.
func everywhere(images []promote.ImagePlan) bool {
	away := func(m promote.ImagePlan) bool { return m.Digest == "" || m.Now != m.Digest }
	return len(images) > 0 && !slices.ContainsFunc(images, away)
}

// rollbackOf is the report's form of a rollback.
func rollbackOf(result *promote.RollbackResult) *Rollback {
	back := &Rollback{FromSHA: result.FromSHA, ToSHA: result.ToSHA}
	if left := result.Left; left != nil {
		back.Suite, back.SuiteHash = left.Suite, left.Hash
		back.LiveSince = left.Time
		back.LiveFor = time.Since(left.Time).Round(time.Second)
		back.PromotedBy = left.RunURL
		if back.PromotedBy == "" {
			back.PromotedBy = left.Actor
		}
	}
	return back
}

// historyOf is the report's form of one step of the chain.
func historyOf(e promote.HistoryEntry) HistoryEntry {
	return HistoryEntry{
		Image: e.Image, Time: e.Time, Event: string(e.Event), SHA: e.SHA, Digest: e.Digest,
		Replaced: e.Replaced, Actor: e.Actor, RunURL: e.RunURL, Reason: e.Reason,
		Current: e.Current, Broken: e.Broken,
	}
}

// next is one sentence: what the reader of the report should do now.
func (r *run) next() string {
	target := r.plan.Promote.TargetTag
	switch {
	case r.report.Exit == ExitRegistry:
		return fmt.Sprintf("See where %s points below, mend what the registry refused, and run again: what is right already is left alone.", target)
	case r.report.Verdict == Red && r.report.Promoted:
		return fmt.Sprintf("%s points at this rejected commit: roll back now with `canary-verify rollback`.", target)
	case r.report.Verdict == Red && r.promoter != nil:
		return fmt.Sprintf("Mend what the check found and merge again; %s was left alone.", target)
	case r.report.Verdict == Red:
		return "Mend what the check found."
	case r.report.Verdict == Inconclusive:
		return r.hint()
	case r.report.Verdict == Skipped:
		return "Set tenant-urls and admin-tokens (or tenants) to switch the gate on."
	case r.report.Verdict == Green && r.report.DryRun && !r.report.Promoted:
		return "Run again without dry-run to promote."
	default:
		return ""
	}
}

// hint is the first advice that a check or a rollout gave.
func (r *run) hint() string {
	for _, t := range r.report.Tenants {
		for _, c := range t.Checks {
			if c.Hint != "" && c.Result != "pass" {
				return t.Name + ": " + c.Hint
			}
		}
	}
	return "Nothing was decided and nothing was promoted: remove the cause and run again."
}

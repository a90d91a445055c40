package gate

import (
	"fmt"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// next is one sentence: what the reader of the report should do now.
func (r *run) next() string {
	target := r.plan.Promote.TargetTag
	switch v := r.report.Verdict; {
	case r.report.Exit == report.ExitRegistry:
		if r.plan.Mode.NeedsReason() {
			return "Fix what the registry refused, and run again."
		}
		return fmt.Sprintf("See where %s points below, fix what the registry refused, and run again: images already in place are not touched.", target)
	case v == report.Red && r.report.Promoted:
		return fmt.Sprintf("%s points at this rejected commit: roll back now with `canary-verify rollback`.", target)
	case v == report.Red && r.promoter != nil:
		return fmt.Sprintf("Fix what the check found and merge again; %s was not touched.", target)
	case v == report.Red:
		return "Fix what the check found."
	case r.report.Exit == report.ExitAfterwards && r.plan.Mode == report.ModeRollback:
		return fmt.Sprintf("Stop promotions by hand, fix what failed, then put %s on hold with `canary-verify hold --reason …`.", target)
	case r.report.Exit == report.ExitAfterwards:
		return fmt.Sprintf("%s was moved: see where it points below, and make sure that this is meant.", target)
	case r.onHold:
		return fmt.Sprintf("When the reason for the hold is gone, release %s with `canary-verify release --reason …`, then promote this commit with `canary-verify promote --sha %s`.", target, r.report.SHA.Short())
	case r.plan.Mode == report.ModeHold && r.report.Held != nil && v == report.None:
		return fmt.Sprintf("Nothing is promoted to %s until `canary-verify release --reason …`.", target)
	case v == report.Inconclusive:
		return r.advice()
	case v == report.Skipped:
		return "Configure the canary tenants to switch the gate on."
	case v == report.Green && r.report.DryRun && !r.report.Promoted:
		return "Run again without dry-run to promote."
	default:
		return ""
	}
}

// advice is the first hint that a cause gives.
func (r *run) advice() string {
	for _, c := range r.report.Causes {
		if c.Hint != "" {
			return c.Tenants[0] + ": " + c.Hint
		}
	}
	return "Nothing was decided and nothing was promoted: remove the cause and run again."
}

package gate

import (
	"context"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// One read before the checks, one beside and one after them are the least that
// proves anything of all three.
const (
	minIdentityReads = 3
	maxIdentityReads = 1000
)

// DefaultIdentityReads is how often a tenant's commit is read in a fleet of that
// many tenants: 7 times, above 200 tenants 3 times. What that proves of a tenant
// whose answers come from several builds is said at [fleet.Fleet.Reread].
func DefaultIdentityReads(tenants int) int {
	if tenants > fleet.LargeFleet {
		return minIdentityReads
	}
	return 7
}

// identityReads divides all reads into those before, beside and after the checks.
func (p *Plan) identityReads() (before, beside, after int) {
	before = max(1, p.IdentityReads*3/7)
	beside = (p.IdentityReads - before) / 2
	return before, beside, p.IdentityReads - before - beside
}

// readBeside reads the tenants' commits while the checks run. The result is for
// after the checks, which take it with [run.readAfter].
func (r *run) readBeside(ctx context.Context, e *evidence) (<-chan error, *[]report.Rollout) {
	beside := new([]report.Rollout)
	done := parallel.Background(func() error {
		if e.identity {
			_, reads, _ := r.plan.identityReads()
			*beside = r.fleet.Reread(ctx, r.waitOptions(), reads)
		}
		return nil
	})
	return done, beside
}

// readAfter reads the tenants' commits after the checks. What was seen beside them
// stays, where that was not the commit.
func (r *run) readAfter(ctx context.Context, e *evidence, beside []report.Rollout) {
	r.phase(report.PhaseIdentity)
	_, _, reads := r.plan.identityReads()
	after := r.fleet.Reread(ctx, r.waitOptions(), reads)
	restarts := r.fleet.Restarts()
	for i := range e.tenants {
		t := &e.tenants[i]
		t.After = &report.Rollout{} // unknown, whatever is missing
		if i < len(after) && i < len(beside) {
			t.After = &after[i]
			if !beside[i].IsCurrent() && after[i].IsCurrent() {
				t.After = &beside[i]
			}
		}
		if i < len(restarts) {
			t.Restarts = restarts[i]
		}
	}
}

// warnOfUnrest names the tenants that refused connections or restarted while they
// were checked: one whose checks pass in between is not well.
func (r *run) warnOfUnrest(tenants []report.Tenant) {
	found := 0
	for _, t := range tenants {
		if t.Refused == 0 && t.Restarts == 0 {
			continue
		}
		if found++; found <= maxWarned {
			r.warn(t.Name + ": " + report.Unrest(t.Refused, t.Restarts) + " while it was checked")
		}
	}
	if found > maxWarned {
		r.warn(report.Count(found-maxWarned, "more tenant") + " refused connections or restarted; the report lists them")
	}
}

package report

import (
	"cmp"
	"slices"
	"time"
)

// A Cause is one thing that went wrong, with the tenants on which it did: the
// same check with the same answer, or tenants that were not at the commit in the
// same way.
type Cause struct {
	Check   string   `json:"check"` // empty: the tenants did not run the commit
	Result  Result   `json:"result"`
	What    string   `json:"what"`    // "answered 200, expected status == 401"
	Tenants []string `json:"tenants"` // names, in the fleet's order
	Hint    string   `json:"hint,omitempty"`
	// Detail and Reproduce are those of the first of Tenants, as the example.
	Detail    string `json:"detail"`
	Reproduce string `json:"reproduce,omitempty"`

	rank int
}

// The ranks of causes. A tenant that changed its commit while it was checked
// outranks the errors of the checks, most of which it explains.
const (
	rankFailed = iota
	rankChanged
	rankErrored
	rankRollout
)

// CausesOf groups what went wrong on tenants: failures first, then tenants that
// changed their commit, then errors, then tenants that never ran the commit;
// within each the cause with most tenants first.
func CausesOf(tenants []Tenant) []Cause {
	g := grouping{index: map[causeKey]int{}, causes: []Cause{}}
	for i := range tenants {
		t := &tenants[i]
		for j := range t.Checks {
			g.check(t, &t.Checks[j])
		}
		switch {
		case t.Rollout != nil && !t.Rollout.IsCurrent():
			g.rollout(t, *t.Rollout, rankRollout, t.Rollout.State.String())
		case t.After != nil && !t.After.IsCurrent():
			g.rollout(t, *t.After, rankChanged, "after the checks: "+t.After.State.String())
		}
	}
	slices.SortStableFunc(g.causes, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(len(b.Tenants), len(a.Tenants)))
	})
	return g.causes
}

// A causeKey is what two tenants must share to have the same cause.
type causeKey struct {
	rank        int
	check, what string
}

type grouping struct {
	index  map[causeKey]int
	causes []Cause
}

func (g *grouping) check(t *Tenant, c *CheckResult) {
	rank := rankErrored
	switch c.Result {
	case Passed, NotRun:
		return
	case Failed:
		rank = rankFailed
	}
	what := cmp.Or(c.Answer, c.Detail)
	if c.Expected != "" && c.Answer != "" {
		what += ", expected " + c.Expected
	}
	g.add(t, Cause{rank: rank, Check: c.Name, Result: c.Result, What: what, Hint: c.Hint, Detail: c.Detail, Reproduce: c.Reproduce})
}

func (g *grouping) rollout(t *Tenant, r Rollout, rank int, what string) {
	if r.State == Stale {
		what += " at " + r.Version.Short()
	}
	g.add(t, Cause{rank: rank, Result: Errored, What: what, Detail: r.String(), Hint: advice(r, rank)})
}

// advice is what to do about a tenant that does not run the commit.
func advice(r Rollout, rank int) string {
	waited := ""
	if r.Waited > 0 {
		waited = " in " + Span(time.Duration(r.Waited))
	}
	switch {
	case rank == rankChanged && r.State != Unreachable:
		return "it was updated while it was checked: run again; two releases may have come close together"
	case r.State == Stale:
		return "it did not update" + waited + ": look at its updater and at the tag that it follows, or wait longer"
	case r.State == Mixed:
		return "several builds answer behind this address" + waited + ": a rollout that is stuck, or an old process behind the load balancer"
	case r.State == Unreachable:
		return "it did not answer" + waited + ": start it, or take it out of the fleet if it was torn down"
	default:
		return "" // the detail says what came, and what to do
	}
}

// add puts the tenant to its cause.
func (g *grouping) add(t *Tenant, c Cause) {
	key := causeKey{c.rank, c.Check, c.What}
	i, known := g.index[key]
	if !known {
		i = len(g.causes)
		g.index[key] = i
		g.causes = append(g.causes, c)
	}
	g.causes[i].Tenants = append(g.causes[i].Tenants, t.Name)
}

// FirstCause is the cause that a reader should hear of first. False: nothing
// went wrong on a tenant, or the verdict is [Refused], which has none there.
func (r *Report) FirstCause() (Cause, bool) {
	if r.Verdict == Refused || len(r.Causes) == 0 {
		return Cause{}, false
	}
	return r.Causes[0], true
}

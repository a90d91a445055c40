package summary

import (
	"slices"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

// An outcome is what became of one tenant. Lower ones are shown first.
type outcome int

const (
	contradicted outcome = iota // a check failed
	unjudged                    // not reached, or a check could not be judged
	wobbly                      // all held, one of them on a later try
	held
	outcomes // how many there are
)

// A tenantRow is one tenant, ready to be shown.
type tenantRow struct {
	*gate.Tenant
	outcome outcome
}

// A checkRow is one check over all tenants.
type checkRow struct {
	name                                   string
	held, failed, unjudged, skipped, flaky int
	median, slowest                        int64 // ms over the tenants where it ran
	times                                  []int64
}

// A fleetView is the fleet as people see it: failing tenants first.
type fleetView struct {
	rows   []tenantRow
	checks []checkRow
	counts [outcomes]int
	rounds int // under soak more than 1
}

// viewFleet sorts and counts. Tenants of one outcome keep their order, and so do
// checks.
func viewFleet(r *gate.Report) fleetView {
	v := fleetView{rows: make([]tenantRow, 0, len(r.Tenants))}
	index := map[string]int{}
	for i := range r.Tenants {
		t := &r.Tenants[i]
		row := tenantRow{t, judgeTenant(t)}
		v.rows = append(v.rows, row)
		v.counts[row.outcome]++
		for j := range t.Checks {
			v.add(index, &t.Checks[j])
		}
	}
	slices.SortStableFunc(v.rows, func(a, b tenantRow) int { return int(a.outcome) - int(b.outcome) })
	for i := range v.checks {
		v.checks[i].measure()
	}
	slices.SortStableFunc(v.checks, func(a, b checkRow) int { return a.rank() - b.rank() })
	return v
}

// rank puts checks that did not hold first, so that no narrow screen and no
// limit of columns hides them.
func (c checkRow) rank() int {
	switch {
	case c.failed > 0:
		return 0
	case c.held < c.all():
		return 1
	}
	return 2
}

// judgeTenant finds the outcome of one tenant. A tenant without checks that
// nobody asked is unjudged.
func judgeTenant(t *gate.Tenant) outcome {
	found := held
	if len(t.Checks) == 0 && isCurrent(t.Rollout) == 0 {
		found = unjudged
	}
	for _, o := range []*gate.Rollout{t.Rollout, t.After} {
		if o != nil && o.State != "current" {
			found = unjudged
		}
	}
	for i := range t.Checks {
		switch c := &t.Checks[i]; {
		case c.Result == "fail":
			return contradicted
		case c.Result == "pass" && c.Flaky:
			found = min(found, wobbly)
		case c.Result != "pass":
			found = min(found, unjudged)
		}
	}
	return found
}

// add counts one check.
func (v *fleetView) add(index map[string]int, c *gate.Check) {
	i, known := index[c.Name]
	if !known {
		i = len(v.checks)
		index[c.Name] = i
		v.checks = append(v.checks, checkRow{name: c.Name})
	}
	row := &v.checks[i]
	v.rounds = max(v.rounds, c.Rounds)
	switch c.Result {
	case "pass":
		row.held++
	case "fail":
		row.failed++
	case "skip":
		row.skipped++
		return
	default:
		row.unjudged++
	}
	if c.Flaky {
		row.flaky++
	}
	row.times = append(row.times, c.DurationMS)
	row.slowest = max(row.slowest, c.DurationMS, c.MaxMS)
}

// measure finds the median of the times, and forgets them.
func (c *checkRow) measure() {
	if len(c.times) > 0 {
		slices.Sort(c.times)
		c.median = c.times[len(c.times)/2]
	}
	c.times = nil
}

// all is on how many tenants the check was meant to run.
func (c checkRow) all() int { return c.held + c.failed + c.unjudged + c.skipped }

// slowest is the longest time over all checks, for the scale of bars.
func (v *fleetView) slowest() int64 {
	var longest int64
	for _, c := range v.checks {
		longest = max(longest, c.slowest)
	}
	return longest
}

// find returns the tenant's check of that name; nil: it has none.
func (t tenantRow) find(check string) *gate.Check {
	for i := range t.Checks {
		if t.Checks[i].Name == check {
			return &t.Checks[i]
		}
	}
	return nil
}

// runs is the commit that the tenant was last seen with.
func (t tenantRow) runs() string {
	if t.After != nil && t.After.Version != "" {
		return short(t.After.Version)
	}
	if t.Rollout != nil {
		return short(t.Rollout.Version)
	}
	return ""
}

// shown is how many rows to show: every failing one, and of the others a few.
// Mode status shows them all.
func (v *fleetView) shown(r *gate.Report, others int) int {
	if gate.Mode(r.Mode) == gate.ModeStatus {
		return len(v.rows)
	}
	failing := v.counts[contradicted] + v.counts[unjudged]
	return min(len(v.rows), failing+others)
}

// checked reports whether any check ran; else only commits are known.
func (v *fleetView) checked() bool { return len(v.checks) > 0 }

// asked reports whether anything is known of the fleet.
func (v *fleetView) asked() bool {
	return v.checked() || slices.ContainsFunc(v.rows, func(t tenantRow) bool { return t.Rollout != nil })
}

// tally counts the fleet in a sentence.
func (v *fleetView) tally() string {
	if v.checked() {
		return tally(v.counts, [outcomes]string{"contradicted", "could not be judged", "held only on a later try", "held"})
	}
	return tally(v.counts, [outcomes]string{unjudged: "not at the commit", held: "at the commit"})
}

// rest counts the tenants behind the first shown ones.
func (v *fleetView) rest(shown int) string {
	left := fleetView{checks: v.checks}
	for _, row := range v.rows[shown:] {
		left.counts[row.outcome]++
	}
	return count(len(v.rows)-shown, "tenant") + " (" + left.tally() + ")"
}

func tally(counts [outcomes]int, words [outcomes]string) string {
	var parts []string
	for o, n := range counts {
		if n > 0 {
			parts = append(parts, thousands(n)+" "+words[o])
		}
	}
	return strings.Join(parts, ", ")
}

// A finding is one check that did not hold, or a tenant that was not reached.
type finding struct {
	tenant *gate.Tenant
	check  *gate.Check
}

// findings lists what did not hold, contradictions first, at most limit of them
// (none: no limit), and how many there are in all.
func (v *fleetView) findings(limit int) (list []finding, all int) {
	for _, want := range []string{"fail", "error"} {
		for _, row := range v.rows {
			if row.outcome > unjudged {
				break
			}
			for i := range row.Checks {
				if row.Checks[i].Result != want {
					continue
				}
				if all++; limit <= 0 || len(list) < limit {
					list = append(list, finding{row.Tenant, &row.Checks[i]})
				}
			}
		}
	}
	return list, all
}

// A place is where one tenant was when it was not at the commit.
type place struct {
	tenant *gate.Tenant
	seen   *gate.Rollout
	after  bool // it was there before the checks, and not any more after them
}

// elsewhere lists the tenants that were not at the commit. Where no check ran
// the table of tenants tells that already.
func (v *fleetView) elsewhere() []place {
	var list []place
	if !v.checked() {
		return nil
	}
	for _, row := range v.rows {
		switch {
		case row.Rollout != nil && row.Rollout.State != "current":
			list = append(list, place{row.Tenant, row.Rollout, false})
		case row.After != nil && row.After.State != "current":
			list = append(list, place{row.Tenant, row.After, true})
		}
	}
	return list
}

// bar draws a share of a whole in eighths of a block.
func bar(part, whole int64, width int) string {
	if whole <= 0 || part <= 0 {
		return ""
	}
	eighths := max(1, int(min(part, whole)*int64(width)*8/whole))
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return text
}

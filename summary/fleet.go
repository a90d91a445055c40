package summary

import (
	"slices"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A checkRow is one check over all tenants.
type checkRow struct {
	name                                  string
	passed, failed, errored, skipped, all int
	flaky                                 int
	median, slowest                       report.Millis // over the tenants where it ran
	times                                 []report.Millis
}

// A fleetView is the fleet as people see it: failing tenants first.
type fleetView struct {
	rows   []*report.Tenant
	checks []checkRow
	counts [report.Standings]int
	rounds int // under soak more than 1
}

// viewFleet sorts and counts. Tenants of one standing keep their order, and so
// do checks.
func viewFleet(r *report.Report) fleetView {
	v := fleetView{rows: make([]*report.Tenant, 0, len(r.Tenants))}
	index := map[string]int{}
	var standing [report.Standings][]*report.Tenant
	for i := range r.Tenants {
		t := &r.Tenants[i]
		s := t.Standing()
		standing[s] = append(standing[s], t)
		for j := range t.Checks {
			v.add(index, &t.Checks[j])
		}
	}
	for s, tenants := range standing {
		v.counts[s] = len(tenants)
		v.rows = append(v.rows, tenants...)
	}
	for i := range v.checks {
		v.checks[i].measure()
	}
	slices.SortStableFunc(v.checks, func(a, b checkRow) int { return int(a.shade()) - int(b.shade()) })
	return v
}

// add counts one check.
func (v *fleetView) add(index map[string]int, c *report.CheckResult) {
	i, known := index[c.Name]
	if !known {
		i = len(v.checks)
		index[c.Name] = i
		v.checks = append(v.checks, checkRow{name: c.Name})
	}
	row := &v.checks[i]
	v.rounds = max(v.rounds, c.Rounds)
	row.all++
	switch c.Result {
	case report.Passed:
		row.passed++
	case report.Failed:
		row.failed++
	case report.NotRun:
		row.skipped++
		return
	default:
		row.errored++
	}
	if c.Flaky {
		row.flaky++
	}
	row.times = append(row.times, c.Duration)
	row.slowest = max(row.slowest, c.Duration, c.Max)
}

// measure finds the median of the times, and forgets them.
func (c *checkRow) measure() {
	if len(c.times) > 0 {
		slices.Sort(c.times)
		c.median = c.times[len(c.times)/2]
	}
	c.times = nil
}

// shade orders checks too: those that did not pass come first, so that no narrow
// screen and no limit of columns hides them.
func (c *checkRow) shade() shade {
	switch {
	case c.failed > 0:
		return shadeBad
	case c.passed < c.all:
		return shadeDoubt
	}
	return shadeNone
}

// slowest is the longest time over all checks, for the scale of bars.
func (v *fleetView) slowest() report.Millis {
	var longest report.Millis
	for _, c := range v.checks {
		longest = max(longest, c.slowest)
	}
	return longest
}

// find returns the tenant's check of that name; nil: it has none.
func find(t *report.Tenant, check string) *report.CheckResult {
	for i := range t.Checks {
		if t.Checks[i].Name == check {
			return &t.Checks[i]
		}
	}
	return nil
}

// checked reports whether any check ran; else only commits are known.
func (v *fleetView) checked() bool { return len(v.checks) > 0 }

// asked reports whether anything is known of the fleet.
func (v *fleetView) asked() bool {
	return v.checked() || slices.ContainsFunc(v.rows, func(t *report.Tenant) bool { return t.Rollout != nil })
}

// tally counts tenants in a sentence.
func (v *fleetView) tally(counts [report.Standings]int) string {
	words := [report.Standings]string{"failed", "inconclusive", "flaky", "passed"}
	if !v.checked() {
		words = [report.Standings]string{report.StandsUndecided: "not at the commit", report.StandsPassed: "at the commit"}
	}
	var parts []string
	for s, n := range counts {
		if n > 0 {
			parts = append(parts, report.Thousands(n)+" "+words[s])
		}
	}
	return strings.Join(parts, ", ")
}

// rest counts the tenants behind the first shown ones.
func (v *fleetView) rest(shown int) string {
	if shown >= len(v.rows) {
		return ""
	}
	var left [report.Standings]int
	for s, n := range v.counts {
		hidden := max(n-shown, 0)
		left[s], shown = hidden, max(shown-n, 0)
	}
	n := 0
	for _, hidden := range left {
		n += hidden
	}
	return report.Count(n, "tenant") + " (" + v.tally(left) + ")"
}

// A place is where one tenant was when it was not at the commit.
type place struct {
	tenant *report.Tenant
	seen   *report.Rollout
	after  string // empty: it was there before the checks already
}

// elsewhere lists the tenants that were not at the commit. Where no check ran
// the table of tenants shows that already.
func (v *fleetView) elsewhere() []place {
	var list []place
	if !v.checked() {
		return nil
	}
	for _, t := range v.rows {
		switch {
		case t.Rollout != nil && !t.Rollout.IsCurrent():
			list = append(list, place{t, t.Rollout, ""})
		case t.After != nil && !t.After.IsCurrent():
			list = append(list, place{t, t.After, " after the checks"})
		}
	}
	return list
}

// bar draws a stretch of a whole as a line of so many characters; "" where it
// does not lie within the whole.
func bar(from, to, whole time.Duration) string {
	const width = 20
	if from < 0 || to < from || whole < to || whole == 0 {
		return ""
	}
	place := func(d time.Duration) int { return int(float64(d) / float64(whole) * width) }
	start := min(place(from), width-1)
	length := min(max(place(to)-start, 1), width-start)
	return strings.Repeat("░", start) + strings.Repeat("█", length) + strings.Repeat("░", width-start-length)
}

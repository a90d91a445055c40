package gate

import (
	"fmt"

	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// evidence is all that a verdict rests on. Its zero value is no evidence, and
// gives [report.Inconclusive].
type evidence struct {
	refused  *promote.RefusedError // a rule forbids the candidate
	doubt    error                 // a registry, the clock or a signal left something open
	identity bool                  // the fleet can report its commit, so it must
	checks   int                   // how many checks every tenant must have results of
	steady   bool                  // a check that passed only after a retry does not count
	tenants  []report.Tenant
}

// judge is the table of situations and nothing else. It returns the verdict and
// its reason in one sentence. Red wins over inconclusive, and what is left when
// nothing speaks against it is green.
func judge(e evidence) (report.Verdict, string) {
	causes := report.CausesOf(e.tenants)
	switch {
	case e.refused != nil:
		return report.Refused, e.refused.Reason
	case len(causes) > 0 && causes[0].Result == report.Failed:
		return report.Red, sentence(causes[0])
	case e.doubt != nil:
		return report.Inconclusive, e.doubt.Error()
	case len(causes) > 0:
		return report.Inconclusive, sentence(causes[0])
	case len(e.tenants) == 0 || e.checks == 0:
		return report.Inconclusive, "nothing was checked: there is no tenant or no check"
	}
	for i := range e.tenants {
		if missing := e.missing(&e.tenants[i]); missing != "" {
			return report.Inconclusive, e.tenants[i].Name + ": " + missing
		}
	}
	return report.Green, e.passed()
}

// passed is the reason of a green verdict.
func (e evidence) passed() string {
	text := fmt.Sprintf("%s passed on %s", report.Count(e.checks, "check"), report.Count(len(e.tenants), "tenant"))
	if skipped := e.skipped(); skipped > 0 {
		text += fmt.Sprintf(", %s skipped", report.Count(skipped, "result"))
	}
	return text
}

// skipped is how many checks of all tenants could not apply.
func (e evidence) skipped() int {
	n := 0
	for _, t := range e.tenants {
		for i := range t.Checks {
			if t.Checks[i].Inapplicable() {
				n++
			}
		}
	}
	return n
}

// failed reports whether any check failed.
func (e evidence) failed() bool {
	causes := report.CausesOf(e.tenants)
	return len(causes) > 0 && causes[0].Result == report.Failed
}

// missing says what a tenant on which nothing went wrong lacks to count as green;
// empty: nothing. It asks for every proof, and takes the absence of none for one.
func (e evidence) missing(t *report.Tenant) string {
	if e.identity && !t.Rollout.IsCurrent() {
		return "it was not asked which commit it runs"
	}
	passed, skipped := 0, 0
	for i := range t.Checks {
		switch c := &t.Checks[i]; {
		case c.Result == report.Passed && c.Flaky && e.steady:
			return c.Name + ": passed only after a retry, which is not allowed to count"
		case c.Result == report.Passed:
			passed++
		case c.Inapplicable():
			skipped++
		}
	}
	if passed == 0 || passed+skipped != e.checks || len(t.Checks) != e.checks {
		return fmt.Sprintf("%d of %s passed", passed, report.Count(e.checks, "check"))
	}
	if e.identity && !t.After.IsCurrent() {
		return "it was not asked again which commit it runs"
	}
	return ""
}

// sentence says a cause, by the example of its first tenant.
func sentence(c report.Cause) string {
	text := c.Tenants[0] + ": "
	if c.Check != "" {
		text += c.Check + ": "
	}
	text += c.Detail
	if others := len(c.Tenants) - 1; others > 0 {
		text += fmt.Sprintf(" (and on %s more)", report.Count(others, "tenant"))
	}
	return text
}

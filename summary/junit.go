package summary

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

// JUnit writes the report as JUnit XML: a tenant is a suite, a check a case. A
// contradiction is a failure, what could not be judged an error. Where a tenant
// told another commit, that is a case "rollout" or "identity". A run that ended
// other than well has at least one failure or error: where no check is the
// cause, the suite "canary-verify" holds it.
func JUnit(w io.Writer, r *gate.Report) error {
	suites := junit.Testsuites{Name: "canary-verify " + clean(r.Mode, maxName), Time: seconds(r.Finished.Sub(r.Started).Milliseconds())}
	suites.Suites = make([]junit.Testsuite, 0, len(r.Tenants)+1)
	for i := range r.Tenants {
		suites.AddSuite(tenantSuite(i, &r.Tenants[i], r.Started))
	}
	if r.Exit != gate.ExitOK && suites.Failures+suites.Errors == 0 || len(r.Tenants) == 0 {
		suites.AddSuite(runSuite(len(r.Tenants), r))
	}
	if _, err := io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"); err != nil {
		return err
	}
	return suites.WriteXML(w)
}

func tenantSuite(id int, t *gate.Tenant, started time.Time) junit.Testsuite {
	tenant := clean(t.Name, maxName)
	s := junit.Testsuite{Name: tenant, ID: id, Testcases: make([]junit.Testcase, 0, len(t.Checks)+1)}
	s.SetTimestamp(started.UTC())
	var longest int64
	if o := t.Rollout; o != nil && (o.State != "current" || len(t.Checks) == 0) {
		s.AddTestcase(rolloutCase("rollout", tenant, o))
	}
	for i := range t.Checks {
		longest = max(longest, t.Checks[i].DurationMS)
		s.AddTestcase(checkCase(tenant, &t.Checks[i]))
	}
	if o := t.After; o != nil && o.State != "current" {
		s.AddTestcase(rolloutCase("identity", tenant, o))
	}
	s.Time = seconds(longest) // checks of a tenant run at the same time
	return s
}

func rolloutCase(name, tenant string, o *gate.Rollout) junit.Testcase {
	c := junit.Testcase{Name: name, Classname: tenant, Time: seconds(o.WaitedMS)}
	if o.State != "current" {
		c.Error = &junit.Result{Message: clean(standing(o), maxSaid), Type: clean(o.State, maxName)}
	}
	return c
}

func checkCase(tenant string, k *gate.Check) junit.Testcase {
	c := junit.Testcase{Name: clean(k.Name, maxName), Classname: tenant, Time: seconds(k.DurationMS)}
	switch {
	case k.Result == "fail":
		c.Failure = &junit.Result{Message: clean(k.Detail, maxSaid), Type: "contradicted", Data: evidence(k)}
	case k.Result == "skip":
		c.Skipped = &junit.Result{Message: clean(k.Detail, maxSaid)}
	case k.Result != "pass":
		c.Error = &junit.Result{Message: clean(k.Detail, maxSaid), Type: "inconclusive", Data: evidence(k)}
	case k.Flaky:
		c.SystemOut = &junit.Output{Data: fmt.Sprintf("flaky: it held on try %d", k.Attempts)}
	}
	return c
}

// evidence is what a case says of a check that did not hold.
func evidence(k *gate.Check) string {
	var b strings.Builder
	for _, line := range []struct{ label, text string }{
		{"expected: ", k.Expected}, {"got: ", k.Got}, {"hint: ", k.Hint}, {"again: ", k.Reproduce},
	} {
		if line.text != "" {
			b.WriteString(line.label + clean(line.text, maxValue) + "\n")
		}
	}
	return b.String()
}

// runSuite holds the verdict where no tenant's case does.
func runSuite(id int, r *gate.Report) junit.Testsuite {
	s := junit.Testsuite{Name: "canary-verify", ID: id, Time: seconds(r.Finished.Sub(r.Started).Milliseconds())}
	s.SetTimestamp(r.Started.UTC())
	c := junit.Testcase{Name: "verdict", Classname: "canary-verify", Time: s.Time}
	result := &junit.Result{Message: Headline(r), Type: r.Verdict.String()}
	switch {
	case r.Verdict == gate.Skipped:
		c.Skipped = result
	case r.Exit == gate.ExitRed:
		c.Failure = result
	case r.Exit != gate.ExitOK:
		c.Error = result
	}
	s.AddTestcase(c)
	return s
}

func seconds(ms int64) string { return fmt.Sprintf("%.3f", float64(max(ms, 0))/1000) }

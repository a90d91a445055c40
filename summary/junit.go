package summary

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// JUnit writes the report as JUnit XML: a tenant is a suite, a check a case. A
// failed check is a failure, an errored one an error. Where a tenant did not
// report the commit, that is a case "rollout" or "identity" with an error. A run
// that ended other than well has at least one failure or error: where no check
// is the reason, the suite "canary-verify" has it.
func JUnit(w io.Writer, r *report.Report) error {
	suites := junit.Testsuites{Name: "canary-verify " + clean(r.Mode, maxName), Time: seconds(r.Finished.Sub(r.Started))}
	suites.Suites = make([]junit.Testsuite, 0, len(r.Tenants)+1)
	for i := range r.Tenants {
		suites.AddSuite(tenantSuite(i, &r.Tenants[i], r.Started))
	}
	if r.Exit != report.ExitOK && suites.Failures+suites.Errors == 0 || len(r.Tenants) == 0 {
		suites.AddSuite(runSuite(len(r.Tenants), r))
	}
	if _, err := io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"); err != nil {
		return err
	}
	return suites.WriteXML(w)
}

func tenantSuite(id int, t *report.Tenant, started time.Time) junit.Testsuite {
	tenant := clean(t.Name, maxName)
	s := junit.Testsuite{Name: tenant, ID: id, Testcases: make([]junit.Testcase, 0, len(t.Checks)+1)}
	s.SetTimestamp(started.UTC())
	var longest report.Millis
	if o := t.Rollout; o != nil && (!o.IsCurrent() || len(t.Checks) == 0) {
		s.AddTestcase(rolloutCase("rollout", tenant, o))
	}
	for i := range t.Checks {
		longest = max(longest, t.Checks[i].Duration)
		s.AddTestcase(checkCase(tenant, &t.Checks[i]))
	}
	if o := t.After; o != nil && !o.IsCurrent() {
		s.AddTestcase(rolloutCase("identity", tenant, o))
	}
	s.Time = seconds(longest) // checks of a tenant run at the same time
	return s
}

func rolloutCase(name, tenant string, o *report.Rollout) junit.Testcase {
	c := junit.Testcase{Name: name, Classname: tenant, Time: seconds(o.Waited)}
	if !o.IsCurrent() {
		c.Error = &junit.Result{Message: clean(o.String(), maxSaid), Type: o.State.String()}
	}
	return c
}

func checkCase(tenant string, k *report.CheckResult) junit.Testcase {
	c := junit.Testcase{Name: clean(k.Name, maxName), Classname: tenant, Time: seconds(k.Duration)}
	switch {
	case k.Result == report.Failed:
		c.Failure = &junit.Result{Message: clean(k.Detail, maxSaid), Type: "failed", Data: evidence(k)}
	case k.Result == report.NotRun:
		c.Skipped = &junit.Result{Message: clean(k.Detail, maxSaid)}
	case k.Result != report.Passed:
		c.Error = &junit.Result{Message: clean(k.Detail, maxSaid), Type: "error", Data: evidence(k)}
	case k.Flaky:
		c.SystemOut = &junit.Output{Data: fmt.Sprintf("flaky: passed on attempt %d", k.Attempts)}
	}
	return c
}

// evidence is what a case says of a check that did not pass.
func evidence(k *report.CheckResult) string {
	var b strings.Builder
	for _, line := range []struct{ label, text string }{
		{"expected: ", k.Expected}, {"got: ", k.Got}, {"hint: ", k.Hint}, {"reproduce: ", k.Reproduce},
	} {
		if line.text != "" {
			b.WriteString(line.label + clean(line.text, maxValue) + "\n")
		}
	}
	return b.String()
}

// runSuite has the verdict where no tenant's case does.
func runSuite(id int, r *report.Report) junit.Testsuite {
	s := junit.Testsuite{Name: "canary-verify", ID: id, Time: seconds(r.Finished.Sub(r.Started))}
	s.SetTimestamp(r.Started.UTC())
	c := junit.Testcase{Name: "verdict", Classname: "canary-verify", Time: s.Time}
	result := &junit.Result{Message: Headline(r), Type: r.Verdict.String()}
	switch {
	case r.Verdict == report.Skipped:
		c.Skipped = result
	case r.Exit == report.ExitRed:
		c.Failure = result
	case r.Exit != report.ExitOK:
		c.Error = result
	}
	s.AddTestcase(c)
	return s
}

func seconds[D time.Duration | report.Millis](d D) string {
	return fmt.Sprintf("%.3f", max(time.Duration(d), 0).Seconds())
}

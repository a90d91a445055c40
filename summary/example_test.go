package summary_test

import (
	"fmt"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/summary"
)

// A run in which one tenant answered without a token, as a log shows it.
func ExampleText() {
	started := time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)
	tenants := []report.Tenant{{Name: "canary-pm", URL: "https://canary-pm.example.com", Checks: []report.CheckResult{{
		Name: "liveness without bearer", Result: report.Failed, Attempts: 1, Duration: report.Millis(47 * time.Millisecond),
		Expected: "status == 401", Got: "200 application/json {}", Answer: "answered 200",
		Detail: "expected status == 401, got 200",
	}}}}
	r := &report.Report{
		Schema: report.Schema, Tool: "v1.2.3", Mode: report.ModeSmoke, SHA: "4c1d56e0a9b8c7d6e5f4031221304f5e6d7c8b9a",
		Verdict: report.Red, Exit: report.ExitRed, Ran: true, Started: started, Finished: started.Add(90 * time.Millisecond),
		Reason:  "canary-pm: liveness without bearer: expected status == 401, got 200",
		Tenants: tenants, Causes: report.CausesOf(tenants),
	}
	fmt.Print(summary.Text(r, false, 0))
	// Output:
	// RED: 4c1d56e is rejected
	// rejected commit: 4c1d56e0a9b8c7d6e5f4031221304f5e6d7c8b9a
	// reason: canary-pm: liveness without bearer: expected status == 401, got 200
	// identity: Not proven: no tenant was asked which commit it runs.
	//
	// Failures and errors
	//   FAILED canary-pm: liveness without bearer
	//     why       expected status == 401, got 200
	//     expected  status == 401
	//     got       200 application/json {}
	//     attempts  1, 47 ms
	//
	// Tenants: 1 failed
	//   tenant     runs  1
	//   canary-pm  -     ✗
	//   ✓ passed   ~ flaky: passed after a retry   ✗ failed   ? error   - skipped   · did not run
	//
	// Checks
	//   check                        passed  failed  error  skipped  flaky  median  slowest  to scale
	//    1  liveness without bearer  0 of 1       1                          47 ms    47 ms  ████████████████████
	//
	// 2026-03-14 03:00:00 UTC, took 90 ms; canary-verify v1.2.3
	// RED: 4c1d56e is rejected
}

// The sentence beside a commit on the forge.
func ExampleStatusDescription() {
	r := &report.Report{Mode: report.ModeVerify, Verdict: report.Refused, Exit: report.ExitRed, Reason: "4c1d56e is older than 9f8e7d6, which latest points at"}
	fmt.Println(summary.StatusDescription(r))
	// Output: refused: 4c1d56e is older than 9f8e7d6, which latest points at
}

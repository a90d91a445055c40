package cli

import (
	"fmt"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/summary"
)

// malformed is the report of a run whose inputs are malformed. Its warnings are
// the faults, one each.
func (s *session) malformed(err error) *gate.Report {
	now := time.Now()
	report := &gate.Report{
		Schema: gate.Schema, Tool: s.plan.Tool, Mode: string(s.plan.Mode), SHA: shown(s.plan.SHA),
		Verdict: gate.None, Exit: gate.ExitUsage, Started: now, Finished: now,
		DryRun: s.plan.Promote.DryRun, Run: s.plan.Origin,
		Images: []gate.Image{}, Tenants: []gate.Tenant{}, Phases: []gate.Phase{}, Warnings: []string{},
		Next: "Mend the inputs; no request was made.",
	}
	for _, fault := range faultsOf(err) {
		report.Faults = append(report.Faults, untrusted.Text(s.redact.Redact(fault), 2000))
	}
	if n := len(report.Faults); n > 0 {
		report.Reason = untrusted.Line(report.Faults[0], 500)
		if n > 1 {
			report.Reason += fmt.Sprintf(" (and %d more faults)", n-1)
		}
	}
	return report
}

// flat takes a joined error apart, down to the single faults.
func flat(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flat(e)...)
		}
		return all
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// faultsOf returns the texts of the single faults.
func faultsOf(err error) []string {
	var all []string
	for _, fault := range flat(err) {
		all = append(all, fault.Error())
	}
	return all
}

// finishReport fills in what only rendered text can tell.
func finishReport(report *gate.Report) {
	if report.Rollback != nil && report.Rollback.PostMortem == "" {
		report.Rollback.PostMortem = summary.PostMortem(report)
	}
}

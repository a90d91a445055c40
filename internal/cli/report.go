package cli

import (
	"fmt"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// invalid is the report of a run whose inputs are invalid: no request was made.
func (s *session) invalid(err error) *report.Report {
	now := time.Now()
	r := &report.Report{
		Schema: report.Schema, Tool: s.plan.Tool, Mode: s.plan.Mode, SHA: s.plan.SHA,
		Verdict: report.None, Exit: report.ExitUsage, Started: now, Finished: now,
		DryRun: s.plan.Promote.DryRun, Run: s.plan.Origin,
		Next: "Fix the inputs; no request was made.",
	}
	for _, problem := range problemsOf(err) {
		r.Faults = append(r.Faults, untrusted.Text(s.redact.Redact(problem), 2000))
	}
	if n := len(r.Faults); n > 0 {
		r.Reason = untrusted.Line(r.Faults[0], 500)
		if n > 1 {
			r.Reason += fmt.Sprintf(" (and %d more)", n-1)
		}
	}
	return r
}

// flat takes a joined error apart, down to the single ones.
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

// problemsOf returns the texts of the single errors.
func problemsOf(err error) []string {
	var all []string
	for _, e := range flat(err) {
		all = append(all, e.Error())
	}
	return all
}

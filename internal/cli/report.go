package cli

import (
	"fmt"
	"slices"
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

// notKept is the exit code of a run whose result could not be kept: nobody would
// know what it did.
func notKept(r *report.Report, code report.Exit) report.Exit {
	moved := slices.ContainsFunc(r.Images, func(i report.Image) bool { return i.State == report.Promoted })
	switch {
	case code != report.ExitOK:
		return code
	case moved:
		return report.ExitAfterwards
	default:
		return report.ExitInconclusive
	}
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

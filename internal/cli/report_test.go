package cli

import (
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A result that nobody can read never ends 0, and never 3 once a target has moved.
func TestExitWhereTheResultIsLost(t *testing.T) {
	moved := &report.Report{Images: []report.Image{{State: report.Already}, {State: report.Promoted}}}
	for _, tc := range []struct {
		r          *report.Report
		code, want report.Exit
	}{
		{&report.Report{}, report.ExitOK, report.ExitInconclusive},
		{moved, report.ExitOK, report.ExitAfterwards},
		{moved, report.ExitRegistry, report.ExitRegistry},
		{&report.Report{}, report.ExitRed, report.ExitRed},
	} {
		if got := notKept(tc.r, tc.code); got != tc.want {
			t.Errorf("exit %d of a report that can't be kept is %d, want %d", tc.code, got, tc.want)
		}
	}
}

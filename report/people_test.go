package report_test

import (
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "0 ms", 0: "0 ms", 12 * time.Millisecond: "12 ms", 999 * time.Millisecond: "999 ms", 1640 * time.Millisecond: "1.6 s",
		9999 * time.Millisecond: "9.9 s", 41 * time.Second: "41 s", 425 * time.Second: "7 min 5 s", 2*time.Hour + 30*time.Minute: "2 h 30 min", 49 * time.Hour: "2 d 1 h",
	} {
		if got := report.Span(d); got != want {
			t.Errorf("Span(%d) = %s, want %s", d, got, want)
		}
	}
}

func TestMoment(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	if got := report.Moment(time.Date(2026, 3, 14, 4, 0, 0, 0, berlin)); got != "2026-03-14 03:00:00 UTC" {
		t.Error(got)
	}
	if got := report.Moment(time.Time{}); got != "" {
		t.Error(got)
	}
}

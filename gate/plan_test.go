package gate

import (
	"errors"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

func TestReferenceOfAdmission(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for reference, want := range map[string]struct{ image, target, asked string }{
		"host:5000/team/app:stable":           {"host:5000/team/app", "stable", "host:5000/team/app:stable"},
		"host:5000/team/app@" + digest:        {"host:5000/team/app", promote.DefaultTargetTag, "host:5000/team/app@" + digest},
		"host:5000/team/app:stable@" + digest: {"host:5000/team/app", "stable", "host:5000/team/app@" + digest},
	} {
		g, err := New(Plan{Mode: report.ModeAdmit, Reference: reference})
		if err != nil {
			t.Errorf("%s: %v", reference, err)
			continue
		}
		if p := g.plan; p.Promote.Images[0] != want.image || g.Target() != want.target || p.Reference != want.asked {
			t.Errorf("%s is %s of %s, asked as %s; want %v", reference, p.Promote.Images[0], g.Target(), p.Reference, want)
		}
	}
	for _, reference := range []string{"", "host:5000/team/app", "host/team/app@sha256:123", "host/team/app:-x", "host/UPPER:latest", "user:a-long-password@host/app:latest"} {
		_, err := New(Plan{Mode: report.ModeAdmit, Reference: reference})
		var invalid *report.InvalidError
		if !errors.As(err, &invalid) || strings.Contains(err.Error(), "a-long-password") {
			t.Errorf("%q: %v", reference, err)
		}
	}
}

// What a run writes must count for those who read it; in an emergency it need not.
func TestRunsThatCantSign(t *testing.T) {
	for name, tc := range map[string]struct {
		mode   report.Mode
		force  string
		dryRun bool
		fails  bool
	}{
		"promote":               {mode: report.ModePromote, fails: true},
		"promote with force":    {mode: report.ModePromote, force: "now", fails: true},
		"rollback":              {mode: report.ModeRollback, fails: true},
		"rollback with force":   {mode: report.ModeRollback, force: "now"},
		"a rollback's dry run":  {mode: report.ModeRollback, dryRun: true},
		"hold":                  {mode: report.ModeHold, fails: true},
		"history":               {mode: report.ModeHistory},
		"a question of admit's": {mode: report.ModeAdmit},
	} {
		key, err := ledger.ParseTrustedKeys(publicKey)
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(Plan{
			Mode: tc.mode, SHA: wanted, Reason: "why", Reference: "host/app:latest",
			Promote: promote.Config{Images: []string{"host/app"}, Force: tc.force, DryRun: tc.dryRun, Trust: ledger.Trust{Keys: key, RequireSigned: true}},
		})
		if (err != nil) != tc.fails || err != nil && !strings.Contains(err.Error(), "SigningKey") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const publicKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8nXRh950IZbRj8Ra/N9sbqOPZrfM
5/KAQN0/KjHcorm/J5yctVd7iEcnessRQjU917hmKO6JWVGHpDguIyakZA==
-----END PUBLIC KEY-----`

// Who began the hold matters, not who decided what during it.
func TestHistoryKnowsWhoHeld(t *testing.T) {
	if got := heldBy([]report.Decision{{Held: false}, {Held: true, Actor: "ana"}}); got != nil {
		t.Errorf("released, and yet %v", got)
	}
	history := []report.Decision{
		{Event: report.EventVerified, Held: true, Actor: "bot", Reason: "passed"},
		{Event: report.EventHeld, Held: true, Actor: "ana", Reason: "invoices are wrong"},
		{Event: report.EventPromoted, SHA: wanted},
		{Event: report.EventHeld, Held: true, Actor: "eve"},
	}
	if got := heldBy(history); got == nil || got.By != "ana" || got.Reason != "invoices are wrong" {
		t.Errorf("held by %v", got)
	}
	if got := lastGood(history); !strings.Contains(got, wanted) {
		t.Errorf("the last good commit: %s", got)
	}
}

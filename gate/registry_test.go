package gate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// withRegistry makes a plan of mode verify, on a registry in which latest is at an
// older commit and the canary tag follows it.
func withRegistry(t *testing.T, p Plan) (Plan, *sim.Registry) {
	t.Helper()
	r := sim.NewRegistry(sim.RegistryConfig{})
	for _, b := range []sim.Build{
		{SHA: other, Tag: "staging-1f0c7be,latest,canary", Created: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)},
		{SHA: wanted, Tag: "staging-4c1d56e", Created: time.Date(2026, 5, 2, 0, 0, 0, 0, time.UTC)},
	} {
		b.Images = []string{"org/app"}
		if _, err := sim.Publish(t.Context(), r.Host(), b, r.InMemory()...); err != nil {
			t.Fatal(err)
		}
	}
	p.Mode = report.ModeVerify
	p.Promote = promote.Config{
		Images: []string{r.Host() + "/org/app"}, CanaryTag: "canary", Transport: r.RoundTripper(),
		Origin: promote.Origin{Tool: "canary-verify/test"},
	}
	r.ResetLog()
	return p, r
}

// at reports whether a tag points at the staging image of a commit.
func at(r *sim.Registry, tag, sha string) bool {
	return r.Digest("org/app", tag) == r.Digest("org/app", "staging-"+sha[:7])
}

// A run that was cancelled on the forge while its runner lost it moves nothing.
func TestCancelledOnTheForgeMovesNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		why     string
		err     error
		verdict report.Verdict
		latest  string
	}{
		"cancelled": {"Gitea reports this run as cancelled", nil, report.Inconclusive, other},
		"at work":   {"", nil, report.Green, wanted},
		"not known": {"", errors.New("GitHub: ask about this run: 403 Forbidden"), report.Green, wanted},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, r := withRegistry(t, plan(t, nil, always(wanted)))
				p.Cancelled = func(context.Context) (string, error) { return tt.why, tt.err }
				got := mustNew(t, p).Run(t.Context())
				if got.Verdict != tt.verdict || got.Verdict.Exit() != got.Exit {
					t.Errorf("verdict %s, exit %d: %s", got.Verdict, got.Exit, got.Reason)
				}
				if !at(r, "latest", tt.latest) || !at(r, "canary", tt.latest) {
					t.Errorf("latest is %s, canary is %s, want both at %s", r.Digest("org/app", "latest"), r.Digest("org/app", "canary"), tt.latest)
				}
				if tt.err != nil && !strings.Contains(strings.Join(got.Warnings, "\n"), "403") {
					t.Errorf("nothing warns of it: %q", got.Warnings)
				}
			})
		})
	}
}

// An event that is not to be trusted is refused before any request.
func TestEventRefusalAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := false
		p, r := withRegistry(t, plan(t, nil, func() string { asked = true; return wanted }))
		p.EventRefusal = "a pull request started that workflow"
		got := mustNew(t, p).Run(t.Context())
		if got.Verdict != report.Refused || got.Exit != report.ExitRed || got.Reason != p.EventRefusal {
			t.Errorf("verdict %s, exit %d: %s", got.Verdict, got.Exit, got.Reason)
		}
		if n := len(r.Requests()); n > 0 || asked {
			t.Errorf("%d requests to the registry, tenant asked: %v", n, asked)
		}
	})
}

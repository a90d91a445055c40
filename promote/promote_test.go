package promote

import (
	"errors"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// kinds are the registries that everything must work with.
var kinds = map[string]sim.RegistryConfig{
	"open":                {},
	"referrers and token": {Referrers: true, Auth: sim.TokenAuth, CheckBlobs: true},
	"fallback and basic":  {Auth: sim.BasicAuth, CheckBlobs: true},
	"fallback and token":  {Auth: sim.TokenAuth, CheckBlobs: true},
	"TLS, referrers":      {Referrers: true, TLS: true, CheckBlobs: true, Auth: sim.TokenAuth},
	"refuses artifacts":   {NoArtifacts: true, CheckBlobs: true},
	"refuses to delete":   {NoDelete: true, CheckBlobs: true},
}

func TestVerifyMovesEveryTarget(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, kind)
			plan := w.must(newSHA)
			w.same("latest", "staging-4c1d56e")
			for _, image := range plan.Images {
				if image.State != report.Promoted || image.Now != image.Digest {
					t.Errorf("%s: state %v, now %s; want promoted at %s", image.Image, image.State, image.Now, image.Digest)
				}
			}
			if kind.NoArtifacts {
				if len(plan.Warnings) != 2 {
					t.Errorf("warnings %q, want one an image about records", plan.Warnings)
				}
				return
			}
			if len(plan.Warnings) > 0 {
				t.Errorf("warnings: %q", plan.Warnings)
			}
			again := w.must(newSHA)
			if again.Images[0].State != report.Already || w.newest(apps[0], again.Images[0].Digest).Event != report.EventVerified {
				t.Errorf("a re-run: %+v", again.Images[0])
			}
		})
	}
}

func TestRollbackStory(t *testing.T) {
	for name, kind := range kinds {
		if kind.NoArtifacts {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, kind)
			w.must(newSHA)
			w.must(topSHA)
			p := w.promoter()
			result, err := p.Rollback(t.Context(), "", "invoices are wrong")
			if err != nil {
				t.Fatal(err)
			}
			w.same("latest", "staging-4c1d56e")
			if result.Rollback.FromSHA != topSHA || result.Rollback.ToSHA != newSHA || result.Rollback.Suite != "canary" || result.Rollback.LiveSince.IsZero() || len(result.Warnings) > 0 {
				t.Errorf("%+v", result)
			}
			var refused *RefusedError
			for _, policy := range []Policy{ForVerify, ForPromote} {
				if _, err := w.promoter().Resolve(t.Context(), topSHA, policy); !errors.As(err, &refused) || refused.Rule != RuleRolledBack {
					t.Errorf("what was rolled back: %v", err)
				}
			}
			// The first rollback after adoption: what was there has no record.
			if result, err = w.promoter().Rollback(t.Context(), "", ""); err != nil || result.Rollback.ToSHA != oldSHA {
				t.Errorf("%+v, %v", result, err)
			}
			w.same("latest", "staging-1f0c7be")
		})
	}
}

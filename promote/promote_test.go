package promote

import (
	"errors"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
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
				if image.State != Promoted || image.Now != image.Digest {
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
			if again.Images[0].State != Already || again.Images[0].Newest == nil || again.Images[0].Newest.Event != Verified {
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
			if result.FromSHA != topSHA || result.ToSHA != newSHA || result.Left == nil || result.Left.Suite != "canary" || len(result.Warnings) > 0 {
				t.Errorf("%+v", result)
			}
			var refused *RefusedError
			for _, policy := range []Policy{ForVerify, ForPromote} {
				if _, err := w.promoter().Resolve(t.Context(), topSHA, policy); !errors.As(err, &refused) || refused.Rule != ruleRolled {
					t.Errorf("what was rolled back: %v", err)
				}
			}
			history, err := w.promoter().History(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range history {
				t.Logf("%s %s %s %s <- %s %v %q %q", h.Image, h.Event, short(h.SHA), short(h.Digest), short(h.Replaced), h.Current, h.Reason, h.Broken)
			}
			// The first rollback after adoption: what was there has no record.
			if result, err = w.promoter().Rollback(t.Context(), "", ""); err != nil || result.ToSHA != oldSHA {
				t.Errorf("%+v, %v", result, err)
			}
			w.same("latest", "staging-1f0c7be")
		})
	}
}

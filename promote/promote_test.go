package promote

import (
	"errors"
	"net/http"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// allKinds are the registries that everything must work with; kinds are those that
// most stories are played on: all where the tests run whole.
var allKinds = map[string]sim.RegistryConfig{
	"open":                {},
	"referrers and token": {Referrers: true, Auth: sim.TokenAuth, CheckBlobs: true},
	"fallback and basic":  {Auth: sim.BasicAuth, CheckBlobs: true},
	"fallback and token":  {Auth: sim.TokenAuth, CheckBlobs: true},
	"refuses to delete":   {NoDelete: true, CheckBlobs: true},
}

var kinds = func() map[string]sim.RegistryConfig {
	if full {
		return allKinds
	}
	some := map[string]sim.RegistryConfig{}
	for _, name := range []string{"referrers and token", "fallback and basic"} {
		some[name] = allKinds[name]
	}
	return some
}()

func TestVerifyMovesEveryTarget(t *testing.T) {
	for name, kind := range allKinds {
		bubble(t, name, func(t *testing.T) {
			w := newWorld(t, kind)
			plan := w.must(newSHA)
			w.same("latest", "staging-4c1d56e")
			for _, image := range plan.Images {
				if image.State != report.Promoted || image.Now != image.Digest {
					t.Errorf("%s: state %v, now %s; want promoted at %s", image.Image, image.State, image.Now, image.Digest)
				}
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
		bubble(t, name, func(t *testing.T) {
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
			w.ResetLog()
			if result, err = w.promoter().Rollback(t.Context(), "", ""); err != nil || !result.Already || result.Rollback.ToSHA != newSHA || result.Rollback.FromSHA != topSHA || result.Held == nil {
				t.Errorf("again: %+v, %v", result, err)
			}
			if w.Count(http.MethodPut, http.MethodPost) > 0 {
				t.Errorf("a rollback that was done writes:\n%s", w.list())
			}
			w.same("latest", "staging-4c1d56e")
			// Further back goes only with a commit: to what was there before records began.
			if result, err = w.promoter().Rollback(t.Context(), oldSHA, ""); err != nil || result.Rollback.ToSHA != oldSHA {
				t.Errorf("%+v, %v", result, err)
			}
			w.same("latest", "staging-1f0c7be")
		})
	}
}

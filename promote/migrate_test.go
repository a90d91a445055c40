package promote

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// first attaches a record of the first form, as the gate wrote them before there
// were heads.
func (w *world) first(app, of string, event report.Event, sha report.Commit, replaced report.Digest, at time.Time) {
	w.t.Helper()
	m, err := registry.ParseManifest("", w.Manifest(app, of))
	if err != nil {
		w.t.Fatal(err)
	}
	result := map[bool]string{true: "PASSED", false: "FAILED"}[event.Positive()]
	record := map[string]any{"event": event, "sha": sha, "target": "latest", "tool": "canary-verify/0", "actor": "ada"}
	if replaced != "" {
		record["replaced"] = replaced
	}
	statement, err := json.Marshal(map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"name": w.Host() + "/" + app, "digest": map[string]any{"sha256": strings.TrimPrefix(string(m.Digest), "sha256:")}}},
		"predicateType": "https://slsa.dev/verification_summary/v1",
		"predicate": map[string]any{
			"verifier":     map[string]any{"id": "https://git.moleculesai.app/molecule-ai/canary-verify"},
			"timeVerified": at.UTC().Format(time.RFC3339Nano), "resourceUri": "pkg:oci/x", "policy": map[string]any{"uri": "urn:canary-verify:suite:canary"},
			"verificationResult": result, "verifiedLevels": []string{result}, "canaryverify_record": record,
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	artifact := registry.NewArtifact("application/vnd.canary-verify.record.v1+json", m.Descriptor(),
		map[string]string{createdLabel: at.UTC().Format(time.RFC3339Nano), "vnd.canary-verify.event": string(event)},
		registry.Describe("application/vnd.in-toto+json", statement))
	r := w.promoter().repos[index(app)]
	for _, b := range [][]byte{statement, registry.EmptyConfig} {
		if err := r.PushBlob(w.t.Context(), b); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := r.Attach(w.t.Context(), artifact); err != nil {
		w.t.Fatal(err)
	}
}

// firstWorld has records of the first form alone: newSHA replaced oldSHA, topSHA
// replaced newSHA and was rolled back to it.
func firstWorld(t *testing.T, kind sim.RegistryConfig) *world {
	t.Helper()
	w := newWorld(t, kind)
	for _, app := range apps {
		old, next, top := w.digest(app, "staging-1f0c7be"), w.digest(app, "staging-4c1d56e"), w.digest(app, "staging-9e77a10")
		day := func(n int) time.Time { return built[topSHA].AddDate(0, 0, n) }
		w.first(app, string(next), report.EventVerified, newSHA, old, day(1))
		w.first(app, string(top), report.EventVerified, topSHA, next, day(2))
		w.first(app, string(top), report.EventRolledBack, topSHA, "", day(3))
		w.first(app, string(next), report.EventPromoted, newSHA, top, day(3))
		w.put(app, "latest", w.Manifest(app, "staging-4c1d56e"))
	}
	w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa", Created: built[topSHA].Add(time.Hour)})
	return w
}

func TestRecordsOfTheFirstFormAreTakenUp(t *testing.T) {
	for _, kind := range []string{"referrers and token", "fallback and token"} {
		for _, signed := range []bool{false, true} {
			bubble(t, fmt.Sprintf("%s, signed=%t", kind, signed), func(t *testing.T) {
				w, key := firstWorld(t, allKinds[kind]), newKey(t)
				change := func(c *Config) {
					if signed {
						key.signs(c)
					}
				}
				_, err := verify(t.Context(), w.promoter(change), topSHA)
				expectRefusal(t, err, RuleRolledBack)
				if signed {
					_, err := verify(t.Context(), w.promoter(change), thirdSHA)
					expectRefusal(t, err, RuleNoHead)
					w.must(thirdSHA, change, force("the ledger begins"))
				} else {
					w.must(thirdSHA, change)
				}
				for n := range apps { // never needed again
					s := &w.look(change).View[n]
					if r, revoked := s.Revoked(w.at("staging-9e77a10")[n]); !revoked || r.Kind != report.EventRolledBack || r.SHA != topSHA {
						t.Errorf("%+v, %v", r, revoked)
					}
				}
				goal := report.Commit(newSHA)
				if result := w.rollBack("", change); result.Rollback.ToSHA != goal {
					t.Errorf("%+v", result)
				}
				if _, err := w.promoter(change).Release(t.Context(), "fixed"); err != nil {
					t.Fatal(err)
				}
				// Positive records count where signatures are not required.
				result, err := w.promoter(change, runID("2")).Rollback(t.Context(), "", "further back")
				if signed {
					expectRefusal(t, err, RuleUnknownCommit)
				} else if err != nil || result.Rollback.ToSHA != oldSHA {
					t.Errorf("%+v, %v", result, err)
				}
			})
		}
	}
}

// TestFirstDecisionIsARollback has a team that changed the version roll back at once.
func TestFirstDecisionIsARollback(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := firstWorld(t, sim.RegistryConfig{Referrers: true})
		dry, err := w.promoter(func(c *Config) { c.DryRun = true }).Rollback(t.Context(), "", "looking")
		if err != nil || dry.Rollback.ToSHA != oldSHA {
			t.Errorf("%+v, %v", dry, err)
		}
		if result := w.rollBack(""); result.Rollback.FromSHA != newSHA || result.Rollback.ToSHA != oldSHA || result.Held == nil {
			t.Errorf("%+v", result)
		}
		w.same("latest", "staging-1f0c7be")
	})
}

// TestPromoteByARecordOfTheFirstForm: what was verified before heads were, and was
// never in production.
func TestPromoteByARecordOfTheFirstForm(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := firstWorld(t, sim.RegistryConfig{Referrers: true})
		_, err := carry(t.Context(), w.promoter(), thirdSHA, ForPromote)
		expectRefusal(t, err, RuleNotGreen)
		for _, app := range apps {
			w.first(app, "staging-0000aaa", report.EventVerified, thirdSHA, "", built[topSHA])
		}
		if _, err := carry(t.Context(), w.promoter(), thirdSHA, ForPromote); err != nil {
			t.Fatal(err)
		}
		w.same("latest", "staging-0000aaa")
	})
}

// TestFirstAdoptionWithSignatures: without force where the target is absent; with one
// force else.
func TestFirstAdoptionWithSignatures(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w, key := newWorld(t, sim.RegistryConfig{Referrers: true}), newKey(t)
		w.must(newSHA, key.signs, func(c *Config) { c.TargetTag = "stable" })
		w.same("stable", "staging-4c1d56e")
		_, err := verify(t.Context(), w.promoter(key.signs), newSHA)
		expectRefusal(t, err, RuleNoHead)
		w.must(newSHA, key.signs, force("the ledger begins"))
		w.must(topSHA, key.signs)
		// One more image: nothing of it can have been lost.
		third := "org/third"
		for sha, tag := range map[string]string{topSHA: "staging-9e77a10,latest", thirdSHA: "staging-0000aaa"} {
			w.publish(sim.Build{SHA: sha, Tag: tag, Images: []string{third}, Created: built[topSHA]})
		}
		w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa", Images: append([]string{third}, apps...), Created: built[topSHA].Add(time.Hour)})
		w.must(thirdSHA, key.signs, func(c *Config) { c.Images = append(c.Images, w.Host()+"/"+third) })
		w.same("latest", "staging-0000aaa")
		if w.Digest(third, "latest") != w.Digest(third, "staging-0000aaa") {
			t.Error("the new image was not moved")
		}
	})
}

// TestHalfMadeFirstPromotion has nowhere to go back to, and says the way out.
func TestHalfMadeFirstPromotion(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		stable := func(c *Config) { c.TargetTag = "stable" }
		process := &mortal{RoundTripper: w.transport}
		w.Inject(sim.Injection{Method: "PUT", Path: apps[1] + "/manifests/stable$", Do: func(x *sim.Exchange) { process.dead.Store(true); x.Reset() }})
		if _, err := verify(t.Context(), w.promoter(stable, func(c *Config) { c.Transport = process }), newSHA); err == nil {
			t.Fatal("not killed")
		}
		w.Heal()
		result, err := w.promoter(stable).Rollback(t.Context(), "", "why")
		if err == nil {
			t.Fatalf("%+v", result)
		}
		if expectRefusal(t, err, RuleUnknownCommit); !strings.Contains(err.Error(), "run verify again or delete the tags") {
			t.Errorf("%v", err)
		}
		w.must(newSHA, stable)
		w.same("stable", "staging-4c1d56e")
	})
}

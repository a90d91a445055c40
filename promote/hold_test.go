package promote

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// run sets the id of a run, which a re-run keeps.
func runID(id string) func(*Config) { return func(c *Config) { c.Origin.RunID = id } }

// rollBack is a rollback that has to succeed.
func (w *world) rollBack(sha report.Commit, change ...func(*Config)) RollbackResult {
	w.t.Helper()
	result, err := w.promoter(change...).Rollback(w.t.Context(), sha, "invoices are wrong")
	if err != nil {
		w.t.Fatalf("rollback: %v", err)
	}
	return result
}

// expectHeld fails unless a promotion was refused because of a hold.
func (w *world) expectHeld(err error, want ...string) {
	w.t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Rule != RuleHeld {
		w.t.Errorf("%v, want a refusal because of the hold", err)
		return
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			w.t.Errorf("%q does not say %q", err, text)
		}
	}
}

// TestRollbackHolds is the whole story: after a rollback the next green commit is
// tested, recorded and refused, with who, when, why and what to do; after a release
// it can be promoted. Force does the same at once, and leaves the hold.
func TestRollbackHolds(t *testing.T) {
	for name, kind := range kinds {
		for _, forced := range []bool{false, true} {
			bubble(t, fmt.Sprintf("%s, forced=%t", name, forced), func(t *testing.T) {
				w := newWorld(t, kind)
				w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa", Created: built[topSHA].Add(time.Hour)})
				w.must(newSHA)
				w.must(topSHA)
				if held := w.rollBack("").Held; held == nil || held.By != "ada" || held.Reason != "invoices are wrong" {
					t.Errorf("%+v", held)
				}
				_, err := verify(t.Context(), w.promoter(), topSHA)
				expectRefusal(t, err, RuleRolledBack)
				r, err := verify(t.Context(), w.promoter(), thirdSHA)
				w.expectHeld(err, "on hold since 2000-01-01", "by ada", "invoices are wrong", "release it")
				if r.candidate == nil || r.candidate.Held() == nil {
					t.Fatal("the tests of a run that is on hold are worth a record")
				}
				w.same("latest", "staging-4c1d56e")
				if newest := w.newest(apps[1], w.at("staging-0000aaa")[1]); newest == nil || newest.Event != report.EventVerified || newest.Go != nil {
					t.Errorf("%+v", newest)
				}
				_, err = carry(t.Context(), w.promoter(), thirdSHA, ForPromote)
				w.expectHeld(err)
				if forced {
					w.must(thirdSHA, force("a fix that can't wait"))
					w.same("latest", "staging-0000aaa")
					_, err = verify(t.Context(), w.promoter(force("")), newSHA)
					expectRefusal(t, err, RuleBackwards)
					if held := holdOf(w.look().View); held == nil {
						t.Error("force releases the hold")
					}
					return
				}
				released, err := w.promoter().Release(t.Context(), "fixed by 0000aaa")
				if err != nil || !released.Changed || released.Held != nil || len(released.Warnings) > 0 {
					t.Fatalf("%+v, %v", released, err)
				}
				if _, err = carry(t.Context(), w.promoter(), thirdSHA, ForPromote); err != nil {
					t.Fatal(err)
				}
				w.same("latest", "staging-0000aaa")
				_, err = carry(t.Context(), w.promoter(), topSHA, ForPromote)
				expectRefusal(t, err, RuleRolledBack)
			})
		}
	}
}

func TestHoldAndRelease(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		if _, err := w.promoter(func(c *Config) { c.TargetTag = "stable" }).Hold(t.Context(), "why"); err == nil {
			t.Error("a hold of nothing")
		} else {
			expectRefusal(t, err, RuleNoTarget)
		}
		dry, err := w.promoter(func(c *Config) { c.DryRun = true }).Hold(t.Context(), "why")
		if err != nil || !dry.Changed || dry.Held != nil || holdOf(w.look().View) != nil {
			t.Errorf("a dry run: %+v, %v", dry, err)
		}
		held, err := w.promoter().Hold(t.Context(), "the shop is closed")
		if err != nil || !held.Changed || held.Held == nil || held.Held.Reason != "the shop is closed" || held.Held.By != "ada" {
			t.Errorf("%+v, %v", held, err)
		}
		w.ResetLog()
		again, err := w.promoter().Hold(t.Context(), "twice")
		if err != nil || again.Changed || again.Held == nil || again.Held.Reason != "the shop is closed" || w.Count(http.MethodPut, http.MethodPost) > 0 {
			t.Errorf("a hold that is there already: %+v, %v\n%s", again, err, w.list())
		}
		_, err = verify(t.Context(), w.promoter(), newSHA)
		w.expectHeld(err)
		if _, err := verify(t.Context(), w.promoter(), oldSHA); err != nil {
			t.Errorf("what is in place is refused: %v", err)
		}
		free, err := w.promoter().Release(t.Context(), "open again")
		if err != nil || !free.Changed || free.Held != nil {
			t.Errorf("%+v, %v", free, err)
		}
		w.ResetLog()
		if free, err = w.promoter().Release(t.Context(), "twice"); err != nil || free.Changed || w.Count(http.MethodPut, http.MethodPost) > 0 {
			t.Errorf("a release that is there already: %+v, %v", free, err)
		}
		w.must(newSHA)
		w.same("latest", "staging-4c1d56e")
	})
}

func TestHoldErrors(t *testing.T) {
	bubble(t, "not written", func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		w.must(newSHA)
		w.Inject(sim.Injection{Method: http.MethodPut, Path: "stop$", Do: sim.Status(403)})
		var failed *MoveError
		if result, err := w.promoter().Hold(t.Context(), "why"); !errors.As(err, &failed) || result.Held != nil {
			t.Errorf("%+v, %v", result, err)
		}
	})
	bubble(t, "not read", func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		w.must(newSHA)
		w.Inject(sim.Injection{Path: "stop$", Do: sim.Status(500)})
		_, err := w.promoter().Hold(t.Context(), "why")
		expectOpen(t, err, "500")
		if !errors.Is(err, ledger.ErrUnreadable) {
			t.Errorf("%v does not say that it is unreadable", err)
		}
		found, err := w.promoter(force("I insist")).Resolve(t.Context(), topSHA, ForVerify)
		if expectOpen(t, err, "500"); found.Candidate != nil {
			t.Error("force lifts what can't be read")
		}
	})
}

// TestRollbackWithoutItsHold moves all the same, and says so.
func TestRollbackWithoutItsHold(t *testing.T) {
	bubble(t, "the head can't be written", func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		w.must(newSHA)
		w.Inject(sim.Injection{Method: http.MethodPut, Path: "stop$", Do: sim.Status(403)})
		result, err := w.promoter().Rollback(t.Context(), "", "why")
		if !isNotHeld(err) || result.Held != nil || !strings.Contains(err.Error(), "stop promotions by hand") {
			t.Errorf("%+v, %v", result, err)
		}
		w.same("latest", "staging-1f0c7be")
	})
	bubble(t, "the ledger can't be read", func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		w.must(newSHA)
		w.Inject(sim.Injection{Path: "stop$", Do: sim.Status(500)})
		_, err := w.promoter().Rollback(t.Context(), oldSHA, "why")
		expectOpen(t, err, "500")
		_, err = w.promoter(force("it burns")).Rollback(t.Context(), "", "why")
		expectOpen(t, err, "500")
		result, err := w.promoter(force("it burns")).Rollback(t.Context(), oldSHA, "why")
		if !isNotHeld(err) || result.Held != nil || result.Images[0].State != report.Promoted {
			t.Errorf("%+v, %v", result, err)
		}
		w.same("latest", "staging-1f0c7be")
	})
	bubble(t, "no key", func(t *testing.T) {
		key := newKey(t)
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		w.must(newSHA, key.signs, force("the ledger begins"))
		keyless := func(c *Config) { key.signs(c); c.Signer = nil }
		var invalid *report.InvalidError
		_, err := w.promoter(keyless).Rollback(t.Context(), "", "why")
		if !errors.As(err, &invalid) || invalid.Field != "SigningKey" {
			t.Errorf("%v", err)
		}
		for _, try := range []func(p *Promoter) error{
			func(p *Promoter) error { _, err := p.Hold(t.Context(), "why"); return err },
			func(p *Promoter) error { _, err := p.Release(t.Context(), "why"); return err },
			func(p *Promoter) error { _, err := p.Resolve(t.Context(), topSHA, ForVerify); return err },
		} {
			if err := try(w.promoter(keyless)); !errors.As(err, &invalid) {
				t.Errorf("%v", err)
			}
		}
		if _, err := w.promoter(keyless, force("it burns")).Rollback(t.Context(), "", "why"); !isNotHeld(err) {
			t.Errorf("%v", err)
		}
		w.same("latest", "staging-1f0c7be")
	})
}

// TestRollbackAgain: a re-run answers; another run goes further back only after a
// release, or with a commit.
func TestRollbackAgain(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		w.must(newSHA)
		w.must(topSHA)
		w.rollBack("", runID("7"))
		if again := w.rollBack("", runID("8")); !again.Already {
			t.Errorf("another run, on hold: %+v", again)
		}
		if _, err := w.promoter().Release(t.Context(), "fixed"); err != nil {
			t.Fatal(err)
		}
		if again := w.rollBack("", runID("7")); !again.Already || again.Held != nil {
			t.Errorf("the same run, after a release: %+v", again)
		}
		w.same("latest", "staging-4c1d56e")
		if next := w.rollBack("", runID("9")); next.Already || next.Rollback.FromSHA != newSHA || next.Rollback.ToSHA != oldSHA || next.Held == nil {
			t.Errorf("another run, after a release: %+v", next)
		}
		w.same("latest", "staging-1f0c7be")
		_, err := w.promoter().Rollback(t.Context(), newSHA, "")
		expectRefusal(t, err, RuleRolledBack)
		w.rollBack(newSHA, force("it was not its fault"))
		w.same("latest", "staging-4c1d56e")
	})
}

func TestRollbackWithoutHold(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		w.must(newSHA)
		if result := w.rollBack("", func(c *Config) { c.NoHold = true }); result.Held != nil {
			t.Errorf("%+v", result)
		}
		w.must(topSHA)
		w.same("latest", "staging-9e77a10")
		_, err := verify(t.Context(), w.promoter(), newSHA)
		expectRefusal(t, err, RuleRolledBack)
	})
}

// TestUndoneAfterARelease: what a promotion that failed puts back is not what was
// rolled back before.
func TestUndoneAfterARelease(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa", Created: built[topSHA].Add(time.Hour)})
		w.must(newSHA)
		w.must(topSHA)
		w.rollBack("")
		if _, err := w.promoter().Release(t.Context(), "fixed"); err != nil {
			t.Fatal(err)
		}
		w.Inject(sim.Injection{Method: http.MethodPut, Path: apps[1] + "/manifests/latest$", Do: sim.Status(403)})
		var failed *MoveError
		if _, err := verify(t.Context(), w.promoter(), thirdSHA); !errors.As(err, &failed) {
			t.Fatal(err)
		}
		w.Heal()
		w.same("latest", "staging-4c1d56e")
		for n, s := range w.look().View {
			if s.Go.Event != report.EventUndone || s.Want() != w.at("latest")[n] {
				t.Errorf("%s: after %s the ledger wants %s", s.Image, s.Go.Event, s.Want())
			}
		}
		w.must(thirdSHA)
	})
}

func TestHistory(t *testing.T) {
	for name, kind := range kinds {
		bubble(t, name, func(t *testing.T) {
			w := newWorld(t, kind)
			key := newKey(t)
			w.must(newSHA, key.signs, force("the ledger begins"))
			w.must(topSHA, key.signs)
			w.rollBack("", key.signs)
			if _, err := w.promoter(key.signs).Release(t.Context(), "fixed"); err != nil {
				t.Fatal(err)
			}
			rows, err := w.promoter(key.signs).History(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range rows {
				got = append(got, fmt.Sprintf("%d %s %s held=%t current=%t", r.Seq, r.Event, r.SHA.Short(), r.Held, r.Current))
				if r.ID == "" || r.SignedBy != key.signer.Fingerprint() || r.Actor != "ada" || r.Broken != "" || len(r.Images) != 2 || !strings.HasPrefix(r.Images[0].Image, w.Host()) {
					t.Errorf("%+v", r)
				}
			}
			want := []string{
				"5 released 4c1d56e held=false current=false", "4 rolled-back 9e77a10 held=true current=true",
				"3 verified 9e77a10 held=false current=false", "2 verified 4c1d56e held=false current=false",
				"1 begun 1f0c7be held=false current=false",
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			if back := rows[1].Images[0]; back.Digest != w.at("staging-4c1d56e")[0] || back.Replaced != w.at("staging-9e77a10")[0] {
				t.Errorf("%+v", back)
			}
		})
	}
}

func TestHistoryThatBreaks(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		w.must(newSHA)
		gone := w.digest(apps[0], "canary-verify.latest.go")
		w.must(topSHA)
		w.remove(apps[0], string(gone))
		rows, err := w.promoter().History(t.Context())
		if err != nil || len(rows) != 3 {
			t.Fatalf("%+v, %v", rows, err)
		}
		if first := rows[0]; first.SHA != topSHA || !strings.Contains(first.Broken, apps[0]) || !strings.Contains(first.Broken, "no longer in the registry") {
			t.Errorf("%+v", first)
		}
		if rows[1].Broken != "" || rows[1].SHA != newSHA {
			t.Errorf("the other image shows more: %+v", rows[1])
		}
	})
}

func TestAdmit(t *testing.T) {
	for name, kind := range kinds {
		bubble(t, name, func(t *testing.T) {
			w, key := newWorld(t, kind), newKey(t)
			w.must(newSHA, key.signs, force("the ledger begins"))
			w.must(topSHA, key.signs)
			admit := func(ref string, change ...func(*Config)) report.Admission {
				t.Helper()
				c := w.config()
				c.Images, c.Signer = nil, nil
				c.Trust = ledger.Trust{Keys: key.trusted, RequireSigned: true}
				for _, f := range change {
					f(&c)
				}
				a, err := Admit(t.Context(), c, w.Host()+"/"+ref)
				if err != nil {
					t.Fatal(err)
				}
				return a
			}
			at := func(tag string) report.Digest { return w.digest(apps[0], tag) }
			w.ResetLog()
			if a := admit(apps[0] + ":latest"); !a.Admitted || a.Digest != at("staging-9e77a10") {
				t.Errorf("%+v", a)
			}
			if n := w.Count(http.MethodGet, http.MethodHead); n > 4 {
				t.Errorf("%d requests, with the handshake:\n%s", n, w.list())
			}
			if a := admit(apps[0] + "@" + string(at("staging-4c1d56e"))); !a.Admitted {
				t.Errorf("what was live lately: %+v", a)
			}
			w.rollBack("", key.signs)
			w.publish(sim.Build{SHA: topSHA, Tag: "latest"}) // by somebody without a key
			if a := admit(apps[0] + ":latest"); !a.Admitted || a.Digest != at("staging-4c1d56e") {
				t.Errorf("the tag itself is asked: %+v", a)
			}
			for ref, why := range map[string]string{
				apps[0] + "@" + string(at("staging-9e77a10")):  "rolled-back",
				apps[0] + ":stable":                            "no trusted records",
				apps[0] + "@sha256:" + strings.Repeat("0", 64): "no trusted record",
			} {
				if a := admit(ref); a.Admitted || !strings.Contains(a.Reason, why) || a.Digest != "" {
					t.Errorf("%s: %+v", ref, a)
				}
			}
			stranger := newKey(t)
			if a := admit(apps[0]+":latest", func(c *Config) { c.Trust.Keys = stranger.trusted }); a.Admitted || !strings.Contains(a.Reason, "no trusted key signed it") {
				t.Errorf("%+v", a)
			}
		})
	}
	fakeTime(t, func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{})
		w.Inject(sim.Injection{Path: "stop$", Do: sim.Status(500)})
		if _, err := Admit(t.Context(), w.config(), w.Host()+"/"+apps[0]+":latest"); !errors.Is(err, ledger.ErrUnreadable) {
			t.Errorf("%v", err)
		}
		var invalid *report.InvalidError
		for _, ref := range []string{"", "app", w.Host() + "/" + apps[0], "x@sha256:1", ":latest", w.Host() + "/a:canary-verify.latest.go"} {
			if _, err := Admit(t.Context(), w.config(), ref); !errors.As(err, &invalid) || invalid.Field != "Reference" {
				t.Errorf("%q: %v", ref, err)
			}
		}
	})
}

func isNotHeld(err error) bool {
	var unheld *NotHeldError
	return errors.As(err, &unheld)
}

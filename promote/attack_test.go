package promote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// The tags of the heads.
const (
	goTag   = "canary-verify.latest.go"
	stopTag = "canary-verify.latest.stop"
)

// put writes bytes behind a tag or digest, as anybody can who may push.
func (w *world) put(app, ref string, raw []byte) {
	w.t.Helper()
	m, err := registry.ParseManifest("", raw)
	if err != nil {
		w.t.Fatal(err)
	}
	to := registry.ByTag(ref)
	if strings.HasPrefix(ref, "sha256:") {
		to = registry.ByDigest(report.Digest(ref))
	}
	if _, err := w.promoter().repos[index(app)].Put(w.t.Context(), to, m); err != nil {
		w.t.Fatal(err)
	}
}

func index(app string) int {
	if app == apps[0] {
		return 0
	}
	return 1
}

// seal makes a record of an image as somebody with this key would (nil: unsigned),
// and pushes its blobs.
func (w *world) seal(app string, r *ledger.Record, subject string, signer *ledger.Signer) *ledger.Artifact {
	w.t.Helper()
	raw := w.Manifest(app, subject)
	m, err := registry.ParseManifest("", raw)
	if err != nil {
		w.t.Fatal(err)
	}
	p := w.promoter()
	r.Subject = m.Digest
	a, err := ledger.Seal(r, descriptor(m), signer)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, b := range a.Blobs {
		if err := p.repos[index(app)].PushBlob(w.t.Context(), b); err != nil {
			w.t.Fatal(err)
		}
	}
	return a
}

// attach seals a record and attaches it to its subject.
func (w *world) attach(app string, r *ledger.Record, subject string, signer *ledger.Signer) {
	w.t.Helper()
	a := w.seal(app, r, subject, signer)
	p := w.promoter()
	if err := p.store.Attach(w.t.Context(), p.store.Images[index(app)], a); err != nil {
		w.t.Fatal(err)
	}
}

// forged is a green record of an image.
func (w *world) forged(app string, seq int64) *ledger.Record {
	return &ledger.Record{
		Event: report.EventVerified, Time: time.Now(), Image: w.Host() + "/" + app, Target: "latest",
		Decision: strings.Repeat("0", 32), Seq: seq, Actor: "mallory",
	}
}

// signedWorld is on hold after a rollback of topSHA to newSHA; all is signed.
func signedWorld(t *testing.T, kind sim.RegistryConfig) (*world, testKey) {
	t.Helper()
	w, key := newWorld(t, kind), newKey(t)
	w.must(newSHA, key.signs, force("the ledger begins"))
	w.must(topSHA, key.signs)
	w.rollBack("", key.signs)
	return w, key
}

// A memo is a witness in memory.
type memo map[string]ledger.Seen

func (m memo) witness(c *Config) { c.Witness = memoWitness{m} }

type memoWitness struct{ memo }

func (m memoWitness) Read(_ context.Context) (map[string]ledger.Seen, error) {
	return maps.Clone(m.memo), nil
}

func (m memoWitness) Tell(_ context.Context, seen map[string]ledger.Seen) error {
	for image, s := range seen {
		old := m.memo[image]
		if s.Go.Seq < old.Go.Seq {
			s.Go = old.Go
		}
		if s.Stop.Seq < old.Stop.Seq {
			s.Stop = old.Stop
		}
		m.memo[image] = s
	}
	return nil
}

// expectNo fails unless neither verify nor promote moves the target to the commit,
// with a reason that says why, and nothing admits it.
func (w *world) expectNo(sha, tag string, key testKey, why string, change ...func(*Config)) {
	w.t.Helper()
	w.expectNoMove(sha, key, why, change...)
	w.expectNotAdmitted(tag, key, change...)
}

// expectNoMove is expectNo without admission.
func (w *world) expectNoMove(sha string, key testKey, why string, change ...func(*Config)) {
	w.t.Helper()
	before := w.at("latest")
	for _, policy := range []Policy{ForVerify, ForPromote} {
		p := w.promoter(append([]func(*Config){key.signs}, change...)...)
		r, err := carry(w.t.Context(), p, sha, policy)
		var refused *RefusedError
		text := fmt.Sprint(err, r.Warnings)
		if err == nil || !errors.As(err, &refused) && !errors.Is(err, ledger.ErrUnreadable) || !strings.Contains(text, why) {
			w.t.Errorf("policy %d: %v; %q, want a refusal that says %q", policy, err, r.Warnings, why)
		}
	}
	for n, now := range w.at("latest") {
		if now != before[n] && now == w.at("staging-" + sha[:7])[n] {
			w.t.Errorf("%s was moved to %s", apps[n], sha)
		}
	}
}

func (w *world) expectNotAdmitted(tag string, key testKey, change ...func(*Config)) {
	w.t.Helper()
	for _, app := range apps {
		c := w.config()
		key.signs(&c)
		for _, f := range change {
			f(&c)
		}
		a, err := Admit(w.t.Context(), c, w.Host()+"/"+app+"@"+w.Digest(app, tag))
		if err == nil && a.Admitted {
			w.t.Errorf("%s is admitted: %+v", app, a)
		}
	}
}

// TestAttacks are those of somebody who may push and has no key.
func TestAttacks(t *testing.T) {
	for _, kind := range []string{"referrers and token", "fallback and token"} {
		if kind != "referrers and token" && !full {
			continue
		}
		attack := func(name string, f func(t *testing.T, w *world, key testKey)) {
			bubble(t, kind+"/"+name, func(t *testing.T) {
				w, key := signedWorld(t, allKinds[kind])
				f(t, w, key)
			})
		}
		const top = "staging-9e77a10"
		fresh := func(w *world) {
			w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa", Created: built[topSHA].Add(time.Hour)})
		}
		release := func(t *testing.T, w *world, key testKey) {
			t.Helper()
			if _, err := w.promoter(key.signs).Release(t.Context(), "fixed"); err != nil {
				t.Fatal(err)
			}
		}
		attack("a forged record", func(t *testing.T, w *world, key testKey) {
			release(t, w, key)
			fresh(w)
			stranger := newKey(t)
			for _, app := range apps {
				w.attach(app, w.forged(app, 50), "staging-0000aaa", nil)
				w.attach(app, w.forged(app, 51), "staging-0000aaa", stranger.signer)
			}
			r, err := carry(t.Context(), w.promoter(key.signs), thirdSHA, ForPromote)
			if expectRefusal(t, err, RuleNotGreen); !strings.Contains(err.Error(), "no trusted record") {
				t.Errorf("%v, %q", err, r.Warnings)
			}
		})
		attack("a record of another image", func(t *testing.T, w *world, key testKey) {
			release(t, w, key)
			fresh(w)
			other := w.forged(apps[0], 50) // what the gate signed for one image, on another
			for _, app := range apps {
				w.attach(app, other, "staging-0000aaa", key.signer)
			}
			_, err := carry(t.Context(), w.promoter(key.signs), thirdSHA, ForPromote)
			expectRefusal(t, err, RuleNotGreen)
		})
		attack("a record of another target", func(t *testing.T, w *world, key testKey) {
			release(t, w, key)
			fresh(w)
			for _, app := range apps {
				r := w.forged(app, 50)
				r.Target = "edge"
				w.attach(app, r, "staging-0000aaa", key.signer)
			}
			_, err := carry(t.Context(), w.promoter(key.signs), thirdSHA, ForPromote)
			expectRefusal(t, err, RuleNotGreen)
		})
		attack("a forged head", func(t *testing.T, w *world, key testKey) {
			for _, app := range apps {
				r := w.forged(app, 50)
				r.Event, r.Stop = report.EventReleased, &ledger.Stop{}
				w.put(app, stopTag, w.seal(app, r, "latest", nil).Manifest)
			}
			w.expectNo(topSHA, top, key, "it is not signed")
		})
		attack("a go head as the stop head", func(_ *testing.T, w *world, key testKey) {
			for _, app := range apps {
				w.put(app, stopTag, w.Manifest(app, goTag))
			}
			w.expectNo(topSHA, top, key, "is not a stop head")
		})
		attack("another image's heads", func(_ *testing.T, w *world, key testKey) {
			for _, tag := range []string{goTag, stopTag} {
				raw := w.Manifest(apps[0], tag)
				var m struct {
					Layers []struct{ Data []byte }
				}
				if err := json.Unmarshal(raw, &m); err != nil {
					w.t.Fatal(err)
				}
				if err := w.promoter().repos[1].PushBlob(w.t.Context(), m.Layers[0].Data); err != nil {
					w.t.Fatal(err)
				}
				w.put(apps[1], tag, raw)
			}
			w.expectNo(topSHA, top, key, "it is about the image")
		})
		attack("a replayed stop head of one image", func(t *testing.T, w *world, key testKey) {
			stop := w.look(key.signs).View[0].Stop
			w.put(apps[0], stopTag, w.Manifest(apps[0], string(stop.Prev)))
			w.expectNoMove(topSHA, key, "rolled-back")
		})
		attack("a replayed stop head of all images", func(t *testing.T, w *world, key testKey) {
			for n, app := range apps {
				w.put(app, stopTag, w.Manifest(app, string(w.look(key.signs).View[n].Stop.Prev)))
			}
			w.expectNoMove(topSHA, key, "rolled-back")
		})
		attack("an older go head", func(t *testing.T, w *world, key testKey) {
			for n, app := range apps {
				w.put(app, goTag, w.Manifest(app, string(w.look(key.signs).View[n].Go.Prev)))
			}
			w.expectNo(topSHA, top, key, "rolled-back")
		})
		attack("the target moved by hand", func(t *testing.T, w *world, key testKey) {
			for _, app := range apps {
				w.put(app, "latest", w.Manifest(app, top))
			}
			w.expectNo(topSHA, top, key, "rolled")
		})
	}
}

// TestErasedRollback removes what a rollback wrote: its record, its list, both, its
// heads.
func TestErasedRollback(t *testing.T) {
	type erase func(w *world, app string, stop report.Digest)
	record := func(w *world, app string, stop report.Digest) { w.remove(app, string(stop)) }
	head := func(w *world, app string, _ report.Digest) { w.remove(app, stopTag) }
	list := func(w *world, app string, _ report.Digest) {
		tag := "sha256-" + strings.TrimPrefix(w.Digest(app, "staging-9e77a10"), "sha256:")
		w.put(app, tag, []byte(`{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[]}`))
	}
	for name, tt := range map[string]struct {
		erase []erase
		why   string
	}{
		"the list":                {[]erase{list}, "rolled-back"},
		"the head":                {[]erase{head}, "no stop head"},
		"the head and the record": {[]erase{head, record}, "no stop head"},
		"all of it":               {[]erase{list, head, record}, "no stop head"},
	} {
		for _, signed := range []bool{true, false} {
			if !signed && name != "the head" && !full {
				continue
			}
			bubble(t, fmt.Sprintf("%s, signed=%t", name, signed), func(t *testing.T) {
				w, key := newWorld(t, sim.RegistryConfig{}), newKey(t)
				if !signed {
					key = testKey{}
				}
				change := func(c *Config) {
					if signed {
						key.signs(c)
					}
				}
				w.must(newSHA, change, force("the ledger begins"))
				w.must(topSHA, change)
				w.rollBack("", change)
				for n, app := range apps {
					stop := w.look(change).View[n].Stop.Digest
					for _, f := range tt.erase {
						f(w, app, stop)
					}
				}
				for _, policy := range []Policy{ForVerify, ForPromote} {
					_, err := carry(t.Context(), w.promoter(change), topSHA, policy)
					var refused *RefusedError
					if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.why) {
						t.Errorf("policy %d: %v, want a refusal that says %q", policy, err, tt.why)
					}
				}
				w.same("latest", "staging-4c1d56e")
			})
		}
	}
}

// TestErasedHeads removes every head. Without signatures too, what is left shows
// that there were some.
func TestErasedHeads(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		bubble(t, fmt.Sprintf("referrers=%t", referrers), func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{Referrers: referrers})
			w.must(newSHA)
			w.must(topSHA)
			w.rollBack("")
			for _, app := range apps {
				w.remove(app, goTag)
				w.remove(app, stopTag)
			}
			_, err := verify(t.Context(), w.promoter(), topSHA)
			if expectRefusal(t, err, RuleRolledBack); !strings.Contains(err.Error(), "no stop head") {
				t.Errorf("%v", err)
			}
			if a, err := Admit(t.Context(), w.config(), w.Host()+"/"+apps[0]+":latest"); err != nil || a.Admitted {
				t.Errorf("%+v, %v", a, err)
			}
			// A person may say that it begins again: what is found is taken up.
			w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa", Created: built[topSHA].Add(time.Hour)})
			w.must(thirdSHA, force("a clean-up deleted the heads"))
			if rows, err := w.promoter().History(t.Context()); err != nil || rows[0].Forced == "" {
				t.Errorf("%+v, %v", rows, err)
			}
		})
	}
}

// TestReplayOfEverything can be noticed by a witness alone.
func TestReplayOfEverything(t *testing.T) {
	for _, erased := range []bool{false, true} {
		bubble(t, fmt.Sprintf("erased=%t", erased), func(t *testing.T) {
			w, key, seen := newWorld(t, sim.RegistryConfig{Referrers: true}), newKey(t), memo{}
			w.must(newSHA, key.signs, seen.witness, force("the ledger begins"))
			w.must(topSHA, key.signs, seen.witness)
			old := map[string][]byte{}
			for _, app := range apps {
				for _, tag := range []string{goTag, stopTag, "latest"} {
					old[app+tag] = w.Manifest(app, tag)
				}
			}
			w.rollBack("", key.signs, seen.witness)
			for n, app := range apps {
				stop := w.look(key.signs).View[n].Stop.Digest
				for _, tag := range []string{goTag, stopTag, "latest"} {
					w.put(app, tag, old[app+tag])
				}
				if erased {
					w.remove(app, string(stop))
				}
			}
			why := "rolled" // the rollback is found again, and carried out again
			if erased {
				why = "older than what is known"
			}
			w.expectNo(topSHA, "staging-9e77a10", key, why, seen.witness)
			c := w.config()
			key.signs(&c)
			seen.witness(&c)
			if a, err := Admit(t.Context(), c, w.Host()+"/"+apps[0]+":latest"); err != nil || a.Admitted && a.Digest == w.digest(apps[0], "staging-9e77a10") {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

// TestTwoHeadsOfOneSeq: two who hold at the same time lose neither's revocation.
func TestTwoHeadsOfOneSeq(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w, key, seen := newWorld(t, sim.RegistryConfig{Referrers: true}), newKey(t), memo{}
		w.must(newSHA, key.signs, seen.witness, force("the ledger begins"))
		w.must(topSHA, key.signs, seen.witness)
		before := w.look(key.signs)
		w.rollBack("", key.signs, seen.witness)
		after := w.look(key.signs)
		for n, app := range apps {
			s, next := &before.View[n], after.View[n].Stop
			r := w.forged(app, next.Seq)
			r.Event, r.Stop, r.Prev, r.Saw = report.EventHeld, s.Hold(ledger.Hold{By: "bob"}), s.Stop.Digest, before.View.Saw()
			w.put(app, stopTag, w.seal(app, r, "latest", key.signer).Manifest)
		}
		w.expectNo(topSHA, "staging-9e77a10", key, "rolled-back", seen.witness)
	})
}

// TestWrongClock: no decision depends on what time it is somewhere.
func TestWrongClock(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w, key := signedWorld(t, sim.RegistryConfig{Referrers: true})
		for _, app := range apps { // a green run of before the rollback whose clock was years ahead
			r := w.forged(app, 2)
			r.Time = time.Now().AddDate(30, 0, 0)
			w.attach(app, r, "staging-9e77a10", key.signer)
		}
		w.expectNo(topSHA, "staging-9e77a10", key, "rolled-back")
	})
}

// TestStolenFallbackTag has somebody put an image where records are listed.
func TestStolenFallbackTag(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w, key := signedWorld(t, sim.RegistryConfig{})
		for _, app := range apps {
			for _, of := range []string{"staging-9e77a10", "staging-4c1d56e"} {
				w.put(app, "sha256-"+strings.TrimPrefix(w.Digest(app, of), "sha256:"), w.Manifest(app, "staging-1f0c7be"))
			}
		}
		w.expectNo(topSHA, "staging-9e77a10", key, "rolled-back")
		if _, err := w.promoter(key.signs).Release(t.Context(), "fixed"); err != nil {
			t.Fatal(err)
		}
		w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa", Created: built[topSHA].Add(time.Hour)})
		for _, app := range apps {
			w.put(app, "sha256-"+strings.TrimPrefix(w.Digest(app, "staging-0000aaa"), "sha256:"), w.Manifest(app, "staging-1f0c7be"))
		}
		_, err := carry(t.Context(), w.promoter(key.signs), thirdSHA, ForPromote)
		expectOpen(t, err, "not an index")
		// A verify asks no list.
		if r, err := verify(t.Context(), w.promoter(key.signs), thirdSHA); err != nil || !strings.Contains(strings.Join(r.Warnings, ";"), "other tools") {
			t.Errorf("%v, %q", err, r.Warnings)
		}
	})
}

// TestRotation: both heads are signed anew while both keys are trusted; then what the
// old key signs counts no more.
func TestRotation(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w, old := signedWorld(t, sim.RegistryConfig{Referrers: true})
		next := newKey(t)
		both := func(c *Config) {
			c.Signer, c.Trust = next.signer, ledger.Trust{Keys: trust(t, old, next), RequireSigned: true}
		}
		if _, err := w.promoter(both).Release(t.Context(), "rotation"); err != nil {
			t.Fatal(err)
		}
		_, err := verify(t.Context(), w.promoter(next.signs), thirdSHA)
		if err == nil {
			t.Error("the go head is still signed by the old key")
		}
		w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa", Created: built[topSHA].Add(time.Hour)})
		w.must(thirdSHA, both)
		if _, err := verify(t.Context(), w.promoter(next.signs), thirdSHA); err != nil {
			t.Errorf("after the rotation: %v", err)
		}
		w.expectNo(topSHA, "staging-9e77a10", next, "rolled-back") // heads carry the state over
		fourth := strings.Replace(thirdSHA, "0000aaa", "0000bbb", 1)
		w.publish(sim.Build{SHA: fourth, Tag: "staging-0000bbb", Created: built[topSHA].Add(2 * time.Hour)})
		for _, app := range apps {
			w.attach(app, w.forged(app, 90), "staging-0000bbb", old.signer)
		}
		_, err = carry(t.Context(), w.promoter(next.signs), fourth, ForPromote)
		expectRefusal(t, err, RuleNotGreen)
	})
}

// TestUnsignedIsSeen: without keys anybody who may push can write what counts; that
// is the choice of who gives none.
func TestUnsignedHeadsCountWithoutKeys(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true})
		w.must(newSHA)
		if s := w.look().View[0]; s.Go.SignedBy != "" {
			t.Errorf("%+v", s.Go)
		}
		key := newKey(t)
		r, err := verify(t.Context(), w.promoter(key.signs), topSHA)
		if expectRefusal(t, err, RuleNoHead); !strings.Contains(strings.Join(r.Warnings, ";"), "not signed") {
			t.Errorf("%q", r.Warnings)
		}
		w.must(topSHA, key.signs, force("from here on it is signed"))
		w.must(topSHA, key.signs)
		if n := w.Count(http.MethodDelete); n > 0 {
			t.Errorf("%d deletions", n)
		}
	})
}

package promote

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// begunWorld is at newSHA, with a ledger.
func begunWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.publish(sim.Build{SHA: thirdSHA, Tag: "staging-0000aaa", Created: built[topSHA].Add(time.Hour)})
	w.must(newSHA)
	w.ResetLog()
	return w
}

// ready is a candidate that was tested.
func (w *world) ready(sha report.Commit, change ...func(*Config)) *Candidate {
	w.t.Helper()
	found, err := w.promoter(change...).Resolve(w.t.Context(), sha, ForVerify)
	if err == nil {
		err = errors.Join(found.Candidate.Preflight(w.t.Context()), found.Candidate.Confirm(w.t.Context()))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return found.Candidate
}

// asleep makes a run sleep once at a request, after it was sent or before.
func (w *world) asleep(method, path string, d time.Duration, after bool) *sim.Injected {
	return w.Inject(sim.Injection{Method: method, Path: path, Times: 1, Do: func(x *sim.Exchange) {
		if !after {
			time.Sleep(d)
		}
		a := x.Serve()
		if after {
			time.Sleep(d)
		}
		x.Send(a)
	}})
}

// TestPausedRuns: a look counts for one lease, whatever held the run up since.
func TestPausedRuns(t *testing.T) {
	bubble(t, "before anything was written", func(t *testing.T) {
		w := begunWorld(t)
		c := w.ready(topSHA)
		time.Sleep(time.Hour)
		w.put(apps[1], "latest", w.Manifest(apps[1], "staging-0000aaa"))
		w.ResetLog()
		expectOpen(t, c.Promote(t.Context(), green), "somebody else")
		if w.Count(http.MethodPut) > 0 {
			t.Errorf("written:\n%s", w.list())
		}
	})
	for _, after := range []bool{false, true} {
		bubble(t, "while the heads are written", func(t *testing.T) {
			w := begunWorld(t)
			c := w.ready(topSHA)
			w.asleep(http.MethodPut, "platform/manifests/canary-verify.latest.go$", 10*time.Second, after)
			var failed *MoveError
			if err := c.Promote(t.Context(), green); !errors.As(err, &failed) || !strings.Contains(err.Error(), "paused") {
				t.Errorf("%v", err)
			}
			w.same("latest", "staging-4c1d56e")
			for n, s := range w.look().View {
				if s.Go.Event != report.EventUndone || s.Want() != w.at("latest")[n] {
					t.Errorf("%s: %s, wants %s", s.Image, s.Go.Event, s.Want())
				}
			}
			w.must(topSHA)
		})
	}
	bubble(t, "while the targets are written", func(t *testing.T) {
		w := begunWorld(t)
		c := w.ready(topSHA)
		w.asleep(http.MethodPut, "platform/manifests/latest$", 10*time.Second, true)
		if err := c.Promote(t.Context(), green); err != nil {
			t.Fatal(err)
		}
		var failed *MoveError
		if err := c.Settle(t.Context()); !errors.As(err, &failed) || !strings.Contains(err.Error(), "paused") {
			t.Errorf("%v", err)
		}
		w.same("latest", "staging-9e77a10")
	})
}

// TestSettle: what becomes of a promotion in the time until older writes have landed.
func TestSettle(t *testing.T) {
	promoted := func(t *testing.T) (*world, *Candidate) {
		t.Helper()
		w := begunWorld(t)
		c := w.ready(topSHA)
		if err := c.Promote(t.Context(), green); err != nil {
			t.Fatal(err)
		}
		return w, c
	}
	var failed *MoveError
	bubble(t, "undisturbed", func(t *testing.T) {
		w, c := promoted(t)
		began := time.Now()
		if err := c.Settle(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 2*defaultLease || took > 2*defaultLease+time.Second {
			t.Errorf("it took %v", took)
		}
		w.same("latest", "staging-9e77a10")
	})
	bubble(t, "an older write lands late", func(t *testing.T) {
		w, c := promoted(t)
		w.put(apps[1], "latest", w.Manifest(apps[1], "staging-4c1d56e"))
		if err := c.Settle(t.Context()); err != nil {
			t.Error(err)
		}
		w.same("latest", "staging-9e77a10")
	})
	bubble(t, "a write is lost", func(t *testing.T) {
		w := begunWorld(t)
		c := w.ready(topSHA)
		w.Inject(sim.Injection{Method: http.MethodPut, Path: "tenant/manifests/latest$", Times: 1, Do: sim.LoseWrite()})
		if err := errors.Join(c.Promote(t.Context(), green), c.Settle(t.Context())); err != nil {
			t.Error(err)
		}
		w.same("latest", "staging-9e77a10")
	})
	bubble(t, "overtaken by another run", func(t *testing.T) {
		w, c := promoted(t)
		w.must(thirdSHA, func(c *Config) { c.Origin.RunURL = "https://forge.example/run/2" })
		if err := c.Settle(t.Context()); !errors.As(err, &failed) || !strings.Contains(err.Error(), "overtaken by https://forge.example/run/2") {
			t.Errorf("%v", err)
		}
		w.same("latest", "staging-0000aaa")
		if image := c.Images()[0]; image.State != report.UnknownState || image.Detail == "" || image.AtCandidate() {
			t.Errorf("%+v", image)
		}
	})
	bubble(t, "rolled back meanwhile", func(t *testing.T) {
		w, c := promoted(t)
		w.rollBack("")
		if err := c.Settle(t.Context()); !errors.As(err, &failed) || !strings.Contains(err.Error(), "rolled-back meanwhile") {
			t.Errorf("%v", err)
		}
		w.same("latest", "staging-4c1d56e")
	})
	bubble(t, "held meanwhile", func(t *testing.T) {
		w, c := promoted(t)
		if _, err := w.promoter().Hold(t.Context(), "why"); err != nil {
			t.Fatal(err)
		}
		if err := c.Settle(t.Context()); err != nil || c.Held() == nil {
			t.Errorf("%v, %+v", err, c.Held())
		}
		w.same("latest", "staging-9e77a10")
	})
	bubble(t, "moved by hand to something unknown", func(t *testing.T) {
		w, c := promoted(t)
		w.publish(sim.Build{SHA: thirdSHA, Tag: "latest", Images: apps[1:], Created: built[topSHA].Add(time.Hour)})
		if err := c.Settle(t.Context()); !errors.As(err, &failed) || !strings.Contains(err.Error(), "somebody else") {
			t.Errorf("%v", err)
		}
		if w.digest(apps[1], "latest") != w.digest(apps[1], "staging-0000aaa") {
			t.Error("it was touched")
		}
	})
	bubble(t, "somebody keeps writing", func(t *testing.T) {
		w, c := promoted(t)
		var writes atomic.Int32
		w.Inject(sim.Injection{Method: http.MethodPut, Path: "tenant/manifests/latest$", Do: func(x *sim.Exchange) {
			x.Send(x.Serve())
			if writes.Add(1)%2 == 1 {
				time.AfterFunc(time.Second, func() { w.put(apps[1], "latest", w.Manifest(apps[1], "staging-4c1d56e")) })
			}
		}})
		w.put(apps[1], "latest", w.Manifest(apps[1], "staging-4c1d56e"))
		if err := c.Settle(t.Context()); !errors.As(err, &failed) || !strings.Contains(err.Error(), "don't settle") {
			t.Errorf("%v", err)
		}
	})
	bubble(t, "nothing was moved", func(t *testing.T) {
		w := begunWorld(t)
		c := w.ready(newSHA)
		w.ResetLog()
		began := time.Now()
		if err := errors.Join(c.Promote(t.Context(), green), c.Settle(t.Context())); err != nil || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if w.Count(http.MethodPut, http.MethodPost) > 0 {
			t.Errorf("written:\n%s", w.list())
		}
	})
}

// TestTwoHolds: of two who hold and roll back at the same time, neither is lost.
func TestTwoHolds(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := begunWorld(t)
		w.must(topSHA)
		w.SetLatency(30 * time.Millisecond)
		held := make(chan error, 1)
		go func() {
			_, err := w.promoter(func(c *Config) { c.Origin.Actor = "bob" }).Hold(t.Context(), "the shop is closed")
			held <- err
		}()
		time.Sleep(15 * time.Millisecond)
		result, err := w.promoter().Rollback(t.Context(), "", "invoices are wrong")
		if err != nil || result.Held == nil {
			t.Errorf("%+v, %v", result, err)
		}
		if err := <-held; err != nil {
			t.Error(err)
		}
		w.same("latest", "staging-4c1d56e")
		for n, s := range w.look().View {
			if _, revoked := s.Revoked(w.at("staging-9e77a10")[n]); !revoked || s.Stop.Stop.Held == nil {
				t.Errorf("%s: %+v", s.Image, s.Stop.Stop)
			}
		}
	})
}

// TestConfigOfTheLedger finds what the ledger can't work with.
func TestConfigOfTheLedger(t *testing.T) {
	var invalid *report.InvalidError
	for field, change := range map[string]func(*Config){
		"SourceTag": func(c *Config) { c.SourceTag = "sha256-{full-sha}" },
		"TargetTag": func(c *Config) { c.TargetTag = "canary-verify.latest.go" },
		"CanaryTag": func(c *Config) { c.CanaryTag = "canary-verify.canary" },
		"Images":    func(c *Config) { c.Images = []string{"localhost:5000/org/app", "127.0.0.1:5000/org/app"} },
	} {
		c := Config{Images: []string{"registry.example/org/app"}}
		change(&c)
		if _, err := New(c); !errors.As(err, &invalid) || invalid.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, images := range [][]string{{"org/app", "docker.io/org/app"}, {"org/app", "index.docker.io/org/app"}} {
		if _, err := New(Config{Images: images}); !errors.As(err, &invalid) || invalid.Entry != 2 {
			t.Errorf("%q: %v", images, err)
		}
	}
}

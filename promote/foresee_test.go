package promote

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// TestAbsentListingIsNoGuess has a registry that seems to have no referrers API
// and has one after all: what it lists still counts.
func TestAbsentListingIsNoGuess(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true})
	w.must(newSHA)
	w.must(topSHA)
	if _, err := w.promoter().Rollback(t.Context(), newSHA, ""); err != nil {
		t.Fatal(err)
	}
	w.Inject(sim.Injection{Path: "/referrers/" + nowhere + "$", Do: sim.Give(sim.Answer{Status: http.StatusNotFound})})
	_, err := w.verify(t.Context(), w.promoter(), topSHA)
	expectRefusal(t, err, ruleRolled)
	for _, app := range apps {
		if !strings.Contains(err.Error(), app+"@") {
			t.Errorf("the roll-back of %s went unseen: %v", app, err)
		}
	}
}

// TestUnansweredForesightIsNoFault has a registry that fails for a digest that
// nothing has; whether the rest works is found out by the rest.
func TestUnansweredForesightIsNoFault(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		w := newWorld(t, sim.RegistryConfig{Referrers: referrers})
		w.Inject(sim.Injection{Path: "/referrers/" + nowhere + "$", Do: sim.Give(sim.Answer{Status: http.StatusForbidden})})
		w.must(newSHA)
		w.same("latest", "staging-4c1d56e")
	}
}

// A meeting is two requests of one image that must be under way at once: the
// first is not answered before the second has arrived.
func (w *world) meeting(first, second sim.Injection) {
	arrived, once := make(chan struct{}), sync.Once{}
	first.Times, second.Times = 1, 1
	first.Do = func(x *sim.Exchange) {
		select {
		case <-arrived:
		case <-x.Request.Context().Done():
			w.t.Errorf("%s %s waited in vain", x.Request.Method, x.Request.URL.Path)
		}
		x.Send(x.Serve())
	}
	second.Do = func(x *sim.Exchange) { once.Do(func() { close(arrived) }); x.Send(x.Serve()) }
	w.Inject(first)
	w.Inject(second)
}

// TestFallbackIsReadBeside holds what a registry without referrers API costs in
// time: nothing, neither before the verdict nor after it.
func TestFallbackIsReadBeside(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{NoArtifacts: true, Auth: sim.TokenAuth})
	candidate := w.at("staging-4c1d56e")[0]
	w.meeting(
		sim.Injection{Method: http.MethodGet, Path: "/platform/referrers/" + candidate},
		sim.Injection{Method: http.MethodGet, Path: "/platform/manifests/sha256-"},
	)
	p := w.promoter()
	plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
	if err == nil {
		err = together(func() error { return p.Prepare(t.Context(), plan, green) }, func() error { return p.Confirm(t.Context(), plan) })
	}
	if err != nil {
		t.Fatal(err)
	}
	w.ResetLog()
	w.meeting(
		sim.Injection{Method: http.MethodPut, Path: "/platform/manifests/sha256:"},
		sim.Injection{Method: http.MethodHead, Path: "/platform/manifests/latest"},
	)
	if err := p.Promote(t.Context(), plan, green); err != nil {
		t.Fatal(err)
	}
	w.same("latest", "staging-4c1d56e")
	var looks int
	for _, q := range w.Requests() {
		if q.Key == "HEAD /v2/"+apps[0]+"/manifests/latest" {
			looks++
		}
	}
	if looks != 2 {
		t.Errorf("%d looks at the target, want one beside the refused record and one behind the move", looks)
	}
	if !slices.ContainsFunc(plan.Warnings, func(s string) bool { return strings.Contains(s, "no record of this run was kept") }) {
		t.Errorf("%q", plan.Warnings)
	}
}

// TestHandshakeBeginsOnce counts the pings of a run, also of one whose first
// ping fails.
func TestHandshakeBeginsOnce(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true, Auth: sim.TokenAuth})
	w.must(newSHA)
	pings := func() (n int) {
		for _, q := range w.Requests() {
			if q.Key == "GET /v2/" {
				n++
			}
		}
		return n
	}
	if n := pings(); n != 1 {
		t.Errorf("%d pings, want 1", n)
	}
	w.Inject(sim.Injection{Path: "^/v2/$", Times: 1, Do: sim.Give(sim.Answer{Status: http.StatusTeapot})})
	p := w.promoter()
	if _, err := p.Resolve(t.Context(), newSHA, ForVerify); err == nil {
		t.Fatal("a registry that does not say how to sign in was signed in to")
	}
	if _, err := p.Resolve(t.Context(), newSHA, ForVerify); err != nil {
		t.Errorf("a failed handshake was kept: %v", err)
	}
}

// TestSlowHandshakeIsWaitedFor has a registry hang once for as long as one try
// may take, at the start of the handshake: that costs a try and not the run.
func TestSlowHandshakeIsWaitedFor(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true, Auth: sim.TokenAuth})
	w.Inject(sim.Injection{Path: "^/v2/$", Times: 2, Do: func(x *sim.Exchange) { <-x.Request.Context().Done() }})
	p := w.promoter()
	p.t.try = 250 * time.Millisecond
	if _, err := w.verify(t.Context(), p, newSHA); err != nil {
		t.Error(err)
	}
}

// blind panics at every look at the target, once its eyes are shut.
type blind struct {
	http.RoundTripper
	shut atomic.Bool
}

func (b *blind) RoundTrip(req *http.Request) (*http.Response, error) {
	if b.shut.Load() && req.Method == http.MethodHead && strings.HasSuffix(req.URL.Path, "/latest") {
		panic("blind")
	}
	return b.RoundTripper.RoundTrip(req)
}

// TestNoLookNoMove has the last look at the target break: a tag that nobody saw
// is not moved.
func TestNoLookNoMove(t *testing.T) {
	for name, kind := range map[string]sim.RegistryConfig{"records": {Referrers: true}, "fallback": {}, "no records": {NoArtifacts: true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, kind)
			former := w.at("latest")
			b := &blind{RoundTripper: http.DefaultTransport}
			p := w.promoter(func(c *Config) { c.Transport = b })
			plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
			if err == nil {
				err = together(func() error { return p.Prepare(t.Context(), plan, green) }, func() error { return p.Confirm(t.Context(), plan) })
			}
			if err != nil {
				t.Fatal(err)
			}
			b.shut.Store(true)
			if err := p.Promote(t.Context(), plan, green); err == nil || !strings.Contains(err.Error(), "internal error") {
				t.Errorf("%v", err)
			}
			if now := w.at("latest"); !slices.Equal(now, former) {
				t.Errorf("latest moved from %v to %v, unseen", former, now)
			}
		})
	}
}

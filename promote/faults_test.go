package promote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// A fault is one way in which a request can go wrong.
type fault struct {
	name   string
	always bool // from the request on, at every one of its kind
	do     sim.Action
	on     func(sim.Request) bool // requests that it makes a difference to; nil: all
}

// The requests that some faults are no faults for.
func hasBody(q sim.Request) bool   { return q.Method == "GET" }
func ofTag(q sim.Request) bool     { return strings.Contains(q.Path, "/manifests/") }
func writesTag(q sim.Request) bool { return q.Method == "PUT" && ofTag(q) }
func writes(q sim.Request) bool    { return q.Method == "PUT" || q.Method == "POST" }

// faults are those of the matrix; the crash of the process stands in
// [TestCrashMatrix].
var faults = []fault{
	{"500 once", false, sim.Status(500), nil},
	{"500 always", true, sim.Status(500), nil},
	{"403", true, sim.Status(403), nil},
	{"404", true, sim.Status(404), nil},
	{"429 with Retry-After", false, sim.Status(429, "Retry-After", "1"), nil},
	{"reset once", false, sim.Reset(), nil},
	{"reset always", true, sim.Reset(), nil},
	{"hang once", false, sim.Stall(), nil},
	{"hang always", true, sim.Stall(), nil},
	{"truncated body", false, sim.Truncate(), hasBody},
	{"wrong digest header", false, sim.WrongDigest(), ofTag},
	{"wrong digest header always", true, sim.WrongDigest(), ofTag},
	{"lost write", false, sim.LoseWrite(), writesTag},
	{"lost answer", false, sim.LoseAnswer(), writes},
	{"lag", false, sim.Lag(0, 5), writesTag},
	{"lag over the bound", false, sim.Lag(0, 0), writesTag},
}

// matrixKinds are the registries of the matrix: one of each way to keep records
// and to sign in.
var matrixKinds = map[string]sim.RegistryConfig{
	"referrers, token": {Referrers: true, Auth: sim.TokenAuth, CheckBlobs: true},
	"fallback, basic":  {Auth: sim.BasicAuth, CheckBlobs: true},
}

// matrixWorld is a world of two commits, with a canary tag beside the target.
func matrixWorld(t testing.TB, kind sim.RegistryConfig) *world {
	t.Helper()
	kind.Accounts = []sim.Account{user}
	reg, err := sim.StartRegistry(kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reg.Close)
	w := &world{reg, t}
	w.publish(sim.Build{SHA: oldSHA, Tag: "latest,canary"})
	w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e"})
	reg.ResetLog()
	return w
}

// withCanary makes the run move a canary tag first.
func withCanary(c *Config) { c.CanaryTag = "canary" }

// plain spares the matrix thousands of TLS handshakes: the library tries https
// first, also on loopback.
type plain struct{ http.RoundTripper }

func (p plain) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "https" {
		return nil, tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}
	}
	return p.RoundTripper.RoundTrip(req)
}

// overPlain makes the run use it.
func overPlain(c *Config) { c.Transport = plain{c.Transport} }

// TestFaultMatrix lets every request of a promotion of two images fail in every
// way, as the log of a clean run names them. Whatever happens, the targets are
// all at the candidate or all where they were, or the plan says of each where it
// is; an error that is no [MoveError] never leaves anything moved; and running
// again without the fault ends well.
func TestFaultMatrix(t *testing.T) {
	for name, kind := range matrixKinds {
		clean := matrixWorld(t, kind)
		clean.must(newSHA, withCanary)
		requests := clean.Requests()
		if len(requests) < 20 {
			t.Fatalf("only %d requests", len(requests))
		}
		for _, f := range faults {
			t.Run(name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				crowd(t, requests, func(q sim.Request) {
					if f.on == nil || f.on(q) {
						oneFault(t, kind, q, f)
					}
				})
			})
		}
	}
}

// crowd runs f for each request, several at once: most cells only wait.
func crowd(t *testing.T, requests []sim.Request, f func(sim.Request)) {
	t.Helper()
	slots := make(chan struct{}, 16)
	err := each(len(requests), func(i int) error {
		slots <- struct{}{}
		defer func() { <-slots }()
		f(requests[i])
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// oneFault is one cell of the matrix.
func oneFault(t *testing.T, kind sim.RegistryConfig, q sim.Request, f fault) {
	t.Helper()
	w := matrixWorld(t, kind)
	defer w.Close()
	former := w.at("latest")
	match := q.Again()
	if f.always {
		match = func(r *http.Request, nth int) bool { return nth >= q.Nth && q.Again()(r, q.Nth) }
	}
	w.Inject(sim.Injection{Match: match, Do: f.do})
	p := w.promoter(withCanary, overPlain)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p.t = brisk
	plan, err := w.verify(ctx, p, newSHA)
	if err != nil {
		if back := p.RestoreCanary(ctx, plan); back == nil && plan.Canary.State == canaryMoved && !f.always {
			t.Errorf("%s (%d): the canary tag stayed: %+v", q.Key, q.Nth, plan.Canary)
		}
	}
	w.Heal()
	if ctx.Err() != nil {
		t.Errorf("%s (%d): it took too long", q.Key, q.Nth)
	}
	if problem := w.untrue(plan, err, former); problem != "" {
		t.Errorf("%s (%d): %s\nerror: %v", q.Key, q.Nth, problem, err)
	}
	if _, err := w.verify(t.Context(), w.promoter(withCanary, overPlain), newSHA); err != nil {
		t.Errorf("%s (%d): run again: %v", q.Key, q.Nth, err)
	}
	w.same("latest", "staging-4c1d56e")
	for i, app := range apps {
		if w.Manifest(app, former[i]) == nil {
			t.Errorf("%s (%d): the former image of %s is gone", q.Key, q.Nth, app)
		}
	}
}

// untrue says what of a plan and its error is not so in the registry.
func (w *world) untrue(plan *Plan, err error, former []string) string {
	now, candidate := w.at("latest"), w.at("staging-4c1d56e")
	var failed *MoveError
	switch {
	case err == nil && !slices.Equal(now, candidate):
		return fmt.Sprintf("told as promoted, but the targets are at %v", now)
	case err != nil && !errors.As(err, &failed) && !slices.Equal(now, former):
		return fmt.Sprintf("told as untouched, but the targets are at %v", now)
	}
	for i, image := range plan.Images {
		known := image.State != UnknownTag
		if known && image.Now != now[i] && (err == nil || failed != nil) {
			return fmt.Sprintf("%s is told at %q (%v), but is at %s", image.Image, image.Now, image.State, now[i])
		}
		if known && (image.State == Promoted) != (now[i] == candidate[i]) {
			return fmt.Sprintf("%s is told as %v, but is at %s", image.Image, image.State, now[i])
		}
		if !known && image.Detail == "" {
			return image.Image + " is unknown without a word"
		}
		if !known && !strings.Contains(err.Error(), image.Image) {
			return fmt.Sprintf("the error does not name %s, which is unknown", image.Image)
		}
	}
	return ""
}

// childHost is set where the test binary is the process that gets killed.
const childHost = "CANARY_VERIFY_PROMOTE_CHILD"

func TestMain(m *testing.M) {
	if host := os.Getenv(childHost); host != "" {
		os.Exit(child(host))
	}
	os.Exit(m.Run())
}

// child verifies and promotes as a process of its own.
func child(host string) int {
	w := &world{}
	c := w.configAt(host)
	withCanary(&c)
	p, err := New(c)
	if err != nil {
		return 2
	}
	if _, err := w.verify(context.Background(), p, newSHA); err != nil {
		return 1
	}
	return 0
}

// TestCrashMatrix kills the process at every request, before it is done and
// after, and has another process run again.
func TestCrashMatrix(t *testing.T) {
	for name, kind := range matrixKinds {
		clean := matrixWorld(t, kind)
		if err := run(t, clean.Host(), nil); err != nil {
			t.Fatalf("a clean run: %v", err)
		}
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/done=%t", name, done), func(t *testing.T) {
				t.Parallel()
				crowd(t, clean.Requests(), func(q sim.Request) { oneCrash(t, kind, q, done) })
			})
		}
	}
}

func oneCrash(t *testing.T, kind sim.RegistryConfig, q sim.Request, done bool) {
	t.Helper()
	w := matrixWorld(t, kind)
	defer w.Close()
	former := w.at("latest")
	kill := make(chan func(), 1)
	w.Inject(sim.Injection{Match: q.Again(), Times: 1, Do: func(x *sim.Exchange) {
		if done {
			x.Serve()
		}
		(<-kill)()
		x.Reset()
	}})
	if err := run(t, w.Host(), kill); err == nil {
		t.Errorf("%s (%d): not killed", q.Key, q.Nth)
	}
	w.Heal()
	if now := w.at("latest"); !slices.Equal(now, former) {
		w.trail(q)
	}
	if err := run(t, w.Host(), nil); err != nil {
		t.Errorf("%s (%d): run again: %v", q.Key, q.Nth, err)
	}
	w.same("latest", "staging-4c1d56e")
	w.trail(q)
}

// trail fails unless both candidates have a green record.
func (w *world) trail(q sim.Request) {
	w.t.Helper()
	plan, err := w.promoter(withCanary).Resolve(w.t.Context(), newSHA, ForPromote)
	if err != nil {
		w.t.Errorf("%s (%d): after a crash: %v", q.Key, q.Nth, err)
		return
	}
	for i, image := range plan.Images {
		if image.Newest == nil || image.Newest.Event != Verified || image.Newest.Replaced == "" {
			w.t.Errorf("%s (%d): no trail on %s: %+v", q.Key, q.Nth, plan.Images[i].Image, image.Newest)
		}
	}
}

// run executes the child, which the function sent to kill kills.
func run(t *testing.T, host string, kill chan<- func()) error {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childHost+"="+host)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	if kill == nil {
		return <-exited
	}
	gone := make(chan struct{})
	kill <- func() {
		_ = cmd.Process.Kill()
		<-gone
	}
	err = <-exited
	close(gone)
	return err
}

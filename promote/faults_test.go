package promote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A fault is one way in which a request can go wrong.
type fault struct {
	name   string
	always bool // from the request on, at every one of its kind
	do     sim.Action
	on     func(sim.Request) bool // requests that it makes a difference to; nil: all
}

// The requests that some faults make a difference to.
func hasBody(q sim.Request) bool   { return q.Method == "GET" }
func ofTag(q sim.Request) bool     { return strings.Contains(q.Path, "/manifests/") }
func writesTag(q sim.Request) bool { return q.Method == "PUT" && ofTag(q) }
func writes(q sim.Request) bool    { return q.Method == "PUT" || q.Method == "POST" }

// faults are those of the matrix; that the process is killed stands in
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
	{"lag over the limit", false, sim.Lag(0, 0), writesTag},
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
	w := emptyWorld(t, kind)
	w.publish(sim.Build{SHA: oldSHA, Tag: "latest,canary"})
	w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e"})
	w.ResetLog()
	return w
}

// withCanary makes the run move a canary tag first.
func withCanary(c *Config) { c.CanaryTag = "canary" }

// matrix runs f for each request of a clean promotion of two images, as its log
// names them: for all of them where the tests run whole, else for every 47th,
// beginning with another one for each row.
func matrix(t *testing.T, kind sim.RegistryConfig, row int, f func(t *testing.T, q sim.Request)) {
	t.Helper()
	t.Parallel()
	requests := clean(t, kind, matrixWorld, func(w *world) { w.must(newSHA, withCanary) })
	if len(requests) < 20 {
		t.Fatalf("only %d requests", len(requests))
	}
	const sample = 47
	for n, q := range requests {
		if full || (n+row)%sample == 0 {
			fakeTime(t, func(t *testing.T) { f(t, q) })
		}
	}
}

// cleanRuns are the requests of runs that nothing disturbed, by what was run where.
var cleanRuns sync.Map

// clean returns the requests of an undisturbed run.
func clean(t *testing.T, kind sim.RegistryConfig, make func(testing.TB, sim.RegistryConfig) *world, do func(w *world)) []sim.Request {
	t.Helper()
	key := fmt.Sprintf("%v %p", kind, make)
	once, _ := cleanRuns.LoadOrStore(key, &cleanRun{})
	run := once.(*cleanRun)
	run.Do(func() {
		fakeTime(t, func(t *testing.T) {
			w := make(t, kind)
			do(w)
			run.requests = w.Requests()
		})
	})
	return run.requests
}

type cleanRun struct {
	sync.Once
	requests []sim.Request
}

// TestFaultMatrix lets every request fail in every way. Whatever happens, the
// targets are all at the candidate or all where they were, or the images say of
// each where it is; an error that is not a [MoveError] never leaves anything
// moved; and running again without the fault succeeds.
func TestFaultMatrix(t *testing.T) {
	for name, kind := range matrixKinds {
		for row, f := range faults {
			t.Run(name+"/"+f.name, func(t *testing.T) {
				matrix(t, kind, row, func(t *testing.T, q sim.Request) {
					if f.on == nil || f.on(q) {
						oneFault(t, kind, q, f)
					}
				})
			})
		}
	}
}

// oneFault is one cell of the matrix.
func oneFault(t *testing.T, kind sim.RegistryConfig, q sim.Request, f fault) {
	t.Helper()
	w := matrixWorld(t, kind)
	former := w.at("latest")
	match := q.Again()
	if f.always {
		match = func(r *http.Request, nth int) bool { return nth >= q.Nth && q.Again()(r, q.Nth) }
	}
	w.Inject(sim.Injection{Match: match, Do: f.do})
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	r, err := verify(ctx, w.promoter(withCanary), newSHA)
	if err != nil && r.candidate != nil {
		if back := r.candidate.RestoreCanary(ctx); back == nil && r.candidate.Canary().State == report.CanaryMoved && !f.always {
			t.Errorf("%s (%d): the canary tag stayed: %+v", q.Key, q.Nth, r.candidate.Canary())
		}
	}
	w.Heal()
	if ctx.Err() != nil {
		t.Errorf("%s (%d): it took too long", q.Key, q.Nth)
	}
	if problem := w.untrue(r, err, former); problem != "" {
		t.Errorf("%s (%d): %s\nerror: %v", q.Key, q.Nth, problem, err)
	}
	if _, err := verify(t.Context(), w.promoter(withCanary), newSHA); err != nil {
		t.Errorf("%s (%d): run again: %v", q.Key, q.Nth, err)
	}
	w.same("latest", "staging-4c1d56e")
	for i, app := range apps {
		if w.Manifest(app, string(former[i])) == nil {
			t.Errorf("%s (%d): the former image of %s is gone", q.Key, q.Nth, app)
		}
	}
}

// untrue says what of a run and its error is not so in the registry.
func (w *world) untrue(r run, err error, former []report.Digest) string {
	now, candidate := w.at("latest"), w.at("staging-4c1d56e")
	var failed *MoveError
	switch {
	case err == nil && !slices.Equal(now, candidate):
		return fmt.Sprintf("reported as promoted, but the targets are at %v", now)
	case err != nil && !errors.As(err, &failed) && !r.moved && !slices.Equal(now, former):
		return fmt.Sprintf("reported as untouched, but the targets are at %v", now)
	}
	for i, image := range r.Images {
		known := image.State != report.UnknownState
		if known && image.Now != now[i] && (err == nil || failed != nil) {
			return fmt.Sprintf("%s is reported at %q (%v), but is at %s", image.Image, image.Now, image.State, now[i])
		}
		if known && (image.State == report.Promoted) != (now[i] == candidate[i]) {
			return fmt.Sprintf("%s is reported as %v, but is at %s", image.Image, image.State, now[i])
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

// A mortal transport carries nothing any more once its process is dead.
type mortal struct {
	http.RoundTripper
	dead atomic.Bool
}

func (m *mortal) RoundTrip(req *http.Request) (*http.Response, error) {
	if m.dead.Load() {
		return nil, errors.New("killed")
	}
	return m.RoundTripper.RoundTrip(req)
}

// TestCrashMatrix kills the process at every request, before it is done and
// after: no further request of it reaches the registry. Then another process runs
// again.
func TestCrashMatrix(t *testing.T) {
	row := 0
	for name, kind := range matrixKinds {
		for _, done := range []bool{false, true} {
			row++
			t.Run(fmt.Sprintf("%s/done=%t", name, done), func(t *testing.T) {
				matrix(t, kind, row, func(t *testing.T, q sim.Request) { oneCrash(t, kind, q, done) })
			})
		}
	}
}

func oneCrash(t *testing.T, kind sim.RegistryConfig, q sim.Request, done bool) {
	t.Helper()
	w := matrixWorld(t, kind)
	former := w.at("latest")
	process := &mortal{RoundTripper: w.transport}
	w.Inject(sim.Injection{Match: q.Again(), Times: 1, Do: func(x *sim.Exchange) {
		if done {
			x.Serve()
		}
		process.dead.Store(true)
		x.Reset()
	}})
	if _, err := verify(t.Context(), w.promoter(withCanary, func(c *Config) { c.Transport = process }), newSHA); err == nil || !process.dead.Load() {
		t.Errorf("%s (%d): not killed", q.Key, q.Nth)
	}
	w.Heal()
	if now := w.at("latest"); !slices.Equal(now, former) {
		w.trail(q)
	}
	if _, err := verify(t.Context(), w.promoter(withCanary), newSHA); err != nil {
		t.Errorf("%s (%d): run again: %v", q.Key, q.Nth, err)
	}
	w.same("latest", "staging-4c1d56e")
	w.trail(q)
}

// trail fails unless the ledger of both images shows the promotion.
func (w *world) trail(q sim.Request) {
	w.t.Helper()
	look := w.look()
	for n, app := range apps {
		s := &look.View[n]
		if s.Go == nil || s.Stop == nil || s.Go.Event != report.EventVerified || s.Want() != w.at("staging-4c1d56e")[n] || s.Go.Go.From == "" {
			w.t.Errorf("%s (%d): no trail on %s: %+v", q.Key, q.Nth, app, s)
		}
	}
}

// TestRequests keeps the cost of a promotion of two images, all checks made, records
// signed and the look afterwards included: 36 requests with the referrers API, 40
// without, and one token for all.
func TestRequests(t *testing.T) {
	key := newKey(t)
	for name, tt := range map[string]struct {
		kind sim.RegistryConfig
		most int
	}{
		"referrers": {sim.RegistryConfig{Referrers: true, Auth: sim.TokenAuth, CheckBlobs: true}, 36},
		"fallback":  {sim.RegistryConfig{Auth: sim.TokenAuth, CheckBlobs: true}, 40},
	} {
		bubble(t, name, func(t *testing.T) {
			w := newWorld(t, tt.kind)
			w.must(newSHA, key.signs, force("the ledger begins"))
			w.ResetLog()
			handshakes := w.TokenHandshakes()
			w.must(topSHA, key.signs)
			if n := len(w.Requests()); n > tt.most {
				t.Errorf("%d requests:\n%s", n, w.list())
			} else {
				t.Logf("%d requests", n)
			}
			if n := w.TokenHandshakes() - handshakes; n > 1 {
				t.Errorf("%d token handshakes", n)
			}
		})
	}
}

// TestTimeUntilTheTargetsShow keeps what a release waits for: with 50 ms an
// answer, token authentication and records, the incumbent's sequence of four crane
// processes an image takes 1.59 s for two images. What the gate does beside the
// wait and the checks isn't counted.
func TestTimeUntilTheTargetsShow(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		w := newWorld(t, sim.RegistryConfig{Referrers: true, Auth: sim.TokenAuth, CheckBlobs: true})
		w.must(oldSHA) // the ledger begins
		w.SetLatency(50 * time.Millisecond)
		began := time.Now()
		found, err := w.promoter().Resolve(t.Context(), newSHA, ForVerify)
		if err != nil {
			t.Fatal(err)
		}
		c := found.Candidate
		took := time.Since(began)
		if err := errors.Join(c.Preflight(t.Context()), c.Confirm(t.Context())); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		shows := make(chan time.Duration, 1)
		go func() {
			for !slices.Equal(w.at("latest"), w.at("staging-4c1d56e")) {
				time.Sleep(time.Millisecond)
			}
			shows <- time.Since(began)
		}()
		if err := c.Promote(t.Context(), green); err != nil {
			t.Fatal(err)
		}
		t.Logf("resolved after %v, read back after %v", took, took+time.Since(began))
		if took += <-shows; took > 1590*time.Millisecond*10/35 {
			t.Errorf("the targets show the candidate after %v", took)
		}
		t.Log(took)
	})
}

// TestRollbackCrashMatrix kills a rollback at every request, before it is done and
// after, and runs the next steps: whatever had been done, a rollback run again ends
// with the target restored and on hold; the next green commit is refused; after a
// release it is promoted.
func TestRollbackCrashMatrix(t *testing.T) {
	row := 0
	for name, kind := range matrixKinds {
		for _, done := range []bool{false, true} {
			row++
			t.Run(fmt.Sprintf("%s/done=%t", name, done), func(t *testing.T) {
				t.Parallel()
				requests := clean(t, kind, rollbackWorld, func(w *world) { w.rollBack("") })
				for n, q := range requests {
					if full || (n+row)%41 == 0 {
						fakeTime(t, func(t *testing.T) { oneRollbackCrash(t, kind, q, done, n%2 == 0) })
					}
				}
			})
		}
	}
}

// rollbackWorld is at newSHA, with records.
func rollbackWorld(t testing.TB, kind sim.RegistryConfig) *world {
	t.Helper()
	w := emptyWorld(t, kind)
	w.publish(sim.Build{SHA: oldSHA, Tag: "latest"})
	w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e"})
	w.publish(sim.Build{SHA: topSHA, Tag: "staging-9e77a10"})
	w.publish(sim.Build{SHA: oldSHA, Tag: "former"})
	w.must(newSHA)
	w.ResetLog()
	return w
}

// oneRollbackCrash is one cell. meets: a verify meets what was left, before the
// rollback is run again.
func oneRollbackCrash(t *testing.T, kind sim.RegistryConfig, q sim.Request, done, meets bool) {
	t.Helper()
	w := rollbackWorld(t, kind)
	process := &mortal{RoundTripper: w.transport}
	w.Inject(sim.Injection{Match: q.Again(), Times: 1, Do: func(x *sim.Exchange) {
		if done {
			x.Serve()
		}
		process.dead.Store(true)
		x.Reset()
	}})
	if _, err := w.promoter(func(c *Config) { c.Transport = process }).Rollback(t.Context(), "", "why"); err == nil && !process.dead.Load() {
		t.Errorf("%s (%d): not killed", q.Key, q.Nth)
	}
	w.Heal()
	held := holdOf(w.look().View) != nil
	if meets && held {
		if _, err := verify(t.Context(), w.promoter(), topSHA); err == nil {
			t.Errorf("%s (%d): promoted over a rollback that was killed", q.Key, q.Nth)
		}
	}
	result, err := w.promoter().Rollback(t.Context(), "", "why")
	if err != nil || result.Held == nil || result.Rollback.ToSHA != oldSHA {
		t.Errorf("%s (%d): run again: %+v, %v", q.Key, q.Nth, result, err)
	}
	w.same("latest", "former")
	_, err = verify(t.Context(), w.promoter(), topSHA)
	w.expectHeld(err)
	_, err = verify(t.Context(), w.promoter(), newSHA)
	expectRefusal(t, err, RuleRolledBack)
	if _, err := w.promoter().Release(t.Context(), "fixed"); err != nil {
		t.Errorf("%s (%d): release: %v", q.Key, q.Nth, err)
	}
	if _, err := carry(t.Context(), w.promoter(), topSHA, ForPromote); err != nil {
		t.Errorf("%s (%d): promote after the release: %v", q.Key, q.Nth, err)
	}
	w.same("latest", "staging-9e77a10")
}

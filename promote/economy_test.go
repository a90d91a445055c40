package promote

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// budget is how many requests verify of two images may cost, all checks done
// and records kept (design.md, "Numbers to hold").
const budget = 36

// A cost is one request of a verify for each image, and why it is made.
type cost struct {
	key string // with the image as {app}
	why string
	run bool // it is made once a run, through one of the images
}

// costs are the requests of verify on a registry with the referrers API and
// token authentication, for an image whose target is labelled.
var costs = []cost{
	{"GET /v2/", "how the registry wants to be signed in to", true},
	{"GET /token", "one token with the rights to pull and push, for everything", false},
	{"GET /v2/{app}/manifests/staging-4c1d56e", "the candidate: bytes and digest, pinned", false},
	{"GET /v2/{app}/manifests/latest", "what the target points at: bytes to go back with", false},
	{"GET /v2/{app}/blobs/*", "the candidate's revision and time of creation", false},
	{"GET /v2/{app}/blobs/*", "those of what the target points at", false},
	{"GET /v2/{app}/referrers/*", "whether there is a referrers API, beside the tags", true},
	{"GET /v2/{app}/referrers/*", "the candidate's records: was it rolled back, was it green", false},
	{"HEAD /v2/{app}/manifests/*", "the way back: the former digest still pulls", false},
	{"POST /v2/{app}/blobs/uploads/", "the right to push, tried with the records' empty config", false},
	{"HEAD /v2/{app}/manifests/staging-4c1d56e", "the source still is what was tested", false},
	{"HEAD /v2/{app}/manifests/latest", "the target still is what was judged", false},
	{"POST /v2/{app}/blobs/uploads/", "the record's payload, beside those two", false},
	{"PUT /v2/{app}/manifests/*", "the record, ahead of the move", false},
	{"HEAD /v2/{app}/manifests/latest", "the target once more, beside the record: another gate may be at work", false},
	{"PUT /v2/{app}/manifests/latest", "the move", false},
	{"HEAD /v2/{app}/manifests/latest", "the move, read back after both were written", false},
}

// TestEveryRequestHasAReason holds what a verify sends against the table.
func TestEveryRequestHasAReason(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true, Auth: sim.TokenAuth, CheckBlobs: true})
	w.must(newSHA)
	var want []string
	for i := range apps {
		for _, c := range costs {
			if i == 0 || !c.run {
				want = append(want, strings.ReplaceAll(c.key, "{app}", "*"))
			}
		}
	}
	var got []string
	for _, q := range w.Requests() {
		key := q.Key
		for _, app := range apps {
			key = strings.ReplaceAll(key, app, "*")
		}
		got = append(got, key)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("requests:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(got) > budget {
		t.Errorf("%d requests, want at most %d", len(got), budget)
	}
	if n := w.TokenHandshakes(); n != len(apps) {
		t.Errorf("%d token handshakes, want one a repository", n)
	}
}

// TestBudget holds the other cases to the same limit.
func TestBudget(t *testing.T) {
	tests := []struct {
		name  string
		ahead func(w *world)
		do    func(w *world)
		most  int
	}{
		{"registry uploads in two requests", func(w *world) {
			w.Inject(sim.Injection{Method: "POST", Path: "/blobs/uploads/", Do: func(x *sim.Exchange) {
				x.Request.URL.RawQuery = "" // as distribution does with a digest
				x.Send(x.Serve())
			}})
		}, func(w *world) { w.must(newSHA) }, budget},
		{"target has records", func(w *world) { w.must(newSHA) }, func(w *world) { w.must(topSHA) }, budget},
		{"candidate has a record", func(w *world) { w.reject(newSHA) }, func(w *world) { w.must(newSHA) }, budget},
		{"a re-run that moves nothing", func(w *world) { w.must(newSHA) }, func(w *world) { w.must(newSHA) }, 20},
		{"promote by hand", func(w *world) { w.must(newSHA); w.must(topSHA) }, func(w *world) {
			if _, err := w.carry(w.t.Context(), w.promoter(), topSHA, ForPromote); err != nil {
				w.t.Error(err)
			}
		}, budget},
		{"dry run", func(*world) {}, func(w *world) { w.must(newSHA, func(c *Config) { c.DryRun = true }) }, 24},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{Referrers: true, Auth: sim.TokenAuth, CheckBlobs: true})
			tt.ahead(w)
			w.ResetLog()
			tt.do(w)
			if n := len(w.Requests()); n > tt.most {
				t.Errorf("%d requests, want at most %d:\n%s", n, tt.most, w.list())
			}
			if n := w.TokenHandshakes(); n > len(apps) {
				t.Errorf("%d token handshakes", n)
			}
		})
	}
}

// reject writes a red record on both images of a commit.
func (w *world) reject(sha string) {
	w.t.Helper()
	p := w.promoter(func(c *Config) { c.Force = "it may be older than the target" })
	plan, err := p.Resolve(w.t.Context(), sha, ForVerify)
	if err != nil {
		w.t.Fatal(err)
	}
	p.Reject(w.t.Context(), plan, Decision{Suite: "canary", Reason: "liveness broke"})
	for _, warning := range plan.Warnings {
		if strings.Contains(warning, "record") {
			w.t.Fatal(warning)
		}
	}
}

// list shows the log.
func (w *world) list() string {
	var b strings.Builder
	for _, q := range w.Requests() {
		fmt.Fprintf(&b, "%d %s (%d)\n", q.Status, q.Key, q.Nth)
	}
	return b.String()
}

// TestNothingWaitsBetweenVerdictAndMove counts the round trips that one image
// waits for from the verdict to the moved tag: the record, then the tag.
func TestNothingWaitsBetweenVerdictAndMove(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Referrers: true, Auth: sim.TokenAuth, CheckBlobs: true})
	p := w.promoter()
	plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
	if err == nil {
		err = p.Preflight(t.Context(), plan)
	}
	if err == nil {
		err = together(func() error { return p.Prepare(t.Context(), plan, green) }, func() error { return p.Confirm(t.Context(), plan) })
	}
	if err != nil {
		t.Fatal(err)
	}
	w.ResetLog()
	if err := p.Promote(t.Context(), plan, green); err != nil {
		t.Fatal(err)
	}
	var before []string
	for _, q := range w.Requests() {
		if strings.HasPrefix(q.Path, "/v2/"+apps[0]+"/") {
			before = append(before, q.Key)
			if q.Method == "PUT" && strings.HasSuffix(q.Path, "/latest") {
				break
			}
		}
	}
	slices.Sort(before[:min(2, len(before))]) // both at once
	if want := []string{"HEAD /v2/org/platform/manifests/latest", "PUT /v2/org/platform/manifests/*", "PUT /v2/org/platform/manifests/latest"}; !slices.Equal(before, want) {
		t.Errorf("up to the move: %q, want %q", before, want)
	}
}

// BenchmarkVerify is the registry's part of a verify of two images at 50 ms an
// answer, with token authentication and records (design.md, "Numbers to hold").
func BenchmarkVerify(b *testing.B) {
	for _, records := range []bool{true, false} {
		b.Run(fmt.Sprintf("records=%t", records), func(b *testing.B) {
			w := newWorld(b, sim.RegistryConfig{Referrers: true, Auth: sim.TokenAuth, CheckBlobs: true, NoArtifacts: !records})
			w.SetLatency(50 * time.Millisecond)
			b.ReportAllocs()
			shas := []string{newSHA, oldSHA}
			for i := 0; b.Loop(); i++ {
				p, err := New(w.config())
				if err != nil {
					b.Fatal(err)
				}
				p.config.Force = "back and forth"
				if _, err := w.verify(b.Context(), p, shas[i%2]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(w.Requests()))/float64(b.N), "requests/op")
		})
	}
}

package promote

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
)

// A memory is a registry without a network, for tests whose clock is not real.
// It is a transport: before may answer, delay or change anything.
type memory struct {
	handler http.Handler
	mu      sync.Mutex
	before  func(*http.Request) *http.Response // nil answer: go on
	after   func(*http.Request)
}

func newMemory() *memory {
	return &memory{handler: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true))}
}

func (m *memory) RoundTrip(req *http.Request) (*http.Response, error) {
	m.mu.Lock()
	before, after := m.before, m.after
	m.mu.Unlock()
	if before != nil {
		if resp := before(req); resp != nil {
			resp.Request = req
			return resp, nil
		}
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	resp := m.serve(req)
	if after != nil {
		after(req)
	}
	return resp, req.Context().Err()
}

func (m *memory) serve(req *http.Request) *http.Response {
	rec := httptest.NewRecorder()
	in := req.Clone(req.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	m.handler.ServeHTTP(rec, in)
	return rec.Result()
}

// digest is where a tag points, unseen by before.
func (m *memory) digest(app, tag string) report.Digest {
	req := httptest.NewRequest(http.MethodHead, "/v2/"+app+"/manifests/"+tag, nil)
	resp := m.serve(req)
	if resp.StatusCode != http.StatusOK {
		return ""
	}
	return report.Digest(resp.Header.Get("Docker-Content-Digest"))
}

// tag writes a tiny image under a tag.
func (m *memory) tag(app, tag, revision string) {
	m.tagAs(app, tag, revision, "")
}

// promoter is one with the standard bounds on both images.
func (m *memory) promoter(t *testing.T, change ...func(*Config)) *Promoter {
	t.Helper()
	c := Config{Transport: m}
	for _, app := range apps {
		m.tag(app, "latest", oldSHA)
		m.tag(app, "staging-4c1d56e", newSHA)
		m.tag(app, "staging-9e77a10", topSHA)
		c.Images = append(c.Images, "registry.example/"+app)
	}
	for _, f := range change {
		f(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// is reports whether a request is about a tag of an image.
func is(req *http.Request, method, app, tag string) bool {
	return req.Method == method && req.URL.Path == "/v2/"+app+"/manifests/"+tag
}

// hang waits until the client gives up.
func hang(req *http.Request) { <-req.Context().Done() }

func status(code int) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: http.NoBody}
}

// lagging shows a tag's former digest for a while after it was written.
func lagging(m *memory, app, tag string, lag time.Duration) {
	var mu sync.Mutex
	var until time.Time
	var shown report.Digest
	m.before = func(req *http.Request) *http.Response {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case is(req, http.MethodPut, app, tag):
			shown, until = m.digest(app, tag), time.Now().Add(lag)
		case is(req, http.MethodHead, app, tag) && time.Now().Before(until):
			resp := status(http.StatusOK)
			resp.Header.Set("Docker-Content-Digest", string(shown))
			return resp
		}
		return nil
	}
}

func TestLagIsWaitedForAndBounded(t *testing.T) {
	for _, tt := range []struct {
		lag   time.Duration
		moved bool
	}{{100 * time.Millisecond, true}, {25 * time.Second, true}, {40 * time.Second, false}} {
		t.Run(tt.lag.String(), func(t *testing.T) {
			fakeTime(t, func(t *testing.T) {
				m := newMemory()
				p := m.promoter(t)
				plan := resolved(t, p)
				lagging(m, apps[1], "latest", tt.lag)
				began := time.Now()
				err := plan.moveTargets(t.Context(), false)
				took := time.Since(began)
				var failed *MoveError
				if tt.moved != (err == nil) || err != nil && !errors.As(err, &failed) {
					t.Fatalf("after a lag of %v: %v", tt.lag, err)
				}
				if tt.moved && (took < tt.lag || took > tt.lag+3*time.Second) {
					t.Errorf("it took %v", took)
				}
				if took > 2*time.Minute {
					t.Errorf("it took %v", took)
				}
				m.before = nil
				want := map[bool]string{true: "staging-4c1d56e", false: "latest"}[tt.moved]
				for i, app := range apps {
					if !tt.moved {
						want = "was"
						if now := m.digest(app, "latest"); now != plan.Images()[i].Previous {
							t.Errorf("%s is at %s, want the former %s", app, now, plan.Images()[i].Previous)
						}
						continue
					}
					if m.digest(app, "latest") != m.digest(app, want) {
						t.Errorf("%s was not moved", app)
					}
				}
			})
		})
	}
}

// TestCancelHasOneBudget cancels while a PUT hangs, at every kind of place, and
// sees everything over within 6 s.
func TestCancelHasOneBudget(t *testing.T) {
	late := func(d time.Duration) func(m *memory, req *http.Request) *http.Response {
		return func(m *memory, req *http.Request) *http.Response {
			resp := m.serve(req) // it is done, the answer is slow
			began := time.Now()
			if web.Pause(req.Context(), d) != nil && time.Since(began) < 3*time.Second {
				t.Errorf("a write in flight was given up after %v", time.Since(began))
			}
			return resp
		}
	}
	never := func(_ *memory, req *http.Request) *http.Response { hang(req); return nil }
	tests := []struct {
		name string
		put  func(m *memory, req *http.Request) *http.Response
		want []report.TagState
		ok   bool
	}{
		{"the answer comes after 2s", late(2 * time.Second), []report.TagState{report.Promoted, report.Promoted}, true},
		{"the answer comes after 10s", late(10 * time.Second), []report.TagState{report.Promoted, report.Promoted}, true},
		{"it never comes, and nothing was done", never, []report.TagState{report.Restored, report.Unchanged}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fakeTime(t, func(t *testing.T) {
				m := newMemory()
				p := m.promoter(t)
				plan := resolved(t, p)
				ctx, cancel := context.WithCancel(t.Context())
				var once sync.Once
				var cancelled time.Time
				begun := make(chan struct{})
				begin := sync.OnceFunc(func() { close(begun) })
				m.before = func(req *http.Request) *http.Response {
					var resp *http.Response
					if is(req, http.MethodPut, apps[0], "latest") {
						begin()
					}
					if is(req, http.MethodPut, apps[1], "latest") {
						first := false
						once.Do(func() { <-begun; cancelled, first = time.Now(), true; cancel() })
						if first {
							resp = tt.put(m, req)
						}
					}
					return resp
				}
				err := plan.moveTargets(ctx, false)
				if took := time.Since(cancelled); took > 6*time.Second {
					t.Errorf("it took %v after the cancel", took)
				}
				if tt.ok != (err == nil) {
					t.Errorf("error: %v", err)
				}
				var failed *MoveError
				if !tt.ok && !errors.As(err, &failed) {
					t.Errorf("cancelled in the middle of a move: %v", err)
				}
				for i, image := range plan.Images() {
					if image.State != tt.want[i] || image.Now != m.digest(apps[i], "latest") {
						t.Errorf("%s: %v at %s, want %v at %s", image.Image, image.State, image.Now, tt.want[i], m.digest(apps[i], "latest"))
					}
				}
			})
		})
	}
}

// TestCancelWithDeadRegistry has nothing answer any more: where the tag is can't
// be known, and that is said in time.
func TestCancelWithDeadRegistry(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		m := newMemory()
		p := m.promoter(t)
		plan := resolved(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var cancelled time.Time
		m.before = func(req *http.Request) *http.Response {
			mu.Lock()
			dead := !cancelled.IsZero()
			if is(req, http.MethodPut, apps[1], "latest") && !dead {
				cancelled, dead = time.Now(), true
				cancel()
			}
			mu.Unlock()
			if dead {
				hang(req)
			}
			return nil
		}
		err := plan.moveTargets(ctx, false)
		if took := time.Since(cancelled); took > 6*time.Second {
			t.Errorf("it took %v after the cancel", took)
		}
		var failed *MoveError
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), apps[1]+":latest points at an unknown digest") {
			t.Errorf("error: %v", err)
		}
		if plan.Images()[1].State != report.UnknownState || plan.Images()[1].Detail == "" {
			t.Errorf("%+v", plan.Images()[1])
		}
	})
}

// TestOvertaken has somebody else move one tag while ours move.
func TestOvertaken(t *testing.T) {
	for _, tt := range []struct {
		name, by string
		want     []string // revision behind each target at the end
		ok       bool
		force    string
	}{
		{"by an older commit", oldSHA + "x", []string{newSHA, newSHA}, true, ""},
		{"by an older commit, while order is set aside", oldSHA + "x", []string{oldSHA, oldSHA}, false, "we go back and forth"},
		{"by a newer commit", topSHA, []string{oldSHA, topSHA}, false, ""},
		{"by an image of unknown age", "", []string{oldSHA, ""}, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fakeTime(t, func(t *testing.T) {
				m := newMemory()
				p := m.promoter(t, func(c *Config) { c.Force = tt.force })
				plan := resolved(t, p)
				by := strings.TrimSuffix(tt.by, "x")
				var once sync.Once
				m.after = func(req *http.Request) {
					if !is(req, http.MethodPut, apps[1], "latest") {
						return
					}
					once.Do(func() {
						if strings.HasSuffix(tt.by, "x") {
							m.tagAs(apps[1], "latest", by, "another build of it")
						} else {
							m.tag(apps[1], "latest", by)
						}
					})
				}
				err := plan.moveTargets(t.Context(), false)
				if tt.ok != (err == nil) {
					t.Errorf("error: %v", err)
				}
				for i, app := range apps {
					if got := m.revision(app, "latest"); got != tt.want[i] {
						t.Errorf("%s is at %q, want %q", app, got, tt.want[i])
					}
					if plan.Images()[i].Now != m.digest(app, "latest") {
						t.Errorf("%s is reported at %s", app, plan.Images()[i].Now)
					}
				}
				if err != nil && (!strings.Contains(err.Error(), "somebody else") || plan.Images()[1].State != report.UnknownState || plan.Images()[0].State != report.Restored) {
					t.Errorf("%v; %+v", err, plan.Images())
				}
			})
		})
	}
}

// tagAs writes an image that differs from others of the same commit.
func (m *memory) tagAs(app, tag, revision, title string) {
	raw := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/x-test",` +
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` + string(registry.DigestOf(registry.EmptyConfig)) + `","size":2},"layers":[],` +
		`"annotations":{"title":"` + title + `","` + revisionLabel + `":"` + revision + `","` + createdLabel + `":"` + built[revision].Format(time.RFC3339) + `"}}`
	req := httptest.NewRequest(http.MethodPut, "/v2/"+app+"/manifests/"+tag, strings.NewReader(raw))
	req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	m.serve(req)
}

// revision is what the image behind a tag says it was built from.
func (m *memory) revision(app, tag string) string {
	resp := m.serve(httptest.NewRequest(http.MethodGet, "/v2/"+app+"/manifests/"+tag, nil))
	raw, _ := io.ReadAll(resp.Body)
	parsed, err := registry.ParseManifest(resp.Header.Get("Content-Type"), raw)
	if err != nil {
		return err.Error()
	}
	return parsed.Content.Annotations[revisionLabel]
}

// TestRestoreOfAnAbsentTag deletes the tag by its name, where the registry can.
func TestRestoreOfAnAbsentTag(t *testing.T) {
	for _, tt := range []struct {
		name   string
		delete *http.Response
		want   report.TagState
	}{{"deleted", nil, report.Restored}, {"the registry can't", status(http.StatusMethodNotAllowed), report.Promoted}} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory()
			p := m.promoter(t, func(c *Config) { c.TargetTag = "stable" })
			plan := resolved(t, p)
			var deleted []string
			m.before = func(req *http.Request) *http.Response {
				switch {
				case req.Method == http.MethodDelete:
					deleted = append(deleted, req.URL.Path)
					return tt.delete
				case is(req, http.MethodPut, apps[1], "stable"):
					return status(http.StatusForbidden)
				}
				return nil
			}
			err := plan.moveTargets(t.Context(), false)
			var failed *MoveError
			if !errors.As(err, &failed) {
				t.Fatalf("error: %v", err)
			}
			if got := plan.Images()[0]; got.State != tt.want || got.Now != m.digest(apps[0], "stable") || got.State == report.Promoted && got.Detail == "" {
				t.Errorf("%+v", got)
			}
			if want := []string{"/v2/org/platform/manifests/stable"}; !slices.Equal(deleted, want) {
				t.Errorf("deleted %q, want %q", deleted, want)
			}
			if m.digest(apps[0], string(plan.Images()[0].Digest)) == "" {
				t.Error("the image is gone with its tag")
			}
		})
	}
}

// TestRegistryDeletesTheImageWithItsTag has it written again.
func TestRegistryDeletesTheImageWithItsTag(t *testing.T) {
	m := newMemory()
	p := m.promoter(t, func(c *Config) { c.TargetTag = "stable" })
	plan := resolved(t, p)
	m.before = func(req *http.Request) *http.Response {
		if is(req, http.MethodPut, apps[1], "stable") {
			return status(http.StatusForbidden)
		}
		return nil
	}
	m.after = func(req *http.Request) {
		if req.Method == http.MethodDelete {
			m.serve(httptest.NewRequest(http.MethodDelete, "/v2/"+apps[0]+"/manifests/"+string(plan.Images()[0].Digest), nil))
		}
	}
	if err := plan.moveTargets(t.Context(), false); err == nil {
		t.Fatal("promoted")
	}
	if m.digest(apps[0], string(plan.Images()[0].Digest)) == "" || m.digest(apps[0], "stable") != "" {
		t.Error("the image is gone, or its tag still there")
	}
}

// TestPanicInAMoveStopsNothing has one move panic; the other is put back.
func TestPanicInAMoveStopsNothing(t *testing.T) {
	m := newMemory()
	p := m.promoter(t)
	plan := resolved(t, p)
	m.before = func(req *http.Request) *http.Response {
		if is(req, http.MethodPut, apps[1], "latest") {
			panic("boom")
		}
		return nil
	}
	err := plan.moveTargets(t.Context(), false)
	if err == nil || plan.Images()[0].State != report.Restored || m.digest(apps[0], "latest") != plan.Images()[0].Previous {
		t.Errorf("%v, %+v", err, plan.Images()[0])
	}
}

// TestNoLookNoMove has the last look at the targets fail, one way or the other: a
// tag that nobody saw is not moved, and neither is the rest.
func TestNoLookNoMove(t *testing.T) {
	for name, look := range map[string]func() *http.Response{
		"panic":     func() *http.Response { panic("boom") },
		"forbidden": func() *http.Response { return status(http.StatusForbidden) },
		"down":      func() *http.Response { return status(http.StatusBadGateway) },
	} {
		for _, blind := range [][]string{apps, apps[1:]} {
			t.Run(name, func(t *testing.T) {
				fakeTime(t, func(t *testing.T) {
					m := newMemory()
					c := resolved(t, m.promoter(t))
					if err := c.Confirm(t.Context()); err != nil {
						t.Fatal(err)
					}
					m.before = func(req *http.Request) *http.Response {
						for _, app := range blind {
							if is(req, http.MethodHead, app, "latest") {
								return look()
							}
						}
						return nil
					}
					err := c.Promote(t.Context(), green)
					var failed *MoveError
					if err == nil || errors.As(err, &failed) {
						t.Errorf("%v", err)
					}
					for i, image := range c.Images() {
						if now := m.digest(apps[i], "latest"); now != image.Previous || image.Now != now || image.State != report.Unchanged {
							t.Errorf("%+v", image)
						}
					}
					time.Sleep(time.Minute) // net/http's timers outlive a panic
				})
			})
		}
	}
}

// TestOneMovedTagKeepsAllFromBeingWritten has somebody move the target of one image
// right before the move: no target is written.
func TestOneMovedTagKeepsAllFromBeingWritten(t *testing.T) {
	m := newMemory()
	c := resolved(t, m.promoter(t))
	if err := c.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.tag(apps[1], "latest", topSHA)
	var written atomic.Bool
	m.before = func(req *http.Request) *http.Response {
		if is(req, http.MethodPut, apps[0], "latest") || is(req, http.MethodPut, apps[1], "latest") {
			written.Store(true)
		}
		return nil
	}
	err := c.Promote(t.Context(), green)
	var failed *MoveError
	if err == nil || errors.As(err, &failed) || written.Load() {
		t.Errorf("a target was written: %v; the error is %v", written.Load(), err)
	}
	for i, image := range c.Images() {
		if image.State != report.Unchanged {
			t.Errorf("%s: %+v", apps[i], image)
		}
	}
}

// TestOvertakenWhileAnotherTagIsRetried has somebody move the first tag after
// it was read back, while the second is still being written.
func TestOvertakenWhileAnotherTagIsRetried(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		m := newMemory()
		p := m.promoter(t)
		plan := resolved(t, p)
		var puts int
		m.before = func(req *http.Request) *http.Response {
			if !is(req, http.MethodPut, apps[1], "latest") {
				return nil
			}
			if puts++; puts > 1 {
				if puts == 2 {
					m.tag(apps[0], "latest", topSHA)
				}
				return nil
			}
			return status(http.StatusServiceUnavailable)
		}
		err := plan.moveTargets(t.Context(), false)
		var failed *MoveError
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), "somebody else") {
			t.Errorf("error: %v", err)
		}
		if now := m.revision(apps[0], "latest"); now != topSHA || plan.Images()[0].State != report.UnknownState || plan.Images()[0].Now != m.digest(apps[0], "latest") {
			t.Errorf("at %s: %+v", now, plan.Images()[0])
		}
		if now := m.revision(apps[1], "latest"); now != oldSHA || plan.Images()[1].State != report.Restored {
			t.Errorf("at %s: %+v", now, plan.Images()[1])
		}
	})
}

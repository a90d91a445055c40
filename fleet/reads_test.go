package fleet

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

const oldSHA = "66b9c04000000000000000000000000000000000"

// TestReadsHaveConnectionsOfTheirOwn: behind one address another connection may
// lead to another build.
func TestReadsHaveConnectionsOfTheirOwn(t *testing.T) {
	for _, proto := range []string{"http", "https", "http2"} {
		t.Run(proto, func(t *testing.T) {
			var mu sync.Mutex
			served := map[string]int{} // requests by the client's address
			open, changed := 0, sync.NewCond(&mu)
			allClosed := func() {
				mu.Lock()
				defer mu.Unlock()
				for open > 0 {
					changed.Wait()
				}
			}
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				served[r.RemoteAddr+" "+r.Proto]++
				mu.Unlock()
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"git_sha":%q}`, newSHA)
			}))
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				mu.Lock()
				defer mu.Unlock()
				switch state {
				case http.StateNew:
					open++
				case http.StateClosed:
					open--
				}
				changed.Broadcast()
			}
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.EnableHTTP2 = proto == "http2"
			cfg := Config{}
			if proto == "http" {
				s.Start()
			} else {
				s.StartTLS()
				cfg.RootCAs = x509.NewCertPool()
				cfg.RootCAs.AddCert(s.Certificate())
			}
			defer s.Close()
			f, err := New([]Tenant{
				{Name: "a", URL: s.URL + "/a", Token: secret.New(testToken)}, {Name: "b", URL: s.URL + "/b", Token: secret.New(testToken)},
			}, cfg)
			if err != nil {
				t.Fatal(err)
			}
			f.Probe(t.Context(), WaitOptions{Commit: newSHA}) // leaves a connection that could be reused
			f.Close()
			allClosed()
			served = map[string]int{}
			waited, err := f.Wait(t.Context(), WaitOptions{Commit: newSHA, Timeout: time.Minute})
			again := f.Reread(t.Context(), WaitOptions{Commit: newSHA}, 4)
			for i := range waited {
				if err != nil || waited[i].State != report.Current || again[i].State != report.Current || again[i].Polls != 4 {
					t.Errorf("%+v, %+v, %v", waited[i], again[i], err)
				}
			}
			allClosed() // each ends with its answer, without Fleet.Close
			if want := 2 * (1 + DefaultReads + 4); len(served) != want {
				t.Errorf("%d connections for %d reads: %v", len(served), want, served)
			}
			for conn := range served {
				if h2 := strings.HasSuffix(conn, "HTTP/2.0"); h2 != (proto == "http2") {
					t.Errorf("a read over %s", conn)
				}
			}
		})
	}
}

// A proxy is used for these reads as for all others.
func TestReadsGoThroughTheProxy(t *testing.T) {
	var asked atomic.Int32
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot); asked.Add(1) })
	f, err := New([]Tenant{{URL: "https://tenant.invalid", Token: secret.New(testToken)}}, Config{Retries: -1, Proxy: func(r *http.Request) (*url.URL, error) {
		if r.URL.Hostname() != "tenant.invalid" {
			t.Errorf("asked for the proxy of %s", r.URL)
		}
		return url.Parse(s.URL)
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := f.Reread(t.Context(), WaitOptions{Commit: newSHA}, 1)[0]
	if got.State != report.Unreachable || !strings.Contains(got.Detail, "the proxy answered 418 to CONNECT") || asked.Load() != 1 {
		t.Errorf("%+v after %d requests to the proxy", got, asked.Load())
	}
}

// In a large fleet one read is enough, unless somebody asks for more.
func TestLargeFleetsAreReadOnce(t *testing.T) {
	for tenants, want := range map[int]int{1: 1 + DefaultReads, LargeFleet: 1 + DefaultReads, LargeFleet + 1: 1} {
		synctest.Test(t, func(t *testing.T) {
			f := fakeFleet(t, tenants, Config{}, func(*http.Request) (*http.Response, error) { return runs(newSHA), nil })
			for _, r := range must(f.Wait(t.Context(), WaitOptions{Commit: newSHA})) {
				if r.State != report.Current || r.Polls != want {
					t.Fatalf("of %d tenants: %+v, want %d reads", tenants, r, want)
				}
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAlternationIsMixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		f := fakeFleet(t, 1, Config{}, func(*http.Request) (*http.Response, error) {
			time.Sleep(10 * time.Millisecond)
			if n.Add(1)%2 == 0 {
				return runs(newSHA), nil
			}
			return runs(oldSHA), nil
		})
		began := time.Now()
		got := must(f.Wait(t.Context(), WaitOptions{Commit: newSHA}))[0]
		if got.State != report.Mixed || time.Since(began) != DefaultWaitTimeout || got.Version != oldSHA || !strings.Contains(got.Detail, " of 8 times, 66b9c04 ") {
			t.Errorf("%+v after %s", got, time.Since(began))
		}
		for reads := 2; reads <= 4; reads++ {
			if got := f.Reread(t.Context(), WaitOptions{Commit: newSHA}, reads)[0]; got.State != report.Mixed || got.Polls != reads {
				t.Errorf("%d reads: %+v", reads, got)
			}
		}
		if n.Load()%2 != 0 {
			n.Add(1)
		}
		n.Add(1)
		if got := f.Reread(t.Context(), WaitOptions{Commit: newSHA}, 2)[0]; got.Detail != "reported 4c1d56e 1 of 2 times, 66b9c04 once" {
			t.Errorf("%+v", got)
		}
	})
}

// A rolling restart behind one address is mixed for a while, and then current.
func TestRollingRestartIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var n atomic.Int32
		f := fakeFleet(t, 1, Config{}, func(*http.Request) (*http.Response, error) {
			switch since := time.Since(began); {
			case since < 10*time.Second, since < 30*time.Second && n.Add(1)%3 != 0:
				return runs(oldSHA), nil
			default:
				return runs(newSHA), nil
			}
		})
		var states []report.RolloutState
		got := must(f.Wait(t.Context(), WaitOptions{Commit: newSHA, Changed: func(_ int, r report.Rollout) {
			if len(states) == 0 || states[len(states)-1] != r.State {
				states = append(states, r.State)
			}
		}}))[0]
		if got.State != report.Current || got.Detail != "" || time.Duration(got.Waited) > 32*time.Second {
			t.Errorf("%+v: %s", got, got.Detail)
		}
		if want := []report.RolloutState{report.Stale, report.Mixed, report.Current}; !slices.Equal(states, want) {
			t.Errorf("states %v, want %v", states, want)
		}
	})
}

// Half of the answers come from an old build. All of 7 reads miss that with
// (1/2)^7 = 1/128; since a wait begins anew after each disagreement, with more
// reads, 1/115 is left: of 2,000 tenants 17, and hardly ever (in 1 of 2,000 times)
// more than 31, which would be 98.4 %.
func TestHalfAndHalfIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tenants = 2000
		var mu sync.Mutex
		coins := map[string]*rand.Rand{}
		f := fakeFleet(t, tenants, Config{Concurrency: tenants}, func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			coin := coins[r.URL.Host]
			if coin == nil {
				var seed uint64
				_, _ = fmt.Sscanf(r.URL.Host, "tenant-%d.", &seed)
				coin = rand.New(rand.NewPCG(seed, 14))
				coins[r.URL.Host] = coin
			}
			if coin.IntN(2) == 0 {
				return runs(oldSHA), nil
			}
			return runs(newSHA), nil
		})
		before := must(f.Wait(t.Context(), WaitOptions{Commit: newSHA, Reads: 3, Timeout: 4 * time.Second}))
		after := f.Reread(t.Context(), WaitOptions{Commit: newSHA}, 4)
		missed := 0
		for i := range before {
			if before[i].IsCurrent() && after[i].IsCurrent() {
				missed++
			}
		}
		if missed > 31 || missed == 0 {
			t.Errorf("%d of %d tenants passed for current, want about 17", missed, tenants)
		}
	})
}

func TestReread(t *testing.T) {
	current, stale := func() (*http.Response, error) { return runs(newSHA), nil }, func() (*http.Response, error) { return runs(oldSHA), nil }
	refused := func() (*http.Response, error) { return nil, fmt.Errorf("dial: %w", syscall.ECONNREFUSED) }
	none := func() (*http.Response, error) { return answer(404, ""), nil }
	down := func() (*http.Response, error) { return answer(503, ""), nil }
	type answers []func() (*http.Response, error)
	tests := map[string]struct {
		answers answers // the last one is repeated
		state   report.RolloutState
		detail  string
	}{
		"all current":             {answers{current}, report.Current, ""},
		"all stale":               {answers{stale}, report.Stale, "reported 66b9c04 3 of 3 times, not 4c1d56e"},
		"one stale":               {answers{current, stale, current}, report.Mixed, "reported 4c1d56e 2 of 3 times, 66b9c04 once"},
		"two stale":               {answers{stale, current, stale}, report.Mixed, "reported 4c1d56e 1 of 3 times, 66b9c04 twice"},
		"one without a commit":    {answers{current, none, current}, report.Mixed, "reported 4c1d56e 2 of 3 times, no commit once"},
		"none with a commit":      {answers{none}, report.UnknownCommit, "404"},
		"refused for a moment":    {answers{current, refused, current}, report.Current, ""},
		"answers 503 once":        {answers{current, down, current}, report.Current, ""},
		"refused from then on":    {answers{current, refused}, report.Unreachable, "reported 4c1d56e 1 of 3 times, no answer twice; the last failure: GET"},
		"refused from the start":  {answers{refused}, report.Unreachable, "nothing listens"},
		"stale, and then refused": {answers{stale, refused}, report.Stale, "reported 66b9c04 1 of 3 times, no answer twice"},
		"mixed, and then refused": {answers{stale, current, refused}, report.Mixed, "reported 4c1d56e 1 of 3 times, 66b9c04 once, no answer once"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left := tt.answers
				f := fakeFleet(t, 1, Config{}, func(*http.Request) (*http.Response, error) {
					next := left[0]
					if len(left) > 1 {
						left = left[1:]
					}
					return next()
				})
				got := f.Reread(t.Context(), WaitOptions{Commit: newSHA}, 3)[0]
				if got.State != tt.state || !strings.Contains(got.Detail, tt.detail) || got.Polls != 3 || (tt.detail == "") != (got.Detail == "") {
					t.Errorf("%s %+v, want %s with %q", got.State, got, tt.state, tt.detail)
				}
			})
		})
	}
}

// Reads are spread, and their end doesn't depend on the tenant.
func TestRereadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet(t, 1, Config{}, func(*http.Request) (*http.Response, error) { return runs(newSHA), nil })
		began := time.Now()
		f.Reread(t.Context(), WaitOptions{Commit: newSHA}, 11)
		if took := time.Since(began); took < time.Second || took > 2*time.Second {
			t.Errorf("11 reads took %s", took)
		}
		got := f.Reread(t.Context(), WaitOptions{Commit: newSHA, Timeout: 300 * time.Millisecond}, 11)[0]
		if got.State != report.Unreachable || !strings.Contains(got.Detail, "of 11 reads were answered") {
			t.Errorf("%s %+v", got.State, got)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("over"))
		if got := f.Reread(ctx, WaitOptions{Commit: newSHA}, 2)[0]; got.State == report.Current {
			t.Errorf("%s %+v", got.State, got)
		}
		hung := fakeFleet(t, 1, Config{}, hang)
		began = time.Now()
		got = hung.Reread(t.Context(), WaitOptions{Commit: newSHA, Timeout: 5 * time.Second}, 2)[0]
		if got.State != report.Unreachable || time.Since(began) != 5*time.Second {
			t.Errorf("%s %+v after %s", got.State, got, time.Since(began))
		}
	})
}

func TestRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		f := fakeFleet(t, 3, Config{}, func(r *http.Request) (*http.Response, error) {
			age, sha := time.Since(began), newSHA
			started := `"2026-11-01T00:00:00Z"`
			switch r.URL.Host {
			case "tenant-0.example.com": // dies every 6 s, and runs the commit from its second start
				started = fmt.Sprint(int(age / (6 * time.Second)))
				if age < 6*time.Second {
					sha = oldSHA
				}
			case "tenant-1.example.com":
				started = "null"
			}
			return answer(200, fmt.Sprintf(`{"git_sha":%q,"process":{"started":%s}}`, sha, started)), nil
		})
		o := WaitOptions{Commit: newSHA, StartedField: "process.started"}
		must(f.Wait(t.Context(), o))
		if got := f.Restarts(); !slices.Equal(got, []int{0, 0, 0}) {
			t.Errorf("restarts %v before any", got)
		}
		for range 3 {
			time.Sleep(6 * time.Second)
			f.Reread(t.Context(), o, 2)
		}
		if got := f.Restarts(); !slices.Equal(got, []int{3, 0, 0}) {
			t.Errorf("restarts %v, want 3 of the first tenant", got)
		}
		o.StartedField = "a..b"
		if _, err := f.Wait(t.Context(), o); !isInvalid(err, "StartedField") {
			t.Errorf("a malformed field: %v", err)
		}
	})
}

func isInvalid(err error, field string) bool {
	var invalid *report.InvalidError
	return errors.As(err, &invalid) && invalid.Field == field
}

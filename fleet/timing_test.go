package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// answer returns a response as a transport would, of JSON where headers say
// nothing else.
func answer(status int, body string, headers ...string) *http.Response {
	r := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// hang is a tenant that never answers.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// fakeFleet returns a fleet of n tenants, tenant-0.example.com and so on, that
// rt answers for.
func fakeFleet(t *testing.T, n int, cfg Config, rt roundTripper) *Fleet {
	t.Helper()
	tenants := make([]Tenant, n)
	for i := range tenants {
		tenants[i] = Tenant{URL: fmt.Sprintf("https://tenant-%d.example.com", i), Token: secret.New(testToken)}
	}
	cfg.Transport = rt
	f, err := New(tenants, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The schedule itself is that of internal/web; here its ends, and that an answer's
// Retry-After counts.
func TestBackoff(t *testing.T) {
	for retryAfter, want := range map[string][2]time.Duration{ // of all 7 waits together
		"": {8875 * time.Millisecond, 17750 * time.Millisecond}, "1": {11 * time.Second, 19 * time.Second}, "3600": {35 * time.Second, 35 * time.Second},
		"Sat, 01 Jan 2000 00:00:03 GMT": {11750 * time.Millisecond, 20500 * time.Millisecond}, // a bubble begins 3 s earlier
	} {
		synctest.Test(t, func(t *testing.T) {
			f := fakeFleet(t, 1, Config{Retries: 7}, func(*http.Request) (*http.Response, error) {
				return answer(503, "the last answer", "Retry-After", retryAfter), nil
			})
			began := time.Now()
			resp, err := f.Sessions()[0].Do(t.Context(), Request{Method: "GET", Path: "/"})
			if took := time.Since(began); err != nil || resp.Attempts != 8 || string(resp.Body) != "the last answer" || took < want[0] || took > want[1] {
				t.Errorf("Retry-After %q: %+v, %v after %s", retryAfter, resp, err, took)
			}
		})
	}
}

func TestDoIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet(t, 1, Config{}, hang)
		began := time.Now()
		_, err := f.Sessions()[0].Do(t.Context(), Request{Method: "GET", Path: "/"})
		e := transportError(t, err)
		// Four attempts of 10 s and waits of 0.25, 0.5 and 1 s at most.
		if took := time.Since(began); took < 40*time.Second || took > 41750*time.Millisecond || e.Elapsed != took || e.Attempts != 4 || e.Kind != FailureTimeout || e.Cause != "no answer within 10s" {
			t.Errorf("%+v after %s", e, took)
		}
		// A transport that says nothing about its connections may have sent.
		if _, err := f.Sessions()[0].Do(t.Context(), Request{Method: "POST", Path: "/"}); transportError(t, err).Attempts != 1 {
			t.Errorf("%v: a POST that may have been sent was sent again", err)
		}
	})
}

// A request that was cut off while it backed off ends at once, and doesn't free
// the slot while the tenant's others use it.
func TestCancelWhileBackingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet(t, 1, Config{}, func(*http.Request) (*http.Response, error) { return answer(503, "", "Retry-After", "5"), nil })
		s := f.Sessions()[0]
		for range 2 {
			if err := s.Enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := s.Do(ctx, Request{Method: "GET", Path: "/"})
		if e := transportError(t, err); e.Kind != FailureStopped || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%+v after %s", e, time.Since(began))
		}
		for _, want := range []int{1, 0} {
			s.Leave()
			if n := len(f.slots); n != want {
				t.Errorf("%d slots are taken, want %d", n, want)
			}
		}
	})
}

// An answer that arrived counts even when the run is cancelled in that moment:
// what a POST created must be known to be deleted.
func TestAnswerIsKeptWhenCancelledAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := fakeFleet(t, 1, Config{}, func(*http.Request) (*http.Response, error) { cancel(); return answer(201, "id"), nil })
		if resp, err := f.Sessions()[0].Do(ctx, Request{Method: "POST", Path: "/"}); err != nil || resp.Status != 201 {
			t.Errorf("%+v, %v", resp, err)
		}
	})
}

// One slot, two tenants: while the first backs off, the second is served.
func TestBackingOffHoldsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet(t, 2, Config{Concurrency: 1}, func(r *http.Request) (*http.Response, error) {
			time.Sleep(100 * time.Millisecond)
			if r.URL.Host == "tenant-0.example.com" {
				return answer(503, "", "Retry-After", "4"), nil
			}
			return answer(200, ""), nil
		})
		var all sync.WaitGroup
		var took [2]time.Duration
		began := time.Now()
		for i, s := range f.Sessions() {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if err := s.Enter(t.Context()); err != nil {
					t.Error(err)
				}
				defer s.Leave()
				if _, err := s.Do(t.Context(), Request{Method: "GET", Path: "/"}); err != nil {
					t.Error(err)
				}
				took[i] = time.Since(began)
			})
		}
		all.Wait()
		if took[1] != 200*time.Millisecond {
			t.Errorf("the second tenant had its answer after %s, want 200ms", took[1])
		}
		if took[0] < 12*time.Second {
			t.Errorf("the first tenant gave up after %s", took[0])
		}
		if len(f.slots) != 0 {
			t.Error("a slot is still taken")
		}
	})
}

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		f := fakeFleet(t, 10, Config{Concurrency: 3}, func(*http.Request) (*http.Response, error) {
			raise(&most, running.Add(1))
			time.Sleep(time.Second)
			running.Add(-1)
			return answer(200, ""), nil
		})
		var all sync.WaitGroup
		began := time.Now()
		for _, s := range f.Sessions() {
			for range 4 { // the tenant's checks share its slot
				all.Go(func() {
					if err := s.Enter(t.Context()); err != nil {
						t.Error(err)
					}
					defer s.Leave()
					if _, err := s.Do(t.Context(), Request{Method: "GET", Path: "/"}); err != nil {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
		if most.Load() != 3*4 {
			t.Errorf("%d requests at a time, want those of 3 tenants", most.Load())
		}
		if took := time.Since(began); took != 4*time.Second { // 10 tenants, 3 at a time
			t.Errorf("took %s, want 4s", took)
		}
		if len(f.slots) != 0 {
			t.Errorf("%d slots are still taken", len(f.slots))
		}
	})
}

func TestEnterHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet(t, 2, Config{Concurrency: 1}, hang)
		a, b := f.Sessions()[0], f.Sessions()[1]
		if err := a.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		reason := errors.New("over")
		ctx, cancel := context.WithCancelCause(t.Context())
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if err := b.Enter(ctx); !errors.Is(err, reason) {
					t.Errorf("%v, want the context's cause", err)
				}
			})
		}
		synctest.Wait()
		cancel(reason)
		all.Wait()
		b.Leave() // one too many does nothing
		a.Leave()
		if err := b.Enter(t.Context()); err != nil {
			t.Error(err)
		}
		b.Leave()
		if len(f.slots) != 0 {
			t.Error("a slot is still taken")
		}
	})
}

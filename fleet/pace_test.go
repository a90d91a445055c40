package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A limiter allows a number of requests in each window, as servers do: a window
// begins with a request.
type limiter struct {
	limit  int
	window time.Duration
	unix   bool // X-RateLimit-Reset is a date

	mu      sync.Mutex
	ends    time.Time
	used    int
	served  int
	refused int
}

// serve answers one request after 20 ms.
func (l *limiter) serve(r *http.Request) (*http.Response, error) {
	time.Sleep(10 * time.Millisecond)
	defer time.Sleep(10 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); !now.Before(l.ends) {
		l.ends, l.used = now.Add(l.window), 0
	}
	l.used++
	status, left := 200, l.limit-l.used
	if left < 0 {
		l.refused++
		status, left = 429, 0
	} else {
		l.served++
	}
	seconds := int64(time.Until(l.ends) / time.Second) // rounded down, as they do
	headers := []string{"X-RateLimit-Limit", strconv.Itoa(l.limit), "X-RateLimit-Remaining", strconv.Itoa(left)}
	if status == 429 {
		headers = append(headers, "Retry-After", strconv.FormatInt(seconds+1, 10))
	}
	if l.unix {
		seconds = l.ends.Unix()
	}
	return answer(status, "{}", append(headers, "X-RateLimit-Reset", strconv.FormatInt(seconds, 10))...), nil
}

// soak sends rounds of six requests at once, as a suite does, to every tenant for
// some time, with a pause between them. Suites begin some time apart.
func soak(t *testing.T, f *Fleet, length, pause time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var all sync.WaitGroup
	for i, s := range f.Sessions() {
		all.Go(func() {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			for ctx.Err() == nil {
				var round sync.WaitGroup
				for range 6 {
					round.Go(func() {
						if s.Enter(ctx) != nil {
							return
						}
						defer s.Leave()
						resp, err := s.Do(ctx, Request{Method: "GET", Path: "/"})
						var e *TransportError
						switch {
						case errors.As(err, &e) && e.Kind == FailureStopped:
						case err != nil || resp.Status != 200 || resp.Elapsed > 21*time.Millisecond:
							t.Errorf("%+v, %v", resp, err)
						}
					})
				}
				round.Wait()
				time.Sleep(pause)
			}
		})
	}
	all.Wait()
	if n := len(f.slots); n != 0 {
		t.Errorf("%d slots are still taken", n)
	}
}

func TestSoakStaysWithinTheRateLimit(t *testing.T) {
	for _, tt := range []struct {
		tenants int
		length  time.Duration
		pause   time.Duration
		unix    bool
		least   float64 // share of what the limit allows that is used
	}{
		{1, 30 * time.Minute, 0, false, 0.85},
		{1, 30 * time.Minute, 5 * time.Second, true, 0.1}, // nothing is ever waited for
		{5, 10 * time.Minute, 0, true, 0.8},               // all share one limit
		{12, 10 * time.Minute, 5 * time.Second, false, 0.6},
		{30, 10 * time.Minute, 5 * time.Second, true, 0.6},
	} {
		t.Run(fmt.Sprintf("%d tenants", tt.tenants), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &limiter{limit: 600, window: time.Minute, unix: tt.unix}
				f := fakeFleet(t, tt.tenants, Config{}, l.serve)
				soak(t, f, tt.length, tt.pause)
				if most := 600 * tt.length.Minutes(); l.refused > 0 || float64(l.served) < tt.least*most {
					t.Errorf("%d requests were refused and %d served in %s, want none and at least %.0f", l.refused, l.served, tt.length, tt.least*most)
				}
			})
		})
	}
}

// However small a limit is, or whatever a tenant reports, nothing stands still.
func TestRateLimitsLetSomethingThrough(t *testing.T) {
	for _, limit := range []string{"1", "2", "10", "600"} {
		synctest.Test(t, func(t *testing.T) {
			f := fakeFleet(t, 1, Config{}, func(*http.Request) (*http.Response, error) {
				return answer(200, "", "X-RateLimit-Limit", limit, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "9"), nil
			})
			began := time.Now()
			for range 5 {
				if _, err := f.Sessions()[0].Do(t.Context(), Request{Method: "GET", Path: "/"}); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(began); took < 36*time.Second || took > 90*time.Second {
				t.Errorf("limit %s: 5 requests took %s, want one in each window of 10 s", limit, took)
			}
		})
	}
}

// A refusal closes the tenant to all of its requests until the time it names.
func TestRetryAfterOfARefusalIsObeyed(t *testing.T) {
	for after, want := range map[string]time.Duration{
		"30":   30 * time.Second,       // longer than any back-off
		"3600": 0,                      // nobody waits for an hour: the refusal says more
		"":     250 * time.Millisecond, // the back-off alone
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			f := fakeFleet(t, 2, Config{Retries: 1}, func(r *http.Request) (*http.Response, error) {
				if r.URL.Host == "tenant-0.example.com" && time.Since(began) < want/2 || after == "3600" {
					return answer(429, "", "Retry-After", after), nil
				}
				return answer(200, ""), nil
			})
			s := f.Sessions()[0]
			resp, err := s.Do(t.Context(), Request{Method: "GET", Path: "/"})
			if took := time.Since(began); err != nil || took < want/2 || took > max(want, backoffMax) || (after == "30" && took != want) {
				t.Errorf("Retry-After %q: %+v, %v after %s, want %s", after, resp, err, took, want)
			}
		})
	}
}

// Waiting for a rate limit holds no slot, ends with its context, and says so.
// Cleaning up doesn't wait, and another tenant isn't touched.
func TestWaitingForTheRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet(t, 2, Config{Concurrency: 1}, func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "tenant-0.example.com" {
				return answer(200, "", "X-RateLimit-Limit", "600", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "59"), nil
			}
			return answer(200, ""), nil
		})
		limited, other := f.Sessions()[0], f.Sessions()[1]
		get := Request{Method: "GET", Path: "/"}
		if _, err := limited.Do(t.Context(), get); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		began := time.Now()
		var waiting sync.WaitGroup
		waiting.Go(func() {
			_, err := limited.Do(ctx, get)
			e := transportError(t, err)
			if e.Kind != FailureStopped || e.Attempts != 0 || e.Sent || time.Since(began) != 30*time.Second || !strings.Contains(e.Error(), "waited for the tenant's rate limit") {
				t.Errorf("%+v after %s", e, time.Since(began))
			}
		})
		synctest.Wait()
		if len(f.slots) != 0 {
			t.Error("waiting holds a slot")
		}
		for name, err := range map[string]error{
			"another tenant": func() error { _, err := other.Do(t.Context(), get); return err }(),
			"unpaced": func() error {
				_, err := limited.Do(t.Context(), Request{Method: "DELETE", Path: "/", Unpaced: true})
				return err
			}(),
		} {
			if err != nil || time.Since(began) != 0 {
				t.Errorf("%s: %v after %s", name, err, time.Since(began))
			}
		}
		waiting.Wait()
		resp, err := limited.Do(t.Context(), get)
		if took := time.Since(began); err != nil || resp.Attempts != 1 || took < 59*time.Second || took > 62*time.Second {
			t.Errorf("%+v, %v after %s, want it after the reset", resp, err, took)
		}
		if n := limited.pacer.inFlight.Load(); n != 0 {
			t.Errorf("%d requests count as sent and not answered", n)
		}
	})
}

func TestRateLimitHint(t *testing.T) {
	for want, headers := range map[string][]string{
		"limits requests to 600 in a window that ends in 42s": {"X-RateLimit-Limit", "600", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "42"},
		"accepts more in 7s":     {"Retry-After", "7"},
		"don't say how many":     {},
		"pause longer between":   {},
		"counted over all clien": {"X-RateLimit-Limit", "600", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "42"},
	} {
		r := &Response{Status: 429, Header: answer(429, "", headers...).Header}
		if got := r.RateLimitHint(); !strings.Contains(got, want) {
			t.Errorf("%q, want %q in it", got, want)
		}
	}
	f := fakeFleet(t, 1, Config{Retries: -1}, func(*http.Request) (*http.Response, error) { return answer(429, ""), nil })
	if got := f.Probe(t.Context(), WaitOptions{Commit: newSHA})[0]; got.State != report.Unreachable || !strings.Contains(got.Detail, "limits requests") {
		t.Errorf("%+v", got)
	}
}

package web_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
)

func TestBackoffDoublesAndHeedsRetryAfterUpToItsLimit(t *testing.T) {
	const lowest, highest = 250 * time.Millisecond, 5 * time.Second
	for n, most := range []time.Duration{lowest, 2 * lowest, 4 * lowest, 8 * lowest, 16 * lowest, highest, highest} {
		for range 100 {
			if got := web.Backoff(lowest, highest, n, nil); got < most/2 || got > most {
				t.Fatalf("retry %d after %v, want between %v and %v", n, got, most/2, most)
			}
		}
	}
	after := func(value string) *http.Response {
		return &http.Response{Header: http.Header{"Retry-After": {value}}}
	}
	for value, want := range map[string]time.Duration{"2": 2 * time.Second, "3600": highest, "99999999999999": highest} {
		if got := web.Backoff(lowest, highest, 0, after(value)); got != want {
			t.Errorf("Retry-After: %s waits %v, want %v", value, got, want)
		}
	}
	for _, value := range []string{"-5", "soon", "Thu, 01 Jan 1970 00:00:00 GMT"} {
		if got := web.RetryAfter(after(value).Header); got != 0 {
			t.Errorf("Retry-After: %s is %v, want nothing", value, got)
		}
	}
}

func TestPauseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("why")
		time.AfterFunc(time.Second, func() { cancel(why) })
		began := time.Now()
		if err := web.Pause(ctx, time.Hour); !errors.Is(err, why) || time.Since(began) != time.Second {
			t.Errorf("Pause = %v after %v", err, time.Since(began))
		}
		if err := web.Pause(t.Context(), time.Minute); err != nil || time.Since(began) != 61*time.Second {
			t.Errorf("Pause = %v after %v", err, time.Since(began))
		}
	})
}

func TestCleanupOutlivesByItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			deadline bool
			want     time.Duration
		}{{false, web.AfterCancel}, {true, web.AfterDeadline}} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			cleanup, done := web.Cleanup(ctx)
			if !tt.deadline {
				cancel()
			}
			<-ctx.Done()
			began := time.Now()
			<-cleanup.Done()
			if got := time.Since(began); got != tt.want {
				t.Errorf("deadline %v: the clean-up had %v, want %v", tt.deadline, got, tt.want)
			}
			done()
			cancel()
		}
	})
}

// flaky answers 503 a number of times, then 200.
type flaky struct{ left, asked int }

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	status := http.StatusOK
	if f.asked++; f.left > 0 {
		f.left--
		status = http.StatusServiceUnavailable
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader("body")), Request: r,
	}, nil
}

func TestClientRepeatsByThePolicyAndHandsTheLastAnswerOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct{ failures, wantStatus, wantAsked int }{{2, 200, 3}, {9, 503, 4}} {
			server := &flaky{left: tt.failures}
			waits := 0
			client := web.Client(server, web.Policy{
				Retries: 3, Lowest: time.Second, Highest: time.Minute,
				Again: func(resp *http.Response, err error) bool { return err != nil || web.Unavailable(resp.StatusCode) },
				Waits: func() { waits++ },
			})
			req, err := retryablehttp.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != tt.wantStatus || server.asked != tt.wantAsked || waits != tt.wantAsked-1 || string(body) != "body" {
				t.Errorf("status %d after %d requests and %d waits, body %q", resp.StatusCode, server.asked, waits, body)
			}
		}
	})
}

func TestProxyErrorsQuoteNothing(t *testing.T) {
	choose := web.Proxy(func(*http.Request) (*url.URL, error) { return nil, errors.New("http://user:password@proxy") })
	if _, err := choose(nil); !errors.Is(err, web.ErrProxySetting) || strings.Contains(err.Error(), "password") {
		t.Errorf("got %v", err)
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true,
		"example.com": false, "localhost.example.com": false, "10.0.0.1": false, "127.1": false, "": false,
	} {
		if got := web.IsLoopback(host); got != want {
			t.Errorf("IsLoopback(%q) = %v", host, got)
		}
	}
}

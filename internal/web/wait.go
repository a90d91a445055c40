package web

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Pause waits for d. The error is the cause of ctx where that ended first.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Jitter spreads a wait over its second half, so that many who wait don't come
// back together.
func Jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d/2 + spread(d/2+1)
}

// spread draws a time from 0 to below n. Tests whose runs must be the same each time
// replace it.
var spread = rand.N[time.Duration]

// Backoff is how long to wait before retry n, counted from 0: lowest, doubling,
// jittered, and no shorter than a Retry-After of the answer, but never more than
// highest.
func Backoff(lowest, highest time.Duration, n int, resp *http.Response) time.Duration {
	wait := highest
	if n < 30 && lowest<<n < highest {
		wait = lowest << n
	}
	wait = Jitter(wait)
	if resp != nil {
		wait = max(wait, RetryAfter(resp.Header))
	}
	return min(wait, highest)
}

// RetryAfter reads that header, in seconds or as a date (RFC 9110, 10.2.3); 0
// when there is none.
func RetryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		const most = 24 * 60 * 60 // more would overflow, or is as good as for ever
		return time.Duration(min(max(seconds, 0), most)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

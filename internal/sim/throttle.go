package sim

import (
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A Bucket is what [Throttle] counts in: a number of requests for each client
// address, full again at the end of each window. Tenants behind one tunnel share
// one. The zero value is full.
type Bucket struct {
	mu      sync.Mutex
	windows map[string]*window
}

// A window is what is left to one client.
type window struct {
	left  int
	began time.Time
}

// take takes one request of the client out of its window. It returns what is
// left, how long until the window ends, and whether there was one to take.
func (b *Bucket) take(client string, limit int, length time.Duration) (left int, reset time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.windows == nil {
		b.windows = map[string]*window{}
	}
	w := b.windows[client]
	if w == nil || time.Since(w.began) >= length {
		w = &window{left: limit, began: time.Now()}
		b.windows[client] = w
	}
	if ok = w.left > 0; ok {
		w.left--
	}
	return w.left, max(0, time.Until(w.began.Add(length))), ok
}

// throttle limits requests as the product's own limiter does: every answer says
// what is left, in whole seconds, rounded down.
func throttle(t *Tenant, w http.ResponseWriter, r *http.Request, p Params) bool {
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = r.RemoteAddr
	}
	left, reset, ok := t.cfg.Bucket.take(client, p.Count, p.Delay)
	seconds := int(reset / time.Second)
	w.Header().Set("X-RateLimit-Limit", strconv.Itoa(p.Count))
	w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(left))
	w.Header().Set("X-RateLimit-Reset", strconv.Itoa(seconds))
	if ok {
		return false
	}
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	answer(w, p.Status, map[string]any{"error": "rate limit exceeded", "retry_after": seconds})
	return true
}

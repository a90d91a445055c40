package promote

import (
	"net/http"
	"sync"
	"time"
)

// defaultLease is how long a look counts. A request may take half of it.
const defaultLease = 4 * time.Second

// A clock is a transport that measures how long writes take, and knows the two times
// of the ledger's protocol.
//
// A look at the ledger is good for one lease: what follows from it must have been
// written by then. Whoever writes waits for two leases and looks once more, so that
// it finds everything of those who had looked before. That is why the lease is the
// same for all, and doesn't grow with slow requests: a gate can't know how slow
// another one was, or for how long its machine was suspended in a request.
type clock struct {
	base  http.RoundTripper
	lease time.Duration

	mu    sync.Mutex
	write time.Duration // the slowest write, answered or not
}

// RoundTrip implements [http.RoundTripper].
func (c *clock) RoundTrip(req *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := c.base.RoundTrip(req)
	took := elapsed(began)
	c.mu.Lock()
	defer c.mu.Unlock()
	if req.Method == http.MethodPut {
		c.write = max(c.write, took)
	}
	return resp, err
}

// A lease is how long a look at the registry is good for.
type lease struct {
	began time.Time
	good  time.Duration
}

// look begins a look.
func (c *clock) look() lease { return lease{time.Now(), c.lease} }

// over reports whether so many leases have passed since the look began.
func (l lease) over(leases float64) bool {
	return elapsed(l.began) > time.Duration(leases*float64(l.good))
}

// settling is how long it takes until no write of before can show any more.
func (c *clock) settling() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return 2*c.lease + c.write
}

// elapsed is the time since t: a machine that is suspended stops one of its clocks,
// and the other one may be set.
func elapsed(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

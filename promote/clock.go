package promote

import (
	"net/http"
	"sync"
	"time"
)

// leastLease is the shortest lease.
const leastLease = time.Second

// A clock is a transport that measures how long requests take. From that follow the
// two times of the ledger's protocol.
//
// A look at the ledger is good for one lease: what follows from it must have been
// written by then. Whoever writes something that forbids a promotion waits for two
// leases and looks once more, so that it finds every promotion that had looked
// before.
type clock struct {
	base  http.RoundTripper
	least time.Duration // of leases

	mu    sync.Mutex
	trip  time.Duration // the slowest request that was answered
	write time.Duration // the slowest write, answered or not
}

// RoundTrip implements [http.RoundTripper].
func (c *clock) RoundTrip(req *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := c.base.RoundTrip(req)
	took := elapsed(began)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.trip = max(c.trip, took)
	}
	if req.Method == http.MethodPut {
		c.write = max(c.write, took)
	}
	return resp, err
}

// A lease is how long a look at the registry is good for. It is fixed when the look
// begins: a write that takes long must not lengthen the lease that it outlives.
type lease struct {
	began time.Time
	good  time.Duration
}

// look begins a look.
func (c *clock) look() lease {
	c.mu.Lock()
	defer c.mu.Unlock()
	return lease{time.Now(), max(c.least, 4*c.trip)}
}

// over reports whether so many leases have passed since the look began.
func (l lease) over(leases float64) bool {
	return elapsed(l.began) > time.Duration(leases*float64(l.good))
}

// settling is how long it takes until no write of before can show any more.
func (c *clock) settling() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return 2*max(c.least, 4*c.trip) + c.write
}

// elapsed is the time since t: a machine that is suspended stops one of its clocks,
// and the other one may be set.
func elapsed(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

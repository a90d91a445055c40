package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

const (
	// longestPause is the longest wait for a tenant's rate limit. Who asks for more
	// is asked at once: a run is better off with the refusal, and with what it says,
	// than with a check that stands still for an hour.
	longestPause = 2 * time.Minute
	// resetMargin is waited beyond a reset: servers tell it in whole seconds.
	resetMargin = time.Second
	// enough is how many answers must be in before they say how many others share
	// the limit.
	enough = 6
)

// A pacer keeps a session within the rate limit that its tenant's answers report.
// As long as much is left, nothing waits; the rest is spread over the time until
// more is allowed. Where nothing is reported, it does nothing.
//
// Several tenants, and others, may share one limit, for example behind one
// tunnel. What they take shows in how fast it goes down, so that each session
// takes its share only.
type pacer struct {
	known    atomic.Bool   // some answer reported a limit, or asked for a pause
	inFlight atomic.Int64  // requests that were let through and have no answer yet
	peers    *atomic.Int64 // sessions of the fleet whose tenants report a limit

	mu     sync.Mutex
	limit  int           // of requests in one window; 0: none was reported
	left   int           // of them, by the last answer
	reset  time.Time     // when the window ends, at the latest
	window time.Duration // the longest time until a reset that was seen
	next   time.Time     // of the next request, while they are spread
	closed time.Time     // nothing is sent before: a Retry-After
	first  int           // what was left when counting began
	own    int           // answers to this session since
	share  float64       // of how many the session is one, by what goes; at least 1
}

// take lets one request through and returns 0, or returns how long to wait
// before the next try.
func (p *pacer) take(now time.Time) time.Duration {
	if !p.known.Load() {
		p.inFlight.Add(1)
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := p.wait(now)
	if wait <= 0 || wait > longestPause {
		p.inFlight.Add(1)
		return 0
	}
	return wait
}

// wait is how long the next request has to wait; 0: it goes now. p.mu is held.
func (p *pacer) wait(now time.Time) time.Duration {
	if now.Before(p.closed) {
		return p.closed.Sub(now)
	}
	if p.limit == 0 {
		return 0
	}
	if !now.Before(p.reset) {
		p.begin(now)
	}
	if !p.low() {
		return 0
	}
	// The others may have sent one each since the last answer; and a twentieth stays
	// for what nobody foresees.
	mine := (float64(p.left)-float64(p.limit)/20)/p.share - 1
	if p.left == p.limit { // however small the limit, each window has room for one
		mine = max(mine, 1)
	}
	if mine < 1 {
		return p.reset.Sub(now)
	}
	// What is in flight may be counted already, or not yet.
	gap := time.Duration(float64(p.reset.Sub(now)) / max(1, mine-float64(p.inFlight.Load())))
	if now.Before(p.next) {
		return p.next.Sub(now)
	}
	p.next = now.Add(gap)
	return 0
}

// low reports whether the rest of the window must be spread: a tenth is left, or
// no more than twice what all who share it may have in flight. p.mu is held.
func (p *pacer) low() bool {
	return float64(p.left) <= max(float64(p.limit)/10, 2*perTenant*p.share)
}

// begin begins a window that no answer has reported yet. All who share it begin
// at the same time, so that the first request of those who must share out little
// comes at a random time. p.mu is held.
func (p *pacer) begin(now time.Time) {
	p.reset, p.left = now.Add(p.window), p.limit
	p.count(p.limit, 0)
	if p.low() {
		p.next = now.Add(rand.N(time.Duration(float64(p.window)*p.share/float64(p.limit)) + 1))
	}
}

// count begins to count who takes how much of what is left. p.mu is held.
func (p *pacer) count(first, own int) {
	if p.own < enough { // it was too little to count, and must not stay so for ever
		p.share -= (p.share - 1) / 8
	}
	p.first, p.own = first, own
}

// answered learns from the answer to a request that take let through; a nil
// header: there was none.
func (p *pacer) answered(status int, h http.Header, now time.Time) {
	p.inFlight.Add(-1)
	limit, reported := web.RateLimitOf(h)
	pause := time.Duration(0)
	if status == http.StatusTooManyRequests {
		pause = web.RetryAfter(h)
	}
	if !reported && (pause <= 0 || pause > longestPause) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.Store(true)
	if pause > 0 && pause <= longestPause && now.Add(pause).After(p.closed) {
		p.closed = now.Add(pause)
	}
	if reported {
		p.learn(limit, now)
		// Refused, and not for what this session took: the fleet shares the limit.
		if status == http.StatusTooManyRequests && p.own < limit.Limit/2 {
			p.share = max(p.share, float64(p.peers.Load()))
		}
	}
}

// learn takes in what an answer reports. p.mu is held.
func (p *pacer) learn(l web.RateLimit, now time.Time) {
	if p.limit == 0 {
		p.peers.Add(1)
	}
	reset := now.Add(l.Reset + resetMargin)
	switch {
	case p.limit != l.Limit, !now.Before(p.reset), reset.Sub(p.reset) > 2*resetMargin:
		p.limit, p.left, p.reset, p.next = l.Limit, l.Remaining, reset, time.Time{}
		p.share = max(1, p.share)
		p.count(l.Remaining, -1) // this answer took none of what is left after it
	default:
		p.left = min(p.left, l.Remaining) // answers come in any order
		if reset.After(p.reset) || p.reset.Sub(reset) > 2*resetMargin {
			p.reset = reset
		}
	}
	p.window = max(p.window, l.Reset+resetMargin)
	if l.Remaining == 0 { // who takes how much of nothing says nothing
		return
	}
	if p.own++; p.own < enough {
		return
	}
	// Up at once, since it is soon too late; down slowly, since others may rest.
	share := min(max(1, float64(p.first-p.left)/float64(p.own)), float64(p.limit))
	if share < p.share {
		share = p.share + (share-p.share)/4
	}
	p.share = share
	p.count(p.left, 0)
}

// pace waits until the tenant's rate limit lets the next attempt through. The
// caller's slot is free for others meanwhile.
func (c *call) pace(ctx context.Context) error {
	p := &c.session.pacer
	if c.request.Unpaced {
		p.inFlight.Add(1)
		return nil
	}
	for {
		wait := p.take(time.Now())
		if wait == 0 {
			return nil
		}
		c.paced = true
		c.leave()
		if err := web.Pause(ctx, wait); err != nil {
			return err
		}
		if err := c.comeBack(); err != nil {
			return err
		}
		c.paced = false
	}
}

const rateLimitAdvice = "let fewer checks and runs share it, pause longer between the rounds of a soak, or have the tenant allow this machine's address more"

// RateLimitHint says what helps against a refusal for too many requests (429), by
// what the tenant's answer reports.
func (r *Response) RateLimitHint() string {
	limit, reported := web.RateLimitOf(r.Header)
	after := web.RetryAfter(r.Header)
	switch {
	case reported:
		return fmt.Sprintf("the tenant limits requests to %s in a window that ends in %s, counted over all clients behind one address: %s",
			report.Thousands(limit.Limit), max(limit.Reset, after), rateLimitAdvice)
	case after > 0:
		return fmt.Sprintf("the tenant limits requests and accepts more in %s: %s", after, rateLimitAdvice)
	default:
		return "the tenant limits requests, and its answers don't say how many it allows (X-RateLimit-Limit): " + rateLimitAdvice
	}
}

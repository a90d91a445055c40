package gate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
)

// heartbeatEvery is how often a wait says that it is alive.
const heartbeatEvery = 30 * time.Second

// A heartbeat tells how a rollout goes: a line for each change, and a line when
// nothing has changed for long.
type heartbeat struct {
	run   *run
	began time.Time
	end   context.CancelFunc
	over  <-chan error

	mu     sync.Mutex
	states []fleet.Rollout
}

// heartbeat starts one. Its stop must be called.
func (r *run) heartbeat(ctx context.Context) *heartbeat {
	ctx, cancel := context.WithCancel(ctx)
	h := &heartbeat{
		run: r, began: time.Now(), end: cancel,
		states: make([]fleet.Rollout, len(r.plan.Tenants)),
	}
	h.over = r.background(func() error { h.beat(ctx); return nil })
	return h
}

func (h *heartbeat) beat(ctx context.Context) {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.remind()
		}
	}
}

// remind logs that the wait goes on.
func (h *heartbeat) remind() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.run.log("waiting: %s", h.summary())
}

// tell logs a tenant's change of state.
func (h *heartbeat) tell(i int, now fleet.Rollout) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states[i] = now
	line := h.run.plan.Tenants[i].Name + ": " + now.State.String()
	if now.Version != "" {
		line += " at " + short(now.Version)
	}
	if now.Detail != "" && now.State != fleet.Stale { // a stale one's commit says it all
		line += ": " + now.Detail
	}
	h.run.log("%s (after %v)", line, now.Waited.Round(10*time.Millisecond))
	h.run.observer.Progress(h.count(fleet.Current), len(h.states), "tenants current")
}

// summary counts the states and names the first tenant that is not current.
func (h *heartbeat) summary() string {
	parts := []string{fmt.Sprintf("%d of %d current", h.count(fleet.Current), len(h.states))}
	for _, s := range []fleet.RolloutState{fleet.Stale, fleet.Unreachable, fleet.Unknown} {
		if n := h.count(s); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	for i, s := range h.states {
		if s.State != fleet.Current {
			parts = append(parts, "first is "+h.run.plan.Tenants[i].Name)
			break
		}
	}
	waited := time.Since(h.began).Round(time.Second)
	return fmt.Sprintf("%s; %v of %v", strings.Join(parts, ", "), waited, h.run.plan.WaitTimeout)
}

func (h *heartbeat) count(state fleet.RolloutState) int {
	n := 0
	for _, s := range h.states {
		if s.State == state {
			n++
		}
	}
	return n
}

// stop ends the heartbeat; nothing is told after it returns. The error is what
// broke it, if anything did.
func (h *heartbeat) stop() error {
	h.end()
	return <-h.over
}

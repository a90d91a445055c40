package gate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// heartbeatEvery is how often a wait says that it is alive.
const heartbeatEvery = 30 * time.Second

// A heartbeat says how a rollout goes: a line for each change, and a line when
// nothing has changed for long.
type heartbeat struct {
	run   *run
	began time.Time
	end   context.CancelFunc
	over  <-chan error

	mu     sync.Mutex
	states []report.Rollout
}

// startHeartbeat starts one. Its stop must be called.
func (r *run) startHeartbeat(ctx context.Context) *heartbeat {
	ctx, cancel := context.WithCancel(ctx)
	h := &heartbeat{
		run: r, began: time.Now(), end: cancel,
		states: make([]report.Rollout, len(r.plan.Tenants)),
	}
	h.over = parallel.Background(func() error {
		for web.Pause(ctx, heartbeatEvery) == nil {
			h.remind()
		}
		return nil
	})
	return h
}

// remind logs that the wait goes on.
func (h *heartbeat) remind() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.run.log("waiting: %s", h.summary())
}

// changed logs a tenant's change of state.
func (h *heartbeat) changed(i int, now report.Rollout) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states[i] = now
	h.run.log("%s: %s (after %v)", h.run.plan.Tenants[i].Name, now, time.Duration(now.Waited).Round(10*time.Millisecond))
	h.run.progress(h.count(report.Current), len(h.states), "tenants current")
}

// summary counts the states and names the first tenant that is not current.
func (h *heartbeat) summary() string {
	parts := []string{fmt.Sprintf("%d of %d current", h.count(report.Current), len(h.states))}
	for _, s := range []report.RolloutState{report.Stale, report.Unreachable, report.UnknownCommit} {
		if n := h.count(s); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	for i := range h.states {
		if !h.states[i].IsCurrent() {
			parts = append(parts, "first is "+h.run.plan.Tenants[i].Name)
			break
		}
	}
	waited := time.Since(h.began).Round(time.Second)
	return fmt.Sprintf("%s; %v of %v", strings.Join(parts, ", "), waited, h.run.plan.WaitTimeout)
}

func (h *heartbeat) count(state report.RolloutState) int {
	n := 0
	for _, s := range h.states {
		if s.State == state {
			n++
		}
	}
	return n
}

// stop ends the heartbeat; nothing is said after it returns. The error is what
// broke it, if anything did.
func (h *heartbeat) stop() error {
	h.end()
	return <-h.over
}

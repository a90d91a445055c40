package promote

import (
	"errors"
	"fmt"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestTwoGates lets two gates with different commits work on the same targets at
// once, with every offset between them that makes a difference, over a network
// whose round trip is the same for both. At the end no target is split without
// one of them having said so, and no older commit lies on a newer one that was
// reported as promoted.
func TestTwoGates(t *testing.T) {
	const trip = 40 * time.Millisecond
	step := 3 * trip
	if full {
		step = trip / 4
	}
	for offset := -12 * trip; offset <= 12*trip; offset += step {
		// Neither lands at the very same moment: the order would be chance.
		for _, skew := range []time.Duration{3 * time.Millisecond, 7 * time.Millisecond} {
			// One image's registry may be slower than the other's.
			for _, slower := range []time.Duration{1, 3} {
				t.Run(fmt.Sprintf("%v+%v, times %d", offset, skew, slower), func(t *testing.T) {
					fakeTime(t, func(t *testing.T) { twoGates(t, trip, slower*trip, offset+skew) })
				})
			}
		}
	}
}

// A gateRun is what became of one of two gates.
type gateRun struct {
	sha string
	err error
}

func twoGates(t *testing.T, trip, slow, offset time.Duration) {
	m := newMemory()
	older, newer := m.promoter(t), m.promoter(t)
	half := func(req *http.Request) time.Duration {
		if strings.Contains(req.URL.Path, apps[1]) {
			return slow / 2
		}
		return trip / 2
	}
	m.before = func(req *http.Request) *http.Response { _ = web.Pause(req.Context(), half(req)); return nil }
	m.after = func(req *http.Request) { _ = web.Pause(req.Context(), half(req)) }
	runs := []*gateRun{{sha: newSHA}, {sha: topSHA}}
	var wg sync.WaitGroup
	for i, p := range []*Promoter{older, newer} {
		wg.Go(func() {
			if wait := max(0, offset*time.Duration(2*i-1)); wait > 0 {
				time.Sleep(wait)
			}
			_, runs[i].err = verify(t.Context(), p, runs[i].sha)
		})
	}
	wg.Wait()
	m.before, m.after = nil, nil
	now := []string{m.revision(apps[0], "latest"), m.revision(apps[1], "latest")}
	var failed *MoveError
	said := errors.As(runs[0].err, &failed) || errors.As(runs[1].err, &failed)
	if now[0] != now[1] && !said {
		t.Errorf("the targets are split (%s, %s) and nobody said so: %v; %v", now[0], now[1], runs[0].err, runs[1].err)
	}
	for i, sha := range now {
		if runs[1].err == nil && sha != topSHA {
			t.Errorf("%s is at %s, though the newer gate reported it as promoted; the older gate says: %v", apps[i], sha, runs[0].err)
		}
		if runs[0].err == nil && sha == oldSHA {
			t.Errorf("%s is at the former commit, though the older gate reported it as promoted", apps[i])
		}
	}
	if testing.Verbose() {
		t.Logf("%s %s; older: %v; newer: %v", now[0], now[1], brief(runs[0].err), brief(runs[1].err))
	}
}

// brief is the kind of an error.
func brief(err error) string {
	var failed *MoveError
	var refused *RefusedError
	switch {
	case err == nil:
		return "promoted"
	case errors.As(err, &refused):
		return "refused"
	case errors.As(err, &failed):
		return "failed"
	case strings.Contains(err.Error(), "somebody else"):
		return "somebody else"
	}
	return err.Error()
}

// TestSlowRecordDoesNotWidenTheGap has somebody move both targets while one of our
// heads takes its time, long after our last look: the look counts no more.
func TestSlowRecordDoesNotWidenTheGap(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		m := newMemory()
		p := m.promoter(t)
		plan := resolved(t, p)
		var puts atomic.Int32
		m.before = func(req *http.Request) *http.Response {
			if req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, apps[1]+"/manifests/canary-verify.latest.go") {
				if puts.Add(1) == 2 { // the first one begins the ledger
					time.Sleep(defaultLease)
					m.tag(apps[0], "latest", topSHA)
					m.tag(apps[1], "latest", topSHA)
					time.Sleep(defaultLease)
				}
			}
			return nil
		}
		var failed *MoveError
		if err := plan.Promote(t.Context(), green); !errors.As(err, &failed) || !strings.Contains(err.Error(), "paused") {
			t.Errorf("%v", err)
		}
		for _, app := range apps {
			if now := m.revision(app, "latest"); now != topSHA {
				t.Errorf("%s is at %s", app, now)
			}
		}
	})
}

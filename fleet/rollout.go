package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// Defaults of [WaitOptions] (contract, "Inputs").
const (
	defaultVersionPath = "/buildinfo"
	defaultField       = "git_sha"
	defaultTimeout     = 7 * time.Minute
	defaultInterval    = 2 * time.Second
)

// withDefaults fills the options in and refuses those that no tenant could meet.
func (o WaitOptions) withDefaults() (WaitOptions, error) {
	o.VersionPath = cmp.Or(o.VersionPath, defaultVersionPath)
	o.Field = cmp.Or(o.Field, defaultField)
	o.Timeout = orDefault(o.Timeout, defaultTimeout)
	o.Interval = orDefault(o.Interval, defaultInterval)
	if !isCommit(o.SHA) {
		return o, fmt.Errorf("sha: not 7 to 40 hex digits, so no tenant could tell it")
	}
	if err := CheckPath(o.VersionPath); err != nil {
		return o, fmt.Errorf("version-path: %w", err)
	}
	for name := range strings.SplitSeq(o.Field, ".") {
		if name == "" || untrusted.Line(name, 0) != name {
			return o, errors.New("version-field: a name between dots is empty or can't be shown")
		}
	}
	return o, nil
}

// errNoTenants keeps an empty fleet from passing for one that is current.
var errNoTenants = errors.New("the fleet has no tenants, so nothing can be proven of it")

// Wait polls every tenant at once until all of them tell the expected commit,
// the timeout is over, or ctx ends, and returns where each of them stands, in
// their order. A tenant that told the commit is not asked again. Polls carry no
// token: the route is open. They come at most an interval apart, jittered; each
// is bounded by Config.RequestTimeout and the end of the wait, and only while it
// runs holds a slot.
//
// That the time is over is no error. The error is the cause of ctx when that
// ended the wait, or says why these options and this fleet can't be waited for.
func (f *Fleet) Wait(ctx context.Context, o WaitOptions) ([]Rollout, error) {
	w, err := f.newWatch(o)
	if err != nil {
		return w.all(), err
	}
	within, stop := context.WithTimeout(ctx, w.options.Timeout)
	defer stop()
	w.each(func(i int) { w.follow(within, i) })
	for _, r := range w.seen {
		if r.State != Current && ctx.Err() != nil {
			return w.all(), context.Cause(ctx)
		}
	}
	return w.all(), nil
}

// Probe asks every tenant once, with the retries of [Session.Do], and returns
// where each of them stands, in their order. Options that can't be met leave
// every tenant [Unknown], with the reason as the detail. A Timeout bounds the
// whole; the Interval means nothing here.
func (f *Fleet) Probe(ctx context.Context, o WaitOptions) []Rollout {
	w, err := f.newWatch(o)
	if err != nil {
		return w.all()
	}
	within, stop := context.WithTimeout(ctx, w.options.Timeout)
	defer stop()
	w.each(func(i int) { w.poll(within, i, f.config.Retries) })
	return w.all()
}

// A watch is what is known of a fleet while it is being asked.
type watch struct {
	fleet   *Fleet
	options WaitOptions
	began   time.Time
	mu      sync.Mutex
	seen    []Rollout
}

// newWatch returns a watch that has seen nothing yet. With an error, every
// tenant's detail says it too.
func (f *Fleet) newWatch(o WaitOptions) (*watch, error) {
	o, err := o.withDefaults()
	if err == nil && len(f.sessions) == 0 {
		err = errNoTenants
	}
	w := &watch{fleet: f, options: o, began: time.Now(), seen: make([]Rollout, len(f.sessions))}
	for i := range w.seen {
		w.seen[i].Detail = "not asked yet"
		if err != nil {
			w.seen[i].Detail = err.Error()
		}
	}
	return w, err
}

// each runs ask for every tenant at once and waits for all of them. A panic
// leaves its tenant unknown.
func (w *watch) each(ask func(i int)) {
	var all sync.WaitGroup
	for i := range w.seen {
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					w.mu.Lock()
					defer w.mu.Unlock()
					w.seen[i].State = Unknown
					w.seen[i].Detail = fmt.Sprintf("a fault of canary-verify itself (%T); please report it", p)
				}
			}()
			ask(i)
		})
	}
	all.Wait()
}

// all returns what was seen; who isn't current has waited until now.
func (w *watch) all() []Rollout {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.seen {
		if w.seen[i].State != Current {
			w.seen[i].Waited = time.Since(w.began)
		}
	}
	return w.seen
}

// follow polls one tenant until it is current or ctx ends.
func (w *watch) follow(ctx context.Context, i int) {
	for {
		began := time.Now()
		if w.poll(ctx, i, 0) || !sleep(ctx, w.pause(time.Since(began))) {
			return
		}
	}
}

// pause says how long to wait after a poll that took so long. Polls begin at
// most one interval apart, so that a tenant that turns current is noticed within
// it; they are spread over half of it, so that a fleet isn't asked in lockstep;
// and a slow tenant gets a rest.
func (w *watch) pause(took time.Duration) time.Duration {
	half := w.options.Interval / 2
	return max(half+rand.N(half+1)-took, half/2)
}

// sleep waits for d and reports whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// poll asks one tenant and reports whether that is all that there is to do. A
// poll that the end of the wait cut short tells nothing about the tenant, except
// when there was no other.
func (w *watch) poll(ctx context.Context, i, retries int) (done bool) {
	s := w.fleet.sessions[i]
	if err := s.Enter(ctx); err != nil {
		return true
	}
	began := time.Now()
	resp, err := s.do(ctx, Request{Method: http.MethodGet, Path: w.options.VersionPath, Auth: AuthNone}, retries)
	s.Leave()
	var now Rollout
	switch {
	case err == nil:
		now = s.judge(resp, w.options)
	case ctx.Err() == nil:
		now = Rollout{State: Unreachable, Detail: err.Error()}
	case w.asked(i):
		return true
	default:
		now = Rollout{State: Unreachable, Detail: fmt.Sprintf("did not answer in the %s before the wait ended", time.Since(began).Round(time.Millisecond))}
	}
	w.note(i, now)
	return now.State == Current
}

// asked reports whether a poll of the tenant came to an end.
func (w *watch) asked(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[i].Polls > 0
}

// note keeps what a poll found and tells it where it is news.
func (w *watch) note(i int, now Rollout) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.seen[i]
	now.Polls = before.Polls + 1
	now.Waited = time.Since(w.began)
	w.seen[i] = now
	news := before.Polls == 0 || before.State != now.State || before.Version != now.Version
	if news && w.options.Changed != nil {
		w.options.Changed(i, now)
	}
}

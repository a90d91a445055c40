package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Defaults of [WaitOptions].
const (
	DefaultVersionPath  = "/buildinfo"
	DefaultVersionField = "git_sha"
	DefaultWaitTimeout  = 7 * time.Minute
	DefaultWaitInterval = 2 * time.Second
)

// WaitOptions says what to wait for. The zero value of a field other than Commit
// means its default.
type WaitOptions struct {
	Commit       report.Commit // expected
	VersionPath  string        // where a tenant reports its commit; [DefaultVersionPath]
	VersionField string        // dotted path in the JSON answer; [DefaultVersionField]
	Timeout      time.Duration // of the whole wait; [DefaultWaitTimeout]
	Interval     time.Duration // between two polls of one tenant, jittered; [DefaultWaitInterval]
	// Changed, when set, is called at each change of state or version of the
	// tenant with the given index, one call at a time.
	Changed func(index int, r report.Rollout)
}

// withDefaults fills the options in and refuses those that no tenant could meet.
func (o WaitOptions) withDefaults() (WaitOptions, error) {
	o.VersionPath = cmp.Or(o.VersionPath, DefaultVersionPath)
	o.VersionField = cmp.Or(o.VersionField, DefaultVersionField)
	o.Timeout = orDefault(o.Timeout, DefaultWaitTimeout)
	o.Interval = orDefault(o.Interval, DefaultWaitInterval)
	if _, err := report.ParseCommit(string(o.Commit)); err != nil {
		return o, &report.InvalidError{Field: "Commit", Missing: o.Commit == "", Problem: "not a commit, so no tenant can report it"}
	}
	if err := CheckPath(o.VersionPath); err != nil {
		return o, &report.InvalidError{Field: "VersionPath", Problem: err.Error()}
	}
	for name := range strings.SplitSeq(o.VersionField, ".") {
		if name == "" || untrusted.Line(name, 0) != name {
			return o, &report.InvalidError{Field: "VersionField", Problem: "a name between dots is empty or not printable"}
		}
	}
	return o, nil
}

// ErrNoTenants is the error of a wait for a fleet without tenants: nothing can be
// proven of it.
var ErrNoTenants = errors.New("the fleet has no tenants, so nothing can be proven of it")

// Wait polls every tenant at once until all of them report the expected commit,
// the timeout is over, or ctx ends, and returns where each of them stands, in
// their order. A tenant that reported the commit is not polled again. Polls carry
// no token: the route is open. They come at most an interval apart, jittered; each
// is limited by Config.RequestTimeout and the end of the wait, and only while it
// runs does it occupy a slot.
//
// That the time is over is no error. The error is the cause of ctx when that
// ended the wait; or a [*report.InvalidError] or [ErrNoTenants], where these
// options and this fleet can't be waited for.
func (f *Fleet) Wait(ctx context.Context, o WaitOptions) ([]report.Rollout, error) {
	p, err := f.newPoller(o)
	if err != nil {
		return p.seen, err
	}
	p.all(ctx, p.follow)
	for _, r := range p.seen {
		if r.State != report.Current && ctx.Err() != nil {
			return p.seen, context.Cause(ctx)
		}
	}
	return p.seen, nil
}

// Probe asks every tenant once, with the retries of [Session.Do], and returns
// where each of them stands, in their order. Options that can't be met leave
// every tenant at [report.UnknownCommit], with the reason as the detail. A Timeout
// limits the whole; the Interval means nothing here.
func (f *Fleet) Probe(ctx context.Context, o WaitOptions) []report.Rollout {
	p, err := f.newPoller(o)
	if err == nil {
		p.all(ctx, func(ctx context.Context, i int) { p.poll(ctx, i, f.config.Retries) })
	}
	return p.seen
}

// A poller asks the tenants of a fleet for their commits.
type poller struct {
	fleet   *Fleet
	options WaitOptions
	began   time.Time
	seen    []report.Rollout // each is its own goroutine's while they run
	calls   sync.Mutex       // held while options.Changed runs
}

// newPoller returns a poller that has seen nothing yet. With an error, every
// tenant's detail says it too.
func (f *Fleet) newPoller(o WaitOptions) (*poller, error) {
	o, err := o.withDefaults()
	if err == nil && len(f.sessions) == 0 {
		err = ErrNoTenants
	}
	p := &poller{fleet: f, options: o, began: time.Now(), seen: make([]report.Rollout, len(f.sessions))}
	for i := range p.seen {
		p.seen[i].Detail = "not asked yet"
		if err != nil {
			p.seen[i].Detail = err.Error()
		}
	}
	return p, err
}

// all runs ask for every tenant at once, within the timeout, and waits for all of
// them. A panic leaves its tenant unknown. Who isn't current has waited until the
// end.
func (p *poller) all(ctx context.Context, ask func(ctx context.Context, i int)) {
	ctx, stop := context.WithTimeout(ctx, p.options.Timeout)
	defer stop()
	errs := parallel.All(len(p.seen), func(i int) error { ask(ctx, i); return nil })
	for i, err := range errs {
		if err != nil {
			p.seen[i] = report.Rollout{Detail: err.Error(), Polls: p.seen[i].Polls}
		}
		if p.seen[i].State != report.Current {
			p.seen[i].Waited = report.Millis(time.Since(p.began))
		}
	}
}

// follow polls one tenant until it is current or ctx ends. Polls begin at most
// one interval apart, so that a tenant that turns current is noticed within it;
// they are spread over half of it, so that a fleet isn't asked in lockstep; and a
// slow tenant gets a rest.
func (p *poller) follow(ctx context.Context, i int) {
	for {
		began := time.Now()
		if p.poll(ctx, i, 0) {
			return
		}
		if web.Pause(ctx, max(web.Jitter(p.options.Interval)-time.Since(began), p.options.Interval/4)) != nil {
			return
		}
	}
}

// poll asks one tenant and reports whether that is all that there is to do. A
// poll that the end of the wait cut short says nothing about the tenant, except
// when there was no other.
func (p *poller) poll(ctx context.Context, i, retries int) (done bool) {
	s := p.fleet.sessions[i]
	if err := s.Enter(ctx); err != nil {
		return true
	}
	began := time.Now()
	resp, err := s.do(ctx, Request{Method: http.MethodGet, Path: p.options.VersionPath, Auth: AuthNone}, sending{retries: retries, most: maxVersionBody})
	s.Leave()
	var now report.Rollout
	switch {
	case err == nil:
		now = s.rolloutOf(resp, p.options)
	case ctx.Err() == nil:
		now = report.Rollout{State: report.Unreachable, Detail: err.Error()}
	case p.seen[i].Polls > 0:
		return true
	default:
		waited := time.Since(began).Round(time.Millisecond)
		now = report.Rollout{State: report.Unreachable, Detail: fmt.Sprintf("did not answer in the %s before the wait ended", waited)}
	}
	p.note(i, now)
	return now.State == report.Current
}

// note keeps what a poll found and passes it on where it is news.
func (p *poller) note(i int, now report.Rollout) {
	before := p.seen[i]
	now.Polls = before.Polls + 1
	now.Waited = report.Millis(time.Since(p.began))
	p.seen[i] = now
	news := before.Polls == 0 || before.State != now.State || before.Version != now.Version
	if news && p.options.Changed != nil {
		p.calls.Lock()
		defer p.calls.Unlock()
		p.options.Changed(i, now)
	}
}

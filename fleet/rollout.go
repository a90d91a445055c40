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
	// DefaultReads is Reads of a fleet of up to LargeFleet tenants, and
	// DefaultReadsLarge that of a larger one.
	DefaultReads      = 3
	DefaultReadsLarge = 1
	LargeFleet        = 200
)

// DefaultReadsOf returns the default of WaitOptions.Reads for a number of tenants.
func DefaultReadsOf(tenants int) int {
	if tenants > LargeFleet {
		return DefaultReadsLarge
	}
	return DefaultReads
}

// WaitOptions says what to wait for. The zero value of a field other than Commit
// and StartedField means its default.
type WaitOptions struct {
	Commit       report.Commit // expected
	VersionPath  string        // where a tenant reports its commit; [DefaultVersionPath]
	VersionField string        // dotted path in the JSON answer; [DefaultVersionField]
	// StartedField is the dotted path, in the same answer, of the time at which the
	// tenant's process started, as text or a number that stays the same while it
	// runs; empty: there is none. See [Fleet.Restarts].
	StartedField string
	// Reads is how many agreeing reads in a row, each on a connection of its own,
	// make a tenant [report.Current]; [DefaultReadsOf] the fleet. Where it is more
	// than 1, they come after the poll that found the commit: polls are repeated
	// until one finds it, so that this one proves nothing about a mix.
	Reads    int
	Timeout  time.Duration // of the whole wait; [DefaultWaitTimeout]
	Interval time.Duration // between two polls of one tenant, jittered; [DefaultWaitInterval]
	// Changed, when set, is called at each change of state or version of the
	// tenant with the given index, one call at a time.
	Changed func(index int, r report.Rollout)
}

// withDefaults fills the options in and refuses those that no tenant could meet.
func (o WaitOptions) withDefaults(tenants int) (WaitOptions, error) {
	o.VersionPath = cmp.Or(o.VersionPath, DefaultVersionPath)
	o.VersionField = cmp.Or(o.VersionField, DefaultVersionField)
	o.Timeout = orDefault(o.Timeout, DefaultWaitTimeout)
	o.Interval = orDefault(o.Interval, DefaultWaitInterval)
	o.Reads = orDefault(o.Reads, DefaultReadsOf(tenants))
	if _, err := report.ParseCommit(string(o.Commit)); err != nil {
		return o, &report.InvalidError{Field: "Commit", Missing: o.Commit == "", Problem: "not a commit, so no tenant can report it"}
	}
	if err := CheckPath(o.VersionPath); err != nil {
		return o, &report.InvalidError{Field: "VersionPath", Problem: err.Error()}
	}
	if !isDotted(o.VersionField) {
		return o, &report.InvalidError{Field: "VersionField", Problem: dottedProblem}
	}
	if o.StartedField != "" && !isDotted(o.StartedField) {
		return o, &report.InvalidError{Field: "StartedField", Problem: dottedProblem}
	}
	return o, nil
}

const dottedProblem = "a name between dots is empty or not printable"

// isDotted reports whether path is one of names between dots.
func isDotted(path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		if name == "" || untrusted.Line(name, 0) != name {
			return false
		}
	}
	return true
}

// ErrNoTenants is the error of a wait for a fleet without tenants: nothing can be
// proven of it.
var ErrNoTenants = errors.New("the fleet has no tenants, so nothing can be proven of it")

// Wait polls every tenant at once until all of them report the expected commit,
// the timeout is over, or ctx ends, and returns where each of them stands, in
// their order. A tenant is current, and not polled again, once Reads further
// reads agree. Where one of them says something else, the tenant is mixed, which
// may be a rolling restart, and polled on; from then on it needs twice as many
// reads, up to eight times as many. Reads carry no token: the route is open. Polls
// come at most an interval apart, jittered; each is limited by
// Config.RequestTimeout and the end of the wait, and only while it runs does it
// occupy a slot.
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
// limits the whole; Interval and Reads mean nothing here.
func (f *Fleet) Probe(ctx context.Context, o WaitOptions) []report.Rollout {
	p, err := f.newPoller(o)
	if err == nil {
		p.all(ctx, func(ctx context.Context, i int) {
			p.note(i, 1, p.read(ctx, i, f.config.Retries, false))
		})
	}
	return p.seen
}

// Reread asks every tenant the given number of times, at least once, each time on
// a connection of its own, a moment apart and with the retries of [Session.Do],
// and returns where each of them stands, in their order. A tenant is current only
// if every read reported the commit, mixed if one did and another answer reported
// something else; otherwise stale if any answer reported another commit, and
// unreachable if any read had no answer. Detail says how often what was reported:
// "reported 4c1d56e 1 of 2 times, 66b9c04 once". Timeout limits the whole; Interval
// and Reads mean nothing here.
//
// How much it proves: where a share p of a tenant's answers comes from another
// build, n reads all report the commit in (1-p)^n of all cases. With the 3 of
// [Fleet.Wait] and 4 here, 7 in all, a strict alternation is never current, and half
// and half is with 1/128 (that a wait begins anew after a disagreement makes 1/115 of
// it). One answer in ten that is old takes 44 reads to be found in 99 of 100 runs,
// one in a hundred 459. Where Reads is 1, only the reads here count: the poll of a
// wait is repeated until it finds the commit.
func (f *Fleet) Reread(ctx context.Context, o WaitOptions, reads int) []report.Rollout {
	p, err := f.newPoller(o)
	if err == nil {
		p.all(ctx, func(ctx context.Context, i int) { p.reread(ctx, i, max(1, reads)) })
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
	o, err := o.withDefaults(len(f.sessions))
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

// mostDoubling is how many times as many reads a tenant needs at most once it was
// mixed: polls are repeated for minutes, and given as many chances three agreeing
// reads would come by luck.
const mostDoubling = 8

// follow polls one tenant until it is current or ctx ends. Polls begin at most
// one interval apart, so that a tenant that turns current is noticed within it;
// they are spread over half of it, so that a fleet isn't asked in lockstep; and a
// slow tenant gets a rest.
func (p *poller) follow(ctx context.Context, i int) {
	var answers reads
	needed := 0 // reads after the poll
	if p.options.Reads > 1 {
		needed = p.options.Reads
	}
	for {
		began := time.Now()
		now := p.look(ctx, i, needed)
		if ctx.Err() != nil && now.unanswered() && p.seen[i].Polls > 0 {
			return // cut short by the end of the wait: it says nothing about the tenant
		}
		answers = answers.and(now)
		standing := now.standing(p.options.Commit)
		if standing.State == report.Mixed {
			needed = min(2*needed, mostDoubling*p.options.Reads)
		}
		if standing.State != report.Current && answers.changed() {
			standing = answers.standing(p.options.Commit)
		}
		p.note(i, len(now), standing)
		if standing.State == report.Current {
			return
		}
		if web.Pause(ctx, max(web.Jitter(p.options.Interval)-time.Since(began), p.options.Interval/4)) != nil {
			return
		}
	}
}

// look polls one tenant and, where that finds the commit, reads it again until
// the needed number of reads agreed or one did not. Reads run side by side, as
// many as Reads at a time.
func (p *poller) look(ctx context.Context, i, needed int) reads {
	all := reads{p.read(ctx, i, 0, p.options.Reads > 1)}
	for left := needed; left > 0 && all.agree(); left -= p.options.Reads {
		more := make(reads, min(left, p.options.Reads))
		if err := parallel.Each(len(more), func(k int) error { more[k] = p.read(ctx, i, 0, true); return nil }); err != nil {
			more[0] = report.Rollout{Detail: err.Error()} // a panic: unknown
		}
		all = append(all, more...)
	}
	return all
}

// readSpread is the time between two reads of one tenant in a [Fleet.Reread], at
// most: a balancer that answers bursts from one build shows the other too.
const readSpread = 200 * time.Millisecond

// reread reads one tenant n times.
func (p *poller) reread(ctx context.Context, i, n int) {
	var all reads
	for len(all) < n {
		if len(all) > 0 && web.Pause(ctx, web.Jitter(readSpread)) != nil {
			break
		}
		all = append(all, p.read(ctx, i, p.fleet.config.Retries, true))
	}
	standing := all.standing(p.options.Commit)
	if len(all) < n && standing.State == report.Current {
		standing.State = report.Unreachable
		standing.Detail = fmt.Sprintf("reported the commit, but only %d of %d reads were answered before the time was over", len(all), n)
	}
	p.note(i, len(all), standing)
}

// read asks one tenant once, alone on a connection of its own where asked.
func (p *poller) read(ctx context.Context, i, retries int, alone bool) report.Rollout {
	s := p.fleet.sessions[i]
	began := time.Now()
	if err := s.Enter(ctx); err != nil {
		return unanswered(began)
	}
	request := Request{Method: http.MethodGet, Path: p.options.VersionPath, Auth: AuthNone}
	resp, err := s.do(ctx, request, sending{retries: retries, most: maxVersionBody, alone: alone})
	s.Leave()
	switch {
	case err == nil:
		return s.rolloutOf(resp, p.options)
	case ctx.Err() == nil:
		return report.Rollout{State: report.Unreachable, Detail: err.Error()}
	default:
		return unanswered(began)
	}
}

// unanswered is what is known after a read that the end of the wait cut short.
func unanswered(began time.Time) report.Rollout {
	waited := time.Since(began).Round(time.Millisecond)
	return report.Rollout{State: report.Unreachable, Detail: fmt.Sprintf("did not answer in the %s before the wait ended", waited)}
}

// note keeps what a number of reads found and passes it on where it is news.
func (p *poller) note(i, reads int, now report.Rollout) {
	before := p.seen[i]
	now.Polls = before.Polls + reads
	now.Waited = report.Millis(time.Since(p.began))
	p.seen[i] = now
	news := before.Polls == 0 || before.State != now.State || before.Version != now.Version
	if news && p.options.Changed != nil {
		p.calls.Lock()
		defer p.calls.Unlock()
		p.options.Changed(i, now)
	}
}

package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A move takes one tag of one repository from one manifest to another. It is a
// small state machine, the same for targets and canary tags, forward and back:
//
//	planned → looked at → writing → (answered | refused | unanswered) → read back →
//	    promoted | already | restored | unchanged | unknown
//
// Its rules:
//
//   - Right before each write the tag is read. Where it does not show what it
//     showed when the run began, or can't be read, it is not written. In a promotion
//     the ledger's lease stands in for that: all tags were read a moment ago.
//   - A PUT in flight is never cancelled: its answer is waited for, for a short
//     while after a cancel. Cancelling it would not undo it, only hide what
//     became of it.
//   - What the tag shows decides, never what the registry said about the write.
//     An accepted write is looked for until the registry's lag is over (in a
//     promotion that is done by Settle, for all tags and heads at once). A write
//     that failed is looked for too, since it may have happened; it is repeated
//     only where the tag still shows what it did before and the failure may pass.
//   - Whatever was written and can't stay is put back, also where it never showed:
//     it may show later. A tag that shows neither our manifest nor the former
//     one was moved by somebody else, and is not touched: putting the former one
//     back would undo a move that we know nothing about.
//   - Two gates may race for the same tags; no registry can tell them apart. When
//     somebody else's manifest shows where ours should, and it is known to be
//     older, ours is written again, twice at the most; when it is newer, or nobody
//     knows, this gate gives way: its other tags are put back, and the report says
//     where each points. All tags are read after the last of them was written,
//     so that at least the gate that lost a tag reports it.
//   - The last look at a tag is one round trip ahead of its write, and the
//     read-back is one round trip behind it. So when a gate with an older
//     commit writes over a newer one, the newer one's gate still looks, and writes
//     again. That holds as far as both gates' round trips are alike: by what they
//     differ, an older commit may still land unseen.
//   - A tag that was absent is restored by deleting it, by its name and never by
//     digest. If the registry can't, the report says so.
type move struct {
	repo     *repository
	tag      string
	from, to *registry.Manifest // from is nil where the tag was absent
	// leased: the tag was just read, and will be read once more when no older write can
	// show any more. Then neither the look right before the first write nor the
	// read-back of an accepted one is needed.
	leased bool
	// older reports whether somebody else's manifest is known to be older than to;
	// nil: never.
	older func(ctx context.Context, other *registry.Manifest) bool

	state   report.TagState
	now     report.Digest // that the tag showed last; "" is absent
	seen    bool          // now was read after the last write
	over    report.Digest // of somebody else, known to be older; "": none
	sent    bool          // a write of to was begun
	pending bool          // a write of to was sent and not refused
	wroteAt time.Time     // when the last write ended
	readAt  time.Time     // when the look that now comes from began
	arrive  func()        // the first write is over, or there is none
	wait    func()        // for every move of the same apply to arrive

	err    error  // why the tag is not at to
	detail string // one sentence for the reader, where the state needs one
}

// showsTo and showsFrom say what the tag showed last.
func (m *move) showsTo() bool   { return m.seen && m.now == m.to.Digest }
func (m *move) showsFrom() bool { return m.seen && m.now == m.from.DigestOrNone() }

// ref names the tag for a sentence.
func (m *move) ref() string { return m.repo.image + ":" + m.tag }

// apply takes all moves forward, at once, and all of those back that were begun
// when one fails. The error is nil when every tag shows its manifest. It is a
// [*MoveError] when a write failed or when a tag is where it should not be; any
// other says that every tag is where it was, or where somebody else put it.
func apply(ctx context.Context, moves []*move) error {
	cleanup, cancel := web.Cleanup(ctx)
	defer cancel()
	barrier(moves)
	all(moves, func(m *move) { m.forward(ctx, cleanup) })
	all(raced(moves), func(m *move) { m.recheck(ctx, cleanup) })
	if succeeded(moves) {
		return nil
	}
	undo(cleanup, moves)
	return failure(ctx, moves)
}

// undo takes all moves back.
func undo(ctx context.Context, moves []*move) { all(moves, func(m *move) { m.back(ctx) }) }

// all runs f for all moves at once. A panic in one leaves no other half done.
func all(moves []*move, f func(m *move)) {
	errs := parallel.All(len(moves), func(i int) error {
		defer moves[i].arrive()
		f(moves[i])
		return nil
	})
	for i, err := range errs {
		if m := moves[i]; err != nil {
			m.err = err
			m.state, m.detail = report.UnknownState, "an internal error stopped the move"
			if !m.sent {
				m.state, m.detail = report.Unchanged, ""
			}
		}
	}
}

// barrier makes every move read its tag back only when all have written theirs,
// so that no tag needs to be read twice to know that all were right at one time.
func barrier(moves []*move) {
	var first sync.WaitGroup
	first.Add(len(moves))
	for _, m := range moves {
		m.arrive, m.wait = sync.OnceFunc(first.Done), first.Wait
	}
}

// raced returns the moves that succeeded but were read before another was
// written for the last time; none where one failed anyway.
func raced(moves []*move) []*move {
	if !succeeded(moves) {
		return nil
	}
	var last time.Time
	for _, m := range moves {
		if m.wroteAt.After(last) {
			last = m.wroteAt
		}
	}
	return slices.DeleteFunc(slices.Clone(moves), func(m *move) bool {
		return m.state != report.Promoted || m.leased && !m.seen || !m.readAt.Before(last)
	})
}

// succeeded reports whether every tag is where it was to go.
func succeeded(moves []*move) bool {
	return !slices.ContainsFunc(moves, func(m *move) bool { return m.state != report.Promoted && m.state != report.Already })
}

// failure is the error of moves of which at least one failed.
func failure(ctx context.Context, moves []*move) error {
	var causes, places []string
	clean, written := true, false
	for _, m := range moves {
		if m.err != nil {
			causes = append(causes, m.err.Error())
			written = written || m.sent
		}
		clean = clean && (m.state == report.Unchanged || m.state == report.Restored || m.state == report.Already)
		places = append(places, fmt.Sprintf("%s points at %s (%s)", m.ref(), m.place(), m.state))
	}
	if clean && ctx.Err() != nil {
		err := fmt.Errorf("the move was interrupted: %w; every tag is where it was before", web.Cause(ctx))
		if written {
			return &MoveError{Err: err}
		}
		return err
	}
	err := fmt.Errorf("%s; %s", strings.Join(causes, "; "), strings.Join(places, ", "))
	if clean && !written {
		return err
	}
	return &MoveError{Err: err}
}

// place is where a tag points, for a sentence.
func (m *move) place() string {
	if m.state == report.UnknownState && !m.seen {
		return "an unknown digest, last seen at " + orNothing(m.now)
	}
	return orNothing(m.now)
}

// errInterrupted is why a move did not begin, or not again: the run is over.
var errInterrupted = errors.New("the run was interrupted")

// The limits of repetition.
const (
	maxRetries   = 3 // of a write that failed for the moment
	maxOvertaken = 2 // of ours over something older
)

// forward writes to until the tag shows it or there is no use in repeating it.
// cleanup is the context for looking at what was written, which outlives ctx.
func (m *move) forward(ctx, cleanup context.Context) {
	if m.from.DigestOrNone() == m.to.Digest {
		m.state, m.now, m.seen = report.Already, m.to.Digest, true
		return
	}
	overtaken := 0
	for n := 0; m.ready(ctx, cleanup, n); n++ {
		err := m.write(ctx)
		m.pending = m.pending || !registry.Rejected(err)
		m.arrive()
		if m.leased && err == nil && ctx.Err() == nil {
			m.state, m.now, m.err, m.detail = report.Promoted, m.to.Digest, nil, ""
			return
		}
		m.wait()
		m.look(cleanup, m.to, err == nil)
		switch {
		case m.showsTo():
			m.state, m.err, m.detail = report.Promoted, nil, ""
			return
		case !m.seen || m.showsFrom():
			if m.fail(m.reason(err)); err == nil || !m.seen || !registry.Temporary(err) || n == maxRetries {
				return
			}
		default:
			overtaken++
			if m.giveWay(cleanup); overtaken > maxOvertaken || m.state == report.UnknownState {
				return
			}
		}
		if web.Pause(ctx, registry.RetryWait(n, err)) != nil {
			m.fail(errInterrupted)
			return
		}
	}
}

// ready reports whether the tag may be written.
func (m *move) ready(ctx, cleanup context.Context, n int) bool {
	if m.leased && n == 0 && ctx.Err() == nil {
		m.seen = true
		return true
	}
	return m.lookAhead(ctx, cleanup)
}

// lookAhead reads the tag right before a write and reports whether it may be
// written: it shows the former manifest, or one that is known to be older.
func (m *move) lookAhead(ctx, cleanup context.Context) bool {
	if ctx.Err() != nil {
		m.fail(errInterrupted)
		return false
	}
	began := time.Now()
	digest, err := m.read(ctx)
	if err != nil {
		m.seen = false
		m.fail(err)
		return false
	}
	m.now, m.seen, m.readAt = digest, true, began
	switch {
	case m.showsFrom() || digest == m.over && digest != "":
		return true
	case !m.sent:
		m.fail(fmt.Errorf("%s pointed at %s when the run began and points at %s now: somebody else moved this tag; run again",
			m.ref(), orNothing(m.from.DigestOrNone()), orNothing(digest)))
		return false
	case m.showsTo(): // an earlier write showed late
		m.state, m.err, m.detail = report.Promoted, nil, ""
		return false
	}
	m.giveWay(cleanup)
	return m.state != report.UnknownState
}

// fail notes why the tag is not at to. It stays unchanged where it shows what
// it did before, and nothing was written or nothing came of it.
func (m *move) fail(err error) {
	if m.err == nil || !errors.Is(err, errInterrupted) {
		m.err = err
	}
	switch {
	case !m.pending || m.showsFrom():
		m.state = report.Unchanged
	default:
		m.state, m.detail = report.UnknownState, "a write was not answered, and the tag could not be read afterwards"
	}
}

// reason is the error of a write that did not show.
func (m *move) reason(err error) error {
	switch {
	case err != nil:
		return err
	case !m.seen:
		return fmt.Errorf("%s: the write was accepted, but the tag could not be read afterwards: %w", m.ref(), m.err)
	default:
		return fmt.Errorf("%s: the write was accepted, but the tag did not show it within %v", m.ref(), lag)
	}
}

// giveWay decides what to do where somebody else's manifest shows: write over it
// where it is known to be older, else leave it there.
func (m *move) giveWay(ctx context.Context) {
	m.err = fmt.Errorf("%s: somebody else moved it to %s meanwhile", m.ref(), orNothing(m.now))
	if m.older != nil && m.now != "" {
		other, err := m.repo.Manifest(ctx, registry.ByDigest(m.now))
		if err == nil && other != nil && m.older(ctx, other) {
			m.over = m.now
			return
		}
	}
	m.state, m.detail = report.UnknownState, "somebody else moved it meanwhile; it was not touched again"
}

// write sends one PUT. A cancel of ctx gives it a moment for its answer.
func (m *move) write(ctx context.Context) error {
	outlived, release := web.Outlive(ctx, web.AfterCancelWrite, web.AfterCancelWrite)
	defer release()
	bounded, cancel := context.WithTimeout(outlived, writeTimeout)
	defer cancel()
	m.seen, m.sent = false, true
	_, err := m.repo.Put(bounded, registry.ByTag(m.tag), m.to)
	m.wroteAt = time.Now()
	return err
}

// look reads the tag until it shows want; where the write was not accepted, or
// somebody else's manifest shows, until it shows anything. It ends with the
// registry's lag, or with ctx.
func (m *move) look(ctx context.Context, want *registry.Manifest, accepted bool) {
	ctx, cancel := context.WithTimeout(ctx, lag)
	defer cancel()
	for n := 0; ; n++ {
		began := time.Now()
		digest, err := m.read(ctx)
		if err == nil {
			m.now, m.seen, m.readAt = digest, true, began
			if digest == want.DigestOrNone() || !accepted || !m.showsTo() && !m.showsFrom() {
				return
			}
		} else if !m.seen {
			m.err = err
		}
		if web.Pause(ctx, web.Backoff(lowestPoll, highestPoll, n, nil)) != nil {
			return
		}
	}
}

// read reads the tag's digest.
func (m *move) read(ctx context.Context) (report.Digest, error) {
	return m.repo.sure(ctx, m.tag, m.from, m.to)
}

// recheck reads a tag that was promoted once more, after all of them were.
func (m *move) recheck(ctx, cleanup context.Context) {
	digest, err := m.read(cleanup)
	if err != nil || digest == m.to.Digest {
		return // it was read back before
	}
	m.now = digest
	if m.showsFrom() {
		m.look(cleanup, m.to, true) // a registry that lags on some of its readers
	}
	if m.showsTo() {
		return
	}
	if m.giveWay(cleanup); m.state != report.UnknownState {
		m.state = report.Unchanged
		m.forward(ctx, cleanup)
	}
}

// back puts the tag back to from, where a write of to was sent.
func (m *move) back(ctx context.Context) {
	if !m.pending || m.state == report.Restored {
		return
	}
	was := m.state
	if m.look(ctx, m.to, false); !m.seen {
		m.state, m.detail = report.UnknownState, "it could not be read, so it was not put back either"
		return
	}
	if !m.showsTo() && !m.showsFrom() {
		m.state, m.detail = report.UnknownState, "somebody else moved it meanwhile; it was not touched again"
		return
	}
	moved := m.showsTo() || was == report.Promoted
	var err error
	for n := 0; n <= maxRetries; n++ {
		err = m.restore(ctx)
		if m.look(ctx, m.from, err == nil); m.showsFrom() || err != nil && !registry.Temporary(err) || !m.seen {
			break
		}
		if web.Pause(ctx, registry.RetryWait(n, err)) != nil {
			break
		}
	}
	m.finish(moved, err)
}

// finish names the state after the way back.
func (m *move) finish(moved bool, err error) {
	why := ""
	if err != nil {
		why = ": " + err.Error()
	}
	switch {
	case m.showsFrom() && moved:
		m.state, m.pending, m.detail = report.Restored, false, ""
	case m.showsFrom():
		m.state, m.pending, m.detail = report.Unchanged, false, ""
	case m.showsTo():
		m.state, m.detail = report.Promoted, "it could not be put back"+why
	case !m.seen:
		m.state, m.detail = report.UnknownState, "it was put back, but could not be read afterwards"+why
	default:
		m.state, m.detail = report.UnknownState, "somebody else moved it meanwhile; it was not touched again"
	}
}

// restore writes from, or removes a tag that was absent.
func (m *move) restore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	m.seen = false
	if m.from != nil {
		_, err := m.repo.Put(ctx, registry.ByTag(m.tag), m.from)
		return err
	}
	if err := m.repo.Untag(ctx, m.tag); err != nil {
		return err
	}
	// Some registries delete the image with its tag: then it is written again.
	if digest, err := m.repo.Digest(ctx, registry.ByDigest(m.to.Digest)); err == nil && digest == "" {
		_, err := m.repo.Store(ctx, m.to)
		return err
	}
	return nil
}

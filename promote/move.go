package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A move takes one tag of one repository from one manifest to another. It is a
// small state machine, the same for targets and canary tags, forward and back:
//
//	planned → writing → (answered | refused | unanswered) → read back →
//	    promoted | already | restored | unchanged | unknown
//
// Its rules:
//
//   - A PUT in flight is never cancelled: its answer is waited for, for a short
//     while after a cancel. Cancelling it would not undo it, only hide what
//     became of it.
//   - What the tag shows decides, never what the registry said about the write.
//     An accepted write is looked for until the registry's lag is over. A write
//     that failed is looked for too, since it may have happened; it is repeated
//     only where the tag still shows what it did before and the failure may pass.
//   - Whatever was written and can't stay goes back, also where it never showed:
//     it may show later. A tag that shows neither our manifest nor the former
//     one was moved by somebody else, and is left alone: putting the former one
//     back would undo a move that we know nothing about.
//   - Two gates may race for the same tags; no registry can tell them apart. When
//     another's manifest shows where ours should, and it is known to be older,
//     ours is written again, twice at the most; when it is newer, or nobody can
//     tell, this gate gives way: its other tags go back, and the report names
//     where each points. All tags are read after the last of them was written,
//     so that at least the gate that lost a tag tells of it.
//   - The last look at a tag before its move is one round trip ahead of the write,
//     and the read-back is one round trip behind it. So when a gate with an older
//     commit writes over a newer one, the newer one's gate still looks, and writes
//     again. That holds as far as both gates' round trips are alike: by what they
//     differ, an older commit may still land unseen.
//   - A tag that was absent goes back by being deleted, by its name and never by
//     digest. If the registry can't, that is told.
type move struct {
	repo     *repository
	tag      string
	from, to *manifest // from is nil where the tag was absent
	// older reports whether another's manifest is known to be older than to;
	// nil: never.
	older func(ctx context.Context, other *manifest) bool

	state   State
	now     string    // digest that the tag showed last; "" is absent
	seen    bool      // now was read after the last write
	pending bool      // a write of to was sent and not refused
	wroteAt time.Time // when the last write ended
	readAt  time.Time // when the look that now comes from began
	met     func()    // the first write is over, or there is none
	all     func()    // waits until every move of the same apply met

	err    error  // why the tag is not at to
	detail string // one sentence for the reader, where the state needs one
}

// showsTo and showsFrom tell what the tag showed last.
func (m *move) showsTo() bool   { return m.seen && m.now == m.to.digest }
func (m *move) showsFrom() bool { return m.seen && m.now == digestOfManifest(m.from) }

// ref names the tag for a sentence.
func (m *move) ref() string { return m.repo.image + ":" + m.tag }

// apply takes all moves forward, at once, and all of those back that were begun
// when one fails. The error is nil when every tag shows its manifest. It is a
// [*MoveError] when the registry failed or when a tag is where it should not be;
// and the end of ctx when that alone was the reason and everything is as it was.
func (p *Promoter) apply(ctx context.Context, moves []*move) error {
	late, done := p.late(ctx)
	defer done()
	meet(moves)
	_ = each(len(moves), func(i int) error { return moves[i].guard(func() { moves[i].forward(ctx, late) }) })
	again := raced(moves)
	_ = each(len(again), func(i int) error { return again[i].guard(func() { again[i].recheck(ctx, late) }) })
	if succeeded(moves) {
		return nil
	}
	_ = each(len(moves), func(i int) error { return moves[i].guard(func() { moves[i].back(late) }) })
	return failed(ctx, moves)
}

// meet has every move read its tag only when all have written theirs, so that
// no tag needs to be read twice to know that all were right at one time.
func meet(moves []*move) {
	var first sync.WaitGroup
	first.Add(len(moves))
	for _, m := range moves {
		m.met, m.all = sync.OnceFunc(first.Done), first.Wait
	}
}

// raced returns the moves that came out right but were read before another was
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
		return m.state != Promoted || !m.readAt.Before(last)
	})
}

// undo takes all moves back.
func (p *Promoter) undo(ctx context.Context, moves []*move) {
	_ = each(len(moves), func(i int) error { return moves[i].guard(func() { moves[i].back(ctx) }) })
}

// guard keeps a panic in one move from leaving the others half done.
func (m *move) guard(f func()) error {
	defer func() {
		if m.met != nil {
			m.met()
		}
		if p := recover(); p != nil {
			m.err = fmt.Errorf("internal error: %v", p)
			m.state, m.detail = UnknownTag, "an internal error stopped the move"
		}
	}()
	f()
	return nil
}

// succeeded reports whether every tag is where it was to go.
func succeeded(moves []*move) bool {
	for _, m := range moves {
		if m.state != Promoted && m.state != Already {
			return false
		}
	}
	return true
}

// failed is the error of moves of which at least one failed.
func failed(ctx context.Context, moves []*move) error {
	var causes, places []string
	clean := true
	for _, m := range moves {
		if m.err != nil {
			causes = append(causes, m.err.Error())
		}
		clean = clean && (m.state == Unchanged || m.state == Restored || m.state == Already)
		places = append(places, fmt.Sprintf("%s points at %s (%s)", m.ref(), place(m), m.state))
	}
	if clean && ctx.Err() != nil {
		return fmt.Errorf("the move was cut short: %w; every tag is where it was before", cause(ctx))
	}
	return &MoveError{Err: fmt.Errorf("%s; %s", strings.Join(causes, "; "), strings.Join(places, ", "))}
}

// place is where a tag points, for a sentence.
func place(m *move) string {
	switch {
	case m.state == UnknownTag && !m.seen:
		return "an unknown digest, last seen at " + orAbsent(m.now)
	default:
		return orAbsent(m.now)
	}
}

func orAbsent(digest string) string {
	if digest == "" {
		return "nothing"
	}
	return digest
}

// errCut is why a move did not begin, or not again: the run is over.
var errCut = errors.New("the run was cut short")

// maxOvertaken is how often ours is written again over something older.
const maxOvertaken = 2

// forward writes to until the tag shows it or there is no use in trying. late
// is the context for looking, which outlives ctx.
func (m *move) forward(ctx, late context.Context) {
	if digestOfManifest(m.from) == m.to.digest {
		m.state, m.now, m.seen = Already, m.to.digest, true
		return
	}
	wait := m.repo.t.backoff
	overtaken := 0
	for try := 1; ; try++ {
		if ctx.Err() != nil {
			m.give(errCut)
			return
		}
		err := m.write(ctx, m.to)
		m.pending = m.pending || !refused(err)
		m.met()
		m.all()
		m.look(late, m.to, err == nil)
		switch {
		case m.showsTo():
			m.state, m.err, m.detail = Promoted, nil, ""
			return
		case !m.seen || m.showsFrom():
			if m.give(m.reason(err)); err == nil || !m.seen || !passing(err) || try >= m.repo.t.tries {
				return
			}
		default:
			overtaken++
			if m.overtakenBy(late); overtaken > maxOvertaken || m.state == UnknownTag {
				return
			}
		}
		if !pause(ctx, max(jitter(wait), m.after(err))) {
			m.give(errCut)
			return
		}
		wait = min(2*wait, m.repo.t.backoffMax)
	}
}

// give notes why the tag is not at to. It stays unchanged where it shows what
// it did before, and nothing was written or nothing came of it.
func (m *move) give(err error) {
	if m.err == nil || !errors.Is(err, errCut) {
		m.err = err
	}
	switch {
	case !m.pending || m.showsFrom():
		m.state = Unchanged
	default:
		m.state, m.detail = UnknownTag, "a write was not answered, and the tag could not be read afterwards"
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
		return fmt.Errorf("%s: the write was accepted, but the tag did not show it within %v", m.ref(), m.repo.t.lag)
	}
}

// after is how long the registry wants to be left alone.
func (m *move) after(err error) time.Duration {
	var f *failure
	if errors.As(err, &f) {
		return min(f.retryAfter, m.repo.t.backoffMax)
	}
	return 0
}

// refused reports whether a write certainly did not happen: the registry
// answered, and not with a fault of its own.
func refused(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.status >= 400 && f.status < 500 && f.status != 408
}

// passing reports whether a failed write may succeed a moment later.
func passing(err error) bool {
	var f *failure
	return errors.As(err, &f) && (f.status == 0 || temporary(f.status))
}

// overtakenBy decides what to do where somebody else's manifest shows.
func (m *move) overtakenBy(late context.Context) {
	m.err = fmt.Errorf("%s: somebody else moved it to %s meanwhile", m.ref(), m.now)
	if m.older != nil {
		other, err := m.repo.manifest(late, m.now)
		if err == nil && other != nil && m.older(late, other) {
			return
		}
	}
	m.state, m.detail = UnknownTag, "somebody else moved it meanwhile; it was left there"
}

// write sends one PUT. A cancel of ctx gives it a moment for its answer.
func (m *move) write(ctx context.Context, what *manifest) error {
	hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.repo.t.write)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if pause(hard, m.repo.t.answer) {
			cancel()
		}
	})
	defer stop()
	m.seen = false
	_, err := m.repo.put(hard, m.tag, what)
	m.wroteAt = time.Now()
	return err
}

// look reads the tag until it shows want; where the write was not accepted, or
// somebody else's manifest shows, until it shows anything. It ends with the
// registry's lag, or with ctx.
func (m *move) look(ctx context.Context, want *manifest, accepted bool) {
	ctx, cancel := context.WithTimeout(ctx, m.repo.t.lag)
	defer cancel()
	wait := m.repo.t.poll
	for {
		began := time.Now()
		digest, err := m.read(ctx)
		if err == nil {
			m.now, m.seen, m.readAt = digest, true, began
			if digest == digestOfManifest(want) || !accepted || !m.showsTo() && !m.showsFrom() {
				return
			}
		} else if !m.seen {
			m.err = err
		}
		if !pause(ctx, jitter(wait)) {
			return
		}
		wait = min(2*wait, m.repo.t.pollMax)
	}
}

// read reads the tag's digest. One that is neither the former nor the new is
// not believed before the bytes confirm it.
func (m *move) read(ctx context.Context) (string, error) {
	digest, err := m.repo.digest(ctx, m.tag)
	if err != nil || digest == "" || digest == m.to.digest || digest == digestOfManifest(m.from) {
		return digest, err
	}
	found, err := m.repo.manifest(ctx, m.tag)
	return digestOfManifest(found), err
}

// recheck reads a tag that was promoted once more, after all of them were.
func (m *move) recheck(ctx, late context.Context) {
	if m.state != Promoted {
		return
	}
	digest, err := m.read(late)
	switch {
	case err != nil || digest == m.to.digest:
		return // it was read back before
	case digest == digestOfManifest(m.from):
		m.now = digest
		m.look(late, m.to, true) // a registry that lags on some of its readers
	default:
		m.now = digest
	}
	if m.showsTo() {
		return
	}
	if m.overtakenBy(late); m.state != UnknownTag {
		m.state = Unchanged
		m.forward(ctx, late)
	}
}

// back puts the tag back to from, where a write of to was sent.
func (m *move) back(ctx context.Context) {
	if !m.pending || m.state == Restored {
		return
	}
	was := m.state
	if m.look(ctx, m.to, false); !m.seen {
		m.state, m.detail = UnknownTag, "it could not be read, so it was not put back either"
		return
	}
	if !m.showsTo() && !m.showsFrom() {
		m.state, m.detail = UnknownTag, "somebody else moved it meanwhile; it was left there"
		return
	}
	moved := m.showsTo() || was == Promoted
	var err error
	wait := m.repo.t.backoff
	for try := 1; try <= m.repo.t.tries; try++ {
		err = m.restore(ctx)
		if m.look(ctx, m.from, err == nil); m.showsFrom() || err != nil && !passing(err) || !m.seen {
			break
		}
		if !pause(ctx, max(jitter(wait), m.after(err))) {
			break
		}
		wait = min(2*wait, m.repo.t.backoffMax)
	}
	m.settle(moved, err)
}

// settle names the state after the way back.
func (m *move) settle(moved bool, err error) {
	why := ""
	if err != nil {
		why = ": " + err.Error()
	}
	switch {
	case m.showsFrom() && moved:
		m.state, m.pending, m.detail = Restored, false, ""
	case m.showsFrom():
		m.state, m.pending, m.detail = Unchanged, false, ""
	case m.showsTo():
		m.state, m.detail = Promoted, "it could not be put back"+why
	case !m.seen:
		m.state, m.detail = UnknownTag, "it was put back, but could not be read afterwards"+why
	default:
		m.state, m.detail = UnknownTag, "somebody else moved it meanwhile; it was left there"
	}
}

// restore writes from, or removes a tag that was absent.
func (m *move) restore(ctx context.Context) error {
	m.seen = false
	if m.from != nil {
		bounded, cancel := context.WithTimeout(ctx, m.repo.t.write)
		defer cancel()
		_, err := m.repo.put(bounded, m.tag, m.from)
		return err
	}
	return m.remove(ctx)
}

// remove deletes the tag. Some registries delete the image with its tag: then
// it is written again, by its digest.
func (m *move) remove(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, m.repo.t.write)
	defer cancel()
	if err := m.repo.untag(bounded, m.tag); err != nil {
		return err
	}
	if digest, err := m.repo.digest(bounded, m.to.digest); err == nil && digest == "" {
		return m.repo.store(bounded, m.to.digest, m.to)
	}
	return nil
}

package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// How long the steps of a promotion may take.
const (
	recordTimeout = 20 * time.Second // the blobs of a record, or its entry in a list
	writeTimeout  = 15 * time.Second // one write of a tag
	// lag is how long a registry may take to show a write.
	lag                     = 30 * time.Second
	lowestPoll, highestPoll = 50 * time.Millisecond, 2 * time.Second
)

// Promote moves every target to the candidate, or none: it reads the tags and heads
// once more unless [Candidate.Confirm] has just done so, writes the head that says
// so on each image, then moves the targets. Targets already in place are not
// touched. It starts the ledger of an image that has none. Call [Candidate.Settle]
// afterwards: the targets are read back there.
//
// While the target is on hold, a candidate for verify gets a record of the green
// run, and the error is a [*RefusedError] by [RuleHeld].
//
// The error is a [*MoveError] when the registry refused or failed, any other
// when nothing was moved or everything was put back. Either way
// [Candidate.Images] says where each target points. Under dry-run it writes
// nothing.
func (c *Candidate) Promote(ctx context.Context, d Decision) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.p.config.DryRun || c.settled() {
		return c.reconfirm(ctx)
	}
	if held := c.look.View.Held(); held != nil && c.p.config.Force == "" {
		return c.keep(ctx, d, held)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("nothing was moved: %w", web.Cause(ctx))
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	heads, err := c.heads(ctx, d)
	if err != nil {
		return cannotRecord(ctx, err)
	}
	if err := c.reconfirm(ctx); err != nil {
		return err
	}
	return c.write(ctx, heads)
}

// cannotRecord is the error of a run whose records can't be kept: without them
// nothing is moved.
func cannotRecord(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("nothing was moved: %w", web.Cause(ctx))
	}
	return &MoveError{Err: fmt.Errorf("nothing was moved, since no record could be kept: %w", err)}
}

// begin starts the ledger of images that have none.
func (c *Candidate) begin(ctx context.Context) error {
	if !slices.ContainsFunc(c.look.View, func(s ledger.State) bool { return s.Go == nil || s.Stop == nil }) {
		return nil
	}
	if err := c.reconfirm(ctx); err != nil {
		return err
	}
	var subjects []*registry.Manifest
	for _, i := range c.images {
		subjects = append(subjects, i.source)
	}
	look, err := c.p.begin(ctx, c.look, subjects, c.warn)
	if err == nil && look != c.look {
		c.setReading(look)
		c.setConfirmed(lease{})
	}
	return err
}

// heads makes the records of the promotion, ready to be written.
func (c *Candidate) heads(ctx context.Context, d Decision) ([]*written, error) {
	event := report.EventVerified
	if c.policy == ForPromote {
		event = report.EventPromoted
	}
	return c.decide(ctx, d, event, func(n int, r *ledger.Record) {
		s := &c.look.View[n]
		r.Go = s.Promote(ledger.Live{
			Digest: c.images[n].source.Digest, SHA: r.SHA, Created: c.images[n].facts.Created, Suite: r.Suite,
		}, r.Seq, c.p.config.Force != "")
		if s.Go != nil {
			r.Prev = s.Go.Digest
		}
	})
}

// decide makes the records of a decision about the candidate on all images; state
// adds what a head carries.
func (c *Candidate) decide(ctx context.Context, d Decision, event report.Event, state func(n int, r *ledger.Record)) ([]*written, error) {
	seq, err := c.look.Next()
	if err != nil {
		return nil, err
	}
	id, images := newDecision(), map[string]report.Digest{}
	for n, i := range c.images {
		images[c.p.store.Images[n]] = i.source.Digest
	}
	heads := make([]*written, len(c.images))
	err = parallel.Each(len(c.images), func(n int) (err error) {
		i := c.images[n]
		r := c.p.draft(n, c.look, event, seq, id)
		r.SHA, r.Images = c.sha.Longest(commitOf(i.facts.Revision)), images
		r.Suite, r.SuiteHash, r.Fleet, r.Reason = d.Suite, d.Hash, d.Fleet, d.Reason
		state(n, r)
		heads[n], err = c.p.prepare(ctx, r, ledger.GoHead, i.source)
		return err
	})
	return heads, err
}

// attach writes records of the candidate that are not heads.
func (c *Candidate) attach(ctx context.Context, d Decision, event report.Event) error {
	bounded, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	records, err := c.decide(bounded, d, event, func(int, *ledger.Record) {})
	if err != nil {
		return err
	}
	return parallel.Each(len(records), func(n int) error {
		return c.p.store.Attach(bounded, c.p.store.Images[n], records[n].artifact)
	})
}

// keep records a green verdict on each candidate while the target is on hold.
func (c *Candidate) keep(ctx context.Context, d Decision, held *ledger.Hold) error {
	if err := c.reconfirm(ctx); err != nil {
		return err
	}
	if err := c.attach(ctx, d, report.EventVerified); err != nil {
		c.warn("the green run could not be recorded, so verify again after the release: %v", err)
	}
	return &RefusedError{Rule: RuleHeld, Reason: onHold(held)}
}

// write writes the heads, then the targets, while the last look counts.
func (c *Candidate) write(ctx context.Context, heads []*written) error {
	looked := c.lastConfirmed()
	if looked.over(1) {
		return errPaused
	}
	c.written = heads
	err := c.p.putAll(ctx, heads, looked)
	switch {
	case err != nil:
		err = &MoveError{Err: fmt.Errorf("no target was moved: %w", err)}
	case ctx.Err() != nil:
		err = &MoveError{Err: fmt.Errorf("no target was moved: %w", web.Cause(ctx))}
	case looked.over(1):
		err = &MoveError{Err: errors.New("no target was moved: this run was paused for too long before the move; run again")}
	default:
		err = c.moveTargets(ctx, true)
	}
	cleanup, cancel := web.Cleanup(ctx)
	defer cancel()
	if err != nil {
		undone := c.undoHeads(cleanup)
		c.written = nil
		if undone != nil {
			return &MoveError{Err: fmt.Errorf("%w; what was recorded could not be taken back: %w", err, undone)}
		}
		return err
	}
	c.late = looked.over(2)
	c.settles = time.Now().Add(c.p.clock.settling())
	c.p.tell(cleanup, c.look, heads, c.warn)
	c.p.list(cleanup, heads, c.warn)
	return nil
}

// moveTargets moves the targets of all images. Leased: they were just read, and
// will be read back by [Candidate.Settle].
func (c *Candidate) moveTargets(ctx context.Context, leased bool) error {
	moves := make([]*move, len(c.images))
	for n, i := range c.images {
		moves[n] = &move{repo: i.repository, tag: i.facts.Target, from: i.target, to: i.source, now: i.target.DigestOrNone(), leased: leased, older: c.older(i)}
	}
	err := apply(ctx, moves)
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, m := range moves {
		facts := &c.images[n].facts
		facts.State, facts.Now, facts.Detail = m.state, m.now, m.detail
	}
	return err
}

// undoHeads takes the heads of this run back where they are still there: what was
// to be shown before is to be shown again.
func (c *Candidate) undoHeads(ctx context.Context) error {
	mine := make([]bool, len(c.written))
	err := parallel.Each(len(c.written), func(n int) error {
		w := c.written[n]
		if !w.sent {
			return nil
		}
		shown, err := c.p.store.HeadIs(ctx, w.record.Image, w.kind)
		mine[n] = shown == w.artifact.Digest
		return err
	})
	if err != nil || !slices.Contains(mine, true) {
		return err
	}
	look, err := c.p.store.Read(ctx)
	if err != nil {
		return err
	}
	seq, err := look.Next()
	if err != nil {
		return err
	}
	id := newDecision()
	heads := make([]*written, len(mine))
	err = parallel.Each(len(mine), func(n int) (err error) {
		if mine[n] {
			heads[n], err = c.undone(ctx, n, look, seq, id)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := c.p.putAll(ctx, heads, c.p.clock.look()); err != nil {
		return err
	}
	c.p.list(ctx, heads, c.warn)
	return nil
}

// undone makes the record that takes the promotion of one image back.
func (c *Candidate) undone(ctx context.Context, n int, look *ledger.Reading, seq int64, id string) (*written, error) {
	i, before := c.images[n], &c.look.View[n]
	r := c.p.draft(n, look, report.EventUndone, seq, id)
	r.Go, r.Prev, r.SHA = before.Undo(look.View[n].Target), c.written[n].artifact.Digest, c.sha
	r.Reason = "the promotion could not be completed"
	var subject *registry.Manifest
	switch d := r.Go.Subject(i.source.Digest); d {
	case i.target.DigestOrNone():
		subject = i.target
	case i.source.Digest:
		subject = i.source
	default:
		m, err := i.Manifest(ctx, registry.ByDigest(d))
		if err != nil || m == nil {
			return nil, errors.Join(err, fmt.Errorf("%s@%s can't be read", i.image, d.Short()))
		}
		subject = m
	}
	if len(r.Go.Live) > 0 {
		r.SHA = r.Go.Live[0].SHA
	}
	return c.p.prepare(ctx, r, ledger.GoHead, subject)
}

// Reject writes a record of a red verdict on each candidate. Where it has a record
// of a green run too, and isn't in production, the stop head gets one as well, so
// that promote refuses it whatever a registry lists. What can't be written becomes
// a warning.
func (c *Candidate) Reject(ctx context.Context, d Decision) {
	if c.p.config.DryRun {
		return
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.attach(ctx, d, report.EventRejected); err != nil {
		c.warn("no record of this run was kept: %v", err)
	}
	if err := c.revoke(ctx, d); err != nil {
		c.warn("that it failed could not be recorded in the ledger's head: %v", err)
	}
}

// revoke writes the stop heads that a rejection needs.
func (c *Candidate) revoke(ctx context.Context, d Decision) error {
	positive := make([]bool, len(c.images))
	err := parallel.Each(len(c.images), func(n int) error {
		s, source := &c.look.View[n], c.images[n].source
		if s.Go == nil || s.Stop == nil || !s.NeedsRecords(source.Digest) {
			return nil
		}
		if _, revoked := s.Revoked(source.Digest); revoked {
			return nil
		}
		records, _, err := c.p.store.Records(ctx, c.p.store.Images[n], source.Digest)
		positive[n] = err != nil || slices.ContainsFunc(records, func(h *ledger.Head) bool { return h.Event.Positive() })
		return nil //nolint:nilerr // what can't be read may be a green run
	})
	if err != nil || !slices.Contains(positive, true) {
		return err
	}
	change := &change{
		event: report.EventRejected, reason: d.Reason,
		subject: func(n int) *registry.Manifest { return c.images[n].source },
		state: func(n int, s *ledger.State, seq int64) *ledger.Stop {
			sha := c.sha.Longest(commitOf(c.images[n].facts.Revision))
			stop, ok := s.Reject(ledger.Revoked{Digest: c.images[n].source.Digest, SHA: sha}, seq, positive[n])
			if !ok {
				return nil
			}
			return stop
		},
		sha: func(n int) report.Commit { return c.sha.Longest(commitOf(c.images[n].facts.Revision)) },
	}
	_, err = c.p.insist(ctx, change, c.warn)
	return err
}

// older returns the judge of somebody else's manifest that a target shows:
// whether it is known to be older than the candidate.
func (c *Candidate) older(i *image) func(context.Context, *registry.Manifest) bool {
	return func(ctx context.Context, other *registry.Manifest) bool {
		if c.p.config.Force != "" {
			return false // the order of commits has been set aside
		}
		b, err := i.build(ctx, other)
		if err != nil {
			return false
		}
		relation, _ := c.p.ask(ctx, commitOf(b.revision), c.sha.Longest(commitOf(i.facts.Revision)))
		switch relation {
		case report.Ahead:
			return true
		case report.Behind:
			return false
		}
		return !b.created.IsZero() && b.created.Before(i.facts.Created)
	}
}

// when is a record's time and reason for a sentence.
func when(r *ledger.Head) string {
	return strings.TrimSuffix(fmt.Sprintf("at %s (%s)", r.Time.UTC().Format(time.RFC3339), r.Reason), " ()")
}

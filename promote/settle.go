package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// maxRepairs is how often a target that was overtaken is written again.
const maxRepairs = 4

// Settle waits until no older write can land on the targets any more, reads them
// and the ledger once more, and puts right what was overtaken: a target shows what
// the ledger says, whoever won. It is for calling after [Candidate.Promote], when
// everything else is done; where that moved nothing, it does nothing.
//
// The error is a [*MoveError] where the targets are not, or not surely, at the
// candidate; any other means that they could not be read.
func (c *Candidate) Settle(ctx context.Context) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.written == nil {
		return nil
	}
	if err := web.Pause(ctx, time.Until(c.settles)); err != nil {
		return fmt.Errorf("the tags were not read once more: %w", web.Cause(ctx))
	}
	visible := time.Now().Add(lag)
	for repairs := 0; ; {
		look, err := c.p.store.Read(ctx)
		if err != nil {
			return fmt.Errorf("the tags could not be read once more: %w", err)
		}
		if c.hidden(look) && time.Now().Before(visible) { // the registry lags
			if web.Pause(ctx, highestPoll) != nil {
				return fmt.Errorf("the tags were not read once more: %w", web.Cause(ctx))
			}
			continue
		}
		c.settle(look)
		why := c.overtaken(look)
		off := astray(look.View)
		if len(off) == 0 {
			return c.outcome(why)
		}
		if repairs == maxRepairs {
			return &MoveError{Err: errors.New("the targets don't settle: others keep writing them; " + strings.Join(append(why, c.places()...), "; "))}
		}
		repairs++
		if err := c.repair(ctx, look, off); err != nil {
			return &MoveError{Err: errors.Join(c.outcome(why), err)}
		}
		if web.Pause(ctx, c.p.clock.settling()) != nil {
			return &MoveError{Err: fmt.Errorf("targets were written again and not read once more: %w; %s", web.Cause(ctx), strings.Join(c.places(), "; "))}
		}
	}
}

// outcome is the error of targets that show what the ledger says.
func (c *Candidate) outcome(why []string) error {
	switch {
	case len(why) > 0:
		return &MoveError{Err: errors.New(strings.Join(append(why, c.places()...), "; "))}
	case c.late:
		return &MoveError{Err: errors.New("this run was paused for too long during the move, so that a hold or rollback may have been overtaken: compare the history with what you expect")}
	}
	return nil
}

// hidden reports whether a head still shows what it did before this run wrote it.
func (c *Candidate) hidden(look *ledger.Reading) bool {
	for n, w := range c.written {
		if shown := look.Shown[n].Go; shown != w.artifact.Digest && shown == w.record.Prev {
			return true
		}
	}
	return false
}

// settle takes over where the targets are.
func (c *Candidate) settle(look *ledger.Reading) {
	c.setReading(look)
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, i := range c.images {
		f := &i.facts
		f.Now = look.View[n].Target
		if f.Now != f.Digest && f.State != report.UnknownState {
			f.State, f.Detail = report.UnknownState, "somebody else moved it after this run"
		} else if f.Now == f.Digest && f.State == report.UnknownState {
			f.State, f.Detail = report.Promoted, ""
		}
	}
}

// overtaken says who decided otherwise since this run wrote its heads.
func (c *Candidate) overtaken(look *ledger.Reading) []string {
	var why []string
	say := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	for n, i := range c.images {
		s := &look.View[n]
		if s.Go == nil || s.Stop == nil {
			say("the ledger of %s can't be trusted any more: %s", i.image, look.Others[n].Problem)
			continue
		}
		if r, revoked := look.View.Revoked(i.source.Digest); revoked {
			say("the candidate was %s meanwhile by %s", r.Kind, by(s.Stop))
		}
		switch s.Want() {
		case i.source.Digest:
		case s.Stop.Stop.Goal:
			say("overtaken by the rollback of %s", by(s.Stop))
		default:
			say("overtaken by %s", by(s.Go))
		}
	}
	return why
}

// by names the run, or else the person, that wrote a record.
func by(h *ledger.Head) string {
	switch {
	case h.RunURL != "":
		return h.RunURL
	case h.Actor != "":
		return h.Actor
	}
	return "another run (decision " + fmt.Sprint(h.Seq) + ")"
}

// places says where the targets are.
func (c *Candidate) places() []string {
	var places []string
	for _, image := range c.Images() {
		places = append(places, fmt.Sprintf("%s points at %s", image.Reference(), orNothing(image.Now)))
	}
	return places
}

// astray are the images whose target doesn't show what the ledger says.
func astray(v ledger.View) []int {
	var off []int
	for n := range v {
		if s := &v[n]; s.Go != nil && s.Stop != nil && s.Target != s.Want() && s.Want() != "" {
			off = append(off, n)
		}
	}
	return off
}

// repair writes what the ledger says to targets that show something else. What
// nobody of the ledger put there is left alone, unless it is known to be older.
func (c *Candidate) repair(ctx context.Context, look *ledger.Reading, off []int) error {
	var moves []*move
	for _, n := range off {
		i, s := c.images[n], &look.View[n]
		from, err := i.shown(look, n)
		if err != nil {
			return err
		}
		if from != nil && from.Digest != i.target.DigestOrNone() && !known(look, n, from.Digest) && !c.older(i)(ctx, from) {
			return fmt.Errorf("%s: somebody else moved it to %s, and no record says who; it was not touched again", i.facts.Reference(), from.Digest)
		}
		to, err := i.wanted(ctx, s.Want(), i.source, i.target)
		if err != nil {
			return err
		}
		moves = append(moves, &move{repo: i.repository, tag: i.facts.Target, from: from, to: to, now: from.DigestOrNone()})
	}
	return again(ctx, moves)
}

// known reports whether a record names the digest.
func known(look *ledger.Reading, n int, d report.Digest) bool {
	s := &look.View[n]
	return s.Entry(d) != (ledger.Live{Digest: d}) || s.Order(d) == report.Identical ||
		slices.ContainsFunc(look.Others[n].Found, func(h *ledger.Head) bool { return h.Subject == d && (h.Go != nil || h.Stop != nil) })
}

// shown is what a target showed when it was read; nil: it was absent.
func (r *repository) shown(look *ledger.Reading, n int) (*registry.Manifest, error) {
	o := look.Shown[n].Target
	if o.Raw == nil {
		return nil, nil
	}
	m, err := registry.ParseManifest(o.MediaType, o.Raw)
	if err != nil {
		return nil, r.wrong("read the target tag", 0, err.Error())
	}
	return m, nil
}

// wanted reads the manifest of a digest, unless it is one of those at hand.
func (r *repository) wanted(ctx context.Context, d report.Digest, atHand ...*registry.Manifest) (*registry.Manifest, error) {
	for _, m := range atHand {
		if m.DigestOrNone() == d {
			return m, nil
		}
	}
	m, err := r.Manifest(ctx, registry.ByDigest(d))
	if err == nil && m == nil {
		err = fmt.Errorf("%s@%s is no longer in the registry", r.image, d.Short())
	}
	return m, err
}

// again moves tags, each for itself: what moved stays, whatever became of the rest.
func again(ctx context.Context, moves []*move) error {
	cleanup, cancel := web.Cleanup(ctx)
	defer cancel()
	barrier(moves)
	all(moves, func(m *move) { m.forward(ctx, cleanup) })
	var errs []error
	for _, m := range moves {
		if m.state != report.Promoted && m.state != report.Already {
			errs = append(errs, fmt.Errorf("%s points at %s: %w", m.ref(), m.place(), m.err))
		}
	}
	return errors.Join(errs...)
}

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

// maxRounds is how often a stop head that others overwrote is written.
const maxRounds = 8

// A change is what a hold, release, rollback or rejection does to the stop heads.
type change struct {
	event  report.Event
	reason string
	// subject is what the record of an image is attached to.
	subject func(n int) *registry.Manifest
	// state is what the head of an image shall say; nil: it stays as it is.
	state  func(n int, s *ledger.State, seq int64) *ledger.Stop
	sha    func(n int) report.Commit
	images map[string]report.Digest // the goal of a rollback, by image
	// move moves the targets, after the heads were written, or could not be; nil: they
	// stay.
	move func(ctx context.Context, look *ledger.Reading) error
	// also are further digests of an image whose records may be of the same moment.
	also func(n int) []report.Digest
}

// insist writes stop heads, and again where somebody else wrote them at the same
// time, with what both say: a promotion can't overwrite a stop head, but other holds
// and rollbacks can. It ends when, after the time in which older writes may show,
// all heads are its own and all targets are where the ledger wants them.
//
// The error is a [*MoveError] where a head or a target could not be written, a
// [*NotHeldError] where a head could not and the targets moved all the same; any
// other means that the ledger could not be read. The reading is the last one.
func (p *Promoter) insist(ctx context.Context, c *change, warn func(string, ...any)) (*ledger.Reading, error) {
	i := &insistence{p: p, change: c, warn: warn}
	for range maxRounds {
		done, err := i.round(ctx)
		if done || err != nil {
			return i.look, err
		}
	}
	return i.look, &MoveError{Err: errors.New("others keep writing the ledger at the same time; run again")}
}

// An insistence is one call of insist.
type insistence struct {
	p *Promoter
	*change
	warn func(string, ...any)
	base *ledger.Reading // what was read first
	look *ledger.Reading // what was read last
	ours []report.Digest // every record that was written
}

// round writes the heads once and looks what became of them.
func (i *insistence) round(ctx context.Context) (done bool, err error) {
	if ctx.Err() != nil {
		return false, fmt.Errorf("nothing more was written: %w", web.Cause(ctx))
	}
	if err := i.read(ctx); err != nil {
		return false, err
	}
	heads, failed := i.heads(ctx)
	looked := i.p.clock.look()
	if failed == nil && (i.p.unchangedHeads(ctx, i.look) != nil || looked.over(1)) {
		return false, nil //nolint:nilerr // overtaken, or asleep since the look: look again
	}
	if failed == nil {
		failed = i.p.putAll(ctx, heads, looked)
	}
	for _, w := range heads {
		if w != nil && w.artifact != nil {
			i.ours = append(i.ours, w.artifact.Digest)
		}
	}
	if failed != nil && (i.move == nil || ctx.Err() != nil) {
		return false, &MoveError{Err: fmt.Errorf("the ledger could not be written: %w", failed)}
	}
	if i.move != nil {
		if err := i.move(ctx, i.look); err != nil {
			return false, err
		}
	}
	if failed != nil {
		return false, &NotHeldError{failed}
	}
	i.p.tell(ctx, i.look, heads, i.warn)
	i.p.list(ctx, heads, i.warn)
	late := looked.over(2)
	if err := i.settle(ctx, heads); err != nil {
		return false, err
	}
	return !late && i.stays(heads), nil
}

// read reads the ledger and merges what other writers of the same moment said.
func (i *insistence) read(ctx context.Context) error {
	look, err := i.p.store.Read(ctx)
	if err != nil {
		return err
	}
	i.look = look
	for n := range look.View {
		if s := &look.View[n]; s.Go == nil || s.Stop == nil {
			return &RefusedError{RuleNoHead, fmt.Sprintf("%s: %s", i.p.repos[n].image, look.Others[n].Problem)}
		}
	}
	if i.base == nil {
		i.base = look
		return nil
	}
	return parallel.Each(len(look.View), func(n int) error { return i.merge(ctx, n) })
}

// merge adds to a stop head the records that were written since the first look and
// overwritten by another one.
func (i *insistence) merge(ctx context.Context, n int) error {
	s, base := &i.look.View[n], &i.base.View[n]
	digests := []report.Digest{base.Target, s.Target}
	if i.also != nil {
		digests = append(digests, i.also(n)...)
	}
	for _, d := range digests {
		if err := i.p.store.Learn(ctx, i.look, n, d); err != nil {
			return err
		}
	}
	var siblings []*ledger.Head
	for _, h := range i.look.Others[n].Found {
		if h.Stop != nil && h.Seq > base.Stop.Seq && h.Event != report.EventReleased && !slices.Contains(i.ours, h.Digest) && h.Digest != s.Stop.Digest {
			siblings = append(siblings, h)
		}
	}
	if len(siblings) > 0 {
		merged := *s.Stop
		merged.Stop = s.Merge(siblings...)
		s.Stop = &merged
	}
	return nil
}

// heads makes the records of one round, ready to be written.
func (i *insistence) heads(ctx context.Context) ([]*written, error) {
	seq, err := i.look.Next()
	if err != nil {
		return nil, err
	}
	id := newDecision()
	heads := make([]*written, len(i.look.View))
	err = parallel.Each(len(heads), func(n int) (err error) {
		s := &i.look.View[n]
		state := i.state(n, s, seq)
		if state == nil {
			return nil
		}
		r := i.p.draft(n, i.look, i.event, seq, id)
		r.Stop, r.Prev, r.Reason, r.Images, r.SHA = state, s.Stop.Digest, i.reason, i.images, i.sha(n)
		heads[n], err = i.p.prepare(ctx, r, ledger.StopHead, i.subject(n))
		return err
	})
	return heads, err
}

// settle waits until older writes can't show any more, and reads. A registry that
// still hides what was written is given time.
func (i *insistence) settle(ctx context.Context, heads []*written) error {
	if web.Pause(ctx, i.p.clock.settling()) != nil {
		return &MoveError{Err: fmt.Errorf("the ledger was written, but not read once more: %w", web.Cause(ctx))}
	}
	for visible := time.Now().Add(lag); ; {
		look, err := i.p.store.Read(ctx)
		if err != nil {
			return &MoveError{Err: fmt.Errorf("the ledger was written, but could not be read once more: %w", err)}
		}
		i.look = look
		hidden := false
		for n, w := range heads {
			shown := look.Shown[n].Stop
			hidden = hidden || w != nil && shown != w.artifact.Digest && shown == w.record.Prev
		}
		if !hidden || time.Now().After(visible) {
			return nil
		}
		if err := web.Pause(ctx, highestPoll); err != nil {
			return &MoveError{Err: fmt.Errorf("the ledger was written, but does not show yet: %w", web.Cause(ctx))}
		}
	}
}

// stays reports whether all heads are those that were written, and all targets of a
// rollback where it wants them.
func (i *insistence) stays(heads []*written) bool {
	for n, w := range heads {
		s := &i.look.View[n]
		if w != nil && i.look.Shown[n].Stop != w.artifact.Digest {
			return false
		}
		if goal := i.images[i.p.store.Images[n]]; i.move != nil && (s.Target != goal || s.Want() != goal) {
			return false
		}
	}
	return true
}

// targets are the manifests that the targets showed.
func (p *Promoter) shown(look *ledger.Reading) ([]*registry.Manifest, error) {
	shown := make([]*registry.Manifest, len(p.repos))
	for n, r := range p.repos {
		var err error
		if shown[n], err = r.shown(look, n); err != nil {
			return nil, err
		}
	}
	return shown, nil
}

// ready reads the ledger for a decision by hand, and starts it where it may. A
// refusal says why it may not.
func (p *Promoter) ready(ctx context.Context, warn func(string, ...any)) (*ledger.Reading, error) {
	look, err := p.store.Read(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range look.Warnings {
		warn("%s", w)
	}
	var refused refusals
	for n := range look.View {
		s := &look.View[n]
		if s.Go != nil && s.Stop != nil || p.store.Begin(look, n) == ledger.MayBegin {
			continue
		}
		why := fmt.Sprintf("the ledger of %s:%s has no trusted heads (%s): find out who removed them, or begin it with force and a reason",
			p.repos[n].image, p.config.TargetTag, look.Others[n].Problem)
		if p.config.Force == "" {
			refused.add(RuleNoHead, why)
		} else {
			warn("forced (%s): %s", p.config.Force, why)
		}
	}
	if err := refused.err(); err != nil {
		return look, err
	}
	return p.begin(ctx, look, nil, warn)
}

// absentTargets refuses where a target tag is absent.
func (p *Promoter) absentTargets(look *ledger.Reading) error {
	var missing []string
	for n, r := range p.repos {
		if look.View[n].Target == "" {
			missing = append(missing, r.image+":"+p.config.TargetTag)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &RefusedError{RuleNoTarget, strings.Join(missing, ", ") + " does not exist, so there is nothing to hold or release"}
}

package promote

import (
	"context"
	"fmt"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// How long the steps of a promotion may take.
const (
	confirmedFor  = 5 * time.Second  // how long what Confirm saw counts
	recordTimeout = 20 * time.Second // all records of a run
	writeTimeout  = 15 * time.Second // one write of a tag
	// lag is how long a registry may take to show a write.
	lag                     = 30 * time.Second
	lowestPoll, highestPoll = 50 * time.Millisecond, 2 * time.Second
)

// Promote moves every target to the candidate, or none: it confirms the tags
// once more unless [Candidate.Confirm] has just done so, writes a record on each
// candidate ahead of the moves, so that a crash leaves a trail, then reads each
// target a last time, moves it and reads it back. Targets already in place are not
// touched. A record that can't be written costs a warning.
//
// The error is a [*MoveError] when the registry refused or failed, any other
// when nothing was moved or everything was put back. Either way
// [Candidate.Images] says where each target points. Under dry-run it writes
// nothing.
func (c *Candidate) Promote(ctx context.Context, d Decision) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.fresh() {
		if err := c.Confirm(ctx); err != nil {
			return err
		}
	}
	if c.p.config.DryRun {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("nothing was moved: %w", web.Cause(ctx))
	}
	event := report.EventVerified
	if c.policy == ForPromote {
		event = report.EventPromoted
	}
	c.record(ctx, func(i *image) []report.Record {
		if c.recorded(i) {
			return nil
		}
		return []report.Record{c.decided(i, d, event)}
	})
	return c.moveTargets(ctx)
}

// Reject writes a record of a red verdict on each candidate. What can't be
// written becomes a warning.
func (c *Candidate) Reject(ctx context.Context, d Decision) {
	if c.p.config.DryRun {
		return
	}
	c.record(ctx, func(i *image) []report.Record { return []report.Record{c.decided(i, d, report.EventRejected)} })
}

// recorded reports whether a positive record would say nothing new: the target is
// in place, and the newest record says so of the same commit.
func (c *Candidate) recorded(i *image) bool {
	return i.inPlace() && i.newest != nil && i.newest.Event.Positive() &&
		i.newest.Target == i.facts.Target && i.newest.SHA.Same(c.sha)
}

// decided makes one image's record.
func (c *Candidate) decided(i *image, d Decision, event report.Event) report.Record {
	rec := c.p.newRecord(event, i.source.Digest, c.sha.Longest(commitOf(i.facts.Revision)), d.Reason)
	rec.Suite, rec.Hash = d.Suite, d.Hash
	switch {
	case !i.inPlace():
		rec.Replaced = i.target.DigestOrNone()
	case i.newest != nil && i.newest.Target == i.facts.Target:
		rec.Replaced = i.newest.Replaced // it replaced nothing now, so what it replaced before still counts
	}
	return rec
}

// newRecord makes a record of now, with the reason why rules were lifted.
func (p *Promoter) newRecord(event report.Event, digest report.Digest, sha report.Commit, reason string) report.Record {
	switch force := p.config.Force; {
	case force == "" || reason == force:
	case reason == "":
		reason = "forced: " + force
	default:
		reason += " (forced: " + force + ")"
	}
	return report.Record{
		Event: event, Time: time.Now().UTC().Truncate(time.Millisecond), SHA: sha, Digest: digest, Target: p.config.TargetTag,
		RunURL: p.config.Origin.RunURL, Actor: p.config.Origin.Actor, Reason: reason,
	}
}

// record writes the records of all images at once. What can't be written is a
// warning.
func (c *Candidate) record(ctx context.Context, records func(i *image) []report.Record) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	errs := parallel.All(len(c.images), func(n int) error {
		i := c.images[n]
		recs := records(i)
		return parallel.Each(len(recs), func(k int) error {
			subject := i.source
			if recs[k].Digest != subject.Digest {
				subject = i.target
			}
			return i.writeRecord(ctx, subject, recs[k], c.p.config.Origin.Tool)
		})
	})
	for n, err := range errs {
		if err != nil {
			c.warn("no record of this run was kept for %s: %v", c.images[n].image, err)
		}
	}
}

// moveTargets moves the targets of all images.
func (c *Candidate) moveTargets(ctx context.Context) error {
	moves := make([]*move, len(c.images))
	for n, i := range c.images {
		moves[n] = &move{repo: i.repository, tag: i.facts.Target, from: i.target, to: i.source, now: i.target.DigestOrNone(), older: c.older(i)}
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

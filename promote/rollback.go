package promote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A RollbackResult says what a rollback replaced, and by what.
type RollbackResult struct {
	// Images are as in a promotion: Digest is the restored digest, Previous the one
	// that was replaced.
	Images []report.Image
	// Rollback is without PostMortem. What no record says is left out.
	Rollback report.Rollback
	// Already: the rollback had been done before, and nothing was written.
	Already  bool
	Held     *report.Hold // at the end; nil: the target is free
	Warnings []string
}

// A NotHeldError is a rollback that moved the targets and could not record it, so
// that the next promotion may undo it.
type NotHeldError struct{ Err error }

// Error says what to do.
func (e *NotHeldError) Error() string {
	return "the target was rolled back, but is not on hold: stop promotions by hand; the rollback could not be recorded: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *NotHeldError) Unwrap() error { return e.Err }

// Rollback points the target tag of every image at an earlier commit's digest, or
// none: at that of sha, or for an empty sha at the newest earlier one that was live
// on every image. First it writes into the ledger what is replaced, what is restored
// and that the target is on hold, so that it holds from then on: run again, it
// finishes what was not finished, or finds itself done. Neither the order of commits
// nor tenants are asked for.
//
// The errors are of the same kinds as those of [Promoter.Resolve] and
// [Candidate.Promote], or a [*NotHeldError]; the result comes with them as far as it
// is known.
func (p *Promoter) Rollback(ctx context.Context, sha report.Commit, reason string) (RollbackResult, error) {
	var err error
	if sha != "" {
		err = p.config.CheckCommit(sha)
	}
	b := &rollback{Candidate: p.candidate(sha, ForPromote), reason: reason}
	if untrusted := p.config.CheckSigner(); untrusted != nil && !p.config.DryRun {
		if b.unrecorded = untrusted; p.config.Force == "" {
			err = errors.Join(err, untrusted)
		}
	}
	if err != nil {
		return RollbackResult{Images: p.candidate("", ForPromote).Images()}, err
	}
	err = b.run(ctx)
	b.facts.ToSHA = b.sha
	return RollbackResult{Images: b.Images(), Rollback: b.facts, Already: b.already, Held: b.Held(), Warnings: b.Warnings()}, err
}

// A rollback is one run of [Promoter.Rollback]. The source of its candidate's
// images is what is restored.
type rollback struct {
	*Candidate
	reason     string
	facts      report.Rollback
	left       []ledger.Live // by image: what is replaced
	hold       *ledger.Hold  // nil: it stays as it is
	already    bool
	unrecorded error // why nothing can be recorded; nil: it can
}

// run does one thing after the other; nothing is written before all is known.
func (b *rollback) run(ctx context.Context) error {
	look, err := b.p.ready(ctx, b.warn)
	if err != nil {
		var refused *RefusedError
		if !errors.As(err, &refused) && b.sha != "" && b.p.config.Force != "" {
			return b.blind(ctx, err)
		}
		return err
	}
	if err := b.take(look); err != nil {
		return err
	}
	b.describe(ctx)
	if !b.p.config.NoHold {
		hold := b.p.newHold(b.reason)
		b.hold = &hold
	}
	if err := b.aim(ctx); err != nil {
		return err
	}
	if b.already {
		b.p.tell(ctx, look, nil, b.warn)
		return nil
	}
	return b.carryOut(ctx)
}

// describe notes what the present state is known by.
func (b *rollback) describe(ctx context.Context) {
	_ = parallel.All(len(b.images), func(n int) error {
		// What is replaced may well be damaged.
		_, err := b.images[n].readPrevious(ctx, &b.look.View[n])
		return err
	})
	b.left = make([]ledger.Live, len(b.images))
	for n, i := range b.images {
		s := &b.look.View[n]
		b.left[n] = s.Entry(i.target.DigestOrNone())
		if b.left[n].SHA == "" {
			b.left[n].SHA = commitOf(i.facts.PreviousRevision)
		}
		if g := s.Go; g != nil && len(g.Go.Live) > 0 && g.Go.Live[0].Digest == s.Target && g.Event.Positive() && b.facts.LiveSince.IsZero() {
			b.facts.LiveSince, b.facts.LiveFor = g.Time, time.Since(g.Time).Round(time.Second)
			b.facts.PromotedBy = cmp.Or(g.RunURL, g.Actor)
			b.facts.Suite, b.facts.SuiteHash = g.Suite, g.SuiteHash
		}
	}
	b.facts.FromSHA = b.look.View.Left().SHA
	for n := range b.left {
		b.facts.FromSHA = cmp.Or(b.facts.FromSHA, b.left[n].SHA)
	}
}

// aim decides what is restored, and reads it.
func (b *rollback) aim(ctx context.Context) error {
	if b.sha != "" {
		digests, err := b.find(ctx)
		if err != nil {
			return err
		}
		if err := b.fetch(ctx, digests); err != nil {
			return err
		}
		b.already = b.inPlace()
		return nil
	}
	goal, current := b.look.View.CurrentGoal()
	if current {
		done := b.look.View.At(goal) && !b.look.View.Unfinished(goal)
		if !done {
			return b.resume(ctx, goal)
		}
		answers, err := b.answers(ctx)
		if err != nil {
			return err
		}
		if answers {
			b.already, b.sha = true, goal.SHA
			b.replaced()
			return b.fetch(ctx, b.inOrder(goal))
		}
	}
	return b.goBack(ctx)
}

// inPlace reports whether every target shows what is restored.
func (b *rollback) inPlace() bool {
	return !slices.ContainsFunc(b.images, func(i *image) bool { return !i.inPlace() })
}

// inOrder are the digests of a goal, in the order of the images.
func (b *rollback) inOrder(g ledger.Goal) []report.Digest {
	digests := make([]report.Digest, len(b.images))
	for n, name := range b.p.store.Images {
		digests[n] = g.Digests[name]
	}
	return digests
}

// answers reports whether a rollback that was done answers this run too: unless it
// was released since, and this is not the same run again.
func (b *rollback) answers(ctx context.Context) (bool, error) {
	for n := range b.look.View {
		s := &b.look.View[n]
		if s.Stop == nil || s.Stop.Stop.Goal == "" {
			continue
		}
		record, released, err := b.p.store.Rollback(ctx, s)
		if err != nil {
			return false, err
		}
		same := record != nil && record.RunID != "" && record.RunID == b.p.config.Origin.RunID
		if released && !same {
			return false, nil
		}
	}
	return true, nil
}

// replaced notes what the rollback that is current replaced.
func (b *rollback) replaced() {
	for n := range b.look.View {
		stop := b.look.View[n].Stop.Stop
		for _, r := range stop.Revoked {
			if r.Seq == stop.GoalSeq && r.Kind == report.EventRolledBack {
				b.left[n] = b.look.View[n].Entry(r.Digest)
				b.left[n].SHA = cmp.Or(b.left[n].SHA, r.SHA)
				b.facts.FromSHA = cmp.Or(r.SHA, b.facts.FromSHA)
			}
		}
	}
}

// resume takes up a rollback that was left half done.
func (b *rollback) resume(ctx context.Context, goal ledger.Goal) error {
	b.warn("a rollback to %s was left half done; it is finished", named(string(goal.SHA)))
	b.sha, b.hold = goal.SHA, b.look.View.Held()
	for n := range b.look.View {
		// A target that shows the goal already was at what the head says.
		s := &b.look.View[n]
		if s.Target == goal.Digests[s.Image] && s.Go != nil && len(s.Go.Go.Live) > 0 {
			b.left[n] = s.Go.Go.Live[0]
		}
	}
	b.replaced()
	digests := b.inOrder(goal)
	if n := slices.Index(digests, ""); n >= 0 {
		return &RefusedError{RuleUnknownCommit, fmt.Sprintf("a rollback was left half done, and no record says what it restores on %s: give the commit to restore", b.images[n].image)}
	}
	return b.fetch(ctx, digests)
}

// goBack chooses the newest earlier commit that is still in the registry.
func (b *rollback) goBack(ctx context.Context) error {
	why := error(nil)
	for _, goal := range b.look.View.Goals() {
		err := b.fetch(ctx, b.inOrder(goal))
		if err == nil {
			b.sha = goal.SHA
			if goal.SHA == "" {
				b.warn("no commit is known that all images were built from; each image is restored to what it had before records began")
			}
			return nil
		}
		var refused *RefusedError
		if !errors.As(err, &refused) {
			return err
		}
		why = err
	}
	if why == nil {
		_, why = b.look.View.PreviousGoal()
	}
	if problem := b.look.Others[0].Problem; problem != "" {
		why = fmt.Errorf("%w (%s)", why, problem)
	}
	return &RefusedError{RuleUnknownCommit, fmt.Sprintf("there is nothing to go back to: %v; give the commit to restore, or, after a first promotion that was left half done, run verify again or delete the tags", why)}
}

// find returns the digests of the commit that was asked for: behind its source
// tag, else in the ledger.
func (b *rollback) find(ctx context.Context) ([]report.Digest, error) {
	var refused refusals
	digests := make([]report.Digest, len(b.images))
	matches := make([]match, len(b.images))
	err := parallel.Each(len(b.images), func(n int) (err error) {
		matches[n], err = b.search(ctx, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	for n, m := range matches {
		i := b.images[n]
		digests[n] = m.digest
		if m.digest == "" {
			refused.add(RuleUnknownCommit, fmt.Sprintf("%s: %s is unknown: there is no tag %s, and it is not in the history of %s",
				i.image, b.sha.Short(), i.facts.Source, i.facts.Target))
			continue
		}
		refused.add(RuleRevision, m.mislabelled)
		if m.problem != "" {
			b.lift(&refused, m.rule, fmt.Sprintf("%s@%s %s: choose another commit, or give force with a reason", i.image, m.digest.Short(), m.problem))
		}
	}
	return digests, refused.err()
}

// A match is what was found of a commit for one image.
type match struct {
	digest      report.Digest // "": nothing
	mislabelled string        // why its label does not fit the commit
	rule        Rule          // why it can't be restored without force
	problem     string
}

// search looks for the commit that was asked for.
func (b *rollback) search(ctx context.Context, n int) (match, error) {
	i := b.images[n]
	s := &ledger.State{Image: b.p.store.Images[n]}
	if b.look != nil {
		s = &b.look.View[n]
	}
	m, err := i.Manifest(ctx, registry.ByTag(i.facts.Source))
	if err != nil {
		return match{}, err
	}
	if m == nil {
		d, _ := s.Find(b.sha)
		return b.judge(ctx, n, s, match{digest: d})
	}
	found := match{digest: m.Digest}
	built, err := i.build(ctx, m)
	if err != nil {
		return found, err
	}
	found.mislabelled, _ = checkRevision(i.image, i.facts.Source, b.sha, built.revision)
	return b.judge(ctx, n, s, found)
}

// judge finds what speaks against restoring a digest.
func (b *rollback) judge(ctx context.Context, n int, s *ledger.State, m match) (match, error) {
	if m.digest == "" || b.look == nil {
		return m, nil
	}
	if r, revoked := b.look.View.Revoked(m.digest); revoked {
		m.rule, m.problem = RuleRolledBack, fmt.Sprintf("was %s (decision %d)", r.Kind, r.Seq)
		if r.Kind == report.EventRejected {
			m.rule = RuleNotGreen
		}
		return m, nil
	}
	if err := b.p.store.Learn(ctx, b.look, n, m.digest); err != nil {
		return m, err
	}
	newest, needed := ledger.Newest(m.digest, b.look.Others[n].Found), s.NeedsRecords(m.digest)
	switch {
	case newest == nil && needed:
		m.rule, m.problem = RuleUnknownCommit, "has no record of a green run, and was not in production lately"
	case newest == nil || newest.Event.Positive() || newest.Event == report.EventConfirmed:
	case needed || newest.Event == report.EventRejected:
		m.rule, m.problem = RuleNotGreen, fmt.Sprintf("has the newest record %s, %s", newest.Event, when(newest))
	}
	return m, nil
}

// fetch reads the manifests to restore.
func (b *rollback) fetch(ctx context.Context, digests []report.Digest) error {
	return parallel.Each(len(digests), func(n int) (err error) {
		i := b.images[n]
		if i.source, err = i.Manifest(ctx, registry.ByDigest(digests[n])); err != nil {
			return err
		}
		if i.source == nil {
			return &RefusedError{Rule: RuleUnknownCommit, Reason: fmt.Sprintf("%s@%s is no longer in the registry: choose another commit", i.image, digests[n].Short())}
		}
		i.facts.Digest, i.facts.State = i.source.Digest, report.Unchanged
		if i.inPlace() {
			i.facts.State = report.Already
		}
		built, err := i.build(ctx, i.source)
		i.facts.Revision, i.facts.Created = built.revision, built.created
		return err
	})
}

// carryOut records the rollback and moves the targets.
func (b *rollback) carryOut(ctx context.Context) error {
	if err := b.check(ctx); err != nil || b.p.config.DryRun {
		return err
	}
	if b.unrecorded != nil {
		return b.unheld(ctx, b.unrecorded)
	}
	subjects, err := b.subjects(ctx)
	if err != nil {
		return err
	}
	images := map[string]report.Digest{}
	for n, i := range b.images {
		images[b.p.store.Images[n]] = i.source.Digest
	}
	look, err := b.p.insist(ctx, &change{
		event: report.EventRolledBack, reason: b.reason, images: images,
		subject: func(n int) *registry.Manifest { return subjects[n] },
		sha:     func(n int) report.Commit { return b.left[n].SHA },
		also:    func(n int) []report.Digest { return []report.Digest{b.left[n].Digest} },
		state: func(n int, s *ledger.State, seq int64) *ledger.Stop {
			left := ledger.Revoked{Digest: subjects[n].Digest, SHA: b.left[n].SHA}
			var also []ledger.Revoked
			// Where images disagree, what the others show is revoked here too.
			if d, known := s.Find(b.facts.FromSHA); known {
				also = append(also, ledger.Revoked{Digest: d, SHA: b.facts.FromSHA})
			}
			return s.RollBack(left, b.images[n].source.Digest, seq, b.hold, also...)
		},
		move: b.move,
	}, b.warn)
	if look != nil {
		b.mu.Lock()
		b.look = look
		b.mu.Unlock()
	}
	return err
}

// subjects are the manifests of what is replaced, which the records are attached to.
func (b *rollback) subjects(ctx context.Context) ([]*registry.Manifest, error) {
	subjects := make([]*registry.Manifest, len(b.images))
	return subjects, parallel.Each(len(b.images), func(n int) error {
		i := b.images[n]
		if b.left[n].Digest == i.source.Digest || b.left[n].Digest == "" {
			if s := &b.look.View[n]; s.Go != nil && len(s.Go.Go.Live) > 0 {
				b.left[n] = s.Go.Go.Live[0] // a promotion that never moved this target
			}
		}
		m, err := i.wanted(ctx, b.left[n].Digest, i.source, i.target)
		if err != nil { // it may well be gone
			m = i.source
		}
		subjects[n] = m
		return nil
	})
}

// move moves the targets from what they show by the last look.
func (b *rollback) move(ctx context.Context, look *ledger.Reading) error {
	shown, err := b.p.shown(look)
	if err != nil {
		return err
	}
	moved := make([]bool, len(b.images))
	for n, i := range b.images {
		i.target = shown[n]
		moved[n] = i.facts.State == report.Promoted
	}
	err = b.moveTargets(ctx, false)
	b.mu.Lock()
	defer b.mu.Unlock()
	for n, i := range b.images {
		if moved[n] && i.facts.State == report.Already {
			i.facts.State = report.Promoted
		}
	}
	return err
}

// unheld moves the targets without a record.
func (b *rollback) unheld(ctx context.Context, why error) error {
	if err := b.moveTargets(ctx, false); err != nil {
		return err
	}
	return &NotHeldError{why}
}

// blind is a rollback to a commit, by force, while the ledger can't be read.
func (b *rollback) blind(ctx context.Context, why error) error {
	b.warn("forced (%s): the ledger can't be read: %v", b.p.config.Force, why)
	err := parallel.Each(len(b.images), func(n int) (err error) {
		i := b.images[n]
		i.target, err = i.Manifest(ctx, registry.ByTag(i.facts.Target))
		i.facts.Previous = i.target.DigestOrNone()
		i.facts.Now = i.facts.Previous
		return err
	})
	if err != nil {
		return err
	}
	digests, err := b.find(ctx)
	if err == nil {
		err = b.fetch(ctx, digests)
	}
	if err == nil {
		err = b.check(ctx)
	}
	if err != nil || b.p.config.DryRun {
		return err
	}
	return b.unheld(ctx, why)
}

// check makes sure that the move can succeed. That there is no way back to what is
// replaced is no reason to stay there.
func (b *rollback) check(ctx context.Context) error {
	damaged := make([]error, len(b.images))
	err := errors.Join(parallel.All(len(b.images), func(n int) error {
		i := b.images[n]
		if i.inPlace() {
			return nil
		}
		return parallel.Together(
			func() error { return i.pulls(ctx, i.source, "what would be restored is damaged") },
			func() error { return b.p.mayPush(ctx, i.repository) },
			func() error {
				if i.target != nil {
					damaged[n] = i.restorable(ctx, i.target, "what is replaced is damaged")
				}
				return nil
			},
		)
	})...)
	for _, err := range damaged {
		if err != nil {
			b.warn("there may be no way back: %v", err)
		}
	}
	if isMoveError(err) {
		return &MoveError{Err: err}
	}
	return err
}

// finishRollback finishes a rollback that was left half done, and refuses the
// candidate then.
func (c *Candidate) finishRollback(ctx context.Context) error {
	goal, current := c.look.View.CurrentGoal()
	if !current || !c.look.View.Unfinished(goal) {
		return nil
	}
	text := fmt.Sprintf("a rollback to %s was left half done", named(string(goal.SHA)))
	if c.p.config.DryRun {
		return &RefusedError{RuleUnfinished, text + ": run rollback to finish it"}
	}
	b := &rollback{Candidate: c.p.candidate("", ForPromote)}
	err := b.finish(ctx, c.look, goal)
	for _, warning := range b.Warnings() {
		c.warn("%s", warning)
	}
	for n, image := range b.Images() {
		c.saw(n, image.Now)
	}
	switch {
	case err == nil:
		text += " and is finished now"
	default:
		text += fmt.Sprintf(" and could not be finished (%s): run rollback", strings.TrimSpace(err.Error()))
	}
	if look := b.reading(); look != nil {
		c.setReading(&ledger.Reading{View: look.View, Shown: look.Shown, Others: look.Others, Witness: look.Witness})
	}
	return &RefusedError{RuleUnfinished, text + "; what is to be promoted must not be what was rolled back"}
}

// finish completes a rollback from what was read.
func (b *rollback) finish(ctx context.Context, look *ledger.Reading, goal ledger.Goal) error {
	if err := b.take(look); err != nil {
		return err
	}
	b.describe(ctx)
	if err := b.resume(ctx, goal); err != nil {
		return err
	}
	return b.carryOut(ctx)
}

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
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A RollbackResult says what a rollback replaced, and by what.
type RollbackResult struct {
	// Images are as in a promotion: Digest is the restored digest, Previous the one
	// that was replaced.
	Images []report.Image
	// Rollback is without PostMortem. What no record says is left out.
	Rollback report.Rollback
	Warnings []string
}

// firstSteps is how many steps of a chain are read at first; most rollbacks go
// back one.
const firstSteps = 6

// Rollback points the target tag of every image at an earlier commit's digest,
// or none: at that of sha, or for an empty sha at the newest earlier one that is
// good on every image. What is replaced gets a record ahead of the move, and so
// does what is restored; one that can't be written costs a warning. Neither the
// order of commits nor tenants are asked for.
//
// The errors are of the same kinds as those of [Promoter.Resolve] and
// [Candidate.Promote]; the result comes with them as far as it is known.
func (p *Promoter) Rollback(ctx context.Context, sha report.Commit, reason string) (RollbackResult, error) {
	if sha != "" {
		if err := p.config.CheckCommit(sha); err != nil {
			return RollbackResult{Images: p.candidate("", ForPromote).Images()}, err
		}
	}
	b := &rollback{Candidate: p.candidate(sha, ForPromote), reason: reason}
	err := b.run(ctx)
	b.facts.ToSHA = b.sha
	return RollbackResult{Images: b.Images(), Rollback: b.facts, Warnings: b.Warnings()}, err
}

// A rollback is one run of [Promoter.Rollback]. The source of its candidate's
// images is what is restored.
type rollback struct {
	*Candidate
	reason string
	facts  report.Rollback
	chains [][]step // by image, the present digest first
}

// run does one thing after the other; nothing is written before all is known.
func (b *rollback) run(ctx context.Context) error {
	if err := b.look(ctx); err != nil {
		return err
	}
	var goals []report.Digest
	var err error
	if b.sha == "" {
		goals, err = b.choose(ctx)
	} else {
		goals, err = b.find(ctx)
	}
	if err != nil {
		return err
	}
	if err := b.aim(ctx, goals); err != nil {
		return err
	}
	if err := b.check(ctx); err != nil || b.p.config.DryRun {
		return err
	}
	b.record(ctx, b.records)
	return b.moveTargets(ctx)
}

// look reads where the targets point, and the records of that.
func (b *rollback) look(ctx context.Context) error {
	b.chains = make([][]step, len(b.images))
	err := parallel.Each(len(b.images), func(n int) (err error) {
		i := b.images[n]
		if i.target, err = i.Manifest(ctx, registry.ByTag(i.facts.Target)); err != nil || i.target == nil {
			return err
		}
		i.facts.Previous, i.facts.Now = i.target.Digest, i.target.Digest
		return parallel.Together(
			func() error { b.chains[n] = i.chain(ctx, i.facts.Target, i.target.Digest, 1); return nil },
			func() error {
				// What is replaced may well be damaged.
				if built, err := i.build(ctx, i.target); err == nil {
					i.facts.PreviousRevision, i.facts.PreviousCreated = built.revision, built.created
				}
				return nil
			},
		)
	})
	for n, chain := range b.chains {
		if len(chain) == 0 {
			continue
		}
		if b.facts.FromSHA == "" {
			b.facts.FromSHA = b.fromSHA(n)
		}
		if rec := chain[0].arrival; rec != nil && b.facts.LiveSince.IsZero() {
			b.facts.LiveSince, b.facts.LiveFor = rec.Time, time.Since(rec.Time).Round(time.Second)
			b.facts.PromotedBy = cmp.Or(rec.RunURL, rec.Actor)
			b.facts.Suite, b.facts.SuiteHash = rec.Suite, rec.Hash
		}
	}
	return err
}

// fromSHA is the commit that one image is at.
func (b *rollback) fromSHA(n int) report.Commit {
	if chain := b.chains[n]; len(chain) > 0 && chain[0].arrival != nil && chain[0].arrival.SHA != "" {
		return chain[0].arrival.SHA
	}
	return commitOf(b.images[n].facts.PreviousRevision)
}

// extend follows the chains at most limit steps.
func (b *rollback) extend(ctx context.Context, limit int) error {
	return parallel.Each(len(b.images), func(n int) error {
		if i := b.images[n]; i.target != nil && len(b.chains[n]) < limit {
			b.chains[n] = i.chain(ctx, i.facts.Target, i.target.Digest, limit)
		}
		return nil
	})
}

// choose returns the digests of the newest earlier good commit.
func (b *rollback) choose(ctx context.Context) ([]report.Digest, error) {
	var why string
	for _, limit := range []int{firstSteps, maxSteps} {
		if err := b.extend(ctx, limit); err != nil {
			return nil, err
		}
		var c choice
		if c, why = pick(b.chains); c.digests != nil {
			b.sha = c.sha
			if c.warning != "" {
				b.warn("%s", c.warning)
			}
			return c.digests, nil
		}
		if ctx.Err() != nil {
			return nil, web.Cause(ctx)
		}
	}
	return nil, &RefusedError{Rule: RuleUnknownCommit, Reason: "there is no earlier commit that is good on every image: " + why + "; give the commit to restore"}
}

// A choice is what a rollback without a sha restores.
type choice struct {
	sha     report.Commit
	digests []report.Digest // by image; nil: there is none
	warning string
}

// pick chooses the newest earlier commit that is good on every image, from the
// chains behind the targets; or says why there is none.
func pick(chains [][]step) (choice, string) {
	why := "no record says what was there before"
	if slices.ContainsFunc(chains, func(c []step) bool { return len(c) == 0 }) {
		return choice{}, "a target tag does not exist"
	}
	for _, s := range chains[0] {
		for _, sha := range s.shas {
			digests, problem := goals(chains, sha)
			if digests != nil {
				return choice{sha: sha, digests: digests}, ""
			}
			if problem != "" {
				why = problem
			}
		}
	}
	for _, chain := range chains {
		if last := chain[len(chain)-1]; last.broken != "" {
			why = "the chain is broken at " + last.digest.Short() + ": " + last.broken
		}
	}
	return beforeRecords(chains), why
}

// goals returns each image's digest of a commit, nil where it can't be restored,
// and then why, if that is worth a word.
func goals(chains [][]step, sha report.Commit) (digests []report.Digest, problem string) {
	earlier := false
	for _, chain := range chains {
		n := slices.IndexFunc(chain, func(s step) bool { return s.is(sha) })
		if n < 0 {
			return nil, sha.Short() + " was not behind the tag of every image"
		}
		if s := chain[n]; !s.good() {
			if n == 0 {
				return nil, ""
			}
			return nil, sha.Short() + " is not good: " + s.reason()
		}
		earlier = earlier || n > 0
		digests = append(digests, chain[n].digest)
	}
	if !earlier {
		return nil, ""
	}
	return digests, ""
}

// reason says why a step is not good.
func (s step) reason() string {
	if s.newest != nil {
		return fmt.Sprintf("its newest record is %s, %s", s.newest.Event, when(s.newest))
	}
	return s.broken
}

// beforeRecords is the choice for a team's first rollback where labels do not
// name one commit for all images: what was in production on each of them right
// before records began, which one promotion replaced.
func beforeRecords(chains [][]step) choice {
	c := choice{}
	var shas []string
	for _, chain := range chains {
		if len(chain) < 2 || !chain[1].before || !chain[1].good() || !chain[0].is(chains[0][0].arrival.SHA) {
			return choice{}
		}
		c.digests = append(c.digests, chain[1].digest)
		for _, sha := range chain[1].shas {
			shas = append(shas, string(sha))
		}
	}
	c.warning = "no commit is known that all images were built from; each image is restored to what it had before records began"
	if len(shas) > 0 {
		c.warning += " (" + strings.Join(shas, ", ") + ")"
	}
	return c
}

// find returns the digests of the commit that was asked for: behind its source
// tag, else in the chain.
func (b *rollback) find(ctx context.Context) ([]report.Digest, error) {
	var refused refusals
	digests := make([]report.Digest, len(b.images))
	matches := make([]match, len(b.images))
	err := parallel.Each(len(b.images), func(n int) (err error) {
		matches[n], err = b.search(ctx, b.images[n])
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
func (b *rollback) search(ctx context.Context, i *image) (match, error) {
	m, err := i.Manifest(ctx, registry.ByTag(i.facts.Source))
	if err != nil {
		return match{}, err
	}
	if m == nil {
		return b.remember(ctx, i), nil
	}
	found := match{digest: m.Digest}
	var newest *report.Record
	var built build
	err = parallel.Together(
		func() (err error) { newest, err = i.newestRecord(ctx, m.Digest); return err },
		func() (err error) { built, err = i.build(ctx, m); return err },
	)
	if err != nil {
		return found, err
	}
	found.mislabelled, _ = checkRevision(i.image, i.facts.Source, b.sha, built.revision)
	switch {
	case newest != nil && newest.Event.Positive():
	case newest != nil:
		found.rule = RuleNotGreen
		found.problem = fmt.Sprintf("has the newest record %s, %s", newest.Event, when(newest))
	default:
		known := b.remember(ctx, i)
		if known.digest == m.Digest && known.problem == "" {
			return found, nil
		}
		found.rule, found.problem = RuleUnknownCommit, "has no record, and is not in the history of "+i.facts.Target
	}
	return found, nil
}

// remember looks for the commit in the chain.
func (b *rollback) remember(ctx context.Context, i *image) match {
	if i.target == nil {
		return match{}
	}
	for _, s := range i.chain(ctx, i.facts.Target, i.target.Digest, maxSteps) {
		if !s.is(b.sha) {
			continue
		}
		m := match{digest: s.digest}
		if !s.good() {
			m.rule, m.problem = RuleNotGreen, "is not good: "+s.reason()
		}
		return m
	}
	return match{}
}

// aim reads the manifests to restore.
func (b *rollback) aim(ctx context.Context, digests []report.Digest) error {
	return parallel.Each(len(digests), func(n int) (err error) {
		i := b.images[n]
		if i.source, err = i.Manifest(ctx, registry.ByDigest(digests[n])); err != nil {
			return err
		}
		if i.source == nil {
			return &RefusedError{Rule: RuleUnknownCommit, Reason: fmt.Sprintf("%s@%s is no longer in the registry: choose another commit", i.image, digests[n].Short())}
		}
		i.facts.Digest = i.source.Digest
		if i.inPlace() {
			i.facts.State = report.Already
		}
		built, err := i.build(ctx, i.source)
		i.facts.Revision, i.facts.Created = built.revision, built.created
		return err
	})
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

// records makes one image's records: that one digest was replaced, and that
// another was restored.
func (b *rollback) records(i *image) []report.Record {
	if i.inPlace() {
		return nil
	}
	var recs []report.Record
	from := b.fromSHA(slices.Index(b.images, i))
	if i.target != nil {
		recs = append(recs, b.p.newRecord(report.EventRolledBack, i.target.Digest, from, b.reason))
	}
	to := b.sha
	if label := commitOf(i.facts.Revision); label != "" {
		to = cmp.Or(b.sha, label).Longest(label)
	}
	restored := b.p.newRecord(report.EventPromoted, i.source.Digest, to, strings.TrimSuffix("rollback from "+named(string(from))+": "+b.reason, ": "))
	restored.Replaced = i.target.DigestOrNone()
	return append(recs, restored)
}

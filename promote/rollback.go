package promote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// firstLook is how many steps of a chain are read at first; most rollbacks go
// back one.
const firstLook = 6

// Rollback points the target tag of every image at an earlier commit's digest,
// or none: at that of sha, or for an empty sha at the newest earlier one that is
// good on every image. What is left gets a record ahead of the move, and so does
// what is gone back to; one that can't be written costs a warning. The order of
// commits is not asked for, and neither are tenants.
//
// The errors are of the same kinds as those of [Promoter.Resolve] and
// [Promoter.Promote]; the result comes with them as far as it is known.
func (p *Promoter) Rollback(ctx context.Context, sha string, reason string) (*RollbackResult, error) {
	sha = strings.ToLower(sha)
	if sha != "" {
		if err := p.checkSHA(sha); err != nil {
			return nil, err
		}
	}
	b := &rollback{Promoter: p, sha: sha, reason: reason, plan: p.plan(sha, ForPromote)}
	b.result = &RollbackResult{Plan: b.plan, ToSHA: sha}
	err := b.run(ctx)
	b.result.Warnings, b.plan.Warnings = b.plan.Warnings, nil
	return b.result, err
}

// A rollback is one run of [Promoter.Rollback].
type rollback struct {
	*Promoter
	sha    string // "": to be chosen
	reason string
	plan   *Plan
	result *RollbackResult
	chains [][]step // by image, the present digest first
}

// run does one thing after the other; nothing is written before all is known.
func (b *rollback) run(ctx context.Context) error {
	if err := b.look(ctx); err != nil {
		return err
	}
	var goals []string
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
	if err := b.check(ctx); err != nil || b.config.DryRun {
		return err
	}
	return b.move(ctx)
}

// look reads where the targets point, and the records of that.
func (b *rollback) look(ctx context.Context) error {
	b.chains = make([][]step, len(b.repos))
	err := each(len(b.repos), func(i int) (err error) {
		image, w := &b.plan.Images[i], b.plan.work.images[i]
		if w.target, err = w.manifest(ctx, image.Target); err != nil || w.target == nil {
			return err
		}
		image.Previous = w.target.digest
		image.Now = image.Previous
		return together(
			func() error { b.chains[i] = w.chain(ctx, image.Target, image.Previous, 1); return nil },
			func() error {
				// What is left may well be damaged.
				if o, err := w.origin(ctx, w.target); err == nil {
					image.PreviousRevision, image.PreviousCreated = o.revision, o.created
				}
				return nil
			},
		)
	})
	for i, chain := range b.chains {
		if len(chain) == 0 {
			continue
		}
		if b.result.Left == nil {
			b.result.Left = chain[0].arrival
		}
		if b.result.FromSHA == "" {
			b.result.FromSHA = b.fromSHA(i)
		}
	}
	return err
}

// fromSHA is the commit that one image is at.
func (b *rollback) fromSHA(i int) string {
	switch chain := b.chains[i]; {
	case len(chain) > 0 && chain[0].arrival != nil && chain[0].arrival.SHA != "":
		return chain[0].arrival.SHA
	case commitForm.MatchString(b.plan.Images[i].PreviousRevision):
		return b.plan.Images[i].PreviousRevision
	}
	return ""
}

// extend follows the chains at most limit steps.
func (b *rollback) extend(ctx context.Context, limit int) error {
	return each(len(b.repos), func(i int) error {
		image := b.plan.Images[i]
		if image.Previous != "" && len(b.chains[i]) < limit {
			b.chains[i] = b.repos[i].chain(ctx, image.Target, image.Previous, limit)
		}
		return nil
	})
}

// choose returns the digests of the newest earlier good commit.
func (b *rollback) choose(ctx context.Context) ([]string, error) {
	var why string
	for _, limit := range []int{firstLook, maxSteps} {
		if err := b.extend(ctx, limit); err != nil {
			return nil, err
		}
		var c choice
		if c, why = pick(b.chains); c.digests != nil {
			b.sha, b.result.ToSHA = c.sha, c.sha
			if c.warning != "" {
				b.plan.warn("%s", c.warning)
			}
			return c.digests, nil
		}
		if ctx.Err() != nil {
			return nil, cause(ctx)
		}
	}
	return nil, &RefusedError{Rule: ruleUnknown, Reason: "there is no earlier commit that is good on every image: " + why + "; name a commit with sha"}
}

// A choice is what a rollback without a sha goes back to.
type choice struct {
	sha     string
	digests []string // by image; nil: there is none
	warning string
}

// pick chooses the newest earlier commit that is good on every image, from the
// chains behind the targets; or says why there is none.
func pick(chains [][]step) (choice, string) {
	why := "no record tells what was there before"
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
			why = "the chain is broken at " + short(last.digest) + ": " + last.broken
		}
	}
	return beforeRecords(chains), why
}

// goals returns each image's digest of a commit, nil where it can't be gone back
// to, and then why, if that is worth telling.
func goals(chains [][]step, sha string) (digests []string, problem string) {
	earlier := false
	for _, chain := range chains {
		n := slices.IndexFunc(chain, func(s step) bool { return s.is(sha) })
		if n < 0 {
			return nil, short(sha) + " was not behind the tag of every image"
		}
		if s := chain[n]; !s.good() {
			if n == 0 {
				return nil, ""
			}
			return nil, short(sha) + " is no good: " + s.reason()
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
		return fmt.Sprintf("its newest record is %s, %s%s", s.newest.Event, s.newest.when(), s.newest.because())
	}
	return s.broken
}

// beforeRecords is the choice for a team's first rollback where labels do not
// tell one commit for all images: what was in production on each of them right
// before records began, which one promotion replaced.
func beforeRecords(chains [][]step) choice {
	c := choice{}
	var shas []string
	for _, chain := range chains {
		if len(chain) < 2 || !chain[1].before || !chain[1].good() || !chain[0].is(chains[0][0].arrival.SHA) {
			return choice{}
		}
		c.digests = append(c.digests, chain[1].digest)
		shas = append(shas, chain[1].shas...)
	}
	c.warning = "no commit is known that all images were built from; each goes back to what it had before records began"
	if len(shas) > 0 {
		c.warning += " (" + strings.Join(shas, ", ") + ")"
	}
	return c
}

// find returns the digests of the commit that was asked for: behind its source
// tag, else in the chain.
func (b *rollback) find(ctx context.Context) ([]string, error) {
	var refused refusals
	digests := make([]string, len(b.repos))
	found := make([]sighting, len(b.repos))
	err := each(len(b.repos), func(i int) (err error) {
		found[i], err = b.search(ctx, i)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, f := range found {
		image := b.plan.Images[i]
		digests[i] = f.digest
		if f.digest == "" {
			refused.add(ruleUnknown, fmt.Sprintf("%s: %s is unknown: there is no tag %s, and it is not in the history of %s", image.Image, short(b.sha), image.Source, image.Target))
			continue
		}
		refused.add(ruleRevision, f.contradiction)
		if f.problem != "" {
			b.lift(b.plan, &refused, f.rule, fmt.Sprintf("%s@%s %s: choose another commit, or give force with a reason", image.Image, short(f.digest), f.problem))
		}
	}
	return digests, refused.err()
}

// A sighting is what was found of a commit for one image.
type sighting struct {
	digest        string // "": nothing
	contradiction string // between label and commit
	rule, problem string // why it can't be gone back to without force
}

// search looks for the commit that was asked for.
func (b *rollback) search(ctx context.Context, i int) (sighting, error) {
	image, r := b.plan.Images[i], b.repos[i]
	m, err := r.manifest(ctx, image.Source)
	if err != nil {
		return sighting{}, err
	}
	if m == nil {
		return b.remember(ctx, i), nil
	}
	f := sighting{digest: m.digest}
	var newest *Record
	var o origin
	err = together(
		func() (err error) { newest, err = r.newest(ctx, m.digest); return err },
		func() (err error) { o, err = r.origin(ctx, m); return err },
	)
	if err != nil {
		return f, err
	}
	f.contradiction, _ = checkRevision(image.Image, image.Source, b.sha, o.revision)
	switch {
	case newest != nil && newest.Event.passed():
	case newest != nil:
		f.rule = ruleGreen
		f.problem = fmt.Sprintf("has the newest record %s, %s%s", newest.Event, newest.when(), newest.because())
	default:
		known := b.remember(ctx, i)
		if known.digest == m.digest && known.problem == "" {
			return f, nil
		}
		f.rule, f.problem = ruleUnknown, "has no record, and is not in the history of "+image.Target
	}
	return f, nil
}

// remember looks for the commit in the chain.
func (b *rollback) remember(ctx context.Context, i int) sighting {
	image := b.plan.Images[i]
	if image.Previous == "" {
		return sighting{}
	}
	for _, s := range b.repos[i].chain(ctx, image.Target, image.Previous, maxSteps) {
		if !s.is(b.sha) {
			continue
		}
		f := sighting{digest: s.digest}
		if !s.good() {
			f.rule, f.problem = ruleGreen, "is no good: "+s.reason()
		}
		return f
	}
	return sighting{}
}

// aim reads the manifests to go back to.
func (b *rollback) aim(ctx context.Context, digests []string) error {
	return each(len(digests), func(i int) (err error) {
		image, w := &b.plan.Images[i], b.plan.work.images[i]
		if w.source, err = w.manifest(ctx, digests[i]); err != nil {
			return err
		}
		if w.source == nil {
			return &RefusedError{Rule: ruleUnknown, Reason: fmt.Sprintf("%s@%s is not in the registry any more: choose another commit", image.Image, short(digests[i]))}
		}
		image.Digest = w.source.digest
		if image.Digest == image.Previous {
			image.State = Already
		}
		o, err := w.origin(ctx, w.source)
		image.Revision, image.Created = o.revision, o.created
		return err
	})
}

// check proves that the move can succeed. That there is no way back to what is
// left is no reason to stay there.
func (b *rollback) check(ctx context.Context) error {
	ways := make([]error, len(b.repos))
	faults := all(len(b.repos), func(i int) error {
		image, w := &b.plan.Images[i], b.plan.work.images[i]
		if image.State == Already {
			return nil
		}
		return together(
			func() error { return w.pulls(ctx, w.source, false, "what would be gone back to is damaged") },
			func() error { return b.mayPush(ctx, w.repository) },
			func() error {
				if w.target != nil {
					ways[i] = w.pulls(ctx, w.target, true, "what is left is damaged")
				}
				return nil
			},
		)
	})
	for _, way := range ways {
		if way != nil {
			b.plan.warn("there may be no way back: %v", way)
		}
	}
	var fatal *MoveError
	if err := errors.Join(faults...); errors.As(err, &fatal) {
		return &MoveError{Err: err}
	} else if err != nil {
		return err
	}
	return nil
}

// move writes the records and moves the targets.
func (b *rollback) move(ctx context.Context) error {
	left, gone := b.drafts()
	_ = together(
		func() error { b.upload(ctx, b.plan, left); return nil },
		func() error { b.upload(ctx, b.plan, gone); return nil },
	)
	listed := b.attach(ctx, b.plan, left, func(int) {})
	more, err := b.record(ctx, b.plan, gone)
	if err != nil {
		return err
	}
	for i := range listed {
		listed[i] = inTurn(listed[i], more[i])
	}
	return b.carryOut(ctx, b.plan, listed)
}

// inTurn does two things that may be missing.
func inTurn(a, b func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, f := range []func(context.Context) error{a, b} {
			if f == nil {
				continue
			}
			if err := f(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// drafts makes the records: that one digest is left, and that another is back.
func (b *rollback) drafts() (left, gone []*draft) {
	left, gone = make([]*draft, len(b.repos)), make([]*draft, len(b.repos))
	at := time.Now().UTC().Truncate(time.Millisecond)
	for i, image := range b.plan.Images {
		w := b.plan.work.images[i]
		if image.State == Already {
			continue
		}
		rec := Record{Time: at, Target: image.Target, RunURL: b.config.Origin.RunURL, Actor: b.config.Origin.Actor}
		if w.target != nil {
			out := rec
			out.Event, out.Digest, out.SHA, out.Reason = RolledBack, w.target.digest, b.fromSHA(i), b.why(b.reason)
			left[i] = b.newDraft(w, w.target, out)
		}
		back := rec
		back.Event, back.Digest, back.Replaced = PromotedBy, w.source.digest, image.Previous
		back.SHA = b.toSHA(image)
		back.Reason = b.why(strings.TrimSuffix("rollback from "+named(b.fromSHA(i))+": "+b.reason, ": "))
		gone[i] = b.newDraft(w, w.source, back)
	}
	return left, gone
}

// why is a reason, and why rules were lifted.
func (b *rollback) why(reason string) string { return b.Promoter.reason(Decision{Reason: reason}) }

// toSHA is the commit that one image goes back to.
func (b *rollback) toSHA(image ImagePlan) string {
	if commitForm.MatchString(image.Revision) {
		return longer(image.Revision, cmp.Or(b.sha, image.Revision))
	}
	return b.sha
}

package promote

import (
	"context"
	"errors"
	"fmt"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A Resolution is what [Promoter.Resolve] found.
type Resolution struct {
	Images   []report.Image // in the order of [Config], as far as they are known
	Warnings []string       // what was not certain, one sentence each
	// Candidate is nil unless everything was read and the rules permit the move.
	Candidate *Candidate
}

// Resolve finds the digests behind a commit's source tags, reads each once, and
// applies the rules of the policy to them and to what the target tags point at
// now.
//
// The error is a [*RefusedError] when a rule forbids the move, whatever the
// tenants say, and a [report.InvalidError] when the commit does not fit the
// source tag; any other means that something could not be read, and nothing is
// known. The Resolution comes with an error too, without a Candidate.
func (p *Promoter) Resolve(ctx context.Context, sha report.Commit, policy Policy) (Resolution, error) {
	if err := p.config.CheckCommit(sha); err != nil {
		return Resolution{Images: p.candidate("", policy).Images()}, err
	}
	c := p.candidate(sha, policy)
	err := c.resolve(ctx)
	found := Resolution{Images: c.Images(), Warnings: c.Warnings()}
	if err == nil {
		found.Candidate = c
	}
	return found, err
}

// resolve reads all images at once and applies the rules to what was read whole.
func (c *Candidate) resolve(ctx context.Context) error {
	found := make([]findings, len(c.images))
	err := parallel.Each(len(c.images), func(i int) (err error) {
		if found[i], err = c.images[i].read(ctx, c.p.config); err != nil {
			return err
		}
		found[i].order = c.order(ctx, c.images[i])
		found[i].complete = true
		return nil
	})
	var refused refusals
	for i, image := range c.images {
		for _, warning := range found[i].warnings {
			c.warn("%s", warning)
		}
		if found[i].complete {
			c.judge(image, found[i].order, &refused)
		}
	}
	return errors.Join(refused.err(), err)
}

// findings are what was read of one image and its tags, beside the image itself.
type findings struct {
	complete bool // everything could be read
	order    succession
	warnings []string
}

// read reads everything about one image: its tags at once, then, beside each
// other, what both images say of their build and what is recorded of the
// candidate.
func (i *image) read(ctx context.Context, config Config) (f findings, err error) {
	reads := []func() error{
		func() (err error) { i.source, err = i.Manifest(ctx, registry.ByTag(i.facts.Source)); return err },
		func() (err error) { i.target, err = i.Manifest(ctx, registry.ByTag(i.facts.Target)); return err },
	}
	if config.CanaryTag != "" && !config.DryRun {
		reads = append(reads, func() (err error) { i.canary, err = i.Manifest(ctx, registry.ByTag(config.CanaryTag)); return err })
	}
	if err := parallel.Together(reads...); err != nil {
		return f, err
	}
	i.facts.Digest, i.facts.Previous = i.source.DigestOrNone(), i.target.DigestOrNone()
	i.facts.Now = i.facts.Previous
	if i.inPlace() {
		i.facts.State = report.Already
	}
	err = parallel.Together(
		func() error { return i.readCandidate(ctx) },
		func() (err error) { f.warnings, err = i.readPrevious(ctx); return err },
	)
	if i.inPlace() {
		i.facts.PreviousRevision, i.facts.PreviousCreated = i.facts.Revision, i.facts.Created
	}
	return f, err
}

// readCandidate reads what the candidate says of its build, and its newest record.
func (i *image) readCandidate(ctx context.Context) error {
	if i.source == nil {
		return nil
	}
	return parallel.Together(
		func() error {
			b, err := i.build(ctx, i.source)
			i.facts.Revision, i.facts.Created = b.revision, b.created
			return err
		},
		func() (err error) { i.newest, err = i.newestRecord(ctx, i.source.Digest); return err },
	)
}

// readPrevious reads what the image behind the target tag says of its build. That
// it is damaged must not keep a good one from taking its place.
func (i *image) readPrevious(ctx context.Context) (warnings []string, err error) {
	if i.target == nil || i.inPlace() {
		return nil, nil
	}
	b, err := i.build(ctx, i.target)
	if registry.Absent(err) {
		return []string{fmt.Sprintf("%s is damaged, so its commit is unknown: %v", i.image+":"+i.facts.Target, err)}, nil
	}
	if err != nil {
		return nil, err
	}
	i.facts.PreviousRevision, i.facts.PreviousCreated = b.revision, b.created
	if b.revision != "" {
		return nil, nil
	}
	// No label: its record names the commit, if it has one.
	newest, err := i.newestRecord(ctx, i.target.Digest)
	if err != nil {
		return []string{fmt.Sprintf("the commit of %s is unknown: %v", i.image+":"+i.facts.Target, err)}, nil
	}
	if newest != nil {
		i.facts.PreviousRevision = string(newest.SHA)
	}
	return nil, nil
}

// judge applies the rules to one image.
func (c *Candidate) judge(i *image, order succession, refused *refusals) {
	if i.source == nil {
		hint := ""
		if i.Anonymous() {
			hint = ", or it can't be seen without a credential"
		}
		refused.add(RuleMissing, fmt.Sprintf("%s:%s does not exist: it was not built or not pushed%s", i.image, i.facts.Source, hint))
		return
	}
	refusal, warning := checkRevision(i.image, i.facts.Source, c.sha, i.facts.Revision)
	refused.add(RuleRevision, refusal)
	if warning != "" {
		c.warn("%s", warning)
	}
	rule, refusal := checkRecord(c.policy, i.image, i.facts.Digest, i.newest)
	c.lift(refused, rule, refusal)
	if i.inPlace() || i.target == nil {
		return
	}
	refusal, warning = checkOrder(order)
	c.lift(refused, RuleBackwards, refusal)
	if warning != "" {
		c.warn("%s", warning)
	}
}

// lift refuses, unless force lifts the rule.
func (c *Candidate) lift(refused *refusals, rule Rule, refusal string) {
	switch {
	case refusal == "":
	case c.p.config.Force != "":
		c.warn("forced (%s): %s", untrusted.Line(c.p.config.Force, maxText), refusal)
	default:
		refused.add(rule, refusal)
	}
}

// order asks how the candidate stands to the present image of the target.
func (c *Candidate) order(ctx context.Context, i *image) succession {
	s := succession{
		image: i.image, target: i.facts.Target,
		oldRev: i.facts.PreviousRevision, newSHA: c.sha.Longest(commitOf(i.facts.Revision)),
		oldTime: i.facts.PreviousCreated, newTime: i.facts.Created,
	}
	if i.source != nil && i.target != nil && !i.inPlace() {
		s.relation, s.unanswered = c.p.ask(ctx, commitOf(s.oldRev), s.newSHA)
	}
	return s
}

// ask asks the forge for a relation, where there is one and both commits are
// known; and says why there was no answer.
func (p *Promoter) ask(ctx context.Context, base, next report.Commit) (relation report.Relation, unanswered string) {
	if p.config.Ancestry == nil || base == "" || next == "" || base.Same(next) {
		return report.UnknownRelation, ""
	}
	relation, err := p.config.Ancestry.Compare(ctx, base, next)
	if err != nil {
		return report.UnknownRelation, untrusted.Line(err.Error(), maxText)
	}
	if relation == report.UnknownRelation {
		return relation, "it does not know one of the commits"
	}
	return relation, ""
}

package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// Resolve pins the candidate of a commit (7 to 40 hex digits): the digests
// behind its source tags, read once; and applies the rules of the policy to
// them and to what the target tags point at now.
//
// The error is a [*RefusedError] when a rule forbids the move, whatever the
// tenants say; any other means that something could not be read, and nothing is
// known. The Plan, as far as it is known, comes also with an error.
func (p *Promoter) Resolve(ctx context.Context, sha string, policy Policy) (*Plan, error) {
	sha = strings.ToLower(sha)
	if err := p.checkSHA(sha); err != nil {
		return p.plan("", policy), err
	}
	plan := p.plan(sha, policy)
	found := make([]findings, len(plan.Images))
	err := each(len(plan.Images), func(i int) (err error) {
		found[i], err = p.look(ctx, &plan.Images[i], plan.work.images[i])
		return err
	})
	orders := make([]succession, len(plan.Images))
	err = errors.Join(err, each(len(plan.Images), func(i int) error {
		if found[i].complete && plan.Images[i].Previous != "" && plan.Images[i].State != Already {
			orders[i] = p.order(ctx, plan, i)
		}
		return nil
	}))
	var refused refusals
	for i, f := range found {
		f.order = orders[i]
		p.judge(plan, i, f, &refused)
	}
	return plan, errors.Join(refused.err(), err)
}

// checkSHA says what is wrong with a commit.
func (p *Promoter) checkSHA(sha string) error {
	switch {
	case !commitForm.MatchString(sha):
		return fmt.Errorf("sha: %q is not 7 to 40 hex digits", untrusted.Line(sha, 60))
	case len(sha) < 40 && strings.Contains(p.config.SourceTag, fullSHA):
		return fmt.Errorf("sha: source-tag %q asks for all 40 digits, this has %d", p.config.SourceTag, len(sha))
	}
	return nil
}

// findings are what was read of one image and its two tags.
type findings struct {
	complete bool // everything could be read
	order    succession
	warnings []string
}

// look reads everything about one image: both tags at once, then, beside each
// other, what both images tell of themselves and what is recorded of the
// candidate.
func (p *Promoter) look(ctx context.Context, image *ImagePlan, w *imageWork) (findings, error) {
	var f findings
	reads := []func() error{
		func() (err error) { w.source, err = w.manifest(ctx, image.Source); return err },
		func() (err error) { w.target, err = w.manifest(ctx, image.Target); return err },
		func() error { w.foresee(ctx); return nil },
	}
	if p.config.CanaryTag != "" && !p.config.DryRun {
		reads = append(reads, func() (err error) { w.canary, err = w.manifest(ctx, p.config.CanaryTag); return err })
	}
	if err := together(reads...); err != nil {
		return f, err
	}
	image.Digest, image.Previous = digestOfManifest(w.source), digestOfManifest(w.target)
	image.Now = image.Previous
	if image.Digest != "" && image.Digest == image.Previous {
		image.State = Already
	}
	if err := together(
		func() error { return candidate(ctx, image, w) },
		func() (err error) { f.warnings, err = previous(ctx, image, w); return err },
	); err != nil {
		return f, err
	}
	if image.State == Already {
		image.PreviousRevision, image.PreviousCreated = image.Revision, image.Created
	}
	f.complete = true
	return f, nil
}

// candidate reads what the candidate tells of itself, and its newest record.
func candidate(ctx context.Context, image *ImagePlan, w *imageWork) error {
	if w.source == nil {
		return nil
	}
	return together(
		func() error {
			o, err := w.origin(ctx, w.source)
			image.Revision, image.Created = o.revision, o.created
			return err
		},
		func() (err error) { image.Newest, err = w.newest(ctx, w.source.digest); return err },
	)
}

// previous reads what the image behind the target tag tells of itself. That it
// is damaged must not keep a good one from taking its place.
func previous(ctx context.Context, image *ImagePlan, w *imageWork) (warnings []string, err error) {
	if w.target == nil || image.State == Already {
		return nil, nil
	}
	o, err := w.origin(ctx, w.target)
	if absent(err) {
		return []string{fmt.Sprintf("%s:%s is damaged, so its commit is unknown: %v", image.Image, image.Target, err)}, nil
	}
	if err != nil {
		return nil, err
	}
	image.PreviousRevision, image.PreviousCreated = o.revision, o.created
	if o.revision != "" {
		return nil, nil
	}
	// No label: its record tells the commit, if it has one.
	newest, err := w.newest(ctx, w.target.digest)
	if err != nil {
		return []string{fmt.Sprintf("the commit of %s:%s is unknown: %v", image.Image, image.Target, err)}, nil
	}
	if newest != nil {
		image.PreviousRevision = newest.SHA
	}
	return nil, nil
}

// judge applies the rules to one image.
func (p *Promoter) judge(plan *Plan, i int, f findings, refused *refusals) {
	image, w := &plan.Images[i], plan.work.images[i]
	for _, warning := range f.warnings {
		plan.warn("%s", warning)
	}
	if !f.complete {
		return
	}
	if w.source == nil {
		hint := ""
		if w.anonymous.Load() {
			hint = ", or it can't be seen without a credential"
		}
		refused.add(ruleMissing, fmt.Sprintf("%s:%s does not exist: it was not built or not pushed%s", image.Image, image.Source, hint))
		return
	}
	refusal, warning := checkRevision(image.Image, image.Source, plan.SHA, image.Revision)
	refused.add(ruleRevision, refusal)
	if warning != "" {
		plan.warn("%s", warning)
	}
	rule, refusal := checkRecord(plan.work.policy, image.Image, image.Digest, image.Newest)
	p.lift(plan, refused, rule, refusal)
	if image.State == Already || image.Previous == "" {
		return
	}
	refusal, warning = checkOrder(f.order)
	p.lift(plan, refused, ruleBackwards, refusal)
	if warning != "" {
		plan.warn("%s", warning)
	}
}

// lift refuses, unless force has lifted the rule.
func (p *Promoter) lift(plan *Plan, refused *refusals, rule, refusal string) {
	switch {
	case refusal == "":
	case p.config.Force != "":
		plan.warn("forced (%s): %s", untrusted.Line(p.config.Force, maxText), refusal)
	default:
		refused.add(rule, refusal)
	}
}

// order asks how the candidate stands to the present image of the target.
func (p *Promoter) order(ctx context.Context, plan *Plan, i int) succession {
	image := plan.Images[i]
	s := succession{
		image: image.Image, target: image.Target,
		oldRev: image.PreviousRevision, newRev: longer(image.Revision, plan.SHA),
		oldTime: image.PreviousCreated, newTime: image.Created,
	}
	s.relation, s.asked = p.ask(ctx, s.oldRev, s.newRev)
	return s
}

// ask asks the forge for a relation, where there is one and both commits are
// known; and says why it did not tell.
func (p *Promoter) ask(ctx context.Context, base, next string) (Relation, string) {
	if p.config.Ancestry == nil || !commitForm.MatchString(base) || !commitForm.MatchString(next) || sameCommit(base, next) {
		return UnknownRelation, ""
	}
	relation, err := p.config.Ancestry.Compare(ctx, base, next)
	if err != nil {
		return UnknownRelation, untrusted.Line(err.Error(), maxSaid)
	}
	if relation == UnknownRelation {
		return relation, "it does not know one of the commits"
	}
	return relation, ""
}

// longer is the longer form of a commit where both are the same, else the
// second.
func longer(label, sha string) string {
	if sameCommit(label, sha) && len(label) > len(sha) {
		return strings.ToLower(label)
	}
	return sha
}

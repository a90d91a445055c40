package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A Resolution is what [Promoter.Resolve] found.
type Resolution struct {
	Images   []report.Image // in the order of [Config], as far as they are known
	Warnings []string       // what was not certain, one sentence each
	// Candidate is nil unless everything was read and the rules permit the move, or
	// forbid nothing but the move (see [ForVerify]).
	Candidate *Candidate
}

// Resolve finds the digests behind a commit's source tags, reads each once, and
// applies the rules of the policy to them, to what the target tags point at now and
// to the ledger. A rollback that was not finished is finished first; then the
// candidate is refused.
//
// The error is a [*RefusedError] when a rule forbids the move, whatever the
// tenants say, and a [report.InvalidError] when the commit does not fit the
// source tag or the signing key is not trusted; any other means that something could
// not be read, and nothing is known. The Resolution comes with an error too, without
// a Candidate.
func (p *Promoter) Resolve(ctx context.Context, sha report.Commit, policy Policy) (Resolution, error) {
	err := p.config.CheckCommit(sha)
	if !p.config.DryRun {
		err = errors.Join(err, p.config.CheckSigner())
	}
	if err != nil {
		return Resolution{Images: p.candidate("", policy).Images()}, err
	}
	c := p.candidate(sha, policy)
	err = c.resolve(ctx)
	found := Resolution{Images: c.Images(), Warnings: c.Warnings()}
	if err == nil {
		found.Candidate = c
	}
	return found, err
}

// resolve reads everything and applies the rules to what was read whole: a refusal
// counts more than what could not be read besides.
func (c *Candidate) resolve(ctx context.Context) error {
	if err := c.readTags(ctx); err != nil {
		return err
	}
	if err := c.finishRollback(ctx); err != nil {
		return err
	}
	var refused refusals
	orders := make([]succession, len(c.images))
	errs := parallel.All(len(c.images), func(n int) (err error) {
		orders[n], err = c.readImage(ctx, n)
		return err
	})
	for n, i := range c.images {
		if errs[n] == nil || i.source == nil {
			c.judgeSource(i, &refused)
		}
		if errs[n] == nil {
			c.judgeOrder(i, orders[n], &refused)
		}
	}
	c.judgeLedger(errs, &refused)
	return errors.Join(refused.err(), errors.Join(errs...))
}

// readTags reads all tags of all images in one round.
func (c *Candidate) readTags(ctx context.Context) error {
	var look *ledger.Reading
	reads := []func() error{func() (err error) { look, err = c.p.store.Read(ctx); return err }}
	for _, i := range c.images {
		reads = append(reads, func() (err error) { i.source, err = i.Manifest(ctx, registry.ByTag(i.facts.Source)); return err })
		if tag := c.p.config.CanaryTag; tag != "" && !c.p.config.DryRun {
			reads = append(reads, func() (err error) { i.canary, err = i.Manifest(ctx, registry.ByTag(tag)); return err })
		}
	}
	err := parallel.Together(reads...)
	if look != nil {
		err = errors.Join(err, c.take(look))
	}
	for _, i := range c.images {
		i.facts.Digest = i.source.DigestOrNone()
		if i.inPlace() {
			i.facts.State = report.Already
		}
	}
	return err
}

// take takes over what the ledger's reading says of the targets.
func (c *Candidate) take(look *ledger.Reading) error {
	c.setReading(look)
	var errs []error
	for n, i := range c.images {
		i.target = nil
		if shown := look.Shown[n].Target; shown.Raw != nil {
			m, err := registry.ParseManifest(shown.MediaType, shown.Raw)
			if err != nil {
				errs = append(errs, i.wrong("read tag "+i.facts.Target, 0, err.Error()))
				continue
			}
			i.target = m
		}
		i.facts.Previous = i.target.DigestOrNone()
		i.facts.Now = i.facts.Previous
	}
	return errors.Join(errs...)
}

// readImage reads, beside each other, what both images of a repository say of their
// build, and the records of the candidate where they are needed.
func (c *Candidate) readImage(ctx context.Context, n int) (succession, error) {
	i, look := c.images[n], c.look
	state := &look.View[n]
	var warnings []string
	err := parallel.Together(
		func() error {
			if i.source == nil {
				return nil
			}
			b, err := i.build(ctx, i.source)
			i.facts.Revision, i.facts.Created = b.revision, b.created
			return err
		},
		func() (err error) { warnings, err = i.readPrevious(ctx, state); return err },
		func() error {
			begun := state.Go != nil && state.Stop != nil
			if i.source == nil || begun && (c.policy == ForVerify || !state.NeedsRecords(i.source.Digest)) {
				return nil
			}
			return c.p.store.Learn(ctx, look, n, i.source.Digest)
		},
	)
	if i.inPlace() {
		i.facts.PreviousRevision, i.facts.PreviousCreated = i.facts.Revision, i.facts.Created
	}
	for _, warning := range warnings {
		c.warn("%s", warning)
	}
	if err != nil {
		return succession{}, err
	}
	return c.order(ctx, n), nil
}

// readPrevious finds out what the image behind the target tag was built from: the
// ledger says so, else the image itself. That it is damaged must not keep a good one
// from taking its place.
func (i *image) readPrevious(ctx context.Context, state *ledger.State) (warnings []string, err error) {
	if i.target == nil || i.inPlace() {
		return nil, nil
	}
	known := state.Entry(i.target.Digest)
	i.facts.PreviousRevision, i.facts.PreviousCreated = string(known.SHA), known.Created
	if known.SHA != "" && !known.Created.IsZero() {
		return nil, nil
	}
	b, err := i.build(ctx, i.target)
	if registry.Absent(err) {
		return []string{fmt.Sprintf("%s is damaged, so its commit is unknown: %v", i.image+":"+i.facts.Target, err)}, nil
	}
	if err != nil {
		return nil, err
	}
	if b.revision != "" {
		i.facts.PreviousRevision = b.revision
	}
	if !b.created.IsZero() {
		i.facts.PreviousCreated = b.created
	}
	return nil, nil
}

// judgeSource applies the rules about the source tag of one image.
func (c *Candidate) judgeSource(i *image, refused *refusals) {
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
}

// judgeOrder applies the rules about the order of commits to one image.
func (c *Candidate) judgeOrder(i *image, order succession, refused *refusals) {
	if i.source == nil || i.target == nil || i.inPlace() {
		return
	}
	rule, refusal, warning := checkOrder(order)
	c.lift(refused, rule, refusal)
	if warning != "" {
		c.warn("%s", warning)
	}
}

// judgeLedger applies the ledger's rules to all images that have a source. unread is
// why an image could not be read whole; nil: it was.
func (c *Candidate) judgeLedger(unread []error, refused *refusals) {
	mode := report.ModeVerify
	if c.policy == ForPromote {
		mode = report.ModePromote
	}
	candidates := map[string]ledger.Candidate{}
	for n, i := range c.images {
		records := c.look.Others[n].Found
		candidates[c.look.View[n].Image] = ledger.Candidate{Digest: i.source.DigestOrNone(), Records: records}
		if i.source != nil {
			c.judgeFound(n, records, refused)
		}
	}
	for _, r := range c.look.View.Refusals(mode, candidates) {
		n := slices.IndexFunc(c.look.View, func(s ledger.State) bool { return s.Image == r.Image })
		if r.Rule != ledger.RuleHeld && c.images[n].source == nil {
			continue
		}
		switch r.Rule {
		case ledger.RuleRevoked:
			c.lift(refused, c.revokedRule(c.images[n].source.Digest), c.images[n].image+"@"+r.Reason+": fix it in a new commit, or give force with a reason")
		case ledger.RuleNoHead:
			c.lift(refused, RuleNoHead, c.noHead(n))
		case ledger.RuleRecord:
			if unread[n] != nil {
				continue // its records may be what could not be read
			}
			c.lift(refused, RuleNotGreen, c.images[n].image+": "+r.Reason+": verify it first, or give force with a reason")
		case ledger.RuleHeld: // see judgeHold
		}
	}
	c.judgeHold(refused)
}

// judgeFound applies the rule about what was rolled back to records that no head
// knows yet: those from before the ledger began.
func (c *Candidate) judgeFound(n int, records []*ledger.Head, refused *refusals) {
	i, state := c.images[n], &c.look.View[n]
	if state.Go != nil && state.Stop != nil {
		return
	}
	against := ""
	for _, r := range c.look.Others[n].Against {
		if r.Digest == i.source.Digest && r.Kind == report.EventRolledBack {
			against = "it was rolled back, by a record that is not signed"
		}
	}
	if newest := ledger.Newest(i.source.Digest, records); newest != nil && newest.Event == report.EventRolledBack {
		against = "it was rolled back " + when(newest)
	}
	if against != "" {
		c.lift(refused, RuleRolledBack, fmt.Sprintf("%s@%s: %s: fix it in a new commit, or give force with a reason", i.image, i.source.Digest.Short(), against))
	}
}

// revokedRule is the rule that forbids a digest that was revoked.
func (c *Candidate) revokedRule(d report.Digest) Rule {
	if r, _ := c.look.View.Revoked(d); r.Kind == report.EventRejected {
		return RuleNotGreen
	}
	return RuleRolledBack
}

// noHead is why the ledger of an image can't be used; "": it may begin.
func (c *Candidate) noHead(n int) string {
	if c.p.store.Begin(c.look, n) == ledger.MayBegin {
		return ""
	}
	return fmt.Sprintf("the ledger of %s:%s has no trusted heads (%s), so nobody knows what was rolled back or put on hold: find out who removed them, or begin it with force and a reason",
		c.images[n].image, c.images[n].facts.Target, c.look.Others[n].Problem)
}

// judgeHold refuses what is on hold. It stops the move alone: what verify finds out
// is worth a record.
func (c *Candidate) judgeHold(refused *refusals) {
	held := c.look.View.Held()
	if held == nil || c.settled() {
		return
	}
	switch {
	case c.p.config.Force != "":
		c.lift(refused, RuleHeld, held.String())
	case c.policy == ForPromote:
		refused.add(RuleHeld, onHold(held))
	default:
		c.warn("%s: a green run will be recorded, and nothing moved", held)
	}
}

// onHold is the refusal because of a hold.
func onHold(h *ledger.Hold) string {
	return h.String() + "; release it with a reason, then promote"
}

// settled reports whether the ledger and every target show the candidate, so that
// there is nothing to do.
func (c *Candidate) settled() bool {
	for n, i := range c.images {
		s := &c.look.View[n]
		if i.source == nil || s.Go == nil || s.Stop == nil || s.Target != i.source.Digest || s.Want() != i.source.Digest {
			return false
		}
	}
	return true
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

// order finds out how the candidate stands to the present image of the target.
func (c *Candidate) order(ctx context.Context, n int) succession {
	i := c.images[n]
	s := succession{
		image: i.image, target: i.facts.Target,
		oldRev: i.facts.PreviousRevision, newSHA: c.sha.Longest(commitOf(i.facts.Revision)),
		oldTime: i.facts.PreviousCreated, newTime: i.facts.Created,
	}
	if i.source != nil && i.target != nil && !i.inPlace() {
		s.recorded = c.look.View[n].Order(i.source.Digest)
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

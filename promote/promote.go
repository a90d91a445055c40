package promote

import (
	"context"
	"fmt"
	"time"
)

// A draft is a record whose payload is in the registry already.
type draft struct {
	subject *manifest
	record  Record
	payload []byte
	err     error // of the upload
}

// Prepare uploads what the records of a green verdict will hold, so that between
// the verdict and the moves nothing but the records themselves has to be written.
// It is for calling beside the last reads before the verdict; calling it is
// optional, and an unused upload means nothing to anybody. Promote uses it when
// it is given the same Decision.
func (p *Promoter) Prepare(ctx context.Context, plan *Plan, d Decision) error {
	if err := p.ready(plan); err != nil {
		return err
	}
	if p.config.DryRun {
		return nil
	}
	plan.work.prepared, plan.work.decision = p.drafts(ctx, plan, d, p.greenEvent(plan)), d
	return nil
}

// greenEvent is the event of a promotion under the plan's policy.
func (p *Promoter) greenEvent(plan *Plan) Event {
	if plan.work.policy == ForPromote {
		return PromotedBy
	}
	return Verified
}

// drafts uploads the payloads of one record an image; nil where none is due.
func (p *Promoter) drafts(ctx context.Context, plan *Plan, d Decision, event Event) []*draft {
	drafts := make([]*draft, len(plan.Images))
	at := time.Now().UTC().Truncate(time.Millisecond)
	for i := range plan.Images {
		if event.passed() && p.toldAlready(&plan.Images[i], plan.SHA) {
			continue
		}
		drafts[i] = p.draft(plan, i, d, event, at)
	}
	p.upload(ctx, plan, drafts)
	return drafts
}

// upload stores the payloads of drafts, at once.
func (p *Promoter) upload(ctx context.Context, plan *Plan, drafts []*draft) {
	ctx, cancel := context.WithTimeout(ctx, p.t.record)
	defer cancel()
	faults := all(len(drafts), func(i int) error {
		if drafts[i] == nil {
			return nil
		}
		return plan.work.images[i].supply(ctx, drafts[i].payload)
	})
	for i, d := range drafts {
		if d != nil {
			d.err = faults[i]
		}
	}
}

// toldAlready reports whether a green record would say nothing new: the target
// is right already, and the newest record says so of the same commit.
func (p *Promoter) toldAlready(image *ImagePlan, sha string) bool {
	newest := image.Newest
	return image.Previous == image.Digest && newest != nil && newest.Event.passed() &&
		newest.Target == image.Target && sameCommit(newest.SHA, sha)
}

// draft makes one image's record.
func (p *Promoter) draft(plan *Plan, i int, d Decision, event Event, at time.Time) *draft {
	image, w := &plan.Images[i], plan.work.images[i]
	rec := Record{
		Event: event, Time: at, SHA: longer(image.Revision, plan.SHA), Digest: image.Digest, Target: image.Target,
		Suite: d.Suite, Hash: d.Hash, RunURL: p.config.Origin.RunURL, Actor: p.config.Origin.Actor, Reason: p.reason(d),
	}
	switch {
	case image.Previous != image.Digest:
		rec.Replaced = image.Previous
	case image.Newest != nil && image.Newest.Target == image.Target:
		rec.Replaced = image.Newest.Replaced // the target was right: what it had before is still what it had before
	}
	return p.newDraft(w, w.source, rec)
}

// newDraft makes a record's payload.
func (p *Promoter) newDraft(w *imageWork, subject *manifest, rec Record) *draft {
	return &draft{subject: subject, record: rec, payload: rec.payload(w.name.Name(), p.config.Origin.Tool)}
}

// reason is the caller's reason, and why rules were lifted.
func (p *Promoter) reason(d Decision) string {
	switch {
	case p.config.Force == "" || d.Reason == p.config.Force:
		return d.Reason
	case d.Reason == "":
		return "forced: " + p.config.Force
	default:
		return d.Reason + " (forced: " + p.config.Force + ")"
	}
}

// supply uploads a record's payload.
func (r *repository) supply(ctx context.Context, payload []byte) error {
	if len(payload) > maxPayload {
		return fmt.Errorf("the record has %d bytes; at most %d are written", len(payload), maxPayload)
	}
	return together(
		func() error { return r.configure(ctx) },
		func() error { return r.upload(ctx, payload) },
	)
}

// configure uploads the empty config of records, once.
func (r *repository) configure(ctx context.Context) error {
	if r.configured.Load() {
		return nil
	}
	err := r.upload(ctx, emptyConfig)
	r.configured.Store(err == nil)
	return err
}

// Promote moves every target to the candidate, or none: it confirms the tags
// once more unless [Promoter.Confirm] has just done so, writes a record on each
// candidate ahead of the moves, so that a crash leaves a trail, then moves all
// at once and reads each back. A target that is right already is left alone. A
// record that can't be written costs a warning.
//
// The error is a [*MoveError] when the registry refused or failed, any other
// when nothing was moved or everything was put back. Either way the Plan says
// where each target points. Under dry-run it writes nothing.
func (p *Promoter) Promote(ctx context.Context, plan *Plan, d Decision) error {
	if err := p.ready(plan); err != nil {
		return err
	}
	if confirmed := plan.work.confirmed; confirmed.IsZero() || time.Since(confirmed) > p.t.fresh {
		if err := p.Confirm(ctx, plan); err != nil {
			return err
		}
	}
	if p.config.DryRun {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("nothing was moved: %w", cause(ctx))
	}
	drafts := plan.work.prepared
	if drafts == nil || plan.work.decision != d {
		drafts = p.drafts(ctx, plan, d, p.greenEvent(plan))
	}
	plan.work.prepared = nil
	listed, err := p.record(ctx, plan, drafts)
	if err != nil {
		return err
	}
	return p.carryOut(ctx, plan, listed)
}

// record writes the records whose payloads were uploaded and, beside the last
// request of each, looks at the target once more: between that look and the move
// there is then no more time than one round trip, which is what the read-back of
// another gate takes too (see move.go). It returns what proves that the records
// are listed.
func (p *Promoter) record(ctx context.Context, plan *Plan, drafts []*draft) ([]func(context.Context) error, error) {
	looks := make([]look, len(plan.Images))
	listed := p.attach(ctx, plan, drafts, func(i int) {
		if plan.Images[i].State != Already {
			looks[i] = p.lookAgain(ctx, plan, i)
		}
	})
	err := each(len(looks), func(i int) error {
		if plan.Images[i].State != Already && looks[i].stale(p.t.slack) {
			looks[i] = p.lookAgain(ctx, plan, i)
		}
		return looks[i].err
	})
	return listed, err
}

// A look is the last one at a target before it moves.
type look struct {
	began time.Time
	took  time.Duration
	err   error
}

// lookAgain holds a target against what it pointed at when the run began.
func (p *Promoter) lookAgain(ctx context.Context, plan *Plan, i int) look {
	image, w := &plan.Images[i], plan.work.images[i]
	l := look{began: time.Now()}
	now, err := w.sure(ctx, image.Target, image.Previous)
	l.took, l.err = time.Since(l.began), err
	if err == nil {
		image.Now = now
		l.err = moved(image.Image, image.Target, image.Previous, now, "somebody else moves this tag; run again")
	}
	return l
}

// stale reports whether there was no look, or so much time has passed since that
// another gate could have moved the tag and read it back in between.
func (l look) stale(slack time.Duration) bool {
	return l.began.IsZero() || l.err == nil && time.Since(l.began) > l.took+l.took/2+slack
}

// attach writes the records whose payloads were uploaded, runs beside with the
// last request of each, and returns what proves that they are listed. What can't
// be written is a warning.
func (p *Promoter) attach(ctx context.Context, plan *Plan, drafts []*draft, beside func(i int)) []func(context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, p.t.record)
	defer cancel()
	listed := make([]func(context.Context) error, len(drafts))
	faults := all(len(drafts), func(i int) (err error) {
		listed[i], err = drafts[i].write(bounded, plan.work.images[i], func() { beside(i) })
		return err
	})
	for i, err := range faults {
		if err != nil {
			listed[i] = nil
			plan.warn("no record of this run was kept for %s: %v", plan.Images[i].Image, err)
		}
	}
	return listed
}

// write writes a record, where one is due, and runs beside with its last request.
// A registry that takes two requests for a record may refuse the first; then that
// is the last, so beside runs with either.
func (d *draft) write(ctx context.Context, w *imageWork, beside func()) (listed func(context.Context) error, err error) {
	run := func() error { beside(); return nil }
	var rec writing
	begin := func() (err error) { rec, err = d.begin(ctx, w); return err }
	if d != nil && w.noListing.Load() {
		if err := together(run, begin); err != nil {
			return nil, err
		}
	} else {
		err = begin()
	}
	if err != nil || rec.last == nil {
		return nil, together(run, func() error { return err })
	}
	return rec.listed, together(run, func() error { return rec.last(ctx) })
}

// begin writes a record up to its last request; nothing where none is due.
func (d *draft) begin(ctx context.Context, w *imageWork) (writing, error) {
	if d == nil || d.err != nil {
		return writing{}, d.fault()
	}
	return w.attach(ctx, subjectOf(d.subject), d.record, d.payload)
}

// fault is why a payload could not be uploaded.
func (d *draft) fault() error {
	if d == nil {
		return nil
	}
	return d.err
}

// carryOut moves the targets, and has the records proven listed beside that.
func (p *Promoter) carryOut(ctx context.Context, plan *Plan, listed []func(context.Context) error) error {
	moves := make([]*move, len(plan.Images))
	for i := range plan.Images {
		w := plan.work.images[i]
		moves[i] = &move{repo: w.repository, tag: plan.Images[i].Target, from: w.target, to: w.source, now: plan.Images[i].Now, older: p.older(plan, i)}
	}
	proven := make(chan []error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, p.t.record)
		defer cancel()
		proven <- all(len(listed), func(i int) error {
			if listed[i] == nil {
				return nil
			}
			return listed[i](ctx)
		})
	}()
	err := p.apply(ctx, moves)
	for i, m := range moves {
		image := &plan.Images[i]
		image.State, image.Now, image.Detail = m.state, m.now, m.detail
	}
	for i, fault := range <-proven {
		if fault != nil {
			plan.warn("the record of this run on %s may not be found: %v", plan.Images[i].Image, fault)
		}
	}
	return err
}

// older returns the judge of another's manifest that shows where the candidate
// should: whether it is known to be older.
func (p *Promoter) older(plan *Plan, i int) func(context.Context, *manifest) bool {
	image, w := plan.Images[i], plan.work.images[i]
	return func(ctx context.Context, other *manifest) bool {
		if p.config.Force != "" {
			return false // the order of commits has been set aside
		}
		o, err := w.origin(ctx, other)
		if err != nil {
			return false
		}
		ours := longer(image.Revision, plan.SHA)
		relation, _ := p.ask(ctx, o.revision, ours)
		switch relation {
		case Ahead:
			return true
		case Behind:
			return false
		}
		return !o.created.IsZero() && o.created.Before(image.Created)
	}
}

// Reject writes a record of a red verdict on each candidate. What can't be
// written becomes a warning of the plan.
func (p *Promoter) Reject(ctx context.Context, plan *Plan, d Decision) {
	if p.ready(plan) != nil || p.config.DryRun {
		return
	}
	drafts := p.drafts(ctx, plan, d, Rejected)
	for i, prove := range p.attach(ctx, plan, drafts, func(int) {}) {
		if prove == nil {
			continue
		}
		if err := prove(ctx); err != nil {
			plan.warn("the record of this run on %s may not be found: %v", plan.Images[i].Image, err)
		}
	}
}

package promote

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A written record is one image's part of a decision.
type written struct {
	record   *ledger.Record
	kind     ledger.Kind
	artifact *ledger.Artifact
	sent     bool // a write was begun that the registry did not reject
	listed   bool // the registry lists it by itself
}

// ref names the record for those who come later.
func (w *written) ref() ledger.Ref { return ledger.Ref{Seq: w.record.Seq, Digest: w.artifact.Digest} }

// newDecision returns the id that the records of all images share.
func newDecision() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	return hex.EncodeToString(id[:])
}

// draft begins the record of one image: what is the same in all records of a run.
func (p *Promoter) draft(n int, look *ledger.Reading, event report.Event, seq int64, decision string) *ledger.Record {
	return &ledger.Record{
		Event: event, Time: time.Now().UTC().Truncate(time.Millisecond), Image: p.store.Images[n], Target: p.config.TargetTag,
		Decision: decision, Seq: seq, Saw: look.View.Saw(), RunURL: p.config.Origin.RunURL, RunID: p.config.Origin.RunID,
		Actor: p.config.Origin.Actor, Forced: p.config.Force,
	}
}

// descriptor is a manifest's, as the ledger names subjects.
func descriptor(m *registry.Manifest) ledger.Descriptor {
	return ledger.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Raw))}
}

// prepare seals a record about a manifest and pushes its blobs. Nothing counts yet.
func (p *Promoter) prepare(ctx context.Context, r *ledger.Record, kind ledger.Kind, subject *registry.Manifest) (*written, error) {
	bounded, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	r.Subject = subject.Digest
	a, err := p.store.Prepare(bounded, r, descriptor(subject))
	return &written{record: r, kind: kind, artifact: a}, err
}

// put writes a record behind its head's tag, repeatedly while that fails for the
// moment and the look that it follows from still counts. A write in flight is never
// cancelled.
func (p *Promoter) put(ctx context.Context, w *written, looked lease) error {
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return errInterrupted
		}
		listed, err := p.putOnce(ctx, w)
		w.sent = w.sent || !registry.Rejected(err)
		w.listed = listed
		if err == nil || !registry.Temporary(err) || n == maxRetries {
			return err
		}
		wait := registry.RetryWait(n, err)
		if web.Pause(ctx, wait) != nil || looked.over(1) {
			return err
		}
	}
}

func (p *Promoter) putOnce(ctx context.Context, w *written) (listed bool, err error) {
	outlived, release := web.Outlive(ctx, web.AfterCancelWrite, web.AfterCancelWrite)
	defer release()
	bounded, cancel := context.WithTimeout(outlived, writeTimeout)
	defer cancel()
	return p.store.PutHead(bounded, w.record.Image, w.kind, w.artifact)
}

// putAll writes the heads of all images at once; nil entries are left out.
func (p *Promoter) putAll(ctx context.Context, heads []*written, looked lease) error {
	return parallel.Each(len(heads), func(n int) error {
		if heads[n] == nil {
			return nil
		}
		return p.put(ctx, heads[n], looked)
	})
}

// list adds heads to the lists that stand in for the referrers API, for other tools.
func (p *Promoter) list(ctx context.Context, heads []*written, warn func(string, ...any)) {
	bounded, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	for n, err := range parallel.All(len(heads), func(n int) error {
		if w := heads[n]; w != nil && !w.listed {
			return p.store.List(bounded, w.record.Image, w.artifact)
		}
		return nil
	}) {
		if err != nil {
			warn("other tools may not find the record of %s: %v", p.repos[n].image, err)
		}
	}
}

// tell tells the witness which heads there are.
func (p *Promoter) tell(ctx context.Context, look *ledger.Reading, heads []*written, warn func(string, ...any)) {
	seen := look.View.Saw()
	for _, w := range heads {
		if w == nil {
			continue
		}
		s := seen[w.record.Image]
		if w.kind == ledger.GoHead {
			s.Go = w.ref()
		} else {
			s.Stop = w.ref()
		}
		seen[w.record.Image] = s
	}
	if err := p.store.Tell(ctx, seen); err != nil {
		warn("what was decided could not be told to the witness: %v", err)
	}
}

// begin starts the ledger of the images that lack a head, taking up what can be
// found, and reads it again. subjects are what records are attached to where a
// target is absent; nil: such images are left alone.
func (p *Promoter) begin(ctx context.Context, look *ledger.Reading, subjects []*registry.Manifest, warn func(string, ...any)) (*ledger.Reading, error) {
	var heads []*written
	id := newDecision()
	for n := range look.View {
		s := &look.View[n]
		if s.Go != nil && s.Stop != nil {
			continue
		}
		begun, err := p.beginning(ctx, look, n, subjects, id)
		if err != nil {
			return nil, fmt.Errorf("%s: the ledger could not begin: %w", p.repos[n].image, err)
		}
		heads = append(heads, begun...)
	}
	if len(heads) == 0 {
		return look, nil
	}
	if p.config.DryRun {
		p.imagine(look, heads)
		return look, nil
	}
	// The stop head first, and seen: a ledger with a stop head alone can be known to
	// have just begun, and one with a go head alone can't.
	for _, kind := range []ledger.Kind{ledger.StopHead, ledger.GoHead} {
		if err := p.putFirst(ctx, look, heads, kind); err != nil {
			return nil, err
		}
	}
	again, err := p.store.Read(ctx)
	if err != nil {
		return nil, err
	}
	for n := range again.View {
		if s := &again.View[n]; look.View[n].Target != s.Target {
			return nil, fmt.Errorf("%s:%s moved while its ledger began; run again", p.repos[n].image, p.config.TargetTag)
		} else if (s.Go == nil || s.Stop == nil) && (s.Target != "" || subjects != nil) {
			return nil, fmt.Errorf("%s: the ledger began, but its heads don't show yet; run again", p.repos[n].image)
		}
	}
	p.listBegun(ctx, heads, warn)
	return again, nil
}

// putFirst writes the first records of one kind, where the tags of both heads are as
// they were read, and waits until they show.
func (p *Promoter) putFirst(ctx context.Context, look *ledger.Reading, heads []*written, kind ledger.Kind) error {
	looked := p.clock.look()
	err := parallel.Each(len(p.repos), func(n int) error {
		if kind == ledger.GoHead {
			return p.unchangedHead(ctx, look, n, kind)
		}
		return parallel.Together(
			func() error { return p.unchangedHead(ctx, look, n, ledger.GoHead) },
			func() error { return p.unchangedHead(ctx, look, n, ledger.StopHead) },
		)
	})
	if err != nil {
		return err
	}
	if looked.over(1) {
		return errPaused
	}
	some := slices.DeleteFunc(slices.Clone(heads), func(w *written) bool { return w.kind != kind })
	if err := p.putAll(ctx, some, looked); err != nil {
		return &MoveError{Err: fmt.Errorf("the ledger could not begin: %w", err)}
	}
	if looked.over(1) {
		return &MoveError{Err: errors.New("this run was paused for too long while the ledger began, so that what others decided may have been overtaken: run again")}
	}
	return parallel.Each(len(some), func(n int) error { return p.shows(ctx, some[n]) })
}

// shows waits until the tag of a head shows a record that was written.
func (p *Promoter) shows(ctx context.Context, w *written) error {
	for n, until := 0, time.Now().Add(lag); ; n++ {
		shown, err := p.store.HeadIs(ctx, w.record.Image, w.kind)
		if err != nil || shown == w.artifact.Digest {
			return err
		}
		if time.Now().After(until) || web.Pause(ctx, web.Backoff(lowestPoll, highestPoll, n, nil)) != nil {
			return fmt.Errorf("%s: the first %s head was accepted, but does not show; run again", w.record.Image, w.kind)
		}
	}
}

// imagine shows heads that a dry run doesn't write.
func (p *Promoter) imagine(look *ledger.Reading, heads []*written) {
	for _, w := range heads {
		s := &look.View[slices.Index(p.store.Images, w.record.Image)]
		if head := (&ledger.Head{Record: *w.record}); w.kind == ledger.GoHead {
			s.Go = head
		} else {
			s.Stop = head
		}
	}
}

func (p *Promoter) listBegun(ctx context.Context, heads []*written, warn func(string, ...any)) {
	for _, w := range heads {
		if w.listed {
			continue
		}
		if err := p.store.List(ctx, w.record.Image, w.artifact); err != nil {
			warn("other tools may not find the first record of %s: %v", w.record.Image, err)
		}
	}
}

// errPaused is why what was read counts no more.
var errPaused = errors.New("this run was paused for too long after it looked at the registry, so nothing was written; run again")

// beginning makes the records that start the ledger of an image: those that it lacks.
func (p *Promoter) beginning(ctx context.Context, look *ledger.Reading, n int, subjects []*registry.Manifest, id string) ([]*written, error) {
	s, others := &look.View[n], &look.Others[n]
	var subject *registry.Manifest
	shown := ledger.Live{Digest: s.Target}
	switch o := look.Shown[n].Target; {
	case o.Raw != nil:
		m, err := registry.ParseManifest(o.MediaType, o.Raw)
		if err != nil {
			return nil, err
		}
		subject = m
	case subjects == nil:
		return nil, nil
	default:
		subject = subjects[n]
	}
	if err := p.store.Migrate(ctx, look, n); err != nil {
		return nil, err
	}
	for _, h := range others.Found {
		if h.Go != nil {
			p.fill(ctx, n, h.Go.Live)
		}
	}
	if s.Target != "" {
		known := []ledger.Live{shown}
		p.fill(ctx, n, known)
		shown = known[0]
		for _, h := range others.Found {
			if r := ledger.Newest(s.Target, others.Found); h == r && r.SHA != "" {
				shown.SHA = r.SHA.Longest(shown.SHA)
			}
		}
	}
	seq, err := look.Next()
	if err != nil {
		return nil, err
	}
	goes, stop := s.Begin(shown, append([]*ledger.Head{s.Go, s.Stop}, others.Found...), others.Against, seq)
	var heads []*written
	add := func(kind ledger.Kind, g *ledger.Go, st *ledger.Stop) error {
		r := p.draft(n, look, report.EventBegun, seq, id)
		r.Go, r.Stop, r.SHA, r.Reason = g, st, shown.SHA, "the ledger begins"
		if p.config.DryRun {
			r.Subject = subject.Digest
			heads = append(heads, &written{record: r, kind: kind})
			return nil
		}
		w, err := p.prepare(ctx, r, kind, subject)
		heads = append(heads, w)
		return err
	}
	if s.Stop == nil {
		err = add(ledger.StopHead, nil, stop)
	}
	if s.Go == nil && err == nil {
		err = add(ledger.GoHead, goes, nil)
	}
	return heads, err
}

// fill finds out commit and creation of digests where the ledger does not say; what
// can't be read stays unknown.
func (p *Promoter) fill(ctx context.Context, n int, live []ledger.Live) {
	r := p.repos[n]
	for i := range live {
		l := &live[i]
		if l.SHA != "" && !l.Created.IsZero() {
			continue
		}
		m, err := r.Manifest(ctx, registry.ByDigest(l.Digest))
		if err != nil || m == nil {
			continue
		}
		if b, err := r.build(ctx, m); err == nil {
			if l.SHA == "" {
				l.SHA = commitOf(b.revision)
			}
			l.Created = b.created
		}
	}
}

// unchangedHeads is an error where the tag of a head shows something else than when
// it was read.
func (p *Promoter) unchangedHeads(ctx context.Context, look *ledger.Reading) error {
	return parallel.Each(2*len(p.repos), func(k int) error {
		n, kind := k/2, ledger.Kind(k%2)
		return p.unchangedHead(ctx, look, n, kind)
	})
}

func (p *Promoter) unchangedHead(ctx context.Context, look *ledger.Reading, n int, kind ledger.Kind) error {
	before := look.Shown[n].Of(kind)
	tag, err := ledger.HeadTag(p.config.TargetTag, kind)
	if err != nil {
		return err
	}
	now, err := p.repos[n].digestOf(ctx, tag, before)
	if err != nil {
		return err
	}
	if now == before {
		return nil
	}
	return fmt.Errorf("%s: somebody else wrote the %s head of %s meanwhile (%s, now %s); run again",
		p.repos[n].image, kind, p.config.TargetTag, orNothing(before), orNothing(now))
}

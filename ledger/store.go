package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A Store reads and writes the ledger of one target. Its methods may be called from
// several goroutines.
type Store struct {
	Registry Registry
	Images   []string // repositories with their host, as records name them
	Target   string   // tag
	Trust    Trust
	Signer   *Signer // nil: records are not signed
	// Witness is asked whether what is read is the newest; nil: nobody is.
	Witness Witness
}

// A Reading is what was read of all images at one time, in their order.
type Reading struct {
	View   View
	Shown  []Shown
	Others []Others
	// Witness are the heads that somebody outside the registry saw; Unwitnessed is why
	// they could not be had.
	Witness     map[string]Seen
	Unwitnessed error
	Warnings    []string
}

// Shown are what the tags of an image show, whether that counts or not.
type Shown struct {
	Target   Object
	Go, Stop report.Digest // empty: absent
}

// Of returns what is behind a head's tag.
func (s Shown) Of(kind Kind) report.Digest {
	if kind == StopHead {
		return s.Stop
	}
	return s.Go
}

// Others are the records of an image that were met beside its heads.
type Others struct {
	Found   []*Head   // they count
	Against []Revoked // of records that don't count, what they say against a digest
	Known   int64     // the highest seq of a head that somebody names and nobody has
	Problem string    // why a head is missing; empty: none is
	learnt  map[report.Digest]bool
}

// maxRecords is how many records of one digest are read.
const maxRecords = 200

// Read reads the targets and both heads of all images at once, then whatever shows
// that a head is not the newest: what other heads or the witness saw, and, where a
// target doesn't show what it shall, the records of what it shows.
//
// What came whole and does not count is absent from the View, and named in
// Warnings. The error wraps [ErrUnreadable]: something could not be had, so that
// nothing is known.
func (s *Store) Read(ctx context.Context) (*Reading, error) { return s.read(ctx, true) }

// ReadHeads is [Store.Read] without the targets: nothing is known of what they show.
func (s *Store) ReadHeads(ctx context.Context) (*Reading, error) { return s.read(ctx, false) }

func (s *Store) read(ctx context.Context, targets bool) (*Reading, error) {
	n := len(s.Images)
	r := &Reading{View: make(View, n), Shown: make([]Shown, n), Others: make([]Others, n)}
	warnings := make([][2]string, n)
	reads := []func() error{func() error { r.Witness, r.Unwitnessed = s.witness(ctx); return nil }}
	for i, image := range s.Images {
		r.View[i].Image = image
		reads = append(reads,
			func() (err error) {
				if targets {
					r.Shown[i].Target, err = s.manifest(ctx, image, s.Target)
				}
				return err
			},
			func() (err error) {
				r.View[i].Go, r.Shown[i].Go, warnings[i][0], err = s.head(ctx, image, GoHead)
				return err
			},
			func() (err error) {
				r.View[i].Stop, r.Shown[i].Stop, warnings[i][1], err = s.head(ctx, image, StopHead)
				return err
			},
		)
	}
	if err := parallel.Together(reads...); err != nil {
		return nil, err
	}
	if r.Unwitnessed != nil {
		r.warn("what was seen last could not be read, so an older state of the registry would go unseen: %v", r.Unwitnessed)
	}
	for i := range r.View {
		r.View[i].Target = r.Shown[i].Target.Digest
		s.explain(r, i, warnings[i])
	}
	if !targets {
		return r, s.heal(ctx, r)
	}
	if err := s.complete(ctx, r); err != nil {
		return nil, err
	}
	for i := range r.View {
		if v := &r.View[i]; v.Go != nil && v.Stop != nil && v.Foreign() {
			r.warn("%s:%s shows %s, but by the ledger it shall show %s: somebody moved the tag by hand",
				v.Image, s.Target, orNothing(v.Target), orNothing(v.Want()))
		}
	}
	return r, nil
}

func orNothing(d report.Digest) string {
	if d == "" {
		return "nothing"
	}
	return d.Short()
}

func (r *Reading) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, untrusted.Line(fmt.Sprintf(format, args...), 2*maxText))
}

// witness asks the witness.
func (s *Store) witness(ctx context.Context) (map[string]Seen, error) {
	if s.Witness == nil {
		return nil, nil
	}
	return s.Witness.Read(ctx)
}

// manifest reads what is behind a reference; the zero Object: nothing.
func (s *Store) manifest(ctx context.Context, image, reference string) (Object, error) {
	o, err := s.Registry.Manifest(ctx, image, reference)
	if errors.Is(err, ErrNotFound) {
		return Object{}, nil
	}
	return o, err
}

// head reads one head. Nil without an error: problem says why it is missing.
func (s *Store) head(ctx context.Context, image string, kind Kind) (h *Head, shown report.Digest, problem string, err error) {
	tag, err := HeadTag(s.Target, kind)
	if err != nil {
		return nil, "", "", err
	}
	o, err := s.manifest(ctx, image, tag)
	if err != nil || o.Raw == nil {
		return nil, "", "", err
	}
	h, err = s.Trust.OpenHead(o.Raw, kind, image, s.Target)
	if err != nil {
		return nil, o.Digest, tag + ": " + err.Error(), nil //nolint:nilerr // it came whole and counts as absent
	}
	return h, o.Digest, "", nil
}

// explain says why heads of an image are missing.
func (s *Store) explain(r *Reading, i int, problems [2]string) {
	v := &r.View[i]
	for kind, head := range []*Head{v.Go, v.Stop} {
		if problems[kind] != "" {
			r.lacks(i, problems[kind])
			r.warn("%s:%s", v.Image, problems[kind])
		} else if head == nil {
			r.lacks(i, fmt.Sprintf("it has no %s head", Kind(kind)))
		}
	}
}

// lacks notes why a head of an image is missing.
func (r *Reading) lacks(i int, problem string) {
	if o := &r.Others[i]; o.Problem == "" {
		o.Problem = problem
	} else {
		o.Problem += "; " + problem
	}
}

// complete replaces heads that are known not to be the newest, and collects the
// records of images that lack a head.
func (s *Store) complete(ctx context.Context, r *Reading) error {
	if err := s.heal(ctx, r); err != nil {
		return err
	}
	adopted := false
	for i := range r.View {
		v := &r.View[i]
		if v.Go != nil && v.Stop != nil && v.Target == v.Want() {
			continue
		}
		for _, d := range slices.Compact([]report.Digest{v.Target, v.Want()}) {
			if err := s.Learn(ctx, r, i, d); err != nil {
				return err
			}
		}
		adopted = v.adopt(r.Others[i].Found) || adopted
	}
	if adopted {
		return s.heal(ctx, r)
	}
	return nil
}

// Learn adds the records of a digest to what was met of an image.
func (s *Store) Learn(ctx context.Context, r *Reading, i int, d report.Digest) error {
	o := &r.Others[i]
	if d == "" || o.learnt[d] {
		return nil
	}
	found, against, err := s.Records(ctx, s.Images[i], d)
	if err != nil {
		return err
	}
	if o.learnt == nil {
		o.learnt = map[report.Digest]bool{}
	}
	o.learnt[d] = true
	o.Found, o.Against = append(o.Found, found...), append(o.Against, against...)
	return nil
}

// adopt puts newer records in the place of heads that are there. A head that is
// missing is not replaced: nobody knows what else was removed.
func (s *State) adopt(found []*Head) (changed bool) {
	for _, h := range found {
		if s.Go != nil && h.Go != nil && h.Seq > s.Go.Seq {
			s.Go, changed = h, true
		}
		if s.Stop != nil && h.Stop != nil && h.Seq > s.Stop.Seq {
			s.Stop, changed = h, true
		}
	}
	return changed
}

// heal replaces heads that are older than what another head, or the witness, saw.
func (s *Store) heal(ctx context.Context, r *Reading) error {
	given := map[Newer]bool{} // up
	for range 4 {
		newer := slices.DeleteFunc(r.View.Newer(r.Witness), func(n Newer) bool { return given[n] })
		if len(newer) == 0 {
			return nil
		}
		for _, n := range newer {
			given[n] = true
			h, problem, err := s.recall(ctx, n)
			if err != nil {
				return err
			}
			r.replace(n, h, problem)
		}
	}
	return nil
}

// recall reads a record that somebody names. Nil without an error: problem says why
// it can't be had.
func (s *Store) recall(ctx context.Context, n Newer) (h *Head, problem string, err error) {
	o, err := s.manifest(ctx, n.Image, string(n.Ref.Digest))
	if err != nil {
		return nil, "", err
	}
	if o.Raw == nil {
		return nil, fmt.Sprintf("record %s (decision %d) was seen before and is no longer in the registry", n.Ref.Digest.Short(), n.Ref.Seq), nil
	}
	h, err = s.Trust.OpenHead(o.Raw, n.Kind, n.Image, s.Target)
	if err != nil {
		return nil, err.Error(), nil //nolint:nilerr // it came whole and counts as absent
	}
	return h, "", nil
}

// replace puts a newer record in the place of a head. Without the record, the head
// is older than what is known and counts no more.
func (r *Reading) replace(n Newer, h *Head, problem string) {
	i := slices.IndexFunc(r.View, func(s State) bool { return s.Image == n.Image })
	v, o := &r.View[i], &r.Others[i]
	at := &v.Go
	if n.Kind == StopHead {
		at = &v.Stop
	}
	o.Known = max(o.Known, n.Ref.Seq)
	switch {
	case h == nil && *at == nil: // that it is missing is known already
	case h == nil:
		r.lacks(i, fmt.Sprintf("its %s head is older than what is known: %s", n.Kind, problem))
		r.warn("%s: the %s head is older than what is known: %s", n.Image, n.Kind, problem)
		o.Found = append(o.Found, *at)
		*at = nil
	case *at == nil:
		o.Found = append(o.Found, h)
	case n.Merge:
		merged := **at
		merged.Stop = v.Merge(h)
		*at = &merged
	default:
		*at = h
	}
}

// Records returns the records of a digest that count; and of the others what they
// say against it. An error wraps [ErrUnreadable].
func (s *Store) Records(ctx context.Context, image string, d report.Digest) ([]*Head, []Revoked, error) {
	list, err := s.Registry.Referrers(ctx, image, d)
	if err != nil {
		return nil, nil, err
	}
	if len(list) > maxRecords {
		return nil, nil, fmt.Errorf("%s@%s has %d records, of which no more than %d are read; delete those that the gate did not write: %w",
			image, d.Short(), len(list), maxRecords, ErrUnreadable)
	}
	heads, against := make([]*Head, len(list)), make([]Revoked, len(list))
	slots := make(chan struct{}, 8)
	err = parallel.Each(len(list), func(i int) (err error) {
		slots <- struct{}{}
		defer func() { <-slots }()
		heads[i], against[i], err = s.record(ctx, image, list[i].Digest, d)
		return err
	})
	heads = slices.DeleteFunc(heads, func(h *Head) bool { return h == nil })
	against = slices.DeleteFunc(against, func(r Revoked) bool { return r == Revoked{} })
	return heads, against, err
}

// record reads one record of a digest. Nil without an error: it is gone, or doesn't
// count; then against is what it says against the digest.
func (s *Store) record(ctx context.Context, image string, digest, of report.Digest) (h *Head, against Revoked, err error) {
	o, err := s.manifest(ctx, image, string(digest))
	if err != nil || o.Raw == nil {
		return nil, Revoked{}, err
	}
	want, err := Content(o.Raw)
	if err != nil {
		return nil, Revoked{}, nil //nolint:nilerr // it is no record
	}
	var content []byte
	if want.Digest != "" {
		content, err = s.Registry.Blob(ctx, image, want)
		if errors.Is(err, ErrNotFound) {
			return nil, Revoked{}, nil
		}
		if err != nil {
			return nil, Revoked{}, err
		}
	}
	h, err = s.Trust.Open(o.Raw, content, image, s.Target)
	if err == nil && h.Subject == of {
		return h, Revoked{}, nil
	}
	if r, negative := OpenNegative(o.Raw, content, image, s.Target); negative && r.Digest == of {
		against = r
	}
	return nil, against, nil
}

// Next returns the seq of the next decision: 1 more than that of everything that was
// read or heard of.
func (r *Reading) Next() (int64, error) {
	var found []*Head
	var known int64
	for i, o := range r.Others {
		found = append(found, o.Found...)
		seen := r.Witness[r.View[i].Image]
		known = max(known, o.Known, seen.Go.Seq, seen.Stop.Seq)
	}
	seq, err := r.View.Above(found)
	return max(seq, known+1), err
}

// Begin says whether the ledger of an image may begin without force. Where
// signatures are required, see [View.Beginning]; else it may unless something shows
// that it had begun before, since then a head was removed.
func (s *Store) Begin(r *Reading, i int) Beginning {
	b := r.View.Beginning(s.Images[i], r.Witness)
	if b != NeedsForce || s.Trust.RequireSigned {
		return b
	}
	v := &r.View[i]
	// A stop head that says "begun", alone, is a beginning that was cut short.
	cut := v.Go == nil && r.Shown[i].Go == "" && (v.Stop == nil && r.Shown[i].Stop == "" || v.Stop != nil && v.Stop.Event == report.EventBegun)
	if !cut || s.hadHeads(r, i) {
		return NeedsForce
	}
	return MayBegin
}

// hadHeads reports whether anything names a head of an image that is not there.
func (s *Store) hadHeads(r *Reading, i int) bool {
	stop := r.View[i].Stop
	names := func(seen Seen) bool { return seen.Go != Ref{} || seen.Stop != Ref{} && stop == nil }
	if names(r.Witness[s.Images[i]]) {
		return true
	}
	for j := range r.View {
		for _, h := range []*Head{r.View[j].Go, r.View[j].Stop} {
			if h != nil && names(h.Saw[s.Images[i]]) {
				return true
			}
		}
	}
	return slices.ContainsFunc(r.Others[i].Found, func(h *Head) bool {
		return h.Seq > 0 && (h.Go != nil || h.Stop != nil) && (stop == nil || h.Digest != stop.Digest)
	})
}

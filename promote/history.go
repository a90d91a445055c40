package promote

import (
	"context"
	"fmt"
	"slices"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// maxSteps is how far back a chain is followed.
const maxSteps = 100

// A step is one digest in the chain behind a target tag.
type step struct {
	digest  report.Digest
	shown   []*report.Record // about this stay of the digest behind the tag, newest first
	arrival *report.Record   // by which it came there; nil: none says
	newest  *report.Record   // newest record of all on the digest; nil: none
	shas    []report.Commit  // the commits it is known by
	before  bool             // it was there before records began
	broken  string           // why the chain can't be followed from here; "": it can, or ends
}

// good reports whether a step may be restored: its newest record is positive,
// or it was in production before records began.
func (s step) good() bool {
	if s.newest != nil {
		return s.newest.Event.Positive()
	}
	return s.before && s.broken == ""
}

// is reports whether a step is the commit.
func (s step) is(sha report.Commit) bool {
	return slices.ContainsFunc(s.shas, sha.Same)
}

// chain follows the records behind a tag from the digest that it points at, to
// the digest that this one replaced, and so on, at most limit steps. It goes to
// records that are no newer than the one it came by, and to each record once:
// that A replaced B, which had replaced A, is no loop.
func (r *repository) chain(ctx context.Context, tag string, digest report.Digest, limit int) []step {
	var steps []step
	var until time.Time
	visited := map[report.Record]bool{}
	for len(steps) < limit && digest != "" {
		recs, err := r.allRecords(ctx, digest)
		if err != nil {
			return append(steps, step{digest: digest, broken: err.Error()})
		}
		s := stay(recs, tag, digest, until, visited)
		if len(recs) == 0 {
			r.unrecorded(ctx, &s, len(steps) > 0)
		}
		steps = append(steps, s)
		if s.arrival == nil {
			return steps
		}
		digest, until = s.arrival.Replaced, s.arrival.Time
	}
	return steps
}

// stay picks, of all records of a digest, those of one stay behind the tag.
func stay(recs []*report.Record, tag string, digest report.Digest, until time.Time, visited map[report.Record]bool) step {
	s := step{digest: digest}
	if len(recs) > 0 {
		s.newest = recs[0]
	}
	for _, rec := range recs {
		if rec.SHA != "" && !s.is(rec.SHA) {
			s.shas = append(s.shas, rec.SHA)
		}
	}
	for _, rec := range recs {
		if rec.Target != tag || !until.IsZero() && rec.Time.After(until) || visited[*rec] {
			continue
		}
		visited[*rec] = true
		s.shown = append(s.shown, rec)
		if rec.Event.Positive() {
			s.arrival = rec
			return s
		}
	}
	if len(recs) > 0 {
		s.broken = "no record says how " + tag + " came to this digest"
	}
	return s
}

// unrecorded finds out what a digest without records says of itself.
func (r *repository) unrecorded(ctx context.Context, s *step, replaced bool) {
	s.before = replaced
	m, err := r.Manifest(ctx, registry.ByDigest(s.digest))
	if err == nil && m == nil {
		s.broken = "this digest is no longer in the registry"
		return
	}
	var b build
	if err == nil {
		b, err = r.build(ctx, m)
	}
	if err != nil {
		s.broken = err.Error()
		return
	}
	if sha := commitOf(b.revision); sha != "" {
		s.shas = []report.Commit{sha}
	}
}

// History returns the chain of records behind the target tag of each image,
// image by image, newest first. Where a chain can't be followed, its last entry
// says so; the error is for a target tag that can't be read.
func (p *Promoter) History(ctx context.Context) ([]report.Decision, error) {
	chains := make([][]step, len(p.repos))
	err := parallel.Each(len(p.repos), func(i int) error {
		r := p.repos[i]
		m, err := r.Manifest(ctx, registry.ByTag(p.config.TargetTag))
		if err != nil {
			return err
		}
		chains[i] = r.chain(ctx, p.config.TargetTag, m.DigestOrNone(), maxSteps)
		return nil
	})
	var entries []historyEntry
	for i, steps := range chains {
		for n, s := range steps {
			entries = append(entries, p.entries(p.repos[i].image, s, n == 0)...)
		}
		if len(steps) == maxSteps && steps[maxSteps-1].arrival != nil {
			entries[len(entries)-1].Broken = fmt.Sprintf("older steps than %d are not shown", maxSteps)
		}
	}
	decisions := make([]report.Decision, len(entries))
	for i, e := range entries {
		decisions[i] = report.Decision{
			Time: e.Time, Event: e.Event, SHA: e.SHA, Actor: e.Actor, RunURL: e.RunURL, Reason: e.Reason, Current: e.Current, Broken: e.Broken,
			Images: []report.DecidedImage{{Image: e.Image, Digest: e.Digest, Replaced: e.Replaced}},
		}
	}
	return decisions, err
}

// entries shows one step; at least one entry.
func (p *Promoter) entries(image string, s step, current bool) []historyEntry {
	var entries []historyEntry
	for _, rec := range s.shown {
		entries = append(entries, historyEntry{Record: *rec, Image: image, Current: current})
	}
	if len(entries) == 0 {
		bare := report.Record{Digest: s.digest, Target: p.config.TargetTag}
		if len(s.shas) > 0 {
			bare.SHA = s.shas[0]
		}
		entries = append(entries, historyEntry{Record: bare, Image: image, Current: current})
	}
	entries[len(entries)-1].Broken = untrusted.Line(s.broken, maxText)
	return entries
}

// A historyEntry is one record of one image.
type historyEntry struct {
	report.Record
	Image   string
	Current bool
	Broken  string
}

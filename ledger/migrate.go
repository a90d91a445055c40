package ledger

import (
	"context"
	"slices"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// maxSteps is how far back a chain of records is followed.
const maxSteps = 100

// Migrate adds to what was met of an image what the records of the first form say,
// so that it can begin: from the digest that the target shows to the one that it
// replaced, and so on. What speaks against a digest always counts, since it can only
// restrict; what was in production does where signatures are not required.
func (s *Store) Migrate(ctx context.Context, r *Reading, i int) error {
	o := &r.Others[i]
	for _, h := range o.Found {
		if h.Seq > 0 && (h.Go != nil || h.Stop != nil) {
			return nil // the ledger had begun before
		}
	}
	anybody := *s
	anybody.Trust = Trust{}
	past := &Head{Record: Record{Image: s.Images[i], Seq: 1, Go: &Go{}}}
	records, visited, bound := map[report.Digest][]*Head{}, map[report.Digest]bool{}, time.Time{}
	for d := r.View[i].Target; d != "" && len(records) < maxSteps; {
		if _, read := records[d]; !read {
			met, _, err := anybody.Records(ctx, s.Images[i], d)
			if err != nil {
				return err
			}
			records[d] = met
			o.judged(d, met)
		}
		arrival := arrived(records[d], bound, visited)
		past.Go.add(d, arrival, Newest(d, records[d]))
		if arrival == nil {
			break
		}
		d, bound = arrival.Replaced, arrival.Time
	}
	if !s.Trust.RequireSigned && len(past.Go.Live) > 0 {
		o.Found = append(o.Found, past)
	}
	return nil
}

// judged adds what the newest record of a digest says against it.
func (o *Others) judged(d report.Digest, records []*Head) {
	if newest := Newest(d, records); newest != nil && negative(newest.Event) {
		o.Against = append(o.Against, Revoked{Digest: d, SHA: newest.SHA, Kind: newest.Event})
	}
}

// add adds a digest to those that were in production before.
func (g *Go) add(d report.Digest, arrival, newest *Head) {
	live := Live{Digest: d}
	if newest != nil {
		live.SHA = newest.SHA
	}
	if arrival != nil {
		live.SHA, live.Suite = arrival.SHA, arrival.Suite
	}
	if len(g.Live) < maxLive && !slices.ContainsFunc(g.Live, func(l Live) bool { return l.Digest == d }) {
		g.Live = append(g.Live, live)
	}
}

// arrived returns the newest record of the first form by which a digest came to the
// target, no newer than the bound (zero: none) and each once: that A replaced B, which
// had replaced A, is no loop. Nil: none says.
func arrived(records []*Head, bound time.Time, visited map[report.Digest]bool) *Head {
	var newest *Head
	for _, h := range records {
		if h.Seq == 0 && positive(h.Event) && !visited[h.Digest] && (bound.IsZero() || !h.Time.After(bound)) && (newest == nil || h.Time.After(newest.Time)) {
			newest = h
		}
	}
	if newest != nil {
		visited[newest.Digest] = true
	}
	return newest
}

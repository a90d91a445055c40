package ledger

import (
	"context"

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
	met := map[report.Digest]bool{}
	for d := r.View[i].Target; d != "" && !met[d] && len(met) < maxSteps; {
		met[d] = true
		records, _, err := anybody.Records(ctx, s.Images[i], d)
		if err != nil {
			return err
		}
		live := Live{Digest: d}
		if newest := Newest(d, records); newest != nil {
			live.SHA = newest.SHA
			if negative(newest.Event) {
				o.Against = append(o.Against, Revoked{Digest: d, SHA: newest.SHA, Kind: newest.Event})
			}
		}
		d = ""
		if arrival := arrived(records); arrival != nil {
			live.Suite, d = arrival.Suite, arrival.Replaced
		}
		if len(past.Go.Live) < maxLive {
			past.Go.Live = append(past.Go.Live, live)
		}
	}
	if !s.Trust.RequireSigned && len(past.Go.Live) > 0 {
		o.Found = append(o.Found, past)
	}
	return nil
}

// arrived returns the newest record of the first form by which a digest came to the
// target; nil: none says.
func arrived(records []*Head) *Head {
	var newest *Head
	for _, h := range records {
		if h.Seq == 0 && positive(h.Event) && (newest == nil || h.Time.After(newest.Time)) {
			newest = h
		}
	}
	return newest
}

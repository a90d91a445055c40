package ledger

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// History returns the decisions about the target, newest first: both heads of all
// images, and what was behind them before. It needs no listing. Where a chain can't
// be followed, its last decision says so. Where no ledger has begun, what the targets
// show is all there is.
//
// The error wraps [ErrUnreadable]: something could not be had.
func (s *Store) History(ctx context.Context, r *Reading) ([]report.Decision, error) {
	chains := make([]chain, 2*len(s.Images))
	err := parallel.Each(len(chains), func(k int) (err error) {
		i, kind := k/2, Kind(k%2)
		head := r.View[i].Go
		if kind == StopHead {
			head = r.View[i].Stop
		}
		chains[k], err = s.chain(ctx, i, kind, head)
		return err
	})
	if err != nil {
		return nil, err
	}
	rows := rowsOf(chains)
	markHeld(rows, chains)
	rows = append(rows, s.before(r, chains)...)
	s.markCurrent(r, rows)
	for i, o := range r.Others {
		if o.Problem != "" && len(rows) > 0 && (r.Shown[i].Go != "" || r.Shown[i].Stop != "" || r.View[i].Go != nil) {
			rows[0].Broken = cmp.Or(rows[0].Broken, s.Images[i]+": "+o.Problem)
		}
	}
	return rows, nil
}

// A chain is the records that were behind a head, newest first.
type chain struct {
	heads  []*Head
	broken string // why it ends; empty: it is whole
}

// chain follows what was behind a head.
func (s *Store) chain(ctx context.Context, i int, kind Kind, h *Head) (chain, error) {
	var c chain
	for h != nil {
		c.heads = append(c.heads, h)
		if h.Prev == "" {
			break
		}
		if len(c.heads) == maxSteps {
			c.broken = fmt.Sprintf("older decisions than %d are not shown", maxSteps)
			break
		}
		next, problem, err := s.recall(ctx, Newer{Image: s.Images[i], Kind: kind, Ref: Ref{h.Seq - 1, h.Prev}})
		if err != nil {
			return c, err
		}
		if next == nil {
			c.broken = fmt.Sprintf("%s: what was before decision %d can't be shown: %s", s.Images[i], h.Seq, problem)
		}
		h = next
	}
	return c, nil
}

// rowsOf makes one row of all records of a decision, newest first.
func rowsOf(chains []chain) []report.Decision {
	var rows []report.Decision
	at := map[string]int{}
	for _, c := range chains {
		for n, h := range c.heads {
			i, found := at[h.Decision]
			if !found {
				i = len(rows)
				at[h.Decision] = i
				rows = append(rows, report.Decision{
					ID: h.Decision, Seq: h.Seq, Time: h.Time, Event: h.Event, SHA: h.SHA, Actor: h.Actor, RunURL: h.RunURL,
					Reason: h.Reason, Forced: h.Forced, SignedBy: h.SignedBy,
				})
			}
			rows[i].SHA = rows[i].SHA.Longest(h.SHA)
			if !slices.ContainsFunc(rows[i].Images, func(d report.DecidedImage) bool { return d.Image == h.Image }) {
				rows[i].Images = append(rows[i].Images, h.decided())
			}
			if n == len(c.heads)-1 && c.broken != "" {
				rows[i].Broken = cmp.Or(rows[i].Broken, c.broken)
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b report.Decision) int {
		return cmp.Or(cmp.Compare(b.Seq, a.Seq), b.Time.Compare(a.Time))
	})
	return rows
}

// decided is one image's part of a decision.
func (h *Head) decided() report.DecidedImage {
	d := report.DecidedImage{Image: h.Image, Digest: h.Subject}
	switch {
	case h.Go != nil && h.Event != report.EventBegun:
		d.Replaced = h.Go.From
		if d.Replaced == d.Digest {
			d.Replaced = ""
		}
	case h.Event == report.EventRolledBack:
		d.Digest, d.Replaced = h.Stop.Goal, h.Subject
	}
	return d
}

// markHeld says of each row whether the target was on hold after it.
func markHeld(rows []report.Decision, chains []chain) {
	for i := range rows {
		for _, c := range chains {
			// The newest stop record of the image that is not newer than the row.
			n := slices.IndexFunc(c.heads, func(h *Head) bool { return h.Stop != nil && h.Seq <= rows[i].Seq })
			rows[i].Held = rows[i].Held || n >= 0 && c.heads[n].Stop.Held != nil
		}
	}
}

// before are rows of what was in production before the ledger began, as far as its
// first record knows; and without any, of what the targets show.
func (s *Store) before(r *Reading, chains []chain) []report.Decision {
	var rows []report.Decision
	add := func(place int, image string, l Live) {
		for len(rows) <= place {
			rows = append(rows, report.Decision{})
		}
		rows[place].SHA = rows[place].SHA.Longest(l.SHA)
		if rows[place].SHA == "" {
			rows[place].SHA = l.SHA
		}
		rows[place].Images = append(rows[place].Images, report.DecidedImage{Image: image, Digest: l.Digest})
	}
	for i, image := range s.Images {
		heads := chains[2*i].heads
		switch {
		case len(heads) == 0 && r.View[i].Target != "":
			add(0, image, r.View[i].Entry(r.View[i].Target))
		case len(heads) > 0 && heads[len(heads)-1].Event == report.EventBegun && len(heads[len(heads)-1].Go.Live) > 1:
			for place, l := range heads[len(heads)-1].Go.Live[1:] {
				add(place, image, l)
			}
		}
	}
	return rows
}

// markCurrent finds the newest decision whose digests every target shows.
func (s *Store) markCurrent(r *Reading, rows []report.Decision) {
	for i := range rows {
		shown := len(rows[i].Images) == len(s.Images)
		for _, d := range rows[i].Images {
			n := slices.Index(s.Images, d.Image)
			shown = shown && r.View[n].Target == d.Digest
		}
		switch rows[i].Event {
		case report.EventHeld, report.EventReleased, report.EventRejected: // they are about a digest and put none in place
		default:
			if shown {
				rows[i].Current = true
				return
			}
		}
	}
}

// Rollback returns the record of the newest rollback behind a stop head, and whether
// the target was released since. Nil: it can't be found.
func (s *Store) Rollback(ctx context.Context, state *State) (h *Head, released bool, err error) {
	i := slices.Index(s.Images, state.Image)
	for h = state.Stop; h != nil && h.Seq > state.Stop.Stop.GoalSeq; {
		released = released || h.Event == report.EventReleased
		if h.Prev == "" {
			return nil, released, nil
		}
		if h, _, err = s.recall(ctx, Newer{Image: s.Images[i], Kind: StopHead, Ref: Ref{h.Seq - 1, h.Prev}}); err != nil {
			return nil, released, err
		}
	}
	return h, released, nil
}

package ledger

import (
	"slices"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Beginning says whether the ledger of an image can begin, and what that takes.
type Beginning int

// The ways in which the ledger of an image begins.
const (
	Begun      Beginning = iota // it has both heads
	MayBegin                    // nothing can have been lost
	NeedsForce                  // a head may have been removed: a person must say that none was
)

// Beginning says whether the ledger of an image has begun. Without force it may
// begin where the target is absent, or where only this image is new; and no record
// that can be read, nor the witness (nil: there is none), knows a head of it.
func (v View) Beginning(image string, witness map[string]Seen) Beginning {
	known := func(saw map[string]Seen) bool { return saw[image] != Seen{} }
	others, absent := len(v) > 1, false
	for i := range v {
		s := &v[i]
		if s.Image == image {
			if s.Go != nil && s.Stop != nil {
				return Begun
			}
			if s.Go != nil || s.Stop != nil {
				return NeedsForce // a new image lacks both
			}
			absent = s.Target == ""
			continue
		}
		others = others && s.Go != nil && s.Stop != nil
		for _, h := range []*Head{s.Go, s.Stop} {
			if h != nil && known(h.Saw) {
				return NeedsForce
			}
		}
	}
	if !known(witness) && (absent || others) {
		return MayBegin
	}
	return NeedsForce
}

// Begin returns the two states that start the ledger of an image. It takes up the
// best of the trusted records that were found: the newest list of what was live,
// every revocation, a hold if any has one, the newest goal. against are records
// that are not trusted and speak against a digest: those are believed, as they can
// only restrict. shown is what the target shows; the zero Live: it is absent. seq
// is that of the records that are written, which must be higher than that of every
// record found: see [Above].
func (s *State) Begin(shown Live, found []*Head, against []Revoked, seq int64) (*Go, *Stop) {
	var base Go
	var top int64
	for _, h := range found {
		if h != nil && h.Go != nil && h.Seq > top {
			base, top = *h.Go, h.Seq
		}
	}
	goes := &Go{From: shown.Digest, Live: slices.Clone(base.Live)}
	if shown.Digest != "" {
		before := State{Target: shown.Digest, Go: &Head{Record: Record{Go: &base}}}
		goes = before.Promote(shown, seq, false)
		// Nothing was verified here, so nothing that was revoked is lifted.
		goes.Live[0].Seq, goes.Live[0].Forced = 0, false
		for _, l := range base.Live {
			if l.same(shown) {
				goes.Live[0].Seq, goes.Live[0].Forced = l.Seq, l.Forced
			}
		}
	}
	after := State{Go: &Head{Record: Record{Go: goes}}, Stop: s.Stop}
	stop := after.Merge(found...)
	for _, r := range against {
		r.Seq = seq
		if negative(r.Kind) {
			stop.revoke(goes.Live, r)
		}
	}
	return goes, stop
}

// Above returns the seq of a ledger that begins: 1 more than the heads in the view
// and all records that were found.
func (v View) Above(found []*Head) (int64, error) {
	highest := View{State{}}
	for _, h := range found {
		if h != nil && h.Seq > highest[0].Go.ref().Seq {
			highest[0].Go = h
		}
	}
	return slices.Concat(v, highest).Next()
}

// Subject is the digest that a record of the state is attached to; fallback: the
// state names none.
func (g *Go) Subject(fallback report.Digest) report.Digest {
	if len(g.Live) > 0 {
		return g.Live[0].Digest
	}
	return fallback
}

package ledger

import (
	"cmp"
	"fmt"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A Rule is a reason of the ledger's to refuse. Force lifts each of them.
type Rule int

// The rules, in the order in which refusals are reported.
const (
	RuleRevoked Rule = iota // the candidate was rolled back, or rejected (promote)
	RuleNoHead              // the ledger has not begun, or a head is missing or not trusted
	RuleRecord              // the candidate has no record that allows a promotion (promote)
	RuleHeld                // the target is on hold
)

// A Refusal is one rule that forbids a promotion.
type Refusal struct {
	Rule   Rule
	Image  string // empty: all images
	Reason string // one sentence
}

// A Candidate is what is to be promoted on one image.
type Candidate struct {
	Digest report.Digest
	// Records are those attached to the digest. They are looked at by promote
	// alone, and only where [State.NeedsRecords] says so.
	Records []*Head
}

// Refusals returns every refusal of the ledger to promote the candidates, which
// have an entry for each image. verify tests what promote must find tested: a
// rejected digest may be verified again, and needs no record. A hold forbids
// nothing where every target shows the candidate already.
func (v View) Refusals(mode report.Mode, candidates map[string]Candidate) []Refusal {
	var revoked, heads, records []Refusal
	shown := len(v) > 0
	for i := range v {
		s := &v[i]
		c := candidates[s.Image]
		shown = shown && s.Target != "" && s.Target == c.Digest
		if s.Go == nil || s.Stop == nil {
			heads = append(heads, Refusal{RuleNoHead, s.Image, "its ledger has no trusted head, so nobody knows what was revoked or put on hold; begin it with force and a reason"})
		}
		r, is := v.Revoked(c.Digest)
		switch {
		case is && (r.Kind == report.EventRolledBack || mode != report.ModeVerify):
			revoked = append(revoked, Refusal{RuleRevoked, s.Image, fmt.Sprintf("%s was %s (decision %d)", c.Digest.Short(), r.Kind, r.Seq)})
		case is || mode == report.ModeVerify:
		default:
			if why := v.positive(s, c.Digest, c.Records); why != "" {
				records = append(records, Refusal{RuleRecord, s.Image, why})
			}
		}
	}
	all := append(append(revoked, heads...), records...)
	if held := v.Held(); held != nil && !shown {
		all = append(all, Refusal{RuleHeld, "", held.String()})
	}
	return all
}

// String says who holds the target since when and why.
func (h *Hold) String() string {
	text := "the target is on hold"
	if !h.At.IsZero() {
		text += " since " + h.At.UTC().Format("2006-01-02 15:04 UTC")
	}
	if h.By != "" {
		text += ", by " + h.By
	}
	if h.Reason != "" {
		text += ": " + h.Reason
	}
	return text
}

// NeedsRecords reports whether only the records of the digest itself can show that
// it was good: it is not, and was not lately, in production.
func (s *State) NeedsRecords(d report.Digest) bool { return d != s.Want() && !s.isLive(d) }

// positive finds why nothing shows that a digest was good; empty: something does.
func (v View) positive(s *State, d report.Digest, records []*Head) string {
	if !s.NeedsRecords(d) {
		return ""
	}
	newest := Newest(d, records)
	switch {
	case newest == nil:
		return fmt.Sprintf("%s has no trusted record", d.Short())
	case !positive(newest.Event):
		return fmt.Sprintf("the newest record of %s is %s", d.Short(), newest.Event)
	case newest.Seq <= v.floor() && v.floor() > 0:
		return fmt.Sprintf("the newest record of %s is from before decision %d; what was revoked until then is not kept in full, so verify it again", d.Short(), v.floor())
	}
	return ""
}

// Newest returns the newest record that says whether a digest is good. Where two
// have the same seq, the one against it counts. Records without seq are older than
// all others, and ordered by time.
func Newest(d report.Digest, records []*Head) *Head {
	var newest *Head
	for _, h := range records {
		if h.Subject != d || !positive(h.Event) && !negative(h.Event) {
			continue
		}
		if newest == nil {
			newest = h
			continue
		}
		order := cmp.Compare(h.Seq, newest.Seq)
		if h.Seq == 0 && newest.Seq == 0 {
			order = h.Time.Compare(newest.Time)
		}
		if order > 0 || order == 0 && negative(h.Event) {
			newest = h
		}
	}
	return newest
}

// An Admission says whether a digest may run.
type Admission struct {
	Admitted bool
	Digest   report.Digest // empty: there is none
	Reason   string        // why not
}

// AdmitTag says what may run where the target is asked for: what the ledger wants
// there. The tag itself is not looked at, since whoever can push can move it.
func (s *State) AdmitTag() Admission {
	if s.Go == nil || s.Stop == nil {
		return Admission{Reason: "the target has no trusted records"}
	}
	if s.Want() == "" {
		return Admission{Reason: "nothing was promoted to the target"}
	}
	return s.AdmitDigest(s.Want(), nil)
}

// AdmitDigest says whether a digest may run: the ledger wants it, or it was in
// production lately, or its own records are good; and it is not revoked. records
// are looked at only where [State.NeedsRecords] says so.
func (s *State) AdmitDigest(d report.Digest, records []*Head) Admission {
	if s.Go == nil || s.Stop == nil {
		return Admission{Digest: d, Reason: "the target has no trusted records"}
	}
	if r, revoked := s.Revoked(d); revoked {
		return Admission{Digest: d, Reason: fmt.Sprintf("it was %s (decision %d)", r.Kind, r.Seq)}
	}
	if why := (View{*s}).positive(s, d, records); why != "" {
		return Admission{Digest: d, Reason: why}
	}
	return Admission{Admitted: true, Digest: d}
}

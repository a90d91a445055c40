package report

import "time"

// An Event is what a [Record] says. The empty Event is that of a digest without
// a record.
type Event string

// The events of records.
const (
	EventVerified   Event = "verified"    // green, written ahead of the move
	EventPromoted   Event = "promoted"    // by hand: with mode promote, or restored by a rollback
	EventRejected   Event = "rejected"    // red
	EventRolledBack Event = "rolled-back" // on the digest that was replaced
	EventBegun      Event = "begun"       // the ledger starts here
	EventConfirmed  Event = "confirmed"   // production was watched undisturbed
	EventUndone     Event = "undone"      // a promotion that was taken back
	EventHeld       Event = "held"        // promotions are forbidden from here on
	EventReleased   Event = "released"    // and allowed again
)

// Positive reports whether a record of this event allows a promotion.
func (e Event) Positive() bool { return e == EventVerified || e == EventPromoted }

// A Record is a decision about an image digest, kept in its registry as a
// referrer of that digest.
type Record struct {
	Event    Event     `json:"event"`
	Time     time.Time `json:"time"`
	SHA      Commit    `json:"sha"`
	Digest   Digest    `json:"digest"` // the subject
	Target   string    `json:"-"`      // tag
	Replaced Digest    `json:"replaced,omitempty"`
	Suite    string    `json:"-"`
	Hash     string    `json:"-"` // of the suite, "sha256:…"
	RunURL   string    `json:"run_url,omitempty"`
	Actor    string    `json:"actor,omitempty"`
	Reason   string    `json:"reason,omitempty"`
}

// A Hold forbids promotions of a target until it is released.
type Hold struct {
	By     string    `json:"by,omitempty"` // who, or which run
	At     time.Time `json:"at,omitzero"`
	Reason string    `json:"reason,omitempty"`
}

// String says since when, by whom and why: "on hold since 2026-03-14 03:00:00 UTC,
// by ana: invoices are wrong". What is not known is left out.
func (h *Hold) String() string {
	text := "on hold"
	if !h.At.IsZero() {
		text += " since " + Moment(h.At)
	}
	if h.By != "" {
		text += ", by " + h.By
	}
	if h.Reason != "" {
		text += ": " + h.Reason
	}
	return text
}

// A Decision is one row of a target's history: what one run decided about all
// images, newest first.
type Decision struct {
	ID     string    `json:"id,omitempty"` // the same in the records of all images; empty: no record
	Seq    int64     `json:"seq,omitempty"`
	Time   time.Time `json:"time,omitzero"` // by the clock of the run; the order is that of Seq
	Event  Event     `json:"event"`         // empty: in production before records began
	SHA    Commit    `json:"sha"`
	Actor  string    `json:"actor,omitempty"`
	RunURL string    `json:"run_url,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Forced string    `json:"forced,omitempty"` // the reason given with force
	// SignedBy is the fingerprint of the key; empty: unsigned.
	SignedBy string `json:"signed_by,omitempty"`
	Held     bool   `json:"held"`             // the target was on hold after it
	Current  bool   `json:"current"`          // every target shows its digests
	Broken   string `json:"broken,omitempty"` // why the history ends here; empty: it goes on, or is at its end
	// Images are the digests that it was about, and what they replaced.
	Images []DecidedImage `json:"images"`
}

// A DecidedImage is one image's part of a [Decision].
type DecidedImage struct {
	Image    string `json:"image"`
	Digest   Digest `json:"digest"`
	Replaced Digest `json:"replaced,omitempty"`
}

// An Admission says whether an image may run.
type Admission struct {
	Admitted bool   `json:"admitted"`
	Image    string `json:"image"`            // as asked for
	Digest   Digest `json:"digest,omitempty"` // that may run; empty: none may
	Reason   string `json:"reason,omitempty"` // why not
}

// A Rollback says what was replaced by what.
type Rollback struct {
	FromSHA    Commit        `json:"from_sha"`
	ToSHA      Commit        `json:"to_sha"`
	LiveSince  time.Time     `json:"live_since,omitzero"`
	LiveFor    time.Duration `json:"live_for_ns"`           // whole seconds; 0: not recorded
	PromotedBy string        `json:"promoted_by,omitempty"` // run URL or actor
	// Suite and SuiteHash name what the canary had checked before the replaced
	// commit went live; empty: no record says.
	Suite     string `json:"suite,omitempty"`
	SuiteHash string `json:"suite_hash,omitempty"`
	// PostMortem is a draft as Markdown whose foreign parts are escaped.
	PostMortem string `json:"post_mortem"`
}

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

// A HistoryEntry is one step of the chain of records behind the target tag of
// one image, newest first. Its Event is empty and its Time zero for a digest
// without records, as it was in production before they began.
type HistoryEntry struct {
	Image string `json:"image"`
	Record
	Current bool   `json:"current"`          // the target points at it
	Broken  string `json:"broken,omitempty"` // why the chain ends here; empty: it goes on, or is at its end
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

package ledger

import (
	"encoding/json"
	"fmt"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// positive reports whether an event says that the digest was good.
func positive(e report.Event) bool { return e.Positive() || e == report.EventConfirmed }

// negative reports whether an event says that the digest was bad.
func negative(e report.Event) bool {
	return e == report.EventRejected || e == report.EventRolledBack
}

// A Record is one decision about one image and target. Its texts are sanitised
// where it was read. What it says is to be believed only if [Trust.Open] returned
// it.
type Record struct {
	Event    report.Event
	Time     time.Time
	Image    string        // repository, with its host
	Subject  report.Digest // that the record is attached to
	Target   string        // tag
	Decision string        // 32 hex digits, the same on all images of a run
	// Seq counts the decisions of a target: 1 more than the highest of all heads
	// that its writer saw. 0: a record of the first form, which has none.
	Seq  int64
	Prev report.Digest // the record that was behind this head before; empty: none
	// Saw names the heads that the writer had read, by image.
	Saw map[string]Seen
	SHA report.Commit // of Subject; empty: unknown
	// Images are what the targets of all images shall show by this decision: the
	// candidates, or the goals of a rollback.
	Images map[string]report.Digest
	Fleet  int // canary tenants of the run; 0: none were checked
	// Suite and SuiteHash ("sha256:…" of the file) name what was checked.
	Suite, SuiteHash string
	RunURL, RunID    string
	Actor            string
	Reason           string
	Forced           string // the reason given with force; empty: not forced
	// Go and Stop are the state that a head carries. A head has exactly one. A record
	// that changes no head has neither: a rejection, or a green verdict while the
	// target is on hold.
	Go   *Go
	Stop *Stop
	// Replaced is what a record of the first form replaced; Go.From says it since.
	Replaced report.Digest
}

// Seen are the two heads of an image as the writer of a record read them. A zero
// Ref: there was none.
type Seen struct {
	Go   Ref `json:"go,omitzero"`
	Stop Ref `json:"stop,omitzero"`
}

// A Ref names a record: its seq and the digest of its manifest. In JSON it is
// [11,"sha256:…"].
type Ref struct {
	Seq    int64
	Digest report.Digest
}

// MarshalJSON writes seq and digest as an array.
func (r Ref) MarshalJSON() ([]byte, error) { return json.Marshal([]any{r.Seq, r.Digest}) }

// UnmarshalJSON reads an array of seq and digest, and nothing else.
func (r *Ref) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) != 2 {
		return fmt.Errorf("expected a seq and a digest, got %d values", len(parts))
	}
	if err := json.Unmarshal(parts[0], &r.Seq); err != nil {
		return err
	}
	return json.Unmarshal(parts[1], &r.Digest)
}

// Go is the state that promotions write.
type Go struct {
	From report.Digest `json:"from,omitempty"` // that the target showed before; empty: it was absent
	// Live has first what the target shall show, then up to 9 digests that a
	// rollback can restore. Empty: the target was absent, and shall be.
	Live []Live `json:"live"`
}

// A Live is a digest that was in production.
type Live struct {
	Digest  report.Digest `json:"digest"`
	SHA     report.Commit `json:"sha,omitempty"`
	Created time.Time     `json:"created,omitzero"` // of the image
	Suite   string        `json:"suite,omitempty"`
	// Seq is that of the decision that put it there, Forced whether that one was
	// forced: together they show whether it came after a revocation.
	Seq    int64 `json:"seq,omitempty"`
	Forced bool  `json:"forced,omitempty"`
}

// Stop is the state that hold, release and rollback write.
type Stop struct {
	Held    *Hold     `json:"held,omitempty"` // nil: not on hold
	Revoked []Revoked `json:"revoked,omitempty"`
	// Floor is the highest seq of the revocations that Revoked had no room for. A
	// positive record of this seq or a lower one no longer counts, unless its
	// digest is in Go.Live.
	Floor int64 `json:"floor,omitempty"`
	// Goal is what the newest rollback restores, GoalSeq the seq of its record. It
	// stands until a promotion of a higher seq.
	Goal    report.Digest `json:"goal,omitempty"`
	GoalSeq int64         `json:"goalSeq,omitempty"`
}

// A Hold forbids promotions until it is released.
type Hold struct {
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Reason string    `json:"reason,omitempty"`
}

// A Revoked is a digest that may no longer be promoted, admitted or restored.
type Revoked struct {
	Digest report.Digest `json:"digest"`
	SHA    report.Commit `json:"sha,omitempty"`
	Kind   report.Event  `json:"kind"` // rolled-back or rejected
	Seq    int64         `json:"seq"`
}

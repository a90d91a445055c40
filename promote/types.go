package promote

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// Config says which tags of which images a [Promoter] works on, and how it may.
type Config struct {
	Images    []string // repositories without tag or digest, as the user wrote them
	SourceTag string   // template: {sha} is the first 7 digits, {full-sha} all 40
	TargetTag string
	CanaryTag string // empty: there is none
	// Username and Password are for the one registry that all images share;
	// both empty: Keychain alone.
	Username string
	Password secret.Value
	Keychain authn.Keychain // nil: anonymous
	Ancestry Ancestry       // nil: order is told by creation time alone
	Force    string         // a reason in words lifts the refusals of order and of records
	DryRun   bool           // every read and check, no write
	Origin   Origin
	// Transport carries all requests; nil: one with bounds of its own.
	Transport http.RoundTripper
	// Proxy chooses a proxy for that one; nil: none. The package reads no
	// environment: pass [http.ProxyFromEnvironment] for HTTPS_PROXY and NO_PROXY.
	Proxy func(*http.Request) (*url.URL, error)
}

// An Origin says who decided, and where; it stands in the records.
type Origin struct {
	Tool   string // "canary-verify" and its version
	RunURL string
	Actor  string
}

// A Relation says how one commit stands to another.
type Relation int

// The relations. The zero value is [UnknownRelation].
const (
	UnknownRelation Relation = iota
	Same
	Ahead    // the new commit descends from the old one
	Behind   // the new commit is an ancestor of the old one
	Diverged // neither
)

// Ancestry tells how commits stand to each other; a forge can.
type Ancestry interface {
	// Compare says how next stands to base; both are commits of 7 to 40 hex digits.
	Compare(ctx context.Context, base, next string) (Relation, error)
}

// A Policy says what a candidate must be to get a [Plan].
type Policy int

// The policies.
const (
	// ForVerify refuses a move backwards and a digest whose newest record is a roll-back.
	ForVerify Policy = iota
	// ForPromote refuses these, and a digest whose newest record is missing or not green.
	ForPromote
)

// A State says what became of one tag. The zero value is [Unchanged].
type State int

// The states of a tag after a run.
const (
	Unchanged  State = iota // not written
	Promoted                // moved to the candidate, and read back
	Already                 // it pointed at the candidate before
	Restored                // moved, then moved back, and read back
	UnknownTag              // written and not read back, or moved by somebody else after that: see Detail
)

// String returns the word that reports use.
func (s State) String() string {
	switch s {
	case Promoted:
		return "promoted"
	case Already:
		return "already"
	case Restored:
		return "restored"
	case UnknownTag:
		return "unknown"
	default:
		return "unchanged"
	}
}

// A Plan is the candidate of one run and what would move where. [Promoter]'s
// methods keep it up to date; a caller reads it.
type Plan struct {
	SHA      string
	Images   []ImagePlan
	Canary   CanaryPlan
	Warnings []string // what was not certain, one sentence each

	work *work // nil: the plan was not made by [Promoter.Resolve]
}

// An ImagePlan is one image's part of a [Plan]. Digests are "sha256:…", empty
// when there is none.
type ImagePlan struct {
	Image            string // as written
	Source           string // tag
	Digest           string // the candidate
	Revision         string // of the candidate, from its label; sanitised
	Created          time.Time
	Target           string // tag
	Previous         string // digest of the target before; empty: it was absent
	PreviousRevision string
	PreviousCreated  time.Time
	Newest           *Record // newest record on the candidate digest; nil: none
	State            State
	Now              string // digest of the target when last seen
	Detail           string // one sentence when State needs one
}

// A CanaryPlan is what became of the canary tag, over all images.
type CanaryPlan struct {
	Tag    string // empty: there is none
	State  string // "untouched", "moved", "restored", "unknown"
	Detail string
}

// An Event is what a [Record] tells.
type Event string

// The events of records.
const (
	Verified   Event = "verified"    // green, written ahead of the move
	PromotedBy Event = "promoted"    // by hand: with mode promote, or gone back to by a rollback
	Rejected   Event = "rejected"    // red
	RolledBack Event = "rolled-back" // on the digest that is left
)

// A Record is a decision about an image digest, kept in its registry as a
// referrer of that digest.
type Record struct {
	Event    Event
	Time     time.Time
	SHA      string
	Digest   string // the subject
	Target   string // tag
	Replaced string // digest that the target had
	Suite    string
	Hash     string // of the suite, "sha256:…"
	RunURL   string
	Actor    string
	Reason   string
}

// A Decision is what a caller tells of the run that judged a [Plan].
type Decision struct {
	Suite  string
	Hash   string // of the suite, "sha256:…"
	Reason string
}

// A RefusedError says that a rule forbids the move, whatever the tenants say.
type RefusedError struct {
	Rule   string // "source missing", "revision", "rolled back", "backwards", "not green", "unknown sha"
	Reason string // one sentence: what was found, on what, what to do
}

// Error returns the reason.
func (e *RefusedError) Error() string { return e.Reason }

// A MoveError says that the registry refused or failed a write, so that targets
// may not be where the caller wanted them; the Plan names where each one is.
type MoveError struct{ Err error }

// Error returns what failed.
func (e *MoveError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *MoveError) Unwrap() error { return e.Err }

// A HistoryEntry is one step of the chain of records behind the target tag of
// one image, newest first. Its Event is empty and its Time zero for a digest
// without records, as it was in production before they began.
type HistoryEntry struct {
	Record
	Image   string
	Current bool   // the target points at its digest
	Broken  string // why the chain can't be followed from here; empty: it can, or it is its end
}

// A RollbackResult tells what a rollback left and where it went.
type RollbackResult struct {
	Plan           *Plan // Digest is the earlier digest, Previous the one that was left
	FromSHA, ToSHA string
	// Left is the record by which the digest that was left had become the target;
	// nil: none was found.
	Left     *Record
	Warnings []string
}

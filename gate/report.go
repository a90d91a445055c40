package gate

import "time"

// Schema names the format of report.json. Fields are only ever added to it.
const Schema = "canary-verify/report/v1"

// A Report tells all that is known of a run, during it and after it. Its JSON
// form is report.json. All foreign text in it is sanitised and redacted, and
// escaped for no markup.
type Report struct {
	Schema  string  `json:"schema"`
	Tool    string  `json:"tool"` // version of canary-verify
	Mode    string  `json:"mode"`
	SHA     string  `json:"sha"`
	Verdict Verdict `json:"verdict"`
	Exit    int     `json:"exit"`
	// Reason is one sentence: the first cause of the verdict.
	Reason string `json:"reason"`
	// Next is one sentence: what the reader should do now; empty when nothing.
	Next     string    `json:"next,omitempty"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	DryRun   bool      `json:"dry_run"`
	Forced   string    `json:"forced"` // the reason given with force
	// IdentityProven is true when every tenant told the candidate's commit
	// before and after the checks.
	IdentityProven bool `json:"identity_proven"`
	// Ran is true when checks ran.
	Ran bool `json:"ran"`
	// Promoted is true when every target points at the candidate.
	Promoted bool     `json:"promoted"`
	Images   []Image  `json:"images"`
	Canary   *Canary  `json:"canary,omitempty"`
	Suite    *Suite   `json:"suite,omitempty"`
	Tenants  []Tenant `json:"tenants"`
	Phases   []Phase  `json:"phases"`
	Warnings []string `json:"warnings"`
	// Faults lists what is wrong with the inputs, when that ended the run.
	Faults   []string       `json:"faults,omitempty"`
	History  []HistoryEntry `json:"history,omitempty"`
	Rollback *Rollback      `json:"rollback,omitempty"`
	Run      Run            `json:"run"`
}

// A Run says who ran the gate, and where.
type Run struct {
	URL        string `json:"url,omitempty"`        // of the workflow run
	CommitURL  string `json:"commit_url,omitempty"` // of the sha on the forge
	Repository string `json:"repository,omitempty"` // owner/name
	Actor      string `json:"actor,omitempty"`
	Event      string `json:"event,omitempty"`
}

// A Phase is one stretch of the run, for the timeline. Name is one of
// "candidate", "canary tag", "rollout", "smoke", "identity", "verdict", "promote",
// "restore", "records", "rollback", "history".
type Phase struct {
	Name     string    `json:"name"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
}

// A Suite names what was asserted.
type Suite struct {
	Name     string   `json:"name"`
	Hash     string   `json:"hash"` // "sha256:…" of the file
	Checks   int      `json:"checks"`
	Rounds   int      `json:"rounds"` // fewest rounds that a tenant was through
	Warnings []string `json:"warnings,omitempty"`
}

// An Image is one repository's part in the run.
type Image struct {
	Image    string     `json:"image"`  // as written
	Source   string     `json:"source"` // tag
	Digest   string     `json:"digest"` // of the candidate
	Revision string     `json:"revision"`
	Created  *time.Time `json:"created,omitempty"`
	Target   string     `json:"target"`   // tag
	Previous string     `json:"previous"` // digest that the target had; empty: it was absent
	// PreviousRevision is the commit that Previous was built from, when its
	// label tells one.
	PreviousRevision string `json:"previous_revision,omitempty"`
	State            string `json:"state"` // unchanged, promoted, already, restored, unknown
	// Now is the digest that the target pointed at when last seen.
	Now    string `json:"now"`
	Detail string `json:"detail,omitempty"`
}

// A Canary says what became of the canary tag.
type Canary struct {
	Tag    string `json:"tag"`
	State  string `json:"state"` // moved, restored, untouched, unknown
	Detail string `json:"detail,omitempty"`
}

// A Tenant is one tenant's part in the run.
type Tenant struct {
	Name    string   `json:"name"`
	URL     string   `json:"url"`
	Rollout *Rollout `json:"rollout,omitempty"` // nil: nobody asked
	// After is what it told after the checks, when it was asked again.
	After  *Rollout `json:"after,omitempty"`
	Checks []Check  `json:"checks"`
}

// A Rollout is what was last seen of a tenant's commit.
type Rollout struct {
	State    string `json:"state"` // current, stale, unreachable, unknown
	Version  string `json:"version"`
	WaitedMS int64  `json:"waited_ms"`
	Polls    int    `json:"polls"`
	Detail   string `json:"detail,omitempty"`
}

// A Check is the outcome of one check on one tenant.
type Check struct {
	Name       string    `json:"name"`
	Result     string    `json:"result"` // pass, fail, error, skip
	Attempts   int       `json:"attempts"`
	Flaky      bool      `json:"flaky"`
	Started    time.Time `json:"started,omitzero"`
	DurationMS int64     `json:"duration_ms"`
	Rounds     int       `json:"rounds,omitempty"` // more than 1 under soak
	P50MS      int64     `json:"p50_ms,omitempty"`
	P95MS      int64     `json:"p95_ms,omitempty"`
	MaxMS      int64     `json:"max_ms,omitempty"`
	Expected   string    `json:"expected"`
	Got        string    `json:"got"`
	Detail     string    `json:"detail"`
	Hint       string    `json:"hint,omitempty"`
	Reproduce  string    `json:"reproduce"`
}

// A HistoryEntry is one step of the chain of records behind the target tag,
// newest first.
type HistoryEntry struct {
	Image    string    `json:"image"`
	Time     time.Time `json:"time"`
	Event    string    `json:"event"` // verified, promoted, rejected, rolled-back, or unrecorded
	SHA      string    `json:"sha"`
	Digest   string    `json:"digest"`
	Replaced string    `json:"replaced,omitempty"` // digest
	Actor    string    `json:"actor,omitempty"`
	RunURL   string    `json:"run_url,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Current  bool      `json:"current"`          // the target points at it
	Broken   string    `json:"broken,omitempty"` // why the chain ends here
}

// A Rollback tells what was left and where to, and holds the draft of a
// post-mortem as Markdown whose foreign parts are escaped.
type Rollback struct {
	FromSHA    string        `json:"from_sha"`
	ToSHA      string        `json:"to_sha"`
	LiveSince  time.Time     `json:"live_since,omitzero"`
	LiveFor    time.Duration `json:"live_for_ns"`
	PromotedBy string        `json:"promoted_by,omitempty"` // run URL or actor
	// Suite and SuiteHash name what the canary had checked before the commit
	// that was left went live; empty: no record tells.
	Suite      string `json:"suite,omitempty"`
	SuiteHash  string `json:"suite_hash,omitempty"`
	PostMortem string `json:"post_mortem"`
}

package report

import "time"

// Schema names the format of report.json. Fields are only ever added to it.
const Schema = "canary-verify/report/v1"

// A Report says all that is known of a run, during it and after it. Its JSON
// form is report.json.
type Report struct {
	Schema  string  `json:"schema"`
	Tool    string  `json:"tool"` // version of canary-verify
	Mode    Mode    `json:"mode"`
	SHA     Commit  `json:"sha"`
	Verdict Verdict `json:"verdict"`
	Exit    Exit    `json:"exit"`
	// Reason is one sentence: why this verdict.
	Reason string `json:"reason"`
	// Next is one sentence: what the reader should do now; empty when nothing.
	Next     string    `json:"next,omitempty"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	DryRun   bool      `json:"dry_run"`
	Forced   string    `json:"forced"` // the reason given with force
	// IdentityProven is true when every tenant reported the candidate's commit
	// before and after the checks.
	IdentityProven bool `json:"identity_proven"`
	// Ran is true when checks ran.
	Ran bool `json:"ran"`
	// Promoted is true when every target points at the candidate.
	Promoted bool    `json:"promoted"`
	Images   []Image `json:"images"`
	Canary   *Canary `json:"canary,omitempty"`
	Suite    *Suite  `json:"suite,omitempty"`
	// Causes are the failures and errors, grouped: see [CausesOf].
	Causes   []Cause  `json:"causes"`
	Tenants  []Tenant `json:"tenants"`
	Phases   []Phase  `json:"phases"`
	Warnings []string `json:"warnings"`
	// Faults lists what is wrong with the inputs, when that ended the run.
	Faults   []string   `json:"faults,omitempty"`
	History  []Decision `json:"history,omitempty"`
	Rollback *Rollback  `json:"rollback,omitempty"`
	// Held is the hold that was on the target at the end; nil: there was none, or
	// the mode does not read it.
	Held *Hold `json:"held,omitempty"`
	// Signed is the fingerprint of the key that signs this run's records; empty:
	// they are unsigned.
	Signed    string     `json:"signed,omitempty"`
	Admission *Admission `json:"admission,omitempty"`
	Run       Run        `json:"run"`
}

// A Run says who ran the gate, and where.
type Run struct {
	URL        string `json:"url,omitempty"`        // of the workflow run
	CommitURL  string `json:"commit_url,omitempty"` // of the sha on the forge
	Repository string `json:"repository,omitempty"` // owner/name
	Actor      string `json:"actor,omitempty"`
	Event      string `json:"event,omitempty"`
}

// A PhaseName names a stretch of a run.
type PhaseName string

// The phases of a run.
const (
	PhaseCandidate PhaseName = "candidate"
	PhaseCanaryTag PhaseName = "canary tag"
	PhaseRollout   PhaseName = "rollout"
	PhaseSmoke     PhaseName = "smoke"
	PhaseIdentity  PhaseName = "identity"
	PhaseVerdict   PhaseName = "verdict"
	PhasePromote   PhaseName = "promote"
	PhaseRestore   PhaseName = "restore"
	PhaseRecords   PhaseName = "records"
	PhaseRollback  PhaseName = "rollback"
	PhaseHistory   PhaseName = "history"
	PhaseSettle    PhaseName = "settle"
	PhaseHold      PhaseName = "hold"
	PhaseRelease   PhaseName = "release"
	PhaseAdmission PhaseName = "admission"
)

// A Phase is one stretch of the run, for the timeline.
type Phase struct {
	Name     PhaseName `json:"name"`
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

package report

import (
	"encoding/json"
	"time"
)

// Millis is a length of time that JSON shows in whole milliseconds.
type Millis time.Duration

// MarshalJSON writes whole milliseconds.
func (m Millis) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(m).Milliseconds())
}

// UnmarshalJSON reads whole milliseconds.
func (m *Millis) UnmarshalJSON(text []byte) error {
	var ms int64
	err := json.Unmarshal(text, &ms)
	*m = Millis(time.Duration(ms) * time.Millisecond)
	return err
}

// A RolloutState says where a tenant stands in a rollout. The zero value is
// [UnknownCommit].
type RolloutState int

// The states of a tenant in a rollout.
const (
	UnknownCommit RolloutState = iota // it answered, but reported no commit
	Unreachable                       // it did not answer
	Stale                             // it reported another commit
	Current                           // it reported the expected commit
	Mixed                             // it reported the expected commit and, another time, something else
)

var rolloutStates = words[RolloutState]{"unknown", "unreachable", "stale", "current", "mixed"}

// String returns one of unknown, unreachable, stale, current, mixed.
func (s RolloutState) String() string { return rolloutStates.of(s) }

// MarshalText returns the state's word.
func (s RolloutState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts the words of rollout states only.
func (s *RolloutState) UnmarshalText(text []byte) error {
	return rolloutStates.parse(s, "rollout state", text)
}

// A Rollout is what was last seen of one tenant's commit.
type Rollout struct {
	State   RolloutState `json:"state"`
	Version Commit       `json:"version"`          // that it reported; empty when it reported none
	Waited  Millis       `json:"waited_ms"`        // since the wait began
	Polls   int          `json:"polls"`            // how often it was asked
	Detail  string       `json:"detail,omitempty"` // one line: why unknown or unreachable, and what to do
}

// String says where the tenant stands, in a few words: "stale, it runs 66b9c04".
func (r Rollout) String() string {
	text := r.State.String()
	if r.Version != "" {
		text += ", it runs " + r.Version.Short()
	}
	if r.Detail != "" && r.State != Stale { // a stale one's commit says it all
		text += ": " + r.Detail
	}
	return text
}

// A Result is the outcome of one check. The zero value is [Errored]: a check
// that nobody judged could not be judged.
type Result int

// The outcomes of a check.
const (
	Errored Result = iota // it could not be judged: inconclusive
	Failed                // an answer does not meet its expectation: red
	Passed                // every expectation is met
	NotRun                // it was skipped
)

var results = words[Result]{"error", "fail", "pass", "skip"}

// String returns one of error, fail, pass, skip.
func (r Result) String() string { return results.of(r) }

// MarshalText returns the result's word.
func (r Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText accepts the words of results only.
func (r *Result) UnmarshalText(text []byte) error { return results.parse(r, "result", text) }

// A CheckResult is what one check found on one tenant.
type CheckResult struct {
	Name     string    `json:"name"`
	Result   Result    `json:"result"`
	Attempts int       `json:"attempts"` // of the request that decided, at least 1 when it ran
	Flaky    bool      `json:"flaky"`    // it passed, but only after a retry
	Started  time.Time `json:"started,omitzero"`
	Duration Millis    `json:"duration_ms"`      // of the whole check: the last round under soak
	Rounds   int       `json:"rounds,omitempty"` // more than 1 under soak
	Latency
	Expected string `json:"expected"` // the clause that was not met
	Got      string `json:"got"`      // status, content type, named values, the beginning of the body
	// Answer is Got without what differs from tenant to tenant, for example
	// "answered 200" or "no answer: timeout": what causes are grouped by.
	Answer string `json:"answer,omitempty"`
	Detail string `json:"detail"`         // one sentence
	Hint   string `json:"hint,omitempty"` // the likely cause and what to do
	// Reproduce is a curl command that shows it again, with $TOKEN for the token.
	Reproduce string `json:"reproduce"`
}

// Inapplicable reports whether the check was left out on purpose, and says why: it
// asks for something that this tenant is not configured with.
func (c *CheckResult) Inapplicable() bool { return c.Result == NotRun && c.Detail != "" }

// Latency summarises the answers of one check over all rounds.
type Latency struct {
	P50 Millis `json:"p50_ms,omitzero"`
	P95 Millis `json:"p95_ms,omitzero"`
	Max Millis `json:"max_ms,omitzero"`
}

// A Tenant is one tenant's part in the run. It holds no credential.
type Tenant struct {
	Name    string   `json:"name"`
	URL     string   `json:"url"`
	Rollout *Rollout `json:"rollout,omitempty"` // nil: nobody asked
	// After is what it reported beside and after the checks, when it was asked again.
	After  *Rollout      `json:"after,omitempty"`
	Checks []CheckResult `json:"checks"`
	// Refused is how many connections the tenant refused while it was checked, and
	// Restarts how many process starts were seen in its version answers.
	Refused  int `json:"refused_connections,omitempty"`
	Restarts int `json:"restarts,omitempty"`
}

// A Standing is what became of one tenant. Lower ones need a look first.
type Standing int

// The standings of a tenant.
const (
	StandsFailed    Standing = iota // a check failed
	StandsUndecided                 // not reached, or a check could not be judged
	StandsFlaky                     // every check passed, one of them only after a retry
	StandsPassed
	standings // how many there are
)

// Standings is the number of standings, for those who count by them.
const Standings = int(standings)

// Standing finds what became of the tenant. One that nobody asked anything is
// undecided.
func (t *Tenant) Standing() Standing {
	found := StandsPassed
	if len(t.Checks) == 0 && !t.Rollout.IsCurrent() {
		found = StandsUndecided
	}
	if t.Rollout != nil && !t.Rollout.IsCurrent() || t.After != nil && !t.After.IsCurrent() {
		found = StandsUndecided
	}
	for i := range t.Checks {
		switch c := &t.Checks[i]; {
		case c.Result == Failed:
			return StandsFailed
		case c.Result == Passed && c.Flaky:
			found = min(found, StandsFlaky)
		case c.Result != Passed && !c.Inapplicable():
			found = min(found, StandsUndecided)
		}
	}
	return found
}

// IsCurrent reports whether the tenant reported the expected commit; a nil
// Rollout did not.
func (r *Rollout) IsCurrent() bool { return r != nil && r.State == Current }

// Runs is the commit that the tenant was last seen with; empty: none was seen.
func (t *Tenant) Runs() Commit {
	if t.After != nil && t.After.Version != "" {
		return t.After.Version
	}
	if t.Rollout != nil {
		return t.Rollout.Version
	}
	return ""
}

// IdentityProven reports whether every tenant reported the candidate's commit
// before and after the checks. An empty fleet proves nothing.
func IdentityProven(tenants []Tenant) bool {
	for i := range tenants {
		if !tenants[i].Rollout.IsCurrent() || !tenants[i].After.IsCurrent() {
			return false
		}
	}
	return len(tenants) > 0
}

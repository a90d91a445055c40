package smoke

import (
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// A Result is the outcome of one check. The zero value is [Errored]: a check
// that nobody judged can't be judged.
type Result int

// The outcomes of a check.
const (
	Errored Result = iota // it could not be judged: inconclusive
	Failed                // an answer contradicted the expectation: red
	Passed                // every expectation held
	Skipped               // it was not run
)

// String returns the word that reports use: error, fail, pass, skip.
func (r Result) String() string {
	switch r {
	case Failed:
		return "fail"
	case Passed:
		return "pass"
	case Skipped:
		return "skip"
	default:
		return "error"
	}
}

// A CheckResult is what one check found on one tenant. All texts are sanitised
// and redacted; none is escaped for a markup.
type CheckResult struct {
	Name     string
	Result   Result
	Attempts int  // tries of the request that decided, at least 1 when it ran
	Flaky    bool // it held, but only after a retry
	Started  time.Time
	Duration time.Duration // of the whole check: the last round under soak
	Rounds   int           // rounds run, 1 without soak
	Latency  Latency
	Expected string // the clause that broke
	Got      string // status, content type, named values, the beginning of the body
	Detail   string // one sentence for people
	Hint     string // the likely cause and what to do; empty when there is nothing to add
	// Reproduce is a curl command that shows it again, with $TOKEN for the token.
	Reproduce string
}

// Latency summarises the answers of one check over all rounds.
type Latency struct{ P50, P95, Max time.Duration }

// A TenantResult is what all checks found on one tenant, in the suite's order.
type TenantResult struct {
	Tenant fleet.Tenant
	Checks []CheckResult
}

// RunOptions says how a suite is run.
type RunOptions struct {
	SHA     string // the candidate, for ${sha}; may be empty
	Soak    time.Duration
	Redact  *secret.Redactor                // of all secrets of the run
	Checked func(tenant int, c CheckResult) // one call at a time; as each check ends (its last round under soak)
}

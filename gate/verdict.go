package gate

import (
	"fmt"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// A Verdict is what the gate decided. The zero value is [Inconclusive], so that
// forgetting to decide never promotes.
type Verdict int

// The verdicts. Only [Green] promotes.
const (
	Inconclusive Verdict = iota // something could not be judged
	Green                       // every check on every tenant held
	Red                         // an answer contradicted an expectation
	Refused                     // the candidate may not be promoted, whatever the tenants say
	Skipped                     // nothing was configured, and that was allowed
	None                        // the mode decides nothing (rollback, status, history), or never began
)

var verdictNames = [...]string{"inconclusive", "green", "red", "refused", "skipped", "none"}

// String returns the word of the contract.
func (v Verdict) String() string {
	if v < 0 || int(v) >= len(verdictNames) {
		return verdictNames[Inconclusive]
	}
	return verdictNames[v]
}

// MarshalText returns the word of the contract.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText accepts the words of the contract only.
func (v *Verdict) UnmarshalText(text []byte) error {
	for i, name := range verdictNames {
		if name == string(text) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("unknown verdict %q", text)
}

// The exit codes of the contract.
const (
	ExitOK           = 0 // green, skipped, or the mode did its work
	ExitRed          = 1 // red or refused
	ExitUsage        = 2 // malformed input; no request was made
	ExitInconclusive = 3
	ExitRegistry     = 4 // the registry refused or failed a move
)

// evidence is all that a verdict rests on. Its zero value is no evidence, and
// judges to [Inconclusive].
type evidence struct {
	refused  *promote.RefusedError // a rule forbids the candidate
	doubt    error                 // a registry, the clock or a signal left something open
	identity bool                  // the fleet can tell its commit, so it must
	checks   int                   // how many checks every tenant must have passed
	tenants  []tenantEvidence
}

// tenantEvidence is one tenant's part. The zero value proves nothing.
type tenantEvidence struct {
	name          string
	before, after fleet.Rollout // where identity is asked for
	results       []smoke.CheckResult
}

// judge is the contract's table of situations and nothing else. It returns the
// verdict and its first cause in one sentence. Red wins over inconclusive, and
// what is left when nothing speaks against it is green.
func judge(e evidence) (Verdict, string) {
	if e.refused != nil {
		return Refused, e.refused.Reason
	}
	if cause, found := contradiction(e.tenants); found {
		return Red, cause
	}
	if e.doubt != nil {
		return Inconclusive, e.doubt.Error()
	}
	if len(e.tenants) == 0 || e.checks == 0 {
		return Inconclusive, "nothing was checked: no tenant or no check"
	}
	for _, t := range e.tenants {
		if cause := t.doubt(e); cause != "" {
			return Inconclusive, t.name + ": " + cause
		}
	}
	return Green, e.held()
}

// held is the cause of a green verdict.
func (e evidence) held() string {
	return fmt.Sprintf("%s held on %s", count(e.checks, "check"), count(len(e.tenants), "tenant"))
}

// contradiction names the first answer that contradicted an expectation.
func contradiction(tenants []tenantEvidence) (string, bool) {
	for _, t := range tenants {
		for _, c := range t.results {
			if c.Result == smoke.Failed {
				return fmt.Sprintf("%s: %s: %s", t.name, c.Name, c.Detail), true
			}
		}
	}
	return "", false
}

// doubt says what is missing for this tenant to count as green; empty: nothing.
func (t tenantEvidence) doubt(e evidence) string {
	if e.identity && t.before.State != fleet.Current {
		return notCurrent(t.before)
	}
	for _, c := range t.results {
		if c.Result != smoke.Passed {
			return fmt.Sprintf("%s: could not be judged: %s", c.Name, c.Detail)
		}
	}
	if len(t.results) != e.checks {
		return fmt.Sprintf("%d of %s ran", len(t.results), count(e.checks, "check"))
	}
	if e.identity && t.after.State != fleet.Current {
		return "it did not run the candidate any more after the checks: " + notCurrent(t.after)
	}
	return ""
}

// notCurrent says where a tenant stood instead of running the candidate.
func notCurrent(r fleet.Rollout) string {
	text := r.State.String()
	if r.Version != "" {
		text += ", it runs " + short(r.Version)
	}
	if r.Detail != "" && r.State != fleet.Stale { // a stale one's commit says it all
		text += ": " + r.Detail
	}
	return text
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// short is the first 7 digits of a commit, for people.
func short(sha string) string {
	if len(sha) > 7 && shaForm.MatchString(strings.ToLower(sha)) {
		return sha[:7]
	}
	return sha
}

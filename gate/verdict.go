package gate

import "fmt"

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

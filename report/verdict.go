package report

import "slices"

// A Verdict is what the gate decided. The zero value is [Inconclusive], so that
// forgetting to decide never promotes.
type Verdict int

// The verdicts. Only [Green] promotes.
const (
	Inconclusive Verdict = iota // something could not be judged
	Green                       // every check on every tenant passed
	Red                         // a check failed
	Refused                     // the candidate may not be promoted, whatever the tenants say
	Skipped                     // nothing was configured, and that was allowed
	None                        // the mode decides nothing (rollback, status, history), or never began
)

var verdicts = words[Verdict]{"inconclusive", "green", "red", "refused", "skipped", "none"}

// String returns one of inconclusive, green, red, refused, skipped, none.
func (v Verdict) String() string { return verdicts.of(v) }

// MarshalText returns the verdict's word.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText accepts the words of verdicts only.
func (v *Verdict) UnmarshalText(text []byte) error { return verdicts.parse(v, "verdict", text) }

// An Exit is the exit code of a run.
type Exit int

// The exit codes.
const (
	ExitOK           Exit = 0 // green, skipped, or the mode did its work
	ExitRed          Exit = 1 // red or refused
	ExitUsage        Exit = 2 // invalid input; no request was made
	ExitInconclusive Exit = 3 // something could not be judged; no target was moved
	ExitRegistry     Exit = 4 // the registry refused or failed a move
	ExitAfterwards   Exit = 5 // moved, then something that follows failed
)

// Exit is the exit code of a verdict where the registry did its part.
func (v Verdict) Exit() Exit {
	switch v {
	case Green, Skipped, None:
		return ExitOK
	case Red, Refused:
		return ExitRed
	default:
		return ExitInconclusive
	}
}

// A Mode is what a run is asked to do.
type Mode string

// The modes.
const (
	ModeVerify   Mode = "verify"
	ModeSmoke    Mode = "smoke"
	ModePromote  Mode = "promote"
	ModeRollback Mode = "rollback"
	ModeStatus   Mode = "status"
	ModeHistory  Mode = "history"
	ModeHold     Mode = "hold"
	ModeRelease  Mode = "release"
	ModeAdmit    Mode = "admit"
)

// Modes lists every mode, in the order in which help shows them.
func Modes() []Mode {
	return []Mode{
		ModeVerify, ModeSmoke, ModePromote, ModeRollback, ModeHold, ModeRelease,
		ModeAdmit, ModeStatus, ModeHistory,
	}
}

// Known reports whether there is such a mode.
func (m Mode) Known() bool { return slices.Contains(Modes(), m) }

// NeedsFleet reports whether the mode asks tenants.
func (m Mode) NeedsFleet() bool { return m == ModeVerify || m == ModeSmoke || m == ModeStatus }

// NeedsRegistry reports whether the mode reads or writes a registry.
func (m Mode) NeedsRegistry() bool {
	switch m {
	case ModeVerify, ModePromote, ModeRollback, ModeHold, ModeRelease, ModeAdmit, ModeHistory:
		return true
	}
	return false
}

// Records reports whether the mode writes records of what it decides.
func (m Mode) Records() bool {
	switch m {
	case ModeVerify, ModePromote, ModeRollback, ModeHold, ModeRelease:
		return true
	}
	return false
}

// NeedsReason reports whether the mode can't do without a reason in words.
func (m Mode) NeedsReason() bool { return m == ModeHold || m == ModeRelease }

// NeedsCommit reports whether the mode can't do without a commit.
func (m Mode) NeedsCommit() bool { return m == ModeVerify || m == ModePromote || m == ModeStatus }

// RunsChecks reports whether the mode runs checks and gives a verdict on them.
func (m Mode) RunsChecks() bool { return m == ModeVerify || m == ModeSmoke }

package gate

import (
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// An Observer watches a run. Its methods are called one at a time, except that
// Draft may be called while another is running. They must not block for long.
type Observer interface {
	// Phase begins a stretch of the run; see [Phase] for the names.
	Phase(name string)
	// Log tells one line of progress, clean and redacted.
	Log(line string)
	// Warn tells one sentence that the reader should not miss.
	Warn(line string)
	// Progress tells how far the phase is, for a live line.
	Progress(done, total int, what string)
	// Draft hands over the report as far as it is known when a run is cut
	// short: it must be kept before the undo begins, since a runner may kill
	// the process in the middle of it.
	Draft(report *Report)
}

// Silent is the Observer that watches nothing.
type Silent struct{}

// Phase does nothing.
func (Silent) Phase(string) {}

// Log does nothing.
func (Silent) Log(string) {}

// Warn does nothing.
func (Silent) Warn(string) {}

// Progress does nothing.
func (Silent) Progress(int, int, string) {}

// Draft does nothing.
func (Silent) Draft(*Report) {}

// maxLine bounds one line of log or one sentence of a report, in characters.
const maxLine = 1000

// clip makes a malformed value fit to be named in an error.
func clip(s string) string { return untrusted.Line(s, 80) }

package gate

import (
	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// An Observer watches a run. Its methods are called one at a time, except that
// Draft may be called while another is running. They must not block for long. One
// that panics makes the run inconclusive.
type Observer interface {
	// Phase begins a stretch of the run.
	Phase(name report.PhaseName)
	// Log says one line of progress, clean and redacted.
	Log(line string)
	// Warn says one sentence that the reader should not miss.
	Warn(line string)
	// Progress says how far the phase is, for a live line.
	Progress(done, total int, what string)
	// Draft hands over the report as far as it is known when a run is cut
	// short: it must be kept before the undo begins, since a runner may kill
	// the process in the middle of it.
	Draft(r *report.Report)
}

// Silent is the Observer that watches nothing.
type Silent struct{}

// Phase does nothing.
func (Silent) Phase(report.PhaseName) {}

// Log does nothing.
func (Silent) Log(string) {}

// Warn does nothing.
func (Silent) Warn(string) {}

// Progress does nothing.
func (Silent) Progress(int, int, string) {}

// Draft does nothing.
func (Silent) Draft(*report.Report) {}

// observe calls the observer. A panic in it is kept: it must neither end the
// process nor keep a tag from being put back.
func (r *run) observe(call func(Observer)) {
	err := parallel.Guard(func() error { call(r.plan.Observer); return nil })
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.observerFailed == nil {
		r.observerFailed = err
	}
}

// observed is the first panic of the observer; nil: there was none.
func (r *run) observed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.observerFailed
}

// decideObserver makes a run inconclusive whose observer panicked: nobody knows
// what its reader missed.
func (r *run) decideObserver(err error) {
	r.decide(report.Inconclusive, "what watches the run failed: "+err.Error())
	r.logPanic(err)
}

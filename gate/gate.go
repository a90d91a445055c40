package gate

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
)

// ErrDeadline is the cause of a run that was cut short by its own deadline.
var ErrDeadline = errors.New("the deadline of the whole run has passed")

// cancelBudget is how long after a cancel the run may go on to put things back:
// a runner kills 7.5 s after its first signal, and the report must be out too.
const cancelBudget = 6 * time.Second

// closingBudget is how long putting things back may take otherwise: registries
// show a write after 30 s at the latest, or it counts as unknown.
const closingBudget = 45 * time.Second

// A run is one execution of a [Gate]. It owns the report; only the goroutine
// that executes the run touches it.
type run struct {
	*Gate
	observer Observer
	report   *Report
	moves    *promote.Plan   // nil until the candidate is known
	late     context.Context // for putting things back; see Grace
	// preflightFailed is why a move would fail; nil: nothing is known against it.
	preflightFailed error
}

// Run does what the plan asks for and returns what became of it, always: after
// an error, a panic, a time-out or a cancel the report says so.
func (g *Gate) Run(ctx context.Context) *Report {
	r := &run{Gate: g, observer: g.plan.Observer}
	r.report = r.blank()
	if g.fleet != nil {
		defer g.fleet.Close()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, g.plan.Deadline, ErrDeadline)
	defer cancel()
	late, done := Grace(ctx)
	defer done()
	r.late = late
	r.guarded(ctx)
	r.finish()
	return r.report
}

// guarded does the mode's work. A panic in it is a bug of ours and decides
// nothing: the run is inconclusive, and the canary tag goes back.
func (r *run) guarded(ctx context.Context) {
	defer func() {
		if p := recover(); p != nil {
			stack := debug.Stack()
			r.decide(Inconclusive, "an internal error stopped the run; please report it with the log")
			r.restoreCanary()
			r.confess(p, stack)
		}
	}()
	if r.skips() {
		r.decide(Skipped, "no tenant is configured, so nothing was checked and nothing was promoted")
		r.warn("canary-verify is not configured: no tenant is given. Nothing was checked, nothing was promoted, and " + r.plan.Promote.TargetTag + " stays where it is.")
		return
	}
	switch r.plan.Mode {
	case ModeVerify, ModeSmoke:
		r.verify(ctx)
	case ModePromote:
		r.promote(ctx)
	case ModeRollback:
		r.rollback(ctx)
	case ModeStatus:
		r.status(ctx)
	case ModeHistory:
		r.history(ctx)
	}
}

// blank is the report of a run that has found out nothing yet.
func (r *run) blank() *Report {
	report := &Report{
		Schema: Schema, Tool: r.plan.Tool, Mode: string(r.plan.Mode), SHA: r.plan.SHA,
		Started: time.Now(), DryRun: r.plan.Promote.DryRun, Forced: r.clean(r.plan.Promote.Force),
		Images: []Image{}, Tenants: []Tenant{}, Phases: []Phase{}, Warnings: []string{},
		Run: r.plan.Origin, Exit: ExitInconclusive, Reason: "the run did not come to a decision",
	}
	for _, t := range r.plan.Tenants {
		report.Tenants = append(report.Tenants, Tenant{Name: t.Name, URL: t.URL, Checks: []Check{}})
	}
	return report
}

// exits is the exit code of each verdict when the registry did its part.
var exits = map[Verdict]int{
	Green: ExitOK, Red: ExitRed, Refused: ExitRed, Inconclusive: ExitInconclusive, Skipped: ExitOK, None: ExitOK,
}

// decide sets the verdict, its exit code and its first cause.
func (r *run) decide(v Verdict, reason string) {
	r.report.Verdict, r.report.Exit, r.report.Reason = v, exits[v], r.clean(reason)
}

// decideError sets what an error of the registry side means: a rule refuses, a
// failed move is the registry's, and everything else leaves the matter open.
func (r *run) decideError(moved Verdict, err error) {
	var refused *promote.RefusedError
	var failed *promote.MoveError
	switch {
	case errors.As(err, &refused):
		r.decide(Refused, refused.Reason)
	case errors.As(err, &failed):
		r.decide(moved, err.Error())
		r.report.Exit = ExitRegistry
	default:
		r.decide(Inconclusive, err.Error())
	}
}

// finish writes down what is known at the end: where the tags are, and when.
func (r *run) finish() {
	r.joinWarnings()
	r.copyPlan()
	r.closePhase()
	r.report.Finished = time.Now()
	r.report.Next = r.next()
}

// phase begins a stretch of the run; the one before ends.
func (r *run) phase(name string) {
	r.closePhase()
	r.report.Phases = append(r.report.Phases, Phase{Name: name, Started: time.Now()})
	r.observer.Phase(name)
}

func (r *run) closePhase() {
	if n := len(r.report.Phases); n > 0 && r.report.Phases[n-1].Finished.IsZero() {
		r.report.Phases[n-1].Finished = time.Now()
	}
}

// confess logs a panic. The observer may be what panicked, and does so again.
func (r *run) confess(p any, stack []byte) {
	defer func() { _ = recover() }()
	r.observer.Log(untrusted.Text(r.plan.Redact.Redact(fmt.Sprintf("internal error: %v\n%s", p, stack)), 8000))
}

// log tells one line of progress.
func (r *run) log(format string, args ...any) {
	r.observer.Log(r.clean(fmt.Sprintf(format, args...)))
}

// warn keeps a warning in the report and tells it.
func (r *run) warn(text string) {
	text = r.clean(text)
	r.report.Warnings = append(r.report.Warnings, text)
	r.observer.Warn(text)
}

// clean makes any text fit for the report: redacted, then sanitised.
func (r *run) clean(text string) string {
	return untrusted.Line(r.plan.Redact.Redact(text), maxLine)
}

// Grace returns a context for what is still to be done once ctx has ended:
// putting things back, and telling. It outlives ctx: after a cancel by what a
// runner leaves us, 6 s counted from the cancel and for everything together;
// after the deadline by as long as a registry may need.
func Grace(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		budget := cancelBudget
		if errors.Is(context.Cause(ctx), ErrDeadline) {
			budget = closingBudget
		}
		timer := time.NewTimer(budget)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-late.Done():
		}
	})
	return late, func() { stop(); cancel() }
}

// cause names why a context ended, for a sentence.
func cause(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return errors.New("the run was cancelled")
}

// identity reports whether the fleet must prove which commit it runs.
func (g *Gate) identity() bool { return !g.plan.Untold && g.plan.SHA != "" }

// waitOptions is what the fleet is asked for.
func (g *Gate) waitOptions(sha string) fleet.WaitOptions {
	return fleet.WaitOptions{
		SHA: sha, VersionPath: g.plan.VersionPath, Field: g.plan.VersionField,
		Timeout: g.plan.WaitTimeout, Interval: g.plan.WaitInterval,
	}
}

package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// ErrDeadline is the cause of a run that was cut short by its own deadline.
var ErrDeadline = errors.New("the overall timeout (deadline) has passed")

// A run is one execution of a [Gate]. It owns the report; only the goroutine
// that executes the run touches it.
type run struct {
	*Gate
	report    *report.Report
	commit    report.Commit      // the longest form known of what the run is about
	candidate *promote.Candidate // nil until the rules have let it through
	// cleanup is the context for putting things back; see [web.Cleanup].
	cleanup context.Context
	// cannotMove is why a move would fail; nil: nothing is known against it.
	cannotMove error
	// onHold: the promotion was refused because the target is on hold.
	onHold bool

	mu             sync.Mutex
	observerFailed error
}

// Run does what the plan asks for and returns what became of it, always: after
// an error, a panic, a timeout or a cancel the report says so.
func (g *Gate) Run(ctx context.Context) *report.Report {
	r := &run{Gate: g, report: g.blank(), commit: g.plan.SHA}
	if g.fleet != nil {
		defer g.fleet.Close()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, g.plan.Deadline, ErrDeadline)
	defer cancel()
	cleanup, done := web.Cleanup(ctx)
	defer done()
	r.cleanup = cleanup
	if err := parallel.Guard(func() error { r.execute(ctx); return nil }); err != nil {
		r.panicked(err)
	}
	r.finish()
	return r.report
}

// panicked ends a run with a bug of ours in it: it decides nothing, and the canary
// tag is put back.
func (r *run) panicked(err error) {
	r.decide(report.Inconclusive, err.Error())
	r.restoreCanary()
	r.logPanic(err)
}

// logPanic logs where a panic happened.
func (r *run) logPanic(err error) {
	var caught *parallel.PanicError
	if errors.As(err, &caught) {
		text := fmt.Sprintf("internal error: %v\n%s", caught.Value, caught.Stack)
		r.observe(func(o Observer) { o.Log(untrusted.Text(r.redact.Redact(text), 8000)) })
	}
}

// execute does the mode's work.
func (r *run) execute(ctx context.Context) {
	if r.skips() {
		r.decide(report.Skipped, "no tenant is configured, so nothing was checked and nothing was promoted")
		r.warn("canary-verify is not configured: no tenant is given. Nothing was checked, nothing was promoted, and " + r.plan.Promote.TargetTag + " stays where it is.")
		return
	}
	if r.plan.EventRefusal != "" {
		r.decide(report.Refused, r.plan.EventRefusal)
		return
	}
	switch r.plan.Mode {
	case report.ModeVerify, report.ModeSmoke:
		r.verify(ctx)
	case report.ModePromote:
		r.promote(ctx)
	case report.ModeRollback:
		r.rollback(ctx)
	case report.ModeHold:
		r.hold(ctx)
	case report.ModeRelease:
		r.release(ctx)
	case report.ModeAdmit:
		r.admit(ctx)
	case report.ModeStatus:
		r.status(ctx)
	case report.ModeHistory:
		r.history(ctx)
	}
}

// blank is the report of a run that has found out nothing yet.
func (g *Gate) blank() *report.Report {
	p := g.plan
	r := &report.Report{
		Schema: report.Schema, Tool: p.Tool, Mode: p.Mode, SHA: p.SHA,
		Started: time.Now(), DryRun: p.Promote.DryRun, Forced: g.clean(p.Promote.Force),
		Images: []report.Image{}, Causes: []report.Cause{}, Tenants: []report.Tenant{},
		Phases: []report.Phase{}, Warnings: []string{},
		Run: p.Origin, Exit: report.ExitInconclusive, Reason: "the run did not come to a decision",
	}
	for _, t := range p.Tenants {
		r.Tenants = append(r.Tenants, report.Tenant{Name: t.Name, URL: t.URL, Checks: []report.CheckResult{}})
	}
	if p.Promote.Signer != nil && p.Mode.Records() {
		r.Signed = p.Promote.Signer.Fingerprint()
	}
	if p.Mode == report.ModeVerify && p.Promote.CanaryTag != "" {
		r.Canary = &report.Canary{Tag: p.Promote.CanaryTag}
	}
	return r
}

// decide sets the verdict, its exit code and its reason.
func (r *run) decide(v report.Verdict, reason string) {
	r.report.Verdict, r.report.Exit, r.report.Reason = v, v.Exit(), r.clean(reason)
}

// decideError sets what an error of the registry side means: a rule refuses, a
// failed move is the registry's, and everything else leaves the matter open.
func (r *run) decideError(moved report.Verdict, err error) {
	var refused *promote.RefusedError
	var failed *promote.MoveError
	switch {
	case errors.As(err, &refused):
		r.onHold = isHeld(err)
		r.decide(report.Refused, refused.Reason)
	case errors.As(err, &failed):
		r.decide(moved, err.Error())
		r.report.Exit = report.ExitRegistry
	default:
		r.decide(report.Inconclusive, err.Error())
	}
}

// finish writes down what is known at the end.
func (r *run) finish() {
	r.takeTags()
	r.closePhase()
	r.report.Causes = report.CausesOf(r.report.Tenants)
	r.report.Finished = time.Now()
	r.report.Next = r.next()
	if r.report.Rollback != nil {
		r.report.Rollback.PostMortem = postMortem(r.report)
	}
}

// takeTags brings the report up to date with where the tags are.
func (r *run) takeTags() {
	if r.candidate == nil {
		return
	}
	for _, warning := range r.candidate.Warnings() {
		r.warn(warning)
	}
	r.report.Images = r.candidate.Images()
	r.report.Promoted = report.Everywhere(r.report.Images)
	r.report.Held = r.cleanHold(r.candidate.Held())
	if canary := r.candidate.Canary(); canary.Tag != "" {
		canary.Detail = r.clean(canary.Detail)
		r.report.Canary = &canary
	}
}

// phase begins a stretch of the run; the one before ends.
func (r *run) phase(name report.PhaseName) {
	r.closePhase()
	r.report.Phases = append(r.report.Phases, report.Phase{Name: name, Started: time.Now()})
	r.observe(func(o Observer) { o.Phase(name) })
}

func (r *run) closePhase() {
	if n := len(r.report.Phases); n > 0 && r.report.Phases[n-1].Finished.IsZero() {
		r.report.Phases[n-1].Finished = time.Now()
	}
}

// log says one line of progress.
func (r *run) log(format string, args ...any) {
	line := r.clean(fmt.Sprintf(format, args...))
	r.observe(func(o Observer) { o.Log(line) })
}

// progress says how far the phase is.
func (r *run) progress(done, total int, what string) {
	r.observe(func(o Observer) { o.Progress(done, total, what) })
}

// warn keeps a warning in the report and says it.
func (r *run) warn(text string) {
	text = r.clean(text)
	r.report.Warnings = append(r.report.Warnings, text)
	r.observe(func(o Observer) { o.Warn(text) })
}

// maxLine bounds one line of log or one sentence of a report, in characters.
const maxLine = 1000

// clean makes any text fit for the report: redacted, then sanitised.
func (g *Gate) clean(text string) string {
	return untrusted.Line(g.redact.Redact(text), maxLine)
}

// identity reports whether the fleet must prove which commit it runs.
func (g *Gate) identity() bool { return !g.plan.NoVersionEndpoint && g.plan.SHA != "" }

// waitOptions is what the fleet is asked for.
func (r *run) waitOptions() fleet.WaitOptions {
	return fleet.WaitOptions{
		Commit: r.commit, VersionPath: r.plan.VersionPath, VersionField: r.plan.VersionField,
		StartedField: r.plan.VersionStartedField,
		Timeout:      r.plan.WaitTimeout, Interval: r.plan.WaitInterval,
	}
}

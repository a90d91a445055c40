package cli

import (
	"context"
	"fmt"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/forge"
	"git.moleculesai.app/molecule-ai/canary-verify/summary"
)

// statusBudget bounds the last commit status. It is the last thing of a run.
const statusBudget = 5 * time.Second

// A commitStatus is the mark on the commit. It never changes a verdict.
type commitStatus struct {
	session *session
	pending chan struct{} // closed when the first status is out; nil: there is no forge
}

// startStatus sets the status to pending, beside the run.
func startStatus(ctx context.Context, s *session) *commitStatus {
	status := &commitStatus{session: s}
	if s.forge == nil || s.plan.SHA == "" || !s.plan.Mode.Judges() {
		return status
	}
	status.pending = make(chan struct{})
	go func() {
		defer close(status.pending)
		defer func() { _ = recover() }() // a mark on a commit must not end a run
		// Whatever becomes of it, the last status tells more.
		_ = s.forge.SetStatus(ctx, s.plan.SHA, forge.Status{
			State: forge.Pending, Context: status.context(), TargetURL: s.plan.Origin.URL,
			Description: "waiting for the canary tenants",
		})
	}()
	return status
}

// context is the name under which forges list the status.
func (c *commitStatus) context() string { return "canary-verify/" + c.session.plan.Promote.TargetTag }

// finish sets the last status and returns a warning when that failed. The
// context is one that outlives the run.
func (c *commitStatus) finish(ctx context.Context, report *gate.Report) string {
	if c.pending == nil {
		return ""
	}
	<-c.pending
	ctx, cancel := context.WithTimeout(ctx, statusBudget)
	defer cancel()
	err := c.session.forge.SetStatus(ctx, report.SHA, forge.Status{
		State: stateOf(report), Context: c.context(), TargetURL: c.session.plan.Origin.URL,
		Description: summary.StatusDescription(report),
	})
	if err != nil {
		return fmt.Sprintf("the commit status was not set: %v", err)
	}
	return ""
}

// stateOf is the forge's word for a verdict. Skipped is no success: a commit that
// nobody checked must not look like one that was.
func stateOf(report *gate.Report) forge.State {
	switch {
	case report.Exit == gate.ExitRegistry, report.Verdict == gate.Inconclusive, report.Verdict == gate.Skipped:
		return forge.Error
	case report.Verdict == gate.Green:
		return forge.Success
	default:
		return forge.Failure
	}
}

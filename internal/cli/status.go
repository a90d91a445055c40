package cli

import (
	"context"
	"fmt"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/forge"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/summary"
)

// A commitStatus is the mark on the commit. It never changes a verdict.
type commitStatus struct {
	session *session
	pending chan struct{} // closed when the first status is out; nil: there is no forge
}

// startStatus sets the status to pending, beside the run.
func startStatus(ctx context.Context, s *session) *commitStatus {
	status := &commitStatus{session: s}
	if s.forge == nil || s.plan.SHA == "" || !s.plan.Mode.RunsChecks() {
		return status
	}
	status.pending = make(chan struct{})
	go func() {
		defer close(status.pending)
		// Whatever becomes of it, the last status says more.
		_ = parallel.Guard(func() error {
			return s.forge.SetStatus(ctx, s.plan.SHA, forge.Status{
				State: forge.Pending, Context: status.context(), TargetURL: s.plan.Origin.URL,
				Description: "waiting for the canary tenants",
			})
		})
	}()
	return status
}

// context is the name under which forges list the status.
func (c *commitStatus) context() string { return "canary-verify/" + c.session.plan.Promote.TargetTag }

// finish sets the last status and returns a warning when that failed. The
// context is one that outlives the run.
func (c *commitStatus) finish(ctx context.Context, r *report.Report) string {
	if c.pending == nil {
		return ""
	}
	<-c.pending
	ctx, cancel := context.WithTimeout(ctx, web.LastStatus)
	defer cancel()
	err := c.session.forge.SetStatus(ctx, r.SHA, forge.Status{
		State: stateOf(r), Context: c.context(), TargetURL: c.session.plan.Origin.URL,
		Description: summary.StatusDescription(r),
	})
	if err != nil {
		return fmt.Sprintf("the commit status was not set: %v", err)
	}
	return ""
}

// stateOf is the forge's word for a verdict. Skipped is not a success: a commit that
// nobody checked must not look like one that was.
func stateOf(r *report.Report) forge.State {
	switch {
	case r.Exit == report.ExitRegistry, r.Verdict == report.Inconclusive, r.Verdict == report.Skipped:
		return forge.Error
	case r.Verdict == report.Green:
		return forge.Success
	default:
		return forge.Failure
	}
}

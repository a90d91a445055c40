package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/forge"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/summary"
)

// A commitStatus is the mark on commits. It never changes a verdict.
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

// finish sets what the run decided about commits, and returns a warning for each
// that could not be set. The context is one that outlives the run.
func (c *commitStatus) finish(ctx context.Context, r *report.Report) (warnings []string) {
	if c.pending != nil {
		<-c.pending
	}
	if c.session.forge == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, web.LastStatus)
	defer cancel()
	marks := marksOf(r)
	for n, err := range parallel.All(len(marks), func(n int) error {
		return c.session.forge.SetStatus(ctx, marks[n].sha, forge.Status{
			State: marks[n].state, Context: c.context(), TargetURL: c.session.plan.Origin.URL, Description: marks[n].description,
		})
	}) {
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("the commit status of %s was not set: %v", marks[n].sha.Short(), err))
		}
	}
	return warnings
}

// A mark is what a run decided about one commit.
type mark struct {
	sha         report.Commit
	state       forge.State
	description string
}

// marksOf are the marks of a run. A rollback marks both commits: the one that it
// replaced looked green until now. A promotion by hand marks what it promoted.
func marksOf(r *report.Report) []mark {
	var marks []mark
	done := r.Verdict == report.None && !r.DryRun && (r.Exit == report.ExitOK || r.Exit == report.ExitAfterwards)
	switch back := r.Rollback; {
	case r.Mode.RunsChecks():
		marks = append(marks, mark{r.SHA, stateOf(r), summary.StatusDescription(r)})
	case r.Mode == report.ModePromote && done:
		marks = append(marks, mark{r.SHA, forge.Success, summary.StatusDescription(r)})
	case r.Mode == report.ModeRollback && done && back != nil && !back.FromSHA.Same(back.ToSHA):
		marks = append(marks, mark{back.FromSHA, forge.Failure, r.Reason}, mark{back.ToSHA, forge.Success, "restored: " + r.Reason})
	}
	return slices.DeleteFunc(marks, func(m mark) bool { return m.sha == "" })
}

// stateOf is the forge's word for a verdict. Skipped is not a success: a commit that
// nobody checked must not look like one that was.
func stateOf(r *report.Report) forge.State {
	switch {
	case r.Exit == report.ExitRegistry, r.Exit == report.ExitAfterwards, r.Verdict == report.Inconclusive, r.Verdict == report.Skipped:
		return forge.Error
	case r.Verdict == report.Green:
		return forge.Success
	default:
		return forge.Failure
	}
}

// cancelled asks the forge about this run; nil: it is not a run of the forge's own
// actions. act, which plays one locally, says that it is run 1.
func (c *Command) cancelled(client *forge.Client) func(context.Context) (string, error) {
	run, err := strconv.ParseInt(c.env("GITHUB_RUN_ID"), 10, 64)
	if err != nil || run <= 1 || c.env("ACT") == "true" {
		return nil
	}
	return func(ctx context.Context) (string, error) { return client.Cancelled(ctx, run) }
}

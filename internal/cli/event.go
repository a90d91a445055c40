package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// maxEvent bounds the event payload, in bytes. GitHub's own limit for a
// webhook payload is 25 MB.
const maxEvent = 25 << 20

// commit is the sha of the run: the input, else the event's. Under workflow_run
// GITHUB_SHA is the head of the default branch, not the commit that was built,
// so there the payload alone counts.
func (c *Command) commit(mode report.Mode, v *values) report.Commit {
	text := v.text("sha")
	if text == "" && (mode.NeedsCommit() || mode.RunsChecks()) {
		text = c.eventCommit(v)
	}
	if text == "" {
		return ""
	}
	sha, err := report.ParseCommit(text)
	if err != nil {
		v.reject("sha", "%v", err)
	}
	return sha
}

// eventCommit is the commit of the event; empty: there is none.
func (c *Command) eventCommit(v *values) string {
	if !c.afterWorkflow() {
		return c.env("GITHUB_SHA")
	}
	built, problem := c.workflowRun()
	if problem == "" && built.Run.HeadSHA == "" {
		problem = "the payload has no workflow_run.head_sha"
	}
	if problem != "" {
		v.reject("sha", "the workflow_run event does not show the built commit: %s; set sha to ${{ github.event.workflow_run.head_sha }}", problem)
	}
	return built.Run.HeadSHA
}

// afterWorkflow reports whether another workflow's end started the run.
func (c *Command) afterWorkflow() bool { return c.env("GITHUB_EVENT_NAME") == "workflow_run" }

// A workflowRun is what the payload of a workflow_run event says of the workflow
// that has ended. Whoever can open a pull request can write parts of it.
type workflowRun struct {
	Run struct {
		HeadSHA        string     `json:"head_sha"`
		HeadBranch     string     `json:"head_branch"`
		Conclusion     string     `json:"conclusion"`
		Event          string     `json:"event"`
		HeadRepository repository `json:"head_repository"`
	} `json:"workflow_run"`
	Repository repository `json:"repository"`
}

type repository struct {
	FullName      string `json:"full_name"`
	DefaultBranch string `json:"default_branch"`
}

// workflowRun reads the event payload. The second result says why it can't.
func (c *Command) workflowRun() (workflowRun, string) {
	data, err := c.readEvent()
	if err != nil {
		return workflowRun{}, fmt.Sprintf("the payload %q, which GITHUB_EVENT_PATH names, can't be read: %v", shown(c.env("GITHUB_EVENT_PATH")), err)
	}
	var payload workflowRun
	if json.Unmarshal(data, &payload) != nil { // its error may quote the payload
		return workflowRun{}, "the payload is not JSON"
	}
	return payload, ""
}

// eventRefusal says why the event that started the run is not to be trusted with a
// promotion; empty: it is, or another one started it. branches are those whose
// builds may be promoted; none given: the repository's default branch.
func (c *Command) eventRefusal(mode report.Mode, branches []string) string {
	if !c.afterWorkflow() || !mode.RunsChecks() && mode != report.ModePromote {
		return ""
	}
	payload, problem := c.workflowRun()
	if problem != "" {
		return "the workflow_run event can't be checked: " + problem
	}
	return payload.refusal(branches)
}

// anyBranch lifts the rule about branches, and no other.
const anyBranch = "any"

func (p workflowRun) refusal(branches []string) string {
	run, home := p.Run, p.Repository.FullName
	fork := run.HeadRepository.FullName != "" && run.HeadRepository.FullName != home
	pull := strings.HasPrefix(run.Event, "pull_request")
	if len(branches) == 0 && p.Repository.DefaultBranch != "" {
		branches = []string{p.Repository.DefaultBranch}
	}
	var why []string
	if run.Conclusion != "success" {
		why = append(why, fmt.Sprintf("the workflow that built it ended with %q, not with success", shown(run.Conclusion)))
	}
	if pull {
		why = append(why, "a pull request started that workflow: what it built was not merged")
	}
	if fork {
		why = append(why, fmt.Sprintf("it was built from the repository %s, not from %s", shown(run.HeadRepository.FullName), shown(home)))
	}
	if !slices.Contains(branches, anyBranch) && !slices.Contains(branches, run.HeadBranch) {
		why = append(why, fmt.Sprintf("it was built from the branch %q, and only builds of %s may be promoted: see branches", shown(run.HeadBranch), orNothing(branches)))
	}
	return strings.Join(why, "; ")
}

func orNothing(branches []string) string {
	if len(branches) == 0 {
		return "a default branch that the event does not name"
	}
	return strings.Join(branches, ", ")
}

// origin says who runs the gate, and where, as the runner says.
func (c *Command) origin() report.Run {
	run := report.Run{
		Repository: untrusted.Line(c.env("GITHUB_REPOSITORY"), 200),
		Actor:      untrusted.Line(cmp.Or(c.env("GITHUB_ACTOR"), c.env("USER")), 100),
		Event:      untrusted.Line(c.env("GITHUB_EVENT_NAME"), 100),
	}
	server := strings.TrimRight(untrusted.Line(c.env("GITHUB_SERVER_URL"), 500), "/")
	if server == "" || run.Repository == "" {
		return run
	}
	if id := untrusted.Line(c.env("GITHUB_RUN_ID"), 30); id != "" {
		run.URL = server + "/" + run.Repository + "/actions/runs/" + id
	}
	return run
}

// commitURL is the page of a commit on the forge; empty: there is no forge.
func (c *Command) commitURL(sha report.Commit) string {
	origin := c.origin()
	server := strings.TrimRight(untrusted.Line(c.env("GITHUB_SERVER_URL"), 500), "/")
	if server == "" || origin.Repository == "" || sha == "" {
		return ""
	}
	return server + "/" + origin.Repository + "/commit/" + string(sha)
}

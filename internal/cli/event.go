package cli

import (
	"encoding/json"
	"fmt"
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
	if text == "" && mode != report.ModeRollback && mode != report.ModeHistory {
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
	if c.env("GITHUB_EVENT_NAME") != "workflow_run" {
		return c.env("GITHUB_SHA")
	}
	sha, problem := c.headSHA()
	if problem != "" {
		v.reject("sha", "the workflow_run event does not show the built commit: %s; set sha to ${{ github.event.workflow_run.head_sha }}", problem)
	}
	return sha
}

// headSHA reads workflow_run.head_sha of the event payload. The second result
// says why there is none.
func (c *Command) headSHA() (string, string) {
	data, err := c.readEvent()
	if err != nil {
		return "", fmt.Sprintf("the payload %q, which GITHUB_EVENT_PATH names, can't be read: %v", shown(c.env("GITHUB_EVENT_PATH")), err)
	}
	var payload struct {
		WorkflowRun struct {
			HeadSHA string `json:"head_sha"`
		} `json:"workflow_run"`
	}
	if json.Unmarshal(data, &payload) != nil { // its error may quote the payload
		return "", "the payload is not JSON"
	}
	if payload.WorkflowRun.HeadSHA == "" {
		return "", "the payload has no workflow_run.head_sha"
	}
	return payload.WorkflowRun.HeadSHA, ""
}

// origin says who runs the gate, and where, as the runner says.
func (c *Command) origin() report.Run {
	run := report.Run{
		Repository: untrusted.Line(c.env("GITHUB_REPOSITORY"), 200),
		Actor:      untrusted.Line(c.env("GITHUB_ACTOR"), 100),
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

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// defaultBranch is the branch of the event payloads.
const defaultBranch = "main"

// A checkout is a folder that act takes for the checked-out repository; jobs
// work in the folder itself, so that what they write can be read here.
type checkout struct {
	dir   string
	sha   string // of its head; never the commit that is verified
	forge *forge
}

// newCheckout checks the project out.
func newCheckout(t *testing.T) *checkout {
	t.Helper()
	c := &checkout{dir: t.TempDir(), forge: startForge(t)}
	copyProject(t, c.dir)
	c.sha = commitAll(t, c.dir, c.forge.origin())
	return c
}

// A job is one run of a workflow.
type job struct {
	workflow string // path in the checkout
	event    string
	payload  map[string]any
	vars     map[string]string
	secrets  map[string]string
	local    []string // of act: actions that are taken from a folder
	// meanwhile runs beside the job, until it returns or the job is over.
	meanwhile func(context.Context)
}

// dispatch is a workflow_dispatch of a workflow by hand. Forges send all
// inputs as strings.
func dispatch(workflow string, inputs map[string]string) job {
	return job{workflow: workflow, event: "workflow_dispatch", payload: map[string]any{"inputs": inputs}}
}

// afterPublish is what a forge sends when publish has ended for a commit.
func afterPublish(sha, conclusion string) job {
	return job{
		workflow: ".gitea/workflows/canary-verify.yml",
		event:    "workflow_run",
		payload: map[string]any{
			"action": "completed",
			"workflow_run": map[string]any{
				"head_sha": sha, "head_branch": defaultBranch, "event": "push", "conclusion": conclusion,
			},
		},
	}
}

// actionBuilt is true once act has built the action's image in this process.
// Later jobs use that image again, as a runner with a warm cache does.
var actionBuilt bool

// act runs a job to its end.
func (c *checkout) act(t *testing.T, j job) result {
	t.Helper()
	dir := t.TempDir()
	payload := map[string]any{"repository": map[string]any{"default_branch": defaultBranch}}
	maps.Copy(payload, j.payload)
	secrets := map[string]string{"GITHUB_TOKEN": c.forge.token}
	maps.Copy(secrets, j.secrets)
	args := []string{
		j.event, "--workflows", filepath.Join(c.dir, j.workflow), "--directory", c.dir,
		"--eventpath", writeFile(t, dir, "event.json", must(json.Marshal(payload))),
		"--var-file", writeFile(t, dir, "vars.yml", must(yaml.Marshal(j.vars))),
		"--secret-file", writeFile(t, dir, "secrets.yml", must(yaml.Marshal(secrets))),
		"--github-instance", c.forge.host, "--defaultbranch", defaultBranch,
		"--env", "SSL_CERT_FILE=" + writeFile(t, c.dir, ".git/forge-ca.pem", c.forge.ca),
		"--platform", "ubuntu-latest=" + jobImage, "--pull=false", "--action-offline-mode",
		"--no-cache-server", "--bind", "--rm", fmt.Sprintf("--rebuild=%t", !actionBuilt),
		// act would hide the secrets that we look for.
		"--insecure-secrets",
	}
	for _, l := range j.local {
		args = append(args, "--local-repository", l)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, actPath, args...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CACHE_HOME="+filepath.Join(dir, "cache"), "XDG_CONFIG_HOME="+dir)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	start := time.Now()
	check(t, cmd.Start())
	beside := make(chan struct{})
	go func() {
		defer close(beside)
		if j.meanwhile != nil {
			j.meanwhile(ctx)
		}
	}()
	err := cmd.Wait()
	cancel()
	<-beside
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("act: %v", err)
	}
	t.Logf("act %s %s: exit %d after %s", j.event, filepath.Base(j.workflow), cmd.ProcessState.ExitCode(), time.Since(start).Round(100*time.Millisecond))
	text := output.String()
	if strings.Contains(text, "docker build -t act-dockeraction") {
		actionBuilt = true
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("act's output:\n%s", text)
		}
	})
	return result{exit: cmd.ProcessState.ExitCode(), stdout: text}
}

func writeFile(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	check(t, os.WriteFile(path, data, 0o600))
	return path
}

// report reads the report that the last job wrote.
func (c *checkout) report(t *testing.T) report.Report {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, "canary-report", "report.json"))
	check(t, err)
	var r report.Report
	check(t, json.Unmarshal(data, &r))
	return r
}

// written returns all text that jobs left in the report folder.
func (c *checkout) written(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	names, err := filepath.Glob(filepath.Join(c.dir, "canary-report", "*"))
	check(t, err)
	for _, name := range names {
		data, err := os.ReadFile(name)
		check(t, err)
		all.Write(data)
	}
	return all.String()
}

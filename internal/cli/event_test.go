package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// What a fork, a pull request, another branch or a failed build has built is not
// promoted, whatever the workflow's own conditions say.
func TestEventRefusal(t *testing.T) {
	type object = map[string]any
	good := func(change func(run object)) object {
		run := object{
			"head_sha": "4c1d56e0b7a92f3844de61c05b9a7d20e8f31c6b", "head_branch": "main", "conclusion": "success", "event": "push",
			"head_repository": object{"full_name": "team/product"},
		}
		change(run)
		return object{"workflow_run": run, "repository": object{"full_name": "team/product", "default_branch": "main"}}
	}
	set := func(key string, value any) func(object) { return func(run object) { run[key] = value } }
	for name, tt := range map[string]struct {
		payload  any
		branches []string
		want     string // a part of the refusal; empty: none
	}{
		"push to the default branch": {payload: good(func(object) {})},
		"another branch":             {payload: good(set("head_branch", "feature")), want: `"feature"`},
		"a listed branch":            {payload: good(set("head_branch", "release")), branches: []string{"main", "release"}},
		"not listed any more":        {payload: good(func(object) {}), branches: []string{"release"}, want: `"main"`},
		"a prefix of a listed one":   {payload: good(set("head_branch", "rel")), branches: []string{"release"}, want: `"rel"`},
		"any branch":                 {payload: good(set("head_branch", "feature")), branches: []string{"any"}},
		"a failed build":             {payload: good(set("conclusion", "failure")), branches: []string{"any"}, want: `"failure"`},
		"a cancelled build":          {payload: good(set("conclusion", "cancelled")), want: `"cancelled"`},
		"a build that has not ended": {payload: good(set("conclusion", nil)), want: "not with success"},
		"a pull request":             {payload: good(set("event", "pull_request")), branches: []string{"any"}, want: "pull request"},
		"pull_request_target":        {payload: good(set("event", "pull_request_target")), branches: []string{"any"}, want: "pull request"},
		"a fork":                     {payload: good(set("head_repository", object{"full_name": "mallory/product"})), branches: []string{"any"}, want: "mallory/product"},
		"no head repository":         {payload: good(set("head_repository", nil))},
		"an empty object":            {payload: object{}, want: "not with success"},
		"a list":                     {payload: []string{}, want: "not JSON"},
		"log commands in a branch":   {payload: good(set("head_branch", "x\n::error::boo")), want: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(tt.payload)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "event.json")
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			c := &Command{Environ: []string{"GITHUB_EVENT_NAME=workflow_run", "GITHUB_EVENT_PATH=" + file}}
			for _, mode := range []report.Mode{report.ModeVerify, report.ModeSmoke, report.ModePromote} {
				got := c.eventRefusal(mode, tt.branches)
				if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || strings.ContainsAny(got, "\r\n") {
					t.Errorf("%s: %q, want %q", mode, got, tt.want)
				}
			}
			if got := c.eventRefusal(report.ModeRollback, tt.branches); got != "" {
				t.Errorf("a rollback is refused: %q", got)
			}
		})
	}
	c := &Command{Environ: []string{"GITHUB_EVENT_NAME=workflow_run", "GITHUB_EVENT_PATH=/nowhere"}}
	if got := c.eventRefusal(report.ModeVerify, []string{"any"}); got == "" {
		t.Error("an event that can't be read is trusted")
	}
	c = &Command{Environ: []string{"GITHUB_EVENT_NAME=push"}}
	if got := c.eventRefusal(report.ModeVerify, nil); got != "" {
		t.Errorf("a push is refused: %q", got)
	}
}

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// words are those that this project does not use for a thing, and what it says
// instead: a check passes, fails or is an error; what goes back is a rollback.
var words = map[string]string{
	`contradict\w*`:                         "failed, does not meet its expectation",
	`(did|does|do) not hold|held (up|only)`: "failed, passed only",
	`not judged|unjudged`:                   "error, inconclusive",
	`wobbly`:                                "flaky",
	`\bmend\w*`:                             "fix",
	`roll-backs?`:                           "rollback",
	`first cause|further tries|or none at all`:     "reason; retries; or leave empty",
	`is no (tag|url|image|list|suite|mode|path)\b`: "is not a …",
	`\btells? (a|its|their|the|no) (commit|order)`: "reports",
	`malformed input|the inputs are malformed`:     "invalid input",
	`left alone|separated at`:                      "not touched; separated by",
}

// TestWords reads what people read: the documents, the action's description and
// the help. (What a run prints is read by the tests of package summary.)
func TestWords(t *testing.T) {
	files := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "action.yml", "internal/cli/help.go", "internal/cli/inputs.go"}
	for _, pattern := range []string{"docs/*.md", ".gitea/workflows/*.yml", "smoke/suites/*.yml"} {
		more, err := filepath.Glob(pattern)
		if err != nil || len(more) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(more), err)
		}
		files = append(files, more...)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(data), "\n") {
			for word, instead := range words {
				if found := regexp.MustCompile("(?i)" + word).FindString(line); found != "" {
					t.Errorf("%s:%d: %q; say: %s", file, n+1, found, instead)
				}
			}
		}
	}
}

package gate

import (
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown/markdowntest"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

const (
	draftReplaced = "4c1d56e0a9b8c7d6e5f4031221304f5e6d7c8b9a"
	draftRestored = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432"
)

func draftReport() *report.Report {
	finished := time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)
	return &report.Report{
		Mode: report.ModeRollback, SHA: draftRestored, Reason: "rolled back from 4c1d56e to 9f8e7d6", Finished: finished,
		Images: []report.Image{{Image: "registry.example.com/molecule/platform", Target: "latest",
			Previous: report.Digest("sha256:" + strings.Repeat("4c", 32)), Now: report.Digest("sha256:" + strings.Repeat("9f", 32))}},
		Rollback: &report.Rollback{FromSHA: draftReplaced, ToSHA: draftRestored, LiveSince: finished.Add(-150 * time.Minute), LiveFor: 150 * time.Minute,
			PromotedBy: "https://git.example.com/molecule/core/actions/runs/799", Suite: "canary", SuiteHash: "sha256:" + strings.Repeat("ab", 32)},
		Run: report.Run{URL: "https://git.example.com/molecule/core/actions/runs/812", Actor: "release-bot"},
	}
}

func TestPostMortem(t *testing.T) {
	want := "# Post-mortem: `4c1d56e` was rolled back\n\n| | |\n| --- | --- |\n" +
		"| Replaced commit | `" + draftReplaced + "` |\n" +
		"| Rolled back to | `" + draftRestored + "` |\n" +
		"| Went live | 2026-03-14 00:30:00 UTC |\n" +
		"| Promoted by | [this run](<https://git.example.com/molecule/core/actions/runs/799>) |\n" +
		"| Was live for | 2 h 30 min |\n" +
		"| Rolled back at | 2026-03-14 03:00:00 UTC by `release-bot` |\n" +
		"| Reason | rolled back from `4c1d56e` to `9f8e7d6` |\n" +
		"| Checked before promotion | suite `canary`, `sha256:" + strings.Repeat("ab", 32) + "`; every check passed |\n" +
		"| `registry.example.com/molecule/platform:latest` | `sha256:" + strings.Repeat("4c", 32) + "` → `sha256:" + strings.Repeat("9f", 32) + "` |\n"
	got := postMortem(draftReport())
	if !strings.HasPrefix(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	for _, question := range []string{"What was the impact?", "Which commit broke it?", "Why did the canary not catch it?", "Which check is to be added?"} {
		if !strings.Contains(got, "\n## "+question+"\n") {
			t.Errorf("%q is missing", question)
		}
	}
	if empty := postMortem(&report.Report{}); strings.Count(empty, "not recorded") != 4 {
		t.Errorf("of nothing: %s", empty)
	}
}

// What records and registries say changes nothing but the words of the draft,
// and links to nowhere.
func TestPostMortemOfHostileText(t *testing.T) {
	draft := func(text string) string {
		r := draftReport()
		r.Rollback = &report.Rollback{FromSHA: report.Commit(text), ToSHA: report.Commit(text), PromotedBy: text, Suite: text, SuiteHash: text}
		r.Forced, r.Run.Actor, r.Images[0].Image = text, text, text
		return postMortem(r)
	}
	for _, text := range markdowntest.Texts() {
		if text != "" {
			markdowntest.Same(t, draft(text), draft("word"))
		}
	}
	r := draftReport()
	r.Rollback.PromotedBy = "https://evil.example/runs/799"
	if got := postMortem(r); strings.Contains(got, "(<https://evil.example") {
		t.Errorf("a link to another site:\n%s", got)
	}
}

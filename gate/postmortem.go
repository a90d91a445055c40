package gate

import (
	"cmp"
	"fmt"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Limits of foreign text in a post-mortem, in characters, and of images.
const (
	draftName   = 100
	draftLong   = 200
	draftSaid   = 1000
	draftImages = 20
)

// postMortem drafts a post-mortem of a rollback as Markdown whose foreign parts
// are escaped: which commit was replaced, when and by which run it went live,
// what the canary had checked, how long it was live, and the questions for
// people to answer. Without a rollback in the report it says that nothing is
// recorded.
func postMortem(r *report.Report) string {
	back := cmp.Or(r.Rollback, &report.Rollback{})
	code := func(s string) string { return markdown.Code(s, draftName) }
	var b strings.Builder
	row := func(label, text string) { fmt.Fprintf(&b, "| %s | %s |\n", label, text) }
	fmt.Fprintf(&b, "# Post-mortem: %s was rolled back\n\n| | |\n| --- | --- |\n", code(back.FromSHA.Short()))
	row("Replaced commit", code(string(back.FromSHA)))
	row("Rolled back to", code(string(cmp.Or(back.ToSHA, r.SHA))))
	row("Went live", orNotRecorded(report.Moment(back.LiveSince)))
	row("Promoted by", orNotRecorded(draftPromotedBy(back.PromotedBy, r.Run.URL)))
	row("Was live for", orNotRecorded(draftLiveFor(back)))
	row("Rolled back at", report.Moment(r.Finished)+" by "+code(r.Run.Actor))
	row("Reason", markdown.Prose(cmp.Or(r.Forced, r.Reason), draftSaid))
	row("Checked before promotion", orNotRecorded(draftCheckedBy(back)))
	for _, i := range r.Images[:min(len(r.Images), draftImages)] {
		row(markdown.Code(i.Reference(), draftLong), code(string(i.Previous))+" → "+code(string(cmp.Or(i.Now, i.Digest))))
	}
	b.WriteString(draftQuestions)
	return b.String()
}

const draftQuestions = `
## What was the impact?

_When was it noticed, by whom, and what did customers see?_

## Which commit broke it?

_The first bad commit between the two above, and what it changed._

## Why did the canary not catch it?

_No check for it, a check too weak to notice, a tenant that differs, or too short a soak?_

## Which check is to be added?

_Name the request and the expectation, and add it to the suite before the next promotion._
`

func orNotRecorded(s string) string { return cmp.Or(s, "not recorded") }

// draftPromotedBy links the run that promoted the replaced commit. The address comes
// from a record: it is a link only when it leads to where this run was made.
func draftPromotedBy(by, site string) string {
	switch {
	case by == "":
		return ""
	case markdown.SameSite(by, site):
		return markdown.Link("this run", by)
	}
	return markdown.Code(by, draftLong)
}

func draftLiveFor(b *report.Rollback) string {
	if b.LiveFor <= 0 {
		return ""
	}
	return report.Span(b.LiveFor)
}

func draftCheckedBy(b *report.Rollback) string {
	if b.Suite == "" && b.SuiteHash == "" {
		return ""
	}
	return "suite " + markdown.Code(b.Suite, draftName) + ", " + markdown.Code(b.SuiteHash, draftName) + "; every check passed"
}

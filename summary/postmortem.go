package summary

import (
	"cmp"
	"fmt"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

// PostMortemTitle is the title of an issue for [PostMortem].
func PostMortemTitle(r *gate.Report) string {
	return clean("Rolled back "+cmp.Or(short(rollbackFrom(r)), "production")+": why did the canary not catch it?", maxName)
}

// PostMortem drafts a post-mortem of a rollback as Markdown whose foreign parts
// are escaped: what broke, when and by which run it went live, what the canary
// had checked, how long it was live, and the questions that people answer.
func PostMortem(r *gate.Report) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	back := r.Rollback
	if back == nil {
		back = &gate.Rollback{}
	}
	line("# Post-mortem: %s was rolled back\n", codeSpan(short(back.FromSHA), maxName))
	line("| | |\n| --- | --- |")
	row := func(label, text string) { line("| %s | %s |", label, text) }
	row("Commit that broke", codeSpan(back.FromSHA, maxName))
	row("Rolled back to", codeSpan(rollbackTo(r), maxName))
	row("Went live", cmp.Or(when(back.LiveSince), "not recorded"))
	row("Promoted by", promotedBy(r, back.PromotedBy))
	row("Was live for", liveFor(back))
	row("Rolled back at", when(r.Finished)+" by "+codeSpan(r.Run.Actor, maxName))
	row("Why", prose(cmp.Or(r.Forced, r.Reason), maxSaid))
	row("What the canary had checked", checkedBy(back))
	for _, i := range r.Images[:min(len(r.Images), maxImages/5)] {
		row(codeSpan(reference(i), 2*maxName), codeSpan(i.Previous, maxName)+" → "+codeSpan(cmp.Or(i.Now, i.Digest), maxName))
	}
	line("\n## What people saw\n\n_When was it noticed, by whom, and what did customers see?_\n")
	line("## Which commit broke it?\n\n_The first bad commit between the two above, and what it changed._\n")
	line("## Why did the canary not catch it?\n\n_No check for it, a check that could not tell, a tenant that differs, or too short a soak?_\n")
	line("## Which check is to be added?\n\n_Name the request and the expectation, and add it to the suite before the next promotion._")
	return b.String()
}

func promotedBy(r *gate.Report, by string) string {
	switch {
	case by == "":
		return "not recorded"
	case sameSite(by, r.Run.URL):
		return link("this run", by)
	}
	return codeSpan(by, 2*maxName)
}

func liveFor(b *gate.Rollback) string {
	if b.LiveFor <= 0 {
		return "not recorded"
	}
	return span(b.LiveFor)
}

func checkedBy(b *gate.Rollback) string {
	if b.Suite == "" && b.SuiteHash == "" {
		return "not recorded"
	}
	return "suite " + codeSpan(b.Suite, maxName) + ", " + codeSpan(b.SuiteHash, maxName) + "; every check held"
}

package summary

import (
	"cmp"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// title is what a reader sees first: the claim, and where the target points.
func title(r *report.Report) phrase {
	p := append(phrase{}, assess(r).claim...)
	if where := whereabouts(r); len(where) > 0 {
		p = append(append(p, ours("; ")), where...)
	}
	return p
}

// quiet reports whether there is no reason to give: all is well, and the title
// says why, or the table of a status does.
func quiet(r *report.Report) bool {
	s := assess(r)
	return s.tone == toneGood || s.tone == toneNote || r.Reason == "" || r.Mode == report.ModeStatus
}

// Headline is the report in one plain sentence: the verdict, the commit in 7
// digits, where the target points and, where something went wrong, the reason.
// It serves the log and annotations.
func Headline(r *report.Report) string {
	line := assess(r).word + ": " + title(r).plain()
	if !quiet(r) {
		line += ". " + clean(r.Reason, maxSaid)
	}
	return clean(line, 0)
}

// maxDescription is how many characters GitHub takes for the description of a
// commit status.
const maxDescription = 140

// StatusDescription is the report for a commit status, beside which the forge
// shows the commit and the target: the verdict and, where something went wrong,
// on which tenants and in which check. It has at most 140 characters.
func StatusDescription(r *report.Report) string {
	s := assess(r)
	line := strings.ToLower(s.word) + ": "
	cause, found := r.FirstCause()
	switch {
	case r.Exit == report.ExitRegistry:
		line += whereabouts(r).plain() + ": " + r.Reason
	case s.tone == toneGood || s.tone == toneNote || s.tone == toneDoubt && r.Reason == "":
		line += title(r).plain()
	case found:
		line += causeLine(cause)
	default:
		line += r.Reason
	}
	return clean(line, maxDescription)
}

// causeLine is a cause with one tenant's name or the number of tenants. Names
// are cut, so that both the tenant and the check are seen.
func causeLine(c report.Cause) string {
	const share = 40 // characters
	who, what := report.Count(len(c.Tenants), "tenant"), c.What
	if len(c.Tenants) == 1 {
		who, what = clean(c.Tenants[0], share), cmp.Or(c.Detail, c.What)
	}
	if c.Check != "" {
		who += ": " + clean(c.Check, share)
	}
	return who + ": " + what
}

package summary

import (
	"strings"
	"unicode"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A fact is one line under the headline.
type fact struct {
	label string
	text  phrase
}

// facts are the circumstances of a verdict, in every format.
func facts(r *report.Report, v *fleetView) []fact {
	var list []fact
	add := func(label string, text ...part) { list = append(list, fact{label, text}) }
	if text := identity(r); text != "" {
		add("Identity", ours("%s", text))
	}
	if s := r.Suite; s != nil {
		p := phrase{name(s.Name), ours(", %s, ", report.Count(s.Checks, "check")), name(report.Digest(s.Hash).Short())}
		if v.rounds > 1 {
			p = append(p, ours(", at least %s on every tenant", report.Count(s.Rounds, "round")))
		}
		add("Suite", p...)
	}
	if r.DryRun {
		add("Dry run", ours("no tag was moved and no record was written"))
	}
	if r.Forced != "" {
		add("Forced", said(r.Forced))
	}
	if c := r.Canary; c != nil {
		p := phrase{name(c.Tag), ours(" %s", canaryWords[c.State])}
		add("Canary tag", append(p, remark(c.Detail)...)...)
	}
	if b := r.Rollback; b != nil && b.LiveFor > 0 {
		add("Was live", ours("%s, since %s", report.Span(b.LiveFor), report.Moment(b.LiveSince)))
	}
	return list
}

// warnings are those of the run and those of its suite, in every format. Of a
// suite's the first line says what is wrong and where; the others quote the file.
func warnings(r *report.Report) []string {
	if r.Suite == nil {
		return r.Warnings
	}
	all := append([]string{}, r.Warnings...)
	for _, w := range r.Suite.Warnings {
		first, _, _ := strings.Cut(w, "\n")
		all = append(all, first)
	}
	return all
}

var canaryWords = map[report.CanaryState]string{
	report.CanaryMoved: "points at the candidate", report.CanaryRestored: "was restored",
	report.CanaryUntouched: "was not moved", report.CanaryUnknown: "is in an unknown state",
}

// identity says what proves that the checks met the commit; empty where the
// mode asks for no proof.
func identity(r *report.Report) string {
	if !r.Mode.RunsChecks() || r.Verdict == report.Skipped || r.Exit == report.ExitUsage {
		return ""
	}
	asked, before, after := 0, 0, 0
	for i := range r.Tenants {
		t := &r.Tenants[i]
		if t.Rollout == nil {
			continue
		}
		asked++
		if t.Rollout.IsCurrent() {
			before++
		}
		if t.After.IsCurrent() {
			after++
		}
	}
	all := report.Count(len(r.Tenants), "tenant")
	switch {
	case r.IdentityProven && len(r.Tenants) == 1:
		return "Proven: the tenant reported this commit before and after the checks."
	case r.IdentityProven:
		return "Proven: all " + all + " reported this commit before and after the checks."
	case asked == 0:
		return "Not proven: no tenant was asked which commit it runs."
	case !r.Ran:
		return "Not proven: " + report.Thousands(before) + " of " + all + " reported this commit, so no check ran."
	}
	return "Not proven: " + report.Thousands(before) + " of " + all + " reported this commit before the checks, " + report.Thousands(after) + " after them."
}

// repairs are command lines that put targets back where they were, after the
// registry failed halfway.
func repairs(r *report.Report) []string {
	if r.Exit != report.ExitRegistry {
		return nil
	}
	var lines []string
	for _, i := range r.Images[:min(len(r.Images), maxImages)] {
		stray := i.State == report.UnknownState || i.State == report.Promoted ||
			i.State != report.Already && i.Now != "" && i.Now != i.Previous
		switch {
		case !stray:
		case i.Previous == "":
			lines = append(lines, "crane delete "+shellWord(i.Reference())+"  # it was absent before")
		default:
			lines = append(lines, "crane tag "+shellWord(i.Image+"@"+string(i.Previous))+" "+shellWord(i.Target))
		}
	}
	return lines
}

// shellWord quotes a word for a POSIX shell when it has to be.
func shellWord(s string) string {
	s = clean(s, maxValue)
	plain := func(r rune) bool {
		return r <= unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("./:@_-", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// draft is the post-mortem's draft in lines; nil where there is none.
func draft(r *report.Report) []string {
	if r.Rollback == nil || r.Rollback.PostMortem == "" || r.DryRun {
		return nil
	}
	text := r.Rollback.PostMortem
	if len(text) > maxDraft {
		text = strings.ToValidUTF8(text[:maxDraft], "")
	}
	return strings.Split(strings.TrimRight(text, "\n"), "\n")
}

package summary

import (
	"cmp"
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
	if p := inapplicable(r); p != nil {
		add("Skipped", p...)
	}
	if text := unrest(r); text != "" {
		add("While checked", ours("%s", text))
	}
	if r.Held != nil {
		add("On hold", holdFact(r.Held)...)
	}
	if p := signed(r); p != nil {
		add("Records", p...)
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

// inapplicable counts the checks that could not apply, and says why with the first of
// them; nil: all did.
func inapplicable(r *report.Report) phrase {
	var first *report.CheckResult
	results, tenants := 0, 0
	for i := range r.Tenants {
		before := results
		for j := range r.Tenants[i].Checks {
			c := &r.Tenants[i].Checks[j]
			if c.Inapplicable() {
				first = cmp.Or(first, c)
				results++
			}
		}
		if results > before {
			tenants++
		}
	}
	if first == nil {
		return nil
	}
	return phrase{ours("%s on %s, for example ", report.Count(results, "check"), report.Count(tenants, "tenant")), name(first.Name), ours(": "), said(first.Detail)}
}

// unrest counts the connections that tenants refused and their restarts while they
// were checked; empty: there were none.
func unrest(r *report.Report) string {
	refused, restarts := 0, 0
	for i := range r.Tenants {
		refused += r.Tenants[i].Refused
		restarts += r.Tenants[i].Restarts
	}
	return report.Unrest(refused, restarts)
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

// signed says whether the records of the run can be verified; empty where it
// writes none.
func signed(r *report.Report) phrase {
	wrote := r.Verdict == report.Green || r.Verdict == report.Red || r.Verdict == report.None || r.Ran
	switch {
	case !r.Mode.Records() || !wrote || r.DryRun || r.Exit == report.ExitUsage:
		return nil
	case r.Signed == "":
		return phrase{ours("unsigned")}
	}
	return phrase{ours("signed by "), name(report.Digest(r.Signed).Short())}
}

// holdFact says since when, by whom and why.
func holdFact(h *report.Hold) phrase {
	p := phrase{ours("since %s", cmp.Or(report.Moment(h.At), "an unknown time"))}
	if h.By != "" {
		p = append(p, ours(", by "), name(h.By))
	}
	return append(p, remark(h.Reason)...)
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

package summary

import (
	"html"
	"net/url"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

// A fact is one line under the headline.
type fact struct {
	label string
	text  phrase
}

// facts are the circumstances of a verdict, in every format.
func facts(r *gate.Report, v *fleetView) []fact {
	var list []fact
	add := func(label string, text ...part) { list = append(list, fact{label, text}) }
	if text := identity(r); text != "" {
		add("Identity", ours("%s", text))
	}
	if s := r.Suite; s != nil {
		p := phrase{name(s.Name), ours(", %s, ", count(s.Checks, "check")), name(digest(s.Hash))}
		if v.rounds > 1 {
			p = append(p, ours(", at least %s on every tenant", count(s.Rounds, "round")))
		}
		add("Suite", p...)
	}
	if r.DryRun {
		add("Dry run", ours("nothing was moved and nothing was recorded"))
	}
	if r.Forced != "" {
		add("Forced", said(r.Forced))
	}
	if c := r.Canary; c != nil {
		p := phrase{name(c.Tag), ours(" "), said(canaryState(c.State))}
		if c.Detail != "" {
			p = append(p, ours(": "), said(c.Detail))
		}
		add("Canary tag", p...)
	}
	if b := r.Rollback; b != nil && b.LiveFor > 0 {
		add("Was live", ours("%s, since %s", span(b.LiveFor), when(b.LiveSince)))
	}
	return list
}

func canaryState(s string) string {
	switch s {
	case "moved":
		return "points at the candidate"
	case "restored":
		return "was put back"
	case "untouched":
		return "was not touched"
	}
	return "is in an unknown state"
}

// repairs are command lines that put targets back where they were, after the
// registry failed in the middle of it. A tag that was absent has none: how to
// remove it depends on the registry.
func repairs(r *gate.Report) []string {
	if r.Exit != gate.ExitRegistry {
		return nil
	}
	var lines []string
	for _, i := range r.Images {
		stray := i.State == "unknown" || i.State == "promoted" || i.State != "already" && i.Now != "" && i.Now != i.Previous
		if !stray {
			continue
		}
		if i.Previous == "" {
			lines = append(lines, "crane delete "+shellWord(reference(i))+"  # it was absent before")
			continue
		}
		lines = append(lines, "crane tag "+shellWord(i.Image+"@"+i.Previous)+" "+shellWord(i.Target))
	}
	return lines[:min(len(lines), maxImages)]
}

// shellWord quotes a word for a POSIX shell when it has to be.
func shellWord(s string) string {
	s = clean(s, maxValue)
	plain := func(r rune) bool {
		return r < 0x80 && (isWordRune(r) || strings.ContainsRune("./:@_-", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// htmlCode writes a name as code inside a block of HTML.
func htmlCode(s string) string {
	return "<code>" + html.EscapeString(clean(s, maxName)) + "</code>"
}

// sameSite reports whether two addresses of the web have the same scheme and host.
func sameSite(a, b string) bool {
	if webAddress(a) == "" || webAddress(b) == "" {
		return false
	}
	one, err1 := url.Parse(a)
	two, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && one.Scheme == two.Scheme && strings.EqualFold(one.Host, two.Host)
}

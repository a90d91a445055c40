package summary

import (
	"bytes"
	"fmt"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// MaxMarkdown is the size in bytes that [Markdown] never exceeds. Forges drop a
// step summary over 1 MiB without a word.
const MaxMarkdown = 900 << 10

// Markdown writes the report as a step summary in GitHub's flavour. It has at
// most [MaxMarkdown] bytes; what didn't fit is counted in it.
func Markdown(r *report.Report) string {
	s := &stepSummary{r: r, fleet: viewFleet(r)}
	images, fleet := tables(r, &s.fleet)
	s.head()
	s.tables(images)
	s.repairs()
	s.draft()
	s.blocks()
	s.tables(fleet)
	s.list("### Warnings\n", warnings(r), "warning")
	s.foot()
	return s.b.String()
}

// stepSummary writes one report.
type stepSummary struct {
	b     bytes.Buffer
	r     *report.Report
	fleet fleetView
}

func (s *stepSummary) line(format string, args ...any) { fmt.Fprintf(&s.b, format+"\n", args...) }

// fill writes up to n items, as many as room bytes hold, each whole or not at
// all. It returns how many it wrote.
func (s *stepSummary) fill(n, room int, write func(i int)) int {
	end := s.b.Len() + room
	for i := range n {
		before := s.b.Len()
		if write(i); s.b.Len() > end {
			s.b.Truncate(before)
			return i
		}
	}
	return n
}

// left counts what is not shown.
func (s *stepSummary) left(what string) {
	s.line("")
	if what != "" {
		s.line("Not shown: %s; see report.json.\n", what)
	}
}

// head is what a reader sees first.
func (s *stepSummary) head() {
	a := assess(s.r)
	s.line("## %s %s: %s\n", a.mark, a.word, title(s.r).markdown())
	s.alert(a.tone)
	s.list("", s.r.Faults, "invalid input")
	for _, fact := range facts(s.r, &s.fleet) {
		s.line("- **%s:** %s", fact.label, fact.text.markdown())
	}
	s.line("")
}

// alert is the box with the reason and what to do.
func (s *stepSummary) alert(t tone) {
	if quiet(s.r) && s.r.Next == "" {
		return
	}
	s.line("> [!%s]", [...]string{"WARNING", "TIP", "CAUTION", "NOTE"}[t])
	if s.r.Verdict == report.Red {
		s.line("> **Rejected commit:** %s\n>", markdown.Link(markdown.Code(string(s.r.SHA), maxName), s.r.Run.CommitURL))
	}
	if s.r.Reason != "" {
		s.line("> **Reason:** %s", markdown.Prose(s.r.Reason, maxSaid))
	}
	if s.r.Next != "" {
		s.line(">\n> **What to do:** %s", markdown.Prose(s.r.Next, maxSaid))
	}
	s.line("")
}

// list shows sentences.
func (s *stepSummary) list(heading string, sentences []string, noun string) {
	if len(sentences) == 0 {
		return
	}
	s.b.WriteString(heading)
	if heading != "" {
		s.line("")
	}
	shown := s.fill(min(len(sentences), maxShort), roomSmall, func(i int) { s.line("- %s", markdown.Prose(sentences[i], maxSaid)) })
	s.left(notShown(len(sentences), noun)(shown))
}

func (s *stepSummary) tables(list []table) {
	for _, t := range list {
		s.line("### %s\n", t.title)
		if t.note != "" {
			s.line("%s.\n", t.note)
		}
		for _, h := range t.heads {
			if h.name {
				h.text = markdown.Code(h.text, 0)
			}
			s.b.WriteString("| " + h.text + " ")
		}
		s.line("|")
		for _, h := range t.heads {
			s.b.WriteString(map[bool]string{false: "| --- ", true: "| ---: "}[h.right && !h.name])
		}
		s.line("|")
		s.left(t.left(s.fill(t.rows, t.room, func(i int) { s.row(t.row(i)) })))
	}
}

func (s *stepSummary) row(r row) {
	for _, c := range r.cells {
		text := append(phrase{}, c.text...)
		for i, p := range text {
			if p.kind == kindOurs { // stays on one line of a narrow cell
				text[i].text = strings.ReplaceAll(p.text, " ", "\u00a0")
			}
		}
		s.b.WriteString("| " + text.markdown() + " ")
	}
	s.line("|")
}

// repairs is the way back by hand where the registry failed.
func (s *stepSummary) repairs() {
	if lines := repairs(s.r); len(lines) > 0 {
		s.line("### Restore the tags by hand\n")
		s.code("sh", lines)
	}
}

// code writes a block of code within the room of a small table.
func (s *stepSummary) code(language string, lines []string) {
	size := 0
	for i, line := range lines {
		if size += len(clean(line, 0)) + 1; size > roomSmall {
			lines = append(lines[:i:i], "# the rest is left out for length")
			break
		}
	}
	s.line("%s", markdown.Block(language, 0, lines...))
}

// draft offers the draft of the post-mortem.
func (s *stepSummary) draft() {
	if lines := draft(s.r); len(lines) > 0 {
		s.line("<details><summary>Draft of a post-mortem, to copy into an issue</summary>\n")
		s.code("markdown", lines)
		s.line("</details>\n")
	}
}

// blocks shows what failed or could not be judged, each collapsed.
func (s *stepSummary) blocks() {
	list, left := causes(s.r)
	if len(list) == 0 {
		return
	}
	s.line("### Failures and errors\n")
	shown := s.fill(len(list), roomLarge, func(i int) { s.block(newBlock(s.r, list[i]), i == 0) })
	if what := notShown(len(list)+left, "more cause")(shown); what != "" {
		s.left(what)
	}
}

func (s *stepSummary) block(b block, open bool) {
	attribute := map[bool]string{true: " open"}[open]
	s.line("<details%s><summary>%s %s: %s</summary>\n", attribute, b.mark, b.word, b.where.html())
	lines := make([]string, 0, len(b.lines))
	for _, l := range b.lines {
		lines = append(lines, fmt.Sprintf("%-9s %s", l.label, l.text))
	}
	s.line("%s", markdown.Block("text", 0, lines...))
	if b.reproduce != "" {
		s.line("%s", markdown.Block("sh", 0, b.reproduce))
	}
	s.line("</details>\n")
}

// foot leads on from here.
func (s *stepSummary) foot() {
	var links []string
	if a := markdown.WebAddress(s.r.Run.URL); a != "" {
		links = append(links, markdown.Link("This run", a))
	}
	if a := markdown.WebAddress(s.r.Run.CommitURL); a != "" {
		links = append(links, markdown.Link("The commit", a))
	}
	if tag := target(s.r); tag != "" {
		links = append(links, "`canary-verify history` shows what "+markdown.Code(tag, maxName)+" pointed at before")
	}
	links = append(links, took(s.r), "canary-verify "+markdown.Code(s.r.Tool, maxName))
	s.line("---\n\n<sub>%s</sub>", strings.Join(links, " · "))
}

// took says when the run was, and how long.
func took(r *report.Report) string {
	started := report.Moment(r.Started)
	if started == "" {
		started = "start unknown"
	}
	return started + ", took " + report.Span(r.Finished.Sub(r.Started))
}

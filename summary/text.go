package summary

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Text writes the report for a terminal or a log, with the verdict on the first
// line and on the last. Without color it holds no escape sequence. Sentences are
// wrapped at width columns; 0 or less wraps nothing. Tables and command lines
// are never wrapped, so that they can be copied.
//
// It carries all that a reader needs, since some forges don't show the step
// summary, and no line of it is a workflow command.
func Text(r *report.Report, color bool, width int) string {
	t := &text{r: r, color: color, width: width}
	v := viewFleet(r)
	images, fleet := tables(r, &v)
	t.verdict()
	t.head(&v)
	t.tables(images)
	t.code("Restore the tags by hand", repairs(r))
	t.code("Draft of a post-mortem", draft(r))
	t.blocks()
	t.tables(fleet)
	if list := warnings(r); len(list) > 0 {
		t.heading("Warnings")
		t.list(list, "warning")
	}
	t.foot()
	t.verdict()
	return t.b.String()
}

// text writes one report.
type text struct {
	b     strings.Builder
	r     *report.Report
	color bool
	width int
}

// The colours of tones and shades, as ANSI codes.
var (
	toneColors  = [...]string{toneDoubt: "1;33", toneGood: "1;32", toneBad: "1;31", toneNote: "1"}
	shadeColors = map[shade]string{shadeBad: "31", shadeDoubt: "33", shadeGood: "32", shadeDim: "2"}
)

// paint colours s when colours are wanted.
func (t *text) paint(color, s string) string {
	if !t.color || color == "" || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// verdict is the line that a reader must not miss.
func (t *text) verdict() {
	s := assess(t.r)
	t.b.WriteString(t.paint(toneColors[s.tone], s.word) + ": " + title(t.r).plain() + "\n")
}

// head is what a reader sees first.
func (t *text) head(v *fleetView) {
	if t.r.Verdict == report.Red {
		t.sentence("rejected commit: ", string(t.r.SHA))
	}
	if !quiet(t.r) {
		t.sentence("reason: ", t.r.Reason)
	}
	if t.r.Next != "" {
		t.sentence("what to do: ", t.r.Next)
	}
	t.list(t.r.Faults, "invalid input")
	for _, f := range facts(t.r, v) {
		t.sentence(strings.ToLower(f.label)+": ", f.text.plain())
	}
}

// heading begins a section.
func (t *text) heading(s string) { t.b.WriteString("\n" + t.paint("1", s) + "\n") }

// sentence writes a label and a foreign sentence, wrapped.
func (t *text) sentence(label, s string) {
	words := strings.Fields(clean(s, maxSaid))
	line, empty := label, true
	for _, w := range words {
		// A line must not begin with a colon: two of them begin a workflow command.
		if !empty && t.width > 0 && w[0] != ':' && runes(line)+1+runes(w) > t.width {
			t.b.WriteString(line + "\n")
			line, empty = strings.Repeat(" ", min(runes(label), 4)), true
		}
		if !empty {
			line += " "
		}
		line, empty = line+w, false
	}
	t.b.WriteString(line + "\n")
}

// runes counts characters.
func runes(s string) int { return utf8.RuneCountInString(s) }

// list shows sentences.
func (t *text) list(sentences []string, noun string) {
	shown := sentences[:min(len(sentences), maxShort)]
	for _, s := range shown {
		t.sentence("  - ", s)
	}
	t.left(notShown(len(sentences), noun)(len(shown)))
}

// left counts what is not shown.
func (t *text) left(what string) {
	if what != "" {
		t.b.WriteString("  not shown: " + what + "; see report.json\n")
	}
}

// code writes lines to be copied.
func (t *text) code(heading string, lines []string) {
	if len(lines) == 0 {
		return
	}
	t.heading(heading)
	for _, line := range lines {
		t.b.WriteString(strings.TrimRight("  "+clean(line, 0), " ") + "\n")
	}
}

// tables writes tables with aligned columns.
func (t *text) tables(list []table) {
	for _, table := range list {
		if table.note != "" {
			table.title += ": " + table.note
		}
		t.heading(table.title)
		rows := make([]row, 1, table.rows+1)
		for _, h := range table.heads {
			rows[0].cells = append(rows[0].cells, cell{sign: cmp.Or(h.sign, strings.ToLower(h.text)), shade: shadeDim})
		}
		for i := range table.rows {
			r := table.row(i)
			for n, c := range r.cells {
				r.cells[n].sign = cmp.Or(c.sign, dash(c.text.plain()))
			}
			rows = append(rows, r)
		}
		t.align(table.heads, rows)
		t.left(table.left(table.rows))
		if table.legend != "" {
			t.b.WriteString("  " + table.legend + "\n")
		}
	}
}

// dash shows a missing value in ASCII, for those who search a log.
func dash(s string) string {
	if s == markdown.Nothing {
		return "-"
	}
	return s
}

// align writes the signs of rows in columns.
func (t *text) align(heads []head, rows []row) {
	widths := make([]int, len(heads))
	for _, r := range rows {
		for i, c := range r.cells {
			widths[i] = max(widths[i], uniseg.StringWidth(c.sign))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, c := range r.cells {
			pad := strings.Repeat(" ", widths[i]-uniseg.StringWidth(c.sign))
			sign := t.paint(shadeColors[c.shade], c.sign)
			switch {
			case heads[i].right:
				line.WriteString("  " + pad + sign)
			case i == len(r.cells)-1:
				line.WriteString("  " + sign)
			default:
				line.WriteString("  " + sign + pad)
			}
		}
		t.b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// blocks shows what failed or could not be judged, with the command line that
// shows it again.
func (t *text) blocks() {
	list, left := causes(t.r)
	if len(list) == 0 {
		return
	}
	t.heading("Failures and errors")
	for _, c := range list {
		b := newBlock(t.r, c)
		fmt.Fprintf(&t.b, "  %s %s\n", t.paint(shadeColors[b.shade], strings.ToUpper(b.word)), b.where.plain())
		for _, l := range append(b.lines, blockLine{"reproduce", b.reproduce}) {
			if l.text != "" {
				fmt.Fprintf(&t.b, "    %-9s %s\n", l.label, l.text)
			}
		}
	}
	t.left(notShown(left, "more cause")(0))
}

// foot leads on from here.
func (t *text) foot() {
	t.b.WriteString("\n")
	if a := markdown.WebAddress(t.r.Run.URL); a != "" {
		t.b.WriteString("run: " + clean(a, maxValue) + "\n")
	}
	if a := markdown.WebAddress(t.r.Run.CommitURL); a != "" {
		t.b.WriteString("commit: " + clean(a, maxValue) + "\n")
	}
	t.b.WriteString(took(t.r) + "; canary-verify " + cmp.Or(clean(t.r.Tool, maxName), "of unknown version") + "\n")
}

package summary

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/rivo/uniseg"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

// How much of a large fleet a log shows before the rest is counted.
const (
	maxTextRows     = 300 // failing tenants
	maxTextFindings = 60  // checks that did not hold
	maxTextPlaces   = 60  // tenants elsewhere
	maxTextMatrix   = 30  // checks with a column of their own
)

// Text writes the report for a terminal or a log, with the verdict on the first
// line and on the last. Without color it holds no escape sequence. Sentences are
// wrapped at width columns; 0 or less wraps nothing. Tables and command lines
// are never wrapped, so that they can be copied.
//
// It carries all that a reader needs, since some forges don't show the step
// summary, and no line of it is a workflow command.
func Text(r *gate.Report, color bool, width int) string {
	t := &text{r: r, fleet: viewFleet(r), color: color, width: width}
	t.verdict()
	if r.Verdict == gate.Red {
		t.sentence("rejected commit: ", r.SHA)
	}
	if !quiet(r) {
		t.sentence("first cause: ", r.Reason)
	}
	for _, f := range r.Faults[:min(len(r.Faults), 2*maxWarnings)] {
		t.sentence("  - ", f)
	}
	if r.Next != "" {
		t.sentence("what to do: ", r.Next)
	}
	for _, f := range facts(r, &t.fleet) {
		t.sentence(strings.ToLower(f.label)+": ", f.text.plain())
	}
	t.images()
	t.history()
	t.tenants()
	t.places()
	t.findings()
	t.warnings()
	t.draft()
	t.foot()
	t.verdict()
	return t.b.String()
}

// text writes one report.
type text struct {
	b     strings.Builder
	r     *gate.Report
	fleet fleetView
	color bool
	width int
}

// The colours of tones and marks.
const (
	plainColor  = ""
	boldColor   = "1"
	redColor    = "31"
	greenColor  = "32"
	yellowColor = "33"
	dimColor    = "2"
)

func (t tone) color() string {
	return [...]string{yellowColor, greenColor, redColor, boldColor}[t]
}

// paint colours s when colours are wanted.
func (t *text) paint(color, s string) string {
	if !t.color || color == plainColor || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// verdict is the line that a reader must not miss.
func (t *text) verdict() {
	s := assess(t.r)
	t.b.WriteString(t.paint("1;"+s.tone.color(), s.word) + ": " + title(t.r).plain() + "\n")
}

// heading begins a section.
func (t *text) heading(s string) { t.b.WriteString("\n" + t.paint(boldColor, s) + "\n") }

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

// A cell is text with a colour and, when it is a number, set to the right.
type cell struct {
	text, color string
	right       bool
}

// table writes aligned columns. The first row is the heading.
func (t *text) table(rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], uniseg.StringWidth(c.text))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-uniseg.StringWidth(c.text))
			color := c.color
			if n == 0 {
				color = dimColor
			}
			line.WriteString("  ")
			switch {
			case c.right:
				line.WriteString(pad + t.paint(color, c.text))
			case i == len(row)-1:
				line.WriteString(t.paint(color, c.text))
			default:
				line.WriteString(t.paint(color, c.text) + pad)
			}
		}
		t.b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// value is a cell with a foreign value; "-" when there is none.
func value(s string) cell { return cell{text: cmp.Or(clean(s, maxName*2), "-")} }

func heads(names ...string) []cell {
	row := make([]cell, 0, len(names))
	for _, n := range names {
		row = append(row, cell{text: n})
	}
	return row
}

// images shows where every tag pointed and points, and the way back by hand.
func (t *text) images() {
	if len(t.r.Images) == 0 {
		return
	}
	t.heading("Images")
	rows := [][]cell{heads("image", "before", "now", "candidate", "from", "state")}
	for _, i := range t.r.Images[:min(len(t.r.Images), maxImages)] {
		mark, words, _ := strings.Cut(imageState(t.r, i), " ")
		state := cell{text: words, color: markColors[mark]}
		if i.Detail != "" {
			state.text += ": " + clean(i.Detail, 300)
		}
		rows = append(rows, []cell{value(reference(i)), value(digest(i.Previous)),
			value(digest(i.Now)), value(digest(i.Digest)), value(i.Source), state})
	}
	t.table(rows)
	if lines := repairs(t.r); len(lines) > 0 {
		t.heading("To put the tags back by hand")
		for _, line := range lines {
			t.b.WriteString("  " + line + "\n")
		}
	}
}

// markColors are the colours of marks.
var markColors = map[string]string{"✅": greenColor, "➖": plainColor, "↩️": yellowColor, "🚨": redColor}

// tenants shows the fleet, failing rows first, with a column a check; the checks
// themselves follow as the legend.
func (t *text) tenants() {
	if !t.fleet.asked() {
		return
	}
	t.heading("Tenants: " + t.fleet.tally())
	columns := t.fleet.checks[:min(len(t.fleet.checks), maxTextMatrix)]
	head := heads("tenant", "runs")
	for i := range columns {
		head = append(head, cell{text: fmt.Sprint(i + 1), right: true})
	}
	if len(columns) > 0 {
		head = append(head, cell{text: "slowest", right: true})
	} else {
		head = heads("tenant", "runs", "expected", "state", "waited", "address", "why")
	}
	rows := [][]cell{head}
	shown := t.fleet.shown(t.r, maxOthers)
	if gate.Mode(t.r.Mode) != gate.ModeStatus {
		shown = min(shown, maxTextRows)
	}
	for _, row := range t.fleet.rows[:shown] {
		rows = append(rows, t.tenant(row, columns))
	}
	t.table(rows)
	if shown < len(t.fleet.rows) {
		fmt.Fprintf(&t.b, "  not shown: %s; report.json has them all\n", t.fleet.rest(shown))
	}
	t.legend(columns)
}

func (t *text) tenant(row tenantRow, columns []checkRow) []cell {
	cells := []cell{{text: clean(row.Name, maxName), color: row.outcome.color()}, value(row.runs())}
	var slowest int64
	for i := range columns {
		c := row.find(columns[i].name)
		sign, color := sign(c)
		cells = append(cells, cell{sign, color, true})
		if c != nil {
			slowest = max(slowest, c.DurationMS)
		}
	}
	if len(columns) > 0 {
		return append(cells, cell{text: millis(slowest), right: true})
	}
	return append(cells, t.standing(row)...)
}

// standing is what a row says where no check ran.
func (t *text) standing(row tenantRow) []cell {
	o := row.Rollout
	if o == nil {
		o = &gate.Rollout{State: "not asked"}
	}
	return []cell{value(short(t.r.SHA)), {text: clean(o.State, maxName), color: row.outcome.color()},
		{text: waited(o)}, value(row.URL), {text: clean(o.Detail, 300)}}
}

func (o outcome) color() string {
	return [outcomes]string{redColor, yellowColor, plainColor, plainColor}[o]
}

// sign is one check on one tenant in a character or two.
func sign(c *gate.Check) (text, color string) {
	switch {
	case c == nil:
		return "·", dimColor
	case c.Result == "fail":
		return "✗", redColor
	case c.Result == "skip":
		return "-", dimColor
	case c.Result != "pass":
		return "?", yellowColor
	case c.Flaky:
		return "~", yellowColor
	}
	return "✓", greenColor
}

// legend names the checks behind the columns, with their times.
func (t *text) legend(columns []checkRow) {
	if len(columns) == 0 {
		return
	}
	t.b.WriteString("  ✓ held   ~ held on a later try   ✗ contradicted   ? could not be judged   - skipped   · did not run\n")
	t.heading("Checks")
	rows := [][]cell{{{text: "#", right: true}, {text: "check"}, {text: "held", right: true}, {text: "median", right: true}, {text: "slowest", right: true}, {text: "slowest, to scale"}}}
	scale := t.fleet.slowest()
	for i := range columns {
		c := &columns[i]
		color := plainColor
		if c.failed > 0 {
			color = redColor
		} else if c.held < c.all() {
			color = yellowColor
		}
		rows = append(rows, []cell{{text: fmt.Sprint(i + 1), right: true}, {text: clean(c.name, maxName), color: color},
			{text: fmt.Sprintf("%s of %s", thousands(c.held), thousands(c.all())), right: true},
			{text: millis(c.median), right: true}, {text: millis(c.slowest), right: true}, {text: bar(c.slowest, scale, 20)}})
	}
	t.table(rows)
	if left := len(t.fleet.checks) - len(columns); left > 0 {
		fmt.Fprintf(&t.b, "  not shown: %s; report.json has them all\n", count(left, "check"))
	}
}

// places says who was where, when not at the commit.
func (t *text) places() {
	list := t.fleet.elsewhere()
	if len(list) == 0 {
		return
	}
	t.heading("Not at the commit")
	rows := [][]cell{heads("tenant", "address", "state", "runs", "waited", "why")}
	for _, p := range list[:min(len(list), maxTextPlaces)] {
		state := clean(p.seen.State, maxName)
		if p.after {
			state += " after the checks"
		}
		rows = append(rows, []cell{{text: clean(p.tenant.Name, maxName)}, value(p.tenant.URL), {text: state, color: yellowColor},
			value(short(p.seen.Version)), {text: waited(p.seen)}, value(p.seen.Detail)})
	}
	t.table(rows)
	if left := len(list) - maxTextPlaces; left > 0 {
		fmt.Fprintf(&t.b, "  not shown: %s; report.json has them all\n", count(left, "tenant"))
	}
}

// findings shows what did not hold, with the command line that shows it again.
func (t *text) findings() {
	list, all := t.fleet.findings(maxTextFindings)
	if all == 0 {
		return
	}
	t.heading("What did not hold")
	for _, f := range list {
		c, word, color := f.check, "CONTRADICTED", redColor
		if c.Result != "fail" {
			word, color = "NOT JUDGED", yellowColor
		}
		fmt.Fprintf(&t.b, "  %s %s: %s (%s, %s)\n", t.paint(color, word), clean(f.tenant.Name, maxName), clean(c.Name, maxName),
			count(c.Attempts, "try"), millis(c.DurationMS))
		for _, line := range []struct{ label, text string }{
			{"why", c.Detail}, {"expected", c.Expected}, {"got", c.Got}, {"hint", c.Hint}, {"again", c.Reproduce},
		} {
			if line.text != "" {
				fmt.Fprintf(&t.b, "    %-9s %s\n", line.label, clean(line.text, maxValue))
			}
		}
	}
	if left := all - len(list); left > 0 {
		fmt.Fprintf(&t.b, "  not shown: %s; report.json has them all\n", count(left, "more check"))
	}
}

// history shows the chain of records, newest first.
func (t *text) history() {
	if len(t.r.History) == 0 {
		return
	}
	t.heading("History")
	rows := [][]cell{heads("", "when", "event", "commit", "by", "image", "digest", "replaced", "why")}
	for _, e := range t.r.History[:min(len(t.r.History), maxHistory)] {
		now := cell{}
		if e.Current {
			now = cell{text: "now", color: greenColor}
		}
		why := e.Reason
		if e.Broken != "" {
			why = strings.TrimPrefix(why+"; the chain ends here: "+e.Broken, "; ")
		}
		by := strings.TrimSpace(e.Actor + " " + e.RunURL)
		rows = append(rows, []cell{now, value(when(e.Time)), value(e.Event), value(short(e.SHA)), value(by),
			value(e.Image), value(digest(e.Digest)), value(digest(e.Replaced)), {text: clean(why, 300)}})
	}
	t.table(rows)
	if left := len(t.r.History) - maxHistory; left > 0 {
		fmt.Fprintf(&t.b, "  not shown: %s; report.json has them all\n", count(left, "record"))
	}
}

// warnings are what the reader should not miss.
func (t *text) warnings() {
	if len(t.r.Warnings) == 0 {
		return
	}
	t.heading("Warnings")
	for _, w := range t.r.Warnings[:min(len(t.r.Warnings), maxWarnings)] {
		t.sentence("  - ", w)
	}
	if left := len(t.r.Warnings) - maxWarnings; left > 0 {
		fmt.Fprintf(&t.b, "  - %s more; report.json has them\n", thousands(left))
	}
}

// draft is the post-mortem after a rollback.
func (t *text) draft() {
	if t.r.Rollback == nil || t.r.DryRun {
		return
	}
	t.heading("Draft of a post-mortem")
	for line := range strings.Lines(PostMortem(t.r)) {
		t.b.WriteString(strings.TrimRight("  "+line, " \n") + "\n")
	}
}

// foot leads on from here.
func (t *text) foot() {
	t.b.WriteString("\n")
	if a := webAddress(t.r.Run.URL); a != "" {
		t.b.WriteString("run: " + clean(a, maxValue) + "\n")
	}
	if a := webAddress(t.r.Run.CommitURL); a != "" {
		t.b.WriteString("commit: " + clean(a, maxValue) + "\n")
	}
	fmt.Fprintf(&t.b, "took %s, from %s; canary-verify %s\n", span(t.r.Finished.Sub(t.r.Started)), cmp.Or(when(t.r.Started), "an unknown time"), cmp.Or(clean(t.r.Tool, maxName), "of no version"))
}

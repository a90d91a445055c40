package summary

import (
	"bytes"
	"fmt"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

// MaxMarkdown is the size in bytes that [Markdown] never exceeds. Forges drop a
// step summary over 1 MiB without a word.
const MaxMarkdown = 900 << 10

// How much is shown before the rest is counted.
const (
	maxColumns  = 12  // checks with a column of their own
	maxOthers   = 30  // tenants that are well
	maxWarnings = 30  // warnings
	maxPlaces   = 200 // tenants elsewhere
	maxHistory  = 300 // records
	maxImages   = 100 // images
)

// How many bytes a section may take at most. The tenants and what did not hold
// share what is left of [MaxMarkdown].
const (
	roomSmall = 50 << 10  // images, way back, faults, checks, warnings
	roomLarge = 200 << 10 // history, post-mortem
)

// Markdown writes the report as a step summary in GitHub's flavour. It has at
// most [MaxMarkdown] bytes; what didn't fit is counted in it.
func Markdown(r *gate.Report) string {
	m := &markdown{r: r, fleet: viewFleet(r)}
	m.head()
	m.images()
	m.repair()
	m.history()
	m.rollback()
	// What follows grows with the fleet; the foot must still fit.
	body := m.b.String()
	m.b.Reset()
	m.checks()
	m.warnings()
	m.foot()
	foot := m.b.String()
	m.b.Reset()
	m.b.WriteString(body)
	room := MaxMarkdown - len(body) - len(foot)
	m.tenants(room / 2)
	m.places(room / 8)
	m.findings(MaxMarkdown - len(foot) - m.b.Len())
	m.b.WriteString(foot)
	return m.b.String()
}

// markdown writes one report.
type markdown struct {
	b     bytes.Buffer
	r     *gate.Report
	fleet fleetView
}

// fill writes up to limit of n items, as many as room bytes hold, each whole or
// not at all. It returns how many it wrote.
func (m *markdown) fill(n, limit, room int, write func(i int)) int {
	start := m.b.Len()
	for i := range min(n, limit) {
		before := m.b.Len()
		if write(i); m.b.Len() > start+room {
			m.b.Truncate(before)
			return i
		}
	}
	return min(n, limit)
}

// more counts what a table left out.
func (m *markdown) more(left int, noun string) {
	m.line("")
	if left > 0 {
		m.line("Not shown here: %s. report.json has them all.\n", count(left, noun))
	}
}

func (m *markdown) line(format string, args ...any) { fmt.Fprintf(&m.b, format+"\n", args...) }

// head is what a reader sees first.
func (m *markdown) head() {
	s := assess(m.r)
	m.line("## %s %s: %s\n", s.mark, s.word, title(m.r).markdown(m.r.Run.CommitURL))
	m.alert(s)
	m.faults()
	for _, fact := range facts(m.r, &m.fleet) {
		m.line("- **%s:** %s", fact.label, fact.text.markdown(m.r.Run.CommitURL))
	}
	m.line("")
}

// alert is the block with the first cause and what to do.
func (m *markdown) alert(s situation) {
	if quiet(m.r) && m.r.Next == "" {
		return
	}
	m.line("> [!%s]", s.tone.alert())
	if m.r.Verdict == gate.Red {
		m.line("> **Rejected commit:** %s\n>", link(codeSpan(m.r.SHA, maxName), m.r.Run.CommitURL))
	}
	if m.r.Reason != "" {
		m.line("> **First cause:** %s", prose(m.r.Reason, maxSaid))
	}
	if m.r.Next != "" {
		m.line(">\n> **What to do:** %s", prose(m.r.Next, maxSaid))
	}
	m.line("")
}

// faults lists what is wrong with the inputs.
func (m *markdown) faults() {
	if len(m.r.Faults) == 0 {
		return
	}
	shown := m.fill(len(m.r.Faults), 2*maxWarnings, roomSmall, func(i int) { m.line("- %s", prose(m.r.Faults[i], maxSaid)) })
	m.more(len(m.r.Faults)-shown, "fault")
}

// table begins a table; align has one of "l" and "r" for each column.
func (m *markdown) table(align string, columns ...string) {
	m.line("| %s |", strings.Join(columns, " | "))
	for _, a := range align {
		m.b.WriteString(map[rune]string{'l': "| --- ", 'r': "| ---: "}[a])
	}
	m.line("|")
}

func (m *markdown) row(cells ...string) { m.line("| %s |", strings.Join(cells, " | ")) }

// images shows where every tag pointed and points.
func (m *markdown) images() {
	if len(m.r.Images) == 0 {
		return
	}
	m.line("### Images\n")
	m.table("llllll", "Image", "State", "Before", "Now", "Candidate", "From tag")
	shown := m.fill(len(m.r.Images), maxImages, roomSmall, func(i int) {
		image := m.r.Images[i]
		m.row(codeSpan(reference(image), 2*maxName), tight(imageState(m.r, image))+detail(image.Detail),
			codeSpan(digest(image.Previous), maxName), codeSpan(digest(image.Now), maxName),
			codeSpan(digest(image.Digest), maxName), codeSpan(image.Source, maxName))
	})
	m.more(len(m.r.Images)-shown, "image")
}

// detail is a remark behind a state.
func detail(s string) string {
	if s == "" {
		return ""
	}
	return ": " + prose(s, 300)
}

// imageState marks the state of an image. Promoted is no success when the run
// failed to move all of them.
func imageState(r *gate.Report, i gate.Image) string {
	switch {
	case i.State == "promoted" && r.Exit == gate.ExitRegistry:
		return "🚨 promoted, and not put back"
	case i.State == "promoted" && gate.Mode(r.Mode) == gate.ModeRollback:
		return "✅ moved back"
	case i.State == "promoted":
		return "✅ promoted"
	case i.State == "already":
		return "✅ was there already"
	case i.State == "restored":
		return "↩️ restored"
	case i.State == "unchanged":
		return "➖ unchanged"
	}
	return "🚨 unknown"
}

// repair is the way back by hand where the registry failed.
func (m *markdown) repair() {
	lines, size := repairs(m.r), 0
	for i, line := range lines {
		if size += len(line) + 1; size > roomSmall {
			lines = append(lines[:i], "# the rest is left out for length")
			break
		}
	}
	if len(lines) > 0 {
		m.line("### To put the tags back by hand\n\n%s", codeBlock("sh", lines...))
	}
}

// tight keeps words of ours on one line of a narrow cell.
func tight(s string) string { return strings.ReplaceAll(s, " ", "\u00a0") }

// checks shows every check over the fleet, with bars of its time.
func (m *markdown) checks() {
	if len(m.fleet.checks) == 0 {
		return
	}
	m.line("### Checks\n")
	m.table("lrrrrrrl", "Check", "Held", "Contradicted", "Not judged", "Flaky", "Median", "Slowest", "Slowest, to scale")
	scale := m.fleet.slowest()
	shown := m.fill(len(m.fleet.checks), 2*maxOthers, roomSmall, func(i int) {
		c := &m.fleet.checks[i]
		m.row(c.mark()+" "+codeSpan(c.name, maxName), tight(thousands(c.held)+" of "+thousands(c.all())),
			some(c.failed), some(c.unjudged+c.skipped), some(c.flaky), tight(millis(c.median)), tight(millis(c.slowest)), bar(c.slowest, scale, 16))
	})
	m.more(len(m.fleet.checks)-shown, "check")
}

// mark is the picture of a check over the fleet.
func (c *checkRow) mark() string {
	switch {
	case c.failed > 0:
		return "❌"
	case c.held < c.all():
		return "⚠️"
	}
	return "✅"
}

// some writes a count, and nothing for none.
func some(n int) string {
	if n == 0 {
		return ""
	}
	return thousands(n)
}

// tenants shows tenants × checks, or where no check ran their commits: failing
// rows first, within room bytes.
func (m *markdown) tenants(room int) {
	if !m.fleet.asked() {
		return
	}
	m.line("### Tenants\n\n%s.\n", m.fleet.tally())
	columns := m.fleet.checks[:min(len(m.fleet.checks), maxColumns)]
	heads := []string{"Tenant", "Runs"}
	for i := range columns {
		heads = append(heads, codeSpan(columns[i].name, 60))
	}
	if !m.fleet.checked() {
		heads = []string{"Tenant", "Runs", "Expected", "State", "Waited", "Address"}
	}
	m.table(strings.Repeat("l", len(heads)), heads...)
	rows := m.fleet.rows[:m.fleet.shown(m.r, maxOthers)]
	shown := m.fill(len(rows), len(rows), room, func(i int) { m.tenant(rows[i], columns) })
	m.line("")
	if shown < len(m.fleet.rows) {
		m.line("Not shown here: %s. report.json has them all.\n", m.fleet.rest(shown))
	}
	if hidden := len(m.fleet.checks) - len(columns); hidden > 0 {
		m.line("%s more have no column here; those that did not hold are below.\n", count(hidden, "check"))
	}
}

func (m *markdown) tenant(row tenantRow, columns []checkRow) {
	cells := make([]string, 0, 6+len(columns))
	cells = append(cells, row.outcome.mark()+" "+codeSpan(row.Name, maxName), codeSpan(row.runs(), maxName))
	for i := range columns {
		cells = append(cells, tight(checkCell(row.find(columns[i].name))))
	}
	if !m.fleet.checked() {
		cells = append(cells, m.standing(row)...)
	}
	m.row(cells...)
}

// standing is what a row says where no check ran.
func (m *markdown) standing(row tenantRow) []string {
	o := row.Rollout
	if o == nil {
		o = &gate.Rollout{State: "not asked"}
	}
	return []string{codeSpan(short(m.r.SHA), maxName), prose(o.State, maxName) + detail(o.Detail), waited(o), codeSpan(row.URL, 2*maxName)}
}

// waited says how long a tenant was asked.
func waited(o *gate.Rollout) string {
	return millis(o.WaitedMS) + ", " + count(o.Polls, "poll")
}

// mark is the picture of a tenant.
func (o outcome) mark() string { return [outcomes]string{"❌", "⚠️", "🔁", "✅"}[o] }

// checkCell is one check on one tenant: mark, time, and tries when not one.
func checkCell(c *gate.Check) string {
	if c == nil {
		return "–"
	}
	text := millis(c.DurationMS)
	switch {
	case c.Result == "fail":
		text = "❌ fail, " + text
	case c.Result == "skip":
		return "➖ skipped"
	case c.Result != "pass":
		text = "⚠️ not judged, " + text
	case c.Flaky:
		text = "🔁 flaky, " + text
	default:
		text = "✅ " + text
	}
	if c.Attempts > 1 {
		text += fmt.Sprintf(", %d tries", c.Attempts)
	}
	return text
}

// places says who was where, when not at the commit.
func (m *markdown) places(room int) {
	list := m.fleet.elsewhere()
	if len(list) == 0 {
		return
	}
	m.line("### Not at the commit\n")
	m.table("llllr", "Tenant", "Address", "State", "Runs", "Waited")
	shown := m.fill(len(list), maxPlaces, room, func(i int) {
		p := list[i]
		state := p.seen.State
		if p.after {
			state += " after the checks"
		}
		m.row(codeSpan(p.tenant.Name, maxName), codeSpan(p.tenant.URL, 2*maxName), prose(state, maxName)+detail(p.seen.Detail),
			codeSpan(short(p.seen.Version), maxName), waited(p.seen))
	})
	m.more(len(list)-shown, "tenant")
}

// findings shows what did not hold, each in a collapsed block, within room bytes.
func (m *markdown) findings(room int) {
	list, all := m.fleet.findings(0)
	if all == 0 {
		return
	}
	const note = 200 // for the heading and the count of what is left out
	m.line("### What did not hold\n")
	end := m.b.Len() + room - note
	for i, f := range list {
		block := findingBlock(f, i == 0)
		if m.b.Len()+len(block) > end {
			m.line("Left out for length: %s. report.json has them all.\n", count(all-i, "more block"))
			return
		}
		m.b.WriteString(block)
	}
}

func findingBlock(f finding, open bool) string {
	c, mark, attribute := f.check, "❌", ""
	if c.Result != "fail" {
		mark = "⚠️"
	}
	if open {
		attribute = " open"
	}
	lines := []string{"expected  " + c.Expected, "got       " + c.Got, "tries     " + fmt.Sprintf("%d, %s", c.Attempts, millis(c.DurationMS))}
	for _, extra := range []struct{ label, text string }{{"detail    ", c.Detail}, {"hint      ", c.Hint}} {
		if extra.text != "" {
			lines = append(lines, extra.label+extra.text)
		}
	}
	block := fmt.Sprintf("<details%s><summary>%s %s: %s</summary>\n\n%s\n", attribute, mark, htmlCode(f.tenant.Name), htmlCode(c.Name), codeBlock("text", lines...))
	if c.Reproduce != "" {
		block += codeBlock("sh", c.Reproduce) + "\n"
	}
	return block + "</details>\n\n"
}

// history shows the chain of records, newest first.
func (m *markdown) history() {
	if len(m.r.History) == 0 {
		return
	}
	m.line("### History\n")
	m.table("llllllll", "", "When", "Event", "Commit", "By", "Image", "Digest", "Replaced")
	shown := m.fill(len(m.r.History), maxHistory, roomLarge, func(i int) { m.record(m.r.History[i]) })
	m.more(len(m.r.History)-shown, "record")
}

func (m *markdown) record(e gate.HistoryEntry) {
	mark := ""
	if e.Current {
		mark = "👉 now"
	}
	event := prose(e.Event, maxName) + detail(e.Reason)
	if e.Broken != "" {
		event += "; ⚠️ the chain ends here" + detail(e.Broken)
	}
	m.row(mark, when(e.Time), event, codeSpan(short(e.SHA), maxName), m.by(e), codeSpan(e.Image, 2*maxName),
		codeSpan(digest(e.Digest), maxName), codeSpan(digest(e.Replaced), maxName))
}

// by names who made a record. Its address is foreign: it is a link only when it
// leads to where this run was made.
func (m *markdown) by(e gate.HistoryEntry) string {
	who := codeSpan(e.Actor, maxName)
	switch {
	case e.RunURL == "":
		return who
	case sameSite(e.RunURL, m.r.Run.URL):
		return who + ", " + link("run", e.RunURL)
	}
	return who + ", " + codeSpan(e.RunURL, 2*maxName)
}

// rollback offers the draft of the post-mortem.
func (m *markdown) rollback() {
	if m.r.Rollback == nil || m.r.DryRun {
		return
	}
	m.line("<details><summary>Draft of a post-mortem, to be copied into an issue</summary>\n")
	m.b.WriteString(draftBlock(PostMortem(m.r)))
	m.line("\n</details>\n")
}

// draftBlock is a code block whose lines are clean already.
func draftBlock(text string) string {
	fence := strings.Repeat("`", max(3, longestRun(text, '`')+1))
	return fence + "markdown\n" + strings.TrimRight(text, "\n") + "\n" + fence + "\n"
}

// warnings are what the reader should not miss.
func (m *markdown) warnings() {
	if len(m.r.Warnings) == 0 {
		return
	}
	m.line("### Warnings\n")
	shown := m.fill(len(m.r.Warnings), maxWarnings, roomSmall, func(i int) { m.line("- %s", prose(m.r.Warnings[i], maxSaid)) })
	m.more(len(m.r.Warnings)-shown, "warning")
}

// foot leads on from here.
func (m *markdown) foot() {
	var links []string
	if a := webAddress(m.r.Run.URL); a != "" {
		links = append(links, link("This run", a))
	}
	if a := webAddress(m.r.Run.CommitURL); a != "" {
		links = append(links, link("The commit", a))
	}
	if target(m.r) != "" && gate.Mode(m.r.Mode) != gate.ModeHistory {
		links = append(links, "`canary-verify history` shows what "+codeSpan(target(m.r), maxName)+" pointed at before")
	}
	links = append(links, fmt.Sprintf("%s, %s", when(m.r.Started), span(m.r.Finished.Sub(m.r.Started))), "canary-verify "+codeSpan(m.r.Tool, maxName))
	m.line("---\n\n<sub>%s</sub>", strings.Join(links, " · "))
}

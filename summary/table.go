package summary

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// How much is shown before the rest is counted.
const (
	maxColumns = 16   // checks with a column of their own
	maxOthers  = 30   // tenants that passed
	maxRows    = 1000 // of a table
	maxShort   = 60   // warnings, invalid inputs, checks
	maxImages  = 100
	maxHistory = 300 // records
)

// How many bytes of Markdown a table may take at most.
const (
	roomSmall = 40 << 10
	roomLarge = 150 << 10
)

// A shade says how a cell or a row should stand out. Lower ones need a look
// first.
type shade int

const (
	shadeBad shade = iota - 2
	shadeDoubt
	shadeNone
	shadeGood
	shadeDim
)

// class is the word that the HTML page uses.
func (s shade) class() string {
	return map[shade]string{shadeBad: "fail", shadeDoubt: "error"}[s]
}

// A table is a section of the report as rows, which each format writes in its
// own way.
type table struct {
	title, note string
	heads       []head
	room        int // in bytes of Markdown
	rows        int
	row         func(i int) row
	left        func(shown int) string // what is not shown; empty: all is
	legend      string                 // of signs
}

type head struct {
	text  string // clean
	sign  string // instead of text where there is little room; empty: the text
	right bool   // numbers
	name  bool   // foreign
}

type row struct {
	shade shade
	cells []cell
}

type cell struct {
	text  phrase
	sign  string // as in head
	shade shade
	whole string // what text is a short form of
	wide  bool   // a sentence, which may be wrapped
}

func heads(names ...string) []head {
	list := make([]head, 0, len(names))
	for _, n := range names {
		right := strings.HasPrefix(n, ">")
		list = append(list, head{text: strings.TrimPrefix(n, ">"), right: right})
	}
	return list
}

func words(format string, args ...any) cell { return cell{text: phrase{ours(format, args...)}} }

func value[S ~string](s S) cell { return cell{text: phrase{long(s)}} }

func sentence(s string) cell {
	if s == "" {
		return cell{}
	}
	return cell{text: phrase{{kind: kindSaid, text: clean(s, maxDetail)}}, wide: true}
}

// digest is a short digest, with the whole one behind it.
func digest(d report.Digest) cell {
	return cell{text: phrase{name(d.Short())}, whole: clean(d, maxLong)}
}

// notShown counts the rest of a plain list.
func notShown(all int, noun string) func(int) string {
	return func(shown int) string {
		if shown >= all {
			return ""
		}
		return report.Count(all-shown, noun)
	}
}

// tables are all tables, those about images first and those about tenants last.
// Tables without rows are left out.
func tables(r *report.Report, v *fleetView) (images, fleet []table) {
	add := func(list *[]table, t table) {
		if t.rows > 0 {
			*list = append(*list, t)
		}
	}
	add(&images, imageTable(r))
	add(&images, historyTable(r))
	add(&fleet, tenantTable(r, v))
	add(&fleet, placeTable(v))
	add(&fleet, checkTable(v))
	add(&fleet, timeline(r))
	return images, fleet
}

// imageTable shows where every tag pointed and points.
func imageTable(r *report.Report) table {
	t := table{
		title: "Images", heads: heads("Image", "State", "Before", "Now", "Candidate", "From tag"),
		room: roomSmall, rows: min(len(r.Images), maxImages), left: notShown(len(r.Images), "image"),
	}
	why := slices.ContainsFunc(r.Images, func(i report.Image) bool { return i.Detail != "" })
	if why {
		t.heads = append(t.heads, heads("Why")...)
	}
	t.row = func(n int) row {
		i := r.Images[n]
		state := imageState(r, i)
		cells := []cell{value(i.Reference()), state, digest(i.Previous), digest(i.Now), digest(i.Digest), value(i.Source)}
		if why {
			cells = append(cells, sentence(i.Detail))
		}
		return row{state.shade, cells}
	}
	return t
}

// imageState marks the state of an image. Promoted is no success when the run
// failed to move all of them.
func imageState(r *report.Report, i report.Image) cell {
	text, shade := "🚨 unknown", shadeBad
	switch i.State {
	case report.Promoted:
		switch {
		case r.Exit == report.ExitRegistry:
			text = "🚨 moved, not restored"
		case r.Mode == report.ModeRollback:
			text, shade = "✅ rolled back", shadeGood
		default:
			text, shade = "✅ promoted", shadeGood
		}
	case report.Already:
		text, shade = "✅ already in place", shadeGood
	case report.Restored:
		text, shade = "↩️ restored", shadeDoubt
	case report.Unchanged:
		text, shade = "➖ unchanged", shadeNone
	}
	_, bare, _ := strings.Cut(text, " ")
	return cell{text: phrase{ours("%s", text)}, sign: bare, shade: shade}
}

// historyTable shows the decisions about the target, newest first.
func historyTable(r *report.Report) table {
	return table{
		title: "History", heads: heads("", "When", "Decision", "Commit", "By", "Images", "Signed by", "Hold", "Why"),
		room: roomLarge, rows: min(len(r.History), maxHistory), left: notShown(len(r.History), "decision"),
		row: func(n int) row {
			d := r.History[n]
			shade, now, hold := shadeNone, words(""), words("")
			if d.Current {
				now = cell{text: phrase{ours("👉 live")}, sign: "live", shade: shadeGood}
			}
			if d.Held {
				hold = words("on hold")
			}
			if d.Broken != "" {
				shade = shadeDoubt
			}
			event := cell{text: phrase{{kind: kindSaid, text: clean(cmp.Or(d.Event, "no record"), maxName)}}}
			return row{shade, []cell{now, words("%s", cmp.Or(report.Moment(d.Time), "–")), event, value(d.SHA.Short()),
				by(d, r.Run.URL), decidedOn(d), signer(d), hold, sentence(why(d))}}
		},
	}
}

// why is all that a decision says in words.
func why(d report.Decision) string {
	var parts []string
	add := func(format, text string) {
		if text != "" {
			parts = append(parts, fmt.Sprintf(format, text))
		}
	}
	add("%s", d.Reason)
	if d.Forced != d.Reason {
		add("forced: %s", d.Forced)
	}
	add("the chain of records ends here: %s", d.Broken)
	return strings.Join(parts, "; ")
}

// signer is the key that signed a decision, by the first digits of its
// fingerprint.
func signer(d report.Decision) cell {
	switch {
	case d.Event == "":
		return words("")
	case d.SignedBy == "":
		return words("unsigned")
	}
	return digest(report.Digest(d.SignedBy))
}

// decidedOn names each image of a decision with the digest that it was about.
func decidedOn(d report.Decision) cell {
	var c cell
	var signs, whole []string
	for n, i := range d.Images {
		if n > 0 {
			c.text = append(c.text, ours(", "))
		}
		c.text = append(c.text, long(i.Image), ours(" "), name(i.Digest.Short()))
		signs = append(signs, clean(i.Image, maxLong)+"@"+clean(i.Digest.Short(), maxName))
		whole = append(whole, clean(i.Digest, maxLong))
	}
	c.sign, c.whole = strings.Join(signs, " "), strings.Join(whole, " ")
	return c
}

// by names who made a record. The address in it is foreign: it is a link only
// when it leads to where this run was made.
func by(e report.Decision, site string) cell {
	c := cell{text: phrase{name(e.Actor)}, sign: clean(strings.TrimSpace(e.Actor+" "+e.RunURL), maxLong)}
	switch {
	case e.RunURL == "":
	case markdown.SameSite(e.RunURL, site):
		c.text = append(c.text, ours(", "), part{text: "run", address: e.RunURL})
	default:
		c.text = append(c.text, ours(", "), long(e.RunURL))
	}
	return c
}

// standingMarks are the pictures of tenants.
var standingMarks = [report.Standings]string{"❌", "⚠️", "🔁", "✅"}

// tenantTable shows tenants × checks, or where no check ran where tenants stand:
// failing rows first.
func tenantTable(r *report.Report, v *fleetView) table {
	if !v.asked() {
		return table{}
	}
	t := table{title: "Tenants", note: v.tally(v.counts), room: roomLarge, left: v.rest, rows: len(v.rows)}
	if r.Mode != report.ModeStatus {
		t.rows = min(len(v.rows), maxRows, v.counts[report.StandsFailed]+v.counts[report.StandsUndecided]+maxOthers)
	}
	columns := v.checks[:min(len(v.checks), maxColumns)]
	t.heads = heads("Tenant", "Runs")
	for i := range columns {
		t.heads = append(t.heads, head{text: clean(columns[i].name, maxShort), sign: fmt.Sprint(i + 1), right: true, name: true})
	}
	if v.checked() {
		t.legend = "✓ passed   ~ flaky: passed after a retry   ✗ failed   ? error   - skipped   · did not run"
		if hidden := len(v.checks) - len(columns); hidden > 0 {
			t.note += "; " + report.Count(hidden, "more check") + " without a column"
		}
	} else {
		t.heads = append(t.heads, heads("Expected", "State", "Waited", "Address", "Why")...)
	}
	t.row = func(n int) row {
		tenant := v.rows[n]
		s := tenant.Standing()
		shade := [report.Standings]shade{shadeBad, shadeDoubt, shadeNone, shadeNone}[s]
		cells := []cell{{text: phrase{ours("%s ", standingMarks[s]), name(tenant.Name)}, sign: cmp.Or(clean(tenant.Name, maxName), "-"), shade: shade}, value(tenant.Runs().Short())}
		for i := range columns {
			cells = append(cells, checkCell(find(tenant, columns[i].name)))
		}
		if !v.checked() {
			cells = append(cells, value(r.SHA.Short()))
			cells = append(cells, rolloutCells(tenant, tenant.Rollout, "")...)
		}
		return row{shade, cells}
	}
	return t
}

// rolloutCells say where a tenant stands.
func rolloutCells(t *report.Tenant, o *report.Rollout, when string) []cell {
	if o == nil {
		return []cell{{text: phrase{ours("not asked")}, shade: shadeDoubt}, words(""), value(t.URL), words("")}
	}
	state := words("%s%s", o.State, when)
	if !o.IsCurrent() {
		state.shade = shadeDoubt
	}
	return []cell{state, words("%s, %s", o.Waited, report.Count(o.Polls, "poll")), value(t.URL), sentence(o.Detail)}
}

// checkCell is one check on one tenant: mark, time, and attempts when not one.
func checkCell(c *report.CheckResult) cell {
	if c == nil {
		return cell{text: phrase{ours("–")}, sign: "·", shade: shadeDim}
	}
	text, sign, shade := "✅ ", "✓", shadeGood
	switch {
	case c.Result == report.Failed:
		text, sign, shade = "❌ failed, ", "✗", shadeBad
	case c.Result == report.NotRun:
		return cell{text: phrase{ours("➖ skipped")}, sign: "-", shade: shadeDim}
	case c.Result != report.Passed:
		text, sign, shade = "⚠️ error, ", "?", shadeDoubt
	case c.Flaky:
		text, sign, shade = "🔁 flaky, ", "~", shadeDoubt
	}
	text += c.Duration.String()
	if c.Attempts > 1 {
		text += ", " + report.Count(c.Attempts, "attempt")
	}
	return cell{text: phrase{ours("%s", text)}, sign: sign, shade: shade}
}

// placeTable shows who was where, when not at the commit.
func placeTable(v *fleetView) table {
	list := v.elsewhere()
	return table{
		title: "Not at the commit", heads: heads("Tenant", "Runs", "State", "Waited", "Address", "Why"),
		room: roomSmall, rows: min(len(list), maxRows), left: notShown(len(list), "tenant"),
		row: func(n int) row {
			p := list[n]
			return row{shadeDoubt, append([]cell{value(p.tenant.Name), value(p.seen.Version.Short())}, rolloutCells(p.tenant, p.seen, p.after)...)}
		},
	}
}

// checkTable shows every check over the fleet, with bars of its time.
func checkTable(v *fleetView) table {
	scale := time.Duration(v.slowest())
	return table{
		title: "Checks", heads: heads("Check", ">Passed", ">Failed", ">Error", ">Skipped", ">Flaky", ">Median", ">Slowest", "To scale"),
		room: roomSmall, rows: min(len(v.checks), maxShort), left: notShown(len(v.checks), "check"),
		row: func(n int) row {
			c := &v.checks[n]
			mark := map[shade]string{shadeBad: "❌", shadeDoubt: "⚠️", shadeNone: "✅"}[c.shade()]
			failed, errored := some(c.failed), some(c.errored)
			failed.shade, errored.shade = shadeBad, shadeDoubt
			return row{c.shade(), []cell{
				{text: phrase{ours("%s ", mark), name(c.name)}, sign: fmt.Sprintf("%2d  %s", n+1, clean(c.name, maxName)), shade: c.shade()},
				words("%s of %s", report.Thousands(c.passed), report.Thousands(c.all)), failed, errored, some(c.skipped), some(c.flaky),
				words("%s", c.median), words("%s", c.slowest), words("%s", bar(0, time.Duration(c.slowest), scale)),
			}}
		},
	}
}

// some writes a count, and nothing for none.
func some(n int) cell {
	if n == 0 {
		return words("")
	}
	return words("%s", report.Thousands(n))
}

// timeline shows the phases of the run, on the scale of the whole of it.
func timeline(r *report.Report) table {
	whole := r.Finished.Sub(r.Started)
	return table{
		title: "Timeline", heads: heads("Phase", ">Started after", ">Took", "To scale"),
		room: roomSmall, rows: min(len(r.Phases), maxShort), left: notShown(len(r.Phases), "phase"),
		row: func(n int) row {
			p := r.Phases[n]
			from, to := p.Started.Sub(r.Started), p.Finished.Sub(r.Started)
			return row{shadeNone, []cell{value(p.Name), words("%s", report.Span(from)),
				words("%s", report.Span(to-from)), words("%s", bar(from, to, whole))}}
		},
	}
}

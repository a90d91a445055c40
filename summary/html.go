package summary

import (
	"cmp"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"fmt"
	"html"
	"html/template"
	"io"
	"strings"
	"sync"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

// How much of a large fleet the page shows before the rest is counted.
const (
	maxPageRows     = 1000 // failing tenants
	maxPageFindings = 300  // checks that did not hold
	maxPageColumns  = 24   // checks with a column of their own
)

//go:embed page.tmpl.html
var pageText string

//go:embed page.css
var pageStyle string

// pageTemplate is the page with its style in it. The style's hash is all that
// its content security policy allows.
var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Parse(strings.Replace(pageText, "STYLE", pageStyle, 1)))
})

var styleHash = sync.OnceValue(func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
})

// HTML writes the report as one page that needs nothing else: no script, no
// picture, no font from anywhere. It suits a light and a dark screen, and a
// phone.
func HTML(w io.Writer, r *gate.Report) error {
	return pageTemplate().Execute(w, newPage(r))
}

// The page's parts, in the order in which they are shown. Texts are clean; the
// template escapes them. template.HTML comes from phrase.html alone.
type (
	htmlPage struct {
		StyleHash, Title, Tone, Mark, Word string
		Claim, Commit, Cause, Next         template.HTML
		CommitLabel                        string
		Faults                             []string
		Tiles                              []htmlTile
		Facts                              []htmlFact
		Images                             []htmlImage
		Repairs                            string
		Timeline                           *timeline
		Findings                           []htmlFinding
		FindingsLeft                       string
		Tally                              string
		Columns                            []string
		Tenants                            []htmlTenant
		TenantsLeft                        string
		Places                             []htmlPlace
		PlacesLeft                         string
		Checks                             []htmlCheck
		History                            []htmlRecord
		HistoryLeft                        string
		PostMortem                         string
		Warnings                           []template.HTML
		WarningsLeft                       string
		RunURL, CommitURL, Target, Foot    string
	}
	htmlTile struct{ Value, Label string }
	htmlFact struct {
		Label string
		Text  template.HTML
	}
	htmlImage struct {
		Class, Image, Source, Digest, FullDigest, Previous, FullPrevious, Now, FullNow, State, Detail string
	}
	htmlLine struct {
		Label, Text string
		Code        bool
	}
	htmlFinding struct {
		Open                       bool
		Class, Word, Tenant, Check string
		Lines                      []htmlLine
		Reproduce                  string
	}
	htmlCell   struct{ Class, Text string }
	htmlTenant struct {
		Class, Mark, Name, Runs string
		Cells                   []htmlCell
	}
	htmlPlace struct{ Name, State, Runs, Waited, URL, Why string }
	htmlCheck struct {
		Class, Mark, Name, Held, Failed, Unjudged, Flaky, Median, Slowest string
		Bar                                                               int64
	}
	htmlRecord struct {
		Now, Image, When, Event, Commit, Digest, Replaced string
		By                                                template.HTML
		Why                                               string
	}
)

// html writes a phrase with its markup.
func (p phrase) html(commitURL string) template.HTML {
	var b strings.Builder
	for _, part := range p {
		text := html.EscapeString(part.clean())
		switch part.kind {
		case kindOurs:
			b.WriteString(html.EscapeString(part.text))
		case kindName:
			b.WriteString("<code>" + text + "</code>")
		case kindCommit:
			b.WriteString(anchor("<code>"+text+"</code>", commitURL))
		default:
			b.WriteString(text)
		}
	}
	return template.HTML(b.String()) //nolint:gosec // every foreign part is escaped above
}

// anchor links markup to an address of the web; without one it stays as it is.
func anchor(markup, address string) string {
	if address = webAddress(address); address == "" {
		return markup
	}
	return `<a href="` + html.EscapeString(address) + `">` + markup + "</a>"
}

// sentence is a foreign sentence with what it quotes as code.
func sentence(s string) template.HTML {
	if s == "" {
		return ""
	}
	return cmp.Or(quoted(clean(s, maxSaid)).html(""), "–")
}

func newPage(r *gate.Report) *htmlPage {
	v := viewFleet(r)
	s := assess(r)
	p := &htmlPage{
		StyleHash: styleHash(), Title: Headline(r), Tone: s.tone.String(), Mark: s.mark, Word: s.word,
		Claim: title(r).html(r.Run.CommitURL), Next: sentence(r.Next), Repairs: strings.Join(repairs(r), "\n"),
		Timeline: newTimeline(r, &v), RunURL: webAddress(r.Run.URL), CommitURL: webAddress(r.Run.CommitURL),
		Foot: fmt.Sprintf("%s, %s · canary-verify %s", when(r.Started), span(r.Finished.Sub(r.Started)), clean(r.Tool, maxName)),
	}
	if gate.Mode(r.Mode) != gate.ModeHistory {
		p.Target = clean(target(r), maxName)
	}
	if !quiet(r) {
		p.Cause = sentence(r.Reason)
	}
	if r.SHA != "" {
		p.Commit, p.CommitLabel = phrase{{kindCommit, r.SHA}}.html(r.Run.CommitURL), "Commit"
	}
	if r.Verdict == gate.Red {
		p.CommitLabel = "Rejected commit"
	}
	for _, f := range r.Faults[:min(len(r.Faults), 2*maxWarnings)] {
		p.Faults = append(p.Faults, clean(f, maxSaid))
	}
	for _, f := range facts(r, &v) {
		p.Facts = append(p.Facts, htmlFact{f.label, f.text.html(r.Run.CommitURL)})
	}
	if r.Rollback != nil && !r.DryRun {
		p.PostMortem = PostMortem(r)
	}
	p.addTiles(r, &v)
	p.addImages(r)
	p.addFindings(&v)
	p.addTenants(r, &v)
	p.addPlaces(&v)
	p.addChecks(&v)
	p.addHistory(r)
	for _, w := range r.Warnings[:min(len(r.Warnings), maxWarnings)] {
		p.Warnings = append(p.Warnings, sentence(w))
	}
	p.WarningsLeft = left(len(r.Warnings)-maxWarnings, "warning")
	return p
}

// left says how many are not on the page; "" for none.
func left(n int, noun string) string {
	if n <= 0 {
		return ""
	}
	return "Not shown here: " + count(n, noun) + ". report.json has them all."
}

func (p *htmlPage) addTiles(r *gate.Report, v *fleetView) {
	if n := len(v.rows); n > 0 && v.asked() {
		well := v.counts[held] + v.counts[wobbly]
		p.Tiles = append(p.Tiles, htmlTile{thousands(well) + " of " + thousands(n), "tenants " + map[bool]string{true: "held", false: "at the commit"}[v.checked()]})
	}
	if v.checked() {
		good, all := 0, 0
		for i := range v.checks {
			good += v.checks[i].held
			all += v.checks[i].all()
		}
		p.Tiles = append(p.Tiles, htmlTile{thousands(good) + " of " + thousands(all), "checks held"}, htmlTile{millis(v.slowest()), "slowest check"})
	}
	p.Tiles = append(p.Tiles, htmlTile{span(r.Finished.Sub(r.Started)), "the whole run"})
}

func (p *htmlPage) addImages(r *gate.Report) {
	for _, i := range r.Images[:min(len(r.Images), maxImages)] {
		none := func(s string) string { return cmp.Or(clean(s, 2*maxName), "–") }
		state, shown := imageState(r, i), ""
		if strings.HasPrefix(state, "🚨") {
			shown = "bad"
		}
		p.Images = append(p.Images, htmlImage{
			shown, none(reference(i)), none(i.Source), none(digest(i.Digest)), none(i.Digest), none(digest(i.Previous)), none(i.Previous),
			none(digest(i.Now)), none(i.Now), state, clean(i.Detail, 300)})
	}
}

func (p *htmlPage) addFindings(v *fleetView) {
	list, all := v.findings(maxPageFindings)
	for n, f := range list {
		c := f.check
		h := htmlFinding{Open: n < 3, Class: "fail", Word: "Contradicted", Tenant: clean(f.tenant.Name, maxName), Check: clean(c.Name, maxName), Reproduce: clean(c.Reproduce, maxValue)}
		if c.Result != "fail" {
			h.Class, h.Word = "error", "Not judged"
		}
		for _, line := range []htmlLine{{"Why", c.Detail, false}, {"Expected", c.Expected, true}, {"Got", c.Got, true}, {"Hint", c.Hint, false}} {
			if line.Text != "" {
				line.Text = clean(line.Text, maxValue)
				h.Lines = append(h.Lines, line)
			}
		}
		h.Lines = append(h.Lines, htmlLine{"Tries", fmt.Sprintf("%d, %s", c.Attempts, millis(c.DurationMS)), false})
		p.Findings = append(p.Findings, h)
	}
	p.FindingsLeft = left(all-len(list), "more check")
}

func (p *htmlPage) addTenants(r *gate.Report, v *fleetView) {
	if !v.asked() {
		return
	}
	p.Tally = v.tally()
	columns := v.checks[:min(len(v.checks), maxPageColumns)]
	for i := range columns {
		p.Columns = append(p.Columns, clean(columns[i].name, maxName))
	}
	if !v.checked() {
		p.Columns = []string{"Expected", "State", "Why", "Waited", "Address"}
	}
	shown := min(v.shown(r, 2*maxOthers), maxPageRows)
	for _, row := range v.rows[:shown] {
		t := htmlTenant{Class: row.outcome.tone().String(), Mark: row.outcome.mark(), Name: clean(row.Name, maxName), Runs: cmp.Or(clean(row.runs(), maxName), "–")}
		for i := range columns {
			t.Cells = append(t.Cells, htmlCheckCell(row.find(columns[i].name)))
		}
		if !v.checked() {
			t.Cells = standingCells(r, row)
		}
		p.Tenants = append(p.Tenants, t)
	}
	if shown < len(v.rows) {
		p.TenantsLeft = "Not shown here: " + v.rest(shown) + ". report.json has them all."
	}
}

// tone is how a reader should take the outcome of a tenant.
func (o outcome) tone() tone {
	return [outcomes]tone{toneBad, toneDoubt, toneNote, toneGood}[o]
}

func htmlCheckCell(c *gate.Check) htmlCell {
	class := ""
	switch {
	case c == nil:
	case c.Result == "fail" || c.Result == "error":
		class = c.Result
	case c.Flaky:
		class = "flaky"
	}
	return htmlCell{class, checkCell(c)}
}

func standingCells(r *gate.Report, row tenantRow) []htmlCell {
	o := row.Rollout
	if o == nil {
		o = &gate.Rollout{State: "not asked"}
	}
	class := "error"
	if o.State == "current" {
		class = ""
	}
	return []htmlCell{{"", cmp.Or(clean(short(r.SHA), maxName), "–")}, {class, clean(o.State, maxName)}, {"wrap", clean(o.Detail, 300)}, {"", waited(o)}, {"", clean(row.URL, 2*maxName)}}
}

func (p *htmlPage) addPlaces(v *fleetView) {
	list := v.elsewhere()
	for _, e := range list[:min(len(list), maxPlaces)] {
		state := clean(e.seen.State, maxName)
		if e.after {
			state += " after the checks"
		}
		p.Places = append(p.Places, htmlPlace{clean(e.tenant.Name, maxName), state, cmp.Or(clean(short(e.seen.Version), maxName), "–"),
			waited(e.seen), clean(e.tenant.URL, 2*maxName), clean(e.seen.Detail, 300)})
	}
	p.PlacesLeft = left(len(list)-maxPlaces, "tenant")
}

func (p *htmlPage) addChecks(v *fleetView) {
	scale := max(v.slowest(), 1)
	for i := range v.checks[:min(len(v.checks), 2*maxOthers)] {
		c := &v.checks[i]
		class := ""
		if c.failed > 0 {
			class = "bad"
		} else if c.held < c.all() {
			class = "doubt"
		}
		p.Checks = append(p.Checks, htmlCheck{class, c.mark(), clean(c.name, maxName), thousands(c.held) + " of " + thousands(c.all()),
			some(c.failed), some(c.unjudged + c.skipped), some(c.flaky), millis(c.median), millis(c.slowest), max(c.slowest*160/scale, 1)})
	}
}

func (p *htmlPage) addHistory(r *gate.Report) {
	for _, e := range r.History[:min(len(r.History), maxHistory)] {
		none := func(s string) string { return cmp.Or(clean(s, 2*maxName), "–") }
		record := htmlRecord{Image: none(e.Image), When: cmp.Or(when(e.Time), "–"), Event: none(e.Event), Commit: none(short(e.SHA)),
			Digest: none(digest(e.Digest)), Replaced: none(digest(e.Replaced)), By: phrase{said(none(e.Actor))}.html(""), Why: clean(e.Reason, 300)}
		if e.Current {
			record.Now = "👉 now"
		}
		if e.Broken != "" {
			record.Why = strings.TrimPrefix(record.Why+"; the chain ends here: "+clean(e.Broken, 300), "; ")
		}
		switch {
		case e.RunURL == "":
		case sameSite(e.RunURL, r.Run.URL):
			record.By += template.HTML(", " + anchor("run", e.RunURL)) //nolint:gosec // an address of the web, escaped
		default:
			record.By += phrase{ours(", "), name(e.RunURL)}.html("")
		}
		p.History = append(p.History, record)
	}
	p.HistoryLeft = left(len(r.History)-maxHistory, "record")
}

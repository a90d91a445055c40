package summary

import (
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"html/template"
	"io"
	"strings"
	"sync"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
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
func HTML(w io.Writer, r *report.Report) error {
	return pageTemplate().Execute(w, newPage(r))
}

// The page's parts, in the order in which they are shown. Texts are clean; the
// template escapes them. template.HTML comes from phrase.html alone.
type (
	page struct {
		StyleHash, Title, Tone, Mark, Word string
		Claim, Commit, Reason, Next        template.HTML
		CommitLabel                        string
		Faults                             []template.HTML
		FaultsLeft                         string
		Tiles                              []pageTile
		Facts                              []pageFact
		Images, Fleet                      []pageTable
		Repairs, PostMortem                string
		Blocks                             []pageBlock
		BlocksLeft                         string
		Warnings                           []template.HTML
		WarningsLeft                       string
		RunURL, CommitURL, Target, Foot    string
	}
	pageTile struct{ Value, Label string }
	pageFact struct {
		Label string
		Text  template.HTML
	}
	pageTable struct {
		Title, Note, Left string
		Heads             []pageCell
		Rows              []pageRow
	}
	pageRow struct {
		Class string
		Cells []pageCell
	}
	pageCell struct {
		Class, Whole string
		Text         template.HTML
	}
	pageBlock struct {
		Open                   bool
		Class, Word, Reproduce string
		Where                  template.HTML
		Lines                  []pageFact
	}
)

func newPage(r *report.Report) *page {
	v := viewFleet(r)
	s := assess(r)
	p := &page{
		StyleHash: styleHash(), Title: Headline(r), Tone: s.tone.String(), Mark: s.mark, Word: s.word, Claim: title(r).html(),
		Repairs: strings.Join(repairs(r), "\n"), Target: clean(target(r), maxName),
		RunURL: markdown.WebAddress(r.Run.URL), CommitURL: markdown.WebAddress(r.Run.CommitURL),
		Foot: took(r) + " · canary-verify " + clean(r.Tool, maxName),
	}
	if r.Next != "" {
		p.Next = phrase{said(r.Next)}.html()
	}
	if !quiet(r) {
		p.Reason = phrase{said(r.Reason)}.html()
	}
	if r.SHA != "" {
		p.Commit, p.CommitLabel = phrase{{kindName, clean(r.SHA, maxName), r.Run.CommitURL}}.html(), "Commit"
	}
	if r.Verdict == report.Red {
		p.CommitLabel = "Rejected commit"
	}
	for _, f := range facts(r, &v) {
		p.Facts = append(p.Facts, pageFact{f.label, f.text.html()})
	}
	var lines []string
	for _, line := range draft(r) {
		lines = append(lines, clean(line, 0))
	}
	p.PostMortem = strings.Join(lines, "\n")
	p.Faults, p.FaultsLeft = pageList(r.Faults, "invalid input")
	p.Warnings, p.WarningsLeft = pageList(warnings(r), "warning")
	p.addTiles(r, &v)
	p.addBlocks(r)
	images, fleet := tables(r, &v)
	p.Images, p.Fleet = pageTables(images), pageTables(fleet)
	return p
}

// notOnPage says what is not on the page; "" for nothing.
func notOnPage(what string) string {
	if what == "" {
		return ""
	}
	return "Not shown: " + what + "; see report.json."
}

func pageList(sentences []string, noun string) (list []template.HTML, left string) {
	shown := sentences[:min(len(sentences), maxShort)]
	for _, s := range shown {
		list = append(list, phrase{said(s)}.html())
	}
	return list, notOnPage(notShown(len(sentences), noun)(len(shown)))
}

func (p *page) addTiles(r *report.Report, v *fleetView) {
	of := func(n, all int) string { return report.Thousands(n) + " of " + report.Thousands(all) }
	if n := len(v.rows); n > 0 && v.asked() {
		label := map[bool]string{true: "tenants passed", false: "tenants at the commit"}[v.checked()]
		p.Tiles = append(p.Tiles, pageTile{of(v.counts[report.StandsPassed]+v.counts[report.StandsFlaky], n), label})
	}
	if v.checked() {
		passed, all := 0, 0
		for i := range v.checks {
			passed += v.checks[i].passed
			all += v.checks[i].all
		}
		p.Tiles = append(p.Tiles, pageTile{of(passed, all), "checks passed"}, pageTile{v.slowest().String(), "slowest check"})
	}
	p.Tiles = append(p.Tiles, pageTile{report.Span(r.Finished.Sub(r.Started)), "the whole run"})
}

func (p *page) addBlocks(r *report.Report) {
	list, left := causes(r)
	for n, c := range list {
		b := newBlock(r, c)
		h := pageBlock{Open: n < 3, Class: b.shade.class(), Word: b.word, Where: b.where.html(), Reproduce: b.reproduce}
		for _, l := range b.lines {
			text := phrase{{kind: kindSaid, text: l.text}}
			if l.label == "expected" || l.label == "got" {
				text[0].kind = kindName
			}
			h.Lines = append(h.Lines, pageFact{l.label, text.html()})
		}
		p.Blocks = append(p.Blocks, h)
	}
	p.BlocksLeft = notOnPage(notShown(left, "more cause")(0))
}

func pageTables(list []table) []pageTable {
	pages := make([]pageTable, 0, len(list))
	for _, t := range list {
		page := pageTable{Title: t.title, Note: t.note, Left: notOnPage(t.left(t.rows))}
		for _, h := range t.heads {
			page.Heads = append(page.Heads, pageCell{class(shadeNone, h), "", phrase{ours("%s", h.text)}.html()})
		}
		for i := range t.rows {
			r := t.row(i)
			row := pageRow{Class: map[shade]string{shadeBad: "bad", shadeDoubt: "doubt"}[r.shade]}
			for n, c := range r.cells {
				class := class(c.shade, t.heads[n])
				if c.wide {
					class += " wrap"
				}
				row.Cells = append(row.Cells, pageCell{class, c.whole, c.text.html()})
			}
			page.Rows = append(page.Rows, row)
		}
		pages = append(pages, page)
	}
	return pages
}

// class is how a cell looks: its shade, a number to the right, a name that stays
// when the table scrolls, a bar.
func class(s shade, h head) string {
	class := s.class()
	switch {
	case h.name: // of a check
	case h.text == "Tenant":
		class += " tenant"
	case h.text == "To scale":
		class += " bar"
	case h.right:
		class += " n"
	}
	return strings.TrimSpace(class)
}

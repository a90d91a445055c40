package summary

import (
	"cmp"
	"fmt"
	"html"
	"html/template"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Limits of foreign text, in characters. Producers keep to smaller ones; these
// hold for any Report.
const (
	maxName   = 100  // of a tenant, a check, a tag
	maxLong   = 200  // of an address, or an image with its tag
	maxDetail = 300  // of a remark in a table
	maxSaid   = 1000 // of a sentence
	maxValue  = 4000 // of what was expected, what came, and how to see it again
	maxDraft  = 20000
)

// clean is how every text of a Report enters every format but JSON.
func clean[S ~string](s S, limit int) string { return untrusted.Line(string(s), limit) }

// A kind says how a part of a phrase is shown.
type kind int

const (
	kindOurs kind = iota // words of this package
	kindName             // a name or a value: code where the format has that
	kindSaid             // a sentence that may hold foreign words
)

// A part is a piece of a phrase.
type part struct {
	kind    kind
	text    string // clean
	address string // what it links to, when that is an address of the web
}

// A phrase is a sentence for people that each format writes in its own way.
type phrase []part

func ours(format string, args ...any) part { return part{text: fmt.Sprintf(format, args...)} }

func name[S ~string](s S) part { return part{kind: kindName, text: clean(s, maxName)} }
func long[S ~string](s S) part { return part{kind: kindName, text: clean(s, maxLong)} }
func said(s string) part       { return part{kind: kindSaid, text: clean(s, maxSaid)} }

// commit is the commit of the report, with a link to it.
func commit(r *report.Report) part {
	return part{kindName, clean(r.SHA.Short(), maxName), r.Run.CommitURL}
}

// remark is a foreign sentence behind a colon; empty: nothing.
func remark(s string) phrase {
	if s == "" {
		return nil
	}
	return phrase{ours(": "), {kind: kindSaid, text: clean(s, maxDetail)}}
}

// plain writes the phrase as one line without markup.
func (p phrase) plain() string {
	var b strings.Builder
	for _, part := range p {
		if part.kind == kindName {
			part.text = cmp.Or(part.text, markdown.Nothing)
		}
		b.WriteString(part.text)
	}
	return b.String()
}

// markdown writes the phrase on one line, in tables and outside.
func (p phrase) markdown() string {
	var b strings.Builder
	for _, part := range p {
		text := part.text
		switch part.kind {
		case kindName:
			text = markdown.Code(text, 0)
		case kindSaid:
			text = markdown.Prose(text, 0)
		}
		b.WriteString(markdown.Link(text, part.address))
	}
	return b.String()
}

// html writes the phrase with its markup.
func (p phrase) html() template.HTML {
	var b strings.Builder
	for _, part := range p {
		text := html.EscapeString(part.text)
		switch part.kind {
		case kindName:
			text = "<code>" + cmp.Or(text, markdown.Nothing) + "</code>"
		case kindSaid:
			text = sentenceHTML(part.text)
		}
		if address := markdown.WebAddress(part.address); address != "" {
			text = `<a href="` + html.EscapeString(address) + `">` + text + "</a>"
		}
		b.WriteString(text)
	}
	return template.HTML(b.String()) //nolint:gosec // every foreign part is escaped above
}

// sentenceHTML writes a sentence with the names that it quotes as code.
func sentenceHTML(s string) string {
	var b strings.Builder
	for _, piece := range markdown.Quoted(s) {
		text := html.EscapeString(piece.Text)
		if piece.Name {
			text = "<code>" + text + "</code>"
		}
		b.WriteString(text)
	}
	return cmp.Or(b.String(), markdown.Nothing)
}

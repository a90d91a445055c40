package summary

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown/markdowntest"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Foreign text must change nothing but the words on a page: rendered with
// hostile text and with a harmless word, a report has the same elements, the
// same addresses, and outside of code no text that a forge would link.

// hostileReport is [hostile] without an address of the run, since a record's
// address becomes a link when it leads to the same site.
func hostileReport(text string) *report.Report {
	r := hostile(text)
	r.Run.URL, r.SHA, r.Tool, r.Run.Actor, r.Faults = "", report.Commit(text), text, text, []string{text}
	return r
}

// harmlessReport has all the sections of a report with this text, and no more.
func harmlessReport(text string) *report.Report {
	if text == "" {
		return hostileReport("")
	}
	return hostileReport("word")
}

func checkMarkdown(t testing.TB, text string) {
	t.Helper()
	got := Markdown(hostileReport(text))
	markdowntest.Same(t, got, Markdown(harmlessReport(text)))
	if len(got) > MaxMarkdown {
		t.Errorf("%d bytes", len(got))
	}
}

func checkText(t testing.TB, text string) {
	t.Helper()
	for _, width := range []int{0, 20, 100} {
		got, want := Text(hostileReport(text), false, width), Text(harmlessReport(text), false, width)
		markdowntest.SafeLines(t, got)
		if width == 0 && strings.Count(got, "\n") != strings.Count(want, "\n") {
			t.Errorf("text: %d lines, want %d", strings.Count(got, "\n"), strings.Count(want, "\n"))
		}
	}
	colored := Text(hostileReport(text), true, 0)
	plain := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(colored, "")
	if plain != Text(hostileReport(text), false, 0) {
		t.Error("text: colours change the words")
	}
	for _, line := range []string{Headline(hostileReport(text)), StatusDescription(hostileReport(text))} {
		markdowntest.SafeLines(t, line)
		if strings.Contains(line, "\n") {
			t.Errorf("sentence: more than a line: %q", line)
		}
	}
	if d := StatusDescription(hostileReport(text)); runes(d) > maxDescription {
		t.Errorf("a status of %d characters: %q", runes(d), d)
	}
}

// checkHTML demands that a page has no element, address or script of foreign text.
func checkHTML(t testing.TB, text string) {
	t.Helper()
	render := func(r *report.Report) markdowntest.Page {
		var b bytes.Buffer
		if err := HTML(&b, r); err != nil {
			t.Fatal(err)
		}
		return markdowntest.Dissect(t, b.Bytes())
	}
	hostile, harmless := render(hostileReport(text)), render(harmlessReport(text))
	delete(hostile.Elements, "ul") // of faults, which an empty text has none of
	delete(harmless.Elements, "ul")
	markdowntest.SameMarkup(t, hostile, harmless)
	if n := hostile.Elements["script"] + hostile.Elements["img"] + hostile.Elements["iframe"] + hostile.Elements["a handler"]; n > 0 {
		t.Errorf("html: %d active elements", n)
	}
	for _, text := range hostile.Texts {
		markdowntest.SafeLines(t, strings.ReplaceAll(text, "\n", " "))
	}
}

func checkJUnit(t testing.TB, text string) {
	t.Helper()
	var b bytes.Buffer
	if err := JUnit(&b, hostileReport(text)); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	dec := xml.NewDecoder(&b)
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("junit: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok {
			counts[e.Name.Local]++
		}
	}
	if counts["testsuite"] != 3 || counts["testcase"] != 19 || counts["failure"] != 1 || counts["error"] != 1 {
		t.Errorf("junit: %v", counts)
	}
}

func TestHostileText(t *testing.T) {
	for _, text := range markdowntest.Texts() {
		t.Run(fmt.Sprintf("%.20q", text), func(t *testing.T) {
			checkMarkdown(t, text)
			checkText(t, text)
			checkJUnit(t, text)
			checkHTML(t, text)
		})
	}
}

func FuzzHTML(f *testing.F) {
	for _, text := range markdowntest.Texts() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkHTML(t, text) })
}

func FuzzMarkdown(f *testing.F) {
	for _, text := range markdowntest.Texts() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkMarkdown(t, text) })
}

func FuzzText(f *testing.F) {
	for _, text := range markdowntest.Texts() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkText(t, text)
		checkJUnit(t, text)
	})
}

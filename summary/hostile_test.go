package summary

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
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

// A reference is a report with harmless text in each format.
type reference struct {
	markdown, text string
	html           []byte
}

// references have all the sections of a report with such a text, and no more:
// one for an empty text, one for any other.
var references = sync.OnceValue(func() map[bool]reference {
	list := map[bool]reference{}
	for empty, text := range map[bool]string{true: "", false: "word"} {
		r := hostileReport(text)
		var page bytes.Buffer
		if err := HTML(&page, r); err != nil {
			panic(err)
		}
		list[empty] = reference{Markdown(r), Text(r, false, 0), page.Bytes()}
	}
	return list
})

func checkMarkdown(t testing.TB, text string) {
	t.Helper()
	got := Markdown(hostileReport(text))
	markdowntest.Same(t, got, references()[text == ""].markdown)
	if len(got) > MaxMarkdown {
		t.Errorf("%d bytes", len(got))
	}
}

func checkText(t testing.TB, text string) {
	t.Helper()
	r := hostileReport(text)
	whole := Text(r, false, 0)
	markdowntest.SafeLines(t, whole)
	markdowntest.SafeLines(t, Text(r, false, 20))
	if got, want := strings.Count(whole, "\n"), strings.Count(references()[text == ""].text, "\n"); got != want {
		t.Errorf("text: %d lines, want %d", got, want)
	}
	if ansi.ReplaceAllString(Text(r, true, 0), "") != whole {
		t.Error("text: colours change the words")
	}
	for _, line := range []string{Headline(r), StatusDescription(r)} {
		markdowntest.SafeLines(t, line)
		if strings.Contains(line, "\n") {
			t.Errorf("sentence: more than a line: %q", line)
		}
	}
	if d := StatusDescription(r); runes(d) > maxDescription {
		t.Errorf("a status of %d characters: %q", runes(d), d)
	}
}

var ansi = regexp.MustCompile("\x1b\\[[0-9;]*m")

// checkHTML demands that a page has no element, address or script of foreign text.
func checkHTML(t testing.TB, text string) {
	t.Helper()
	hostile := markdowntest.Dissect(t, written(t, HTML, hostileReport(text)))
	markdowntest.SameMarkup(t, hostile, markdowntest.Dissect(t, references()[text == ""].html))
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

// Each text goes through the log; pages get several of the short ones at once,
// since internal/markdown tries each of them in each form.
func TestHostileText(t *testing.T) {
	const several = 8
	var short []string
	for i, text := range markdowntest.Texts() {
		t.Run(fmt.Sprintf("%d %.20q", i, text), func(t *testing.T) {
			checkText(t, text)
			if text != "" && len(text) < 100 {
				short = append(short, text)
				return
			}
			checkPages(t, text)
		})
	}
	for chunk := range slices.Chunk(short, several) {
		t.Run(fmt.Sprintf("%.40q", chunk), func(t *testing.T) { checkPages(t, strings.Join(chunk, " ")) })
	}
}

func checkPages(t testing.TB, text string) {
	t.Helper()
	checkMarkdown(t, text)
	checkJUnit(t, text)
	checkHTML(t, text)
}

func FuzzHTML(f *testing.F) {
	f.Add(markdowntest.Hostile)
	f.Fuzz(func(t *testing.T, text string) { checkHTML(t, text) })
}

func FuzzMarkdown(f *testing.F) {
	f.Add(markdowntest.Hostile)
	f.Fuzz(func(t *testing.T, text string) { checkMarkdown(t, text) })
}

func FuzzText(f *testing.F) {
	f.Add(markdowntest.Hostile)
	f.Fuzz(func(t *testing.T, text string) {
		checkText(t, text)
		checkJUnit(t, text)
	})
}

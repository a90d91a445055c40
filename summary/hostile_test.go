package summary

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	gmhtml "github.com/yuin/goldmark/renderer/html"
	"golang.org/x/net/html"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

// Foreign text must change nothing but the words on a page: rendered with
// hostile text and with a harmless word, a report has the same elements, the
// same addresses, and outside of code no text that a forge would link.

// hostileReport is [hostile] without an address of the run, since a record's
// address becomes a link when it leads to the same site.
func hostileReport(text string) *gate.Report {
	r := hostile(text)
	r.Run.URL, r.SHA, r.Tool, r.Run.Actor, r.Faults = "", text, text, text, []string{text}
	return r
}

// A page is what counts of an HTML document.
type page struct {
	elements  map[string]int
	addresses map[string]int
	texts     []string // outside of code
}

// dissect walks a document.
func dissect(t testing.TB, document []byte) page {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	p := page{map[string]int{}, map[string]int{}, nil}
	p.walk(root, false)
	return p
}

func (p *page) walk(n *html.Node, inCode bool) {
	switch n.Type {
	case html.TextNode:
		if !inCode {
			p.texts = append(p.texts, n.Data)
		}
	case html.CommentNode:
		p.elements["a comment"]++
	case html.ElementNode:
		p.elements[n.Data]++
		for _, a := range n.Attr {
			if slices.Contains([]string{"href", "src", "action", "srcset", "data", "formaction"}, a.Key) {
				p.addresses[a.Val]++
			}
			if strings.HasPrefix(a.Key, "on") {
				p.elements["a handler"]++
			}
		}
		inCode = inCode || n.Data == "code" || n.Data == "pre" || n.Data == "style"
	}
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		p.walk(child, inCode)
	}
}

// linked is what forges make links and pictures of, outside of code.
var linked = []*regexp.Regexp{
	regexp.MustCompile(`@[A-Za-z0-9]`), regexp.MustCompile(`[#!]\d`), regexp.MustCompile(`(?i)\bgh-\d`), regexp.MustCompile(`\b[A-Z]+-\d`),
	regexp.MustCompile(`(?i)(^|[^0-9a-f])[0-9a-f]{7,64}([^0-9a-f]|$)`), regexp.MustCompile(`(?i)(https?|ftp)://\S|(mailto|xmpp):[\pL\pN]`),
	regexp.MustCompile(`(?i)www\.[\pL\pN_-]`), regexp.MustCompile(`:[a-z+-][a-z0-9_+-]*:`), regexp.MustCompile(`\w/\w+#`),
}

// renderGFM is what a forge does to Markdown before it adds its own links.
func renderGFM(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	md := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(gmhtml.WithUnsafe()))
	if err := md.Convert([]byte(text), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sameMarkup demands that foreign text changed nothing but words. Inline code
// and where a paragraph ends up may differ.
func sameMarkup(t testing.TB, what string, hostile, harmless page) {
	t.Helper()
	for _, p := range []page{hostile, harmless} {
		delete(p.elements, "code")
	}
	if !maps.Equal(hostile.elements, harmless.elements) {
		t.Errorf("%s: elements are %v, want %v", what, hostile.elements, harmless.elements)
	}
	if !maps.Equal(hostile.addresses, harmless.addresses) {
		t.Errorf("%s: addresses are %v, want %v", what, hostile.addresses, harmless.addresses)
	}
	for _, text := range hostile.texts {
		for _, form := range linked {
			if found := form.FindString(text); found != "" && what != "html" {
				t.Errorf("%s: a forge would link %q in %q", what, found, text)
			}
		}
	}
}

// harmlessReport has all the sections of a report with this text, and no more.
func harmlessReport(text string) *gate.Report {
	if text == "" {
		return hostileReport("")
	}
	return hostileReport("word")
}

func checkMarkdown(t testing.TB, text string) {
	t.Helper()
	for name, render := range map[string]func(*gate.Report) string{"markdown": Markdown, "post-mortem": PostMortem} {
		got, want := render(hostileReport(text)), render(harmlessReport(text))
		sameMarkup(t, name, dissect(t, renderGFM(t, got)), dissect(t, renderGFM(t, want)))
		if len(got) > MaxMarkdown {
			t.Errorf("%s: %d bytes", name, len(got))
		}
		checkLines(t, name, got)
	}
}

// checkLines demands that a runner and a terminal find nothing to act on.
func checkLines(t testing.TB, what, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(strings.TrimLeft(line, " \t\u00a0"), "::") || strings.Contains(line, "##[") {
			t.Errorf("%s: a workflow command: %q", what, line)
		}
		if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || isHidden(r) }); i >= 0 {
			t.Errorf("%s: %q is in %q", what, line[i:i+1], line)
		}
	}
}

func isHidden(r rune) bool {
	return r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff
}

func checkText(t testing.TB, text string) {
	t.Helper()
	for _, width := range []int{0, 20, 100} {
		got, want := Text(hostileReport(text), false, width), Text(harmlessReport(text), false, width)
		checkLines(t, "text", got)
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
		checkLines(t, "sentence", line)
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
	render := func(r *gate.Report) page {
		var b bytes.Buffer
		if err := HTML(&b, r); err != nil {
			t.Fatal(err)
		}
		return dissect(t, b.Bytes())
	}
	hostile, harmless := render(hostileReport(text)), render(harmlessReport(text))
	delete(hostile.elements, "ul") // of faults, which an empty text has none of
	delete(harmless.elements, "ul")
	sameMarkup(t, "html", hostile, harmless)
	if n := hostile.elements["script"] + hostile.elements["img"] + hostile.elements["iframe"] + hostile.elements["a handler"]; n > 0 {
		t.Errorf("html: %d active elements", n)
	}
	for _, text := range hostile.texts {
		checkLines(t, "html", strings.ReplaceAll(text, "\n", " "))
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

// more are texts that broke renderers of this kind before.
var more = []string{
	"", " ", "|", "||", "\\|", "\\", "`", "``", "` ", "`a", "a`", "`|`", "| `", "a|b\\", "\\`", "a `b` c", "`a` `b", "x`|`y", "`` ` ``",
	"1.", "1)", "-", "+", "*", "#", "# x", ">", "===", "---", "```", "~~~", "~", "~~", "_", "__a__", "*a*", "[ ]", "[x]", "[]", "![", "](", "](x)", "[a]: b",
	"<", "&", "&amp", "&#64;x", "&lt;b&gt;", "<!--", "-->", "]]>", "<code>", "</code>", "</details>", "<summary>",
	"@a", "a@b.c", "(@a)", "\"@a\"", "'@a'", "@a,", "#1", "(#1)", "#1.", "GH-1", "gh-1", "A-1", "a/b#1", "!1", "deadbee", "(deadbee)", "1234567", "\"1234567\".", "deadbee…", "dead’beef", "x deadbeef1 y",
	"www.a.b", "(www.a.b)", "http://a", "HTTP://A", ":a:", "::", ":::", ": :", "a:b:c", ":+1:", ":+:", "##[error]x", "##[", "# #[a", "::error::x", "x:", "a\u00a0b", "\u00a0::error::", "é", "日本語テキスト", "👩\u200d💻", "a\u0301\u0301",
	strings.Repeat("`", 300), strings.Repeat("|", 300), strings.Repeat("a", 5000), strings.Repeat("\\", 301), strings.Repeat("@a ", 500), strings.Repeat("<", 2000), strings.Repeat("[", 2000),
}

func TestHostileText(t *testing.T) {
	for _, text := range append([]string{hostileText}, more...) {
		t.Run(fmt.Sprintf("%.20q", text), func(t *testing.T) {
			checkMarkdown(t, text)
			checkText(t, text)
			checkJUnit(t, text)
			checkHTML(t, text)
		})
	}
}

// Each way to write foreign text into Markdown, in each place where it is used,
// leaves the markup around it as it is. Far faster than whole reports.
func FuzzEscape(f *testing.F) {
	for _, text := range append([]string{hostileText}, more...) {
		f.Add(text)
	}
	document := func(text string) string {
		return "## T: " + codeSpan(text, maxName) + " x\n\n> **a:** " + prose(text, maxSaid) + "\n>\n> **b:** " + prose(text, maxSaid) + "\n\n- " + prose(text, maxSaid) +
			"\n- **c:** " + codeSpan(text, maxName) + ", y\n\n| a | b |\n| --- | --- |\n| ✅ " + codeSpan(text, maxName) + " | " + prose(text, maxSaid) + detail(text) + " |\n| " + prose(text, maxSaid) + " | " +
			codeSpan(text, maxName) + " |\n\n" + findingBlock(finding{&gate.Tenant{Name: text}, &gate.Check{Name: text, Result: "fail", Got: text, Expected: text, Detail: "d" + text, Hint: "h" + text, Reproduce: "r" + text}}, true) +
			codeBlock("sh", text) + "\nx " + link(codeSpan(text, maxName), "https://git.example.com/x?a=1&copy=2") + "\n"
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4<<10 {
			return // cut to the same beginning everywhere
		}
		got, harmless := document(text), "word"
		if text == "" {
			harmless = ""
		}
		sameMarkup(t, "markdown", dissect(t, renderGFM(t, got)), dissect(t, renderGFM(t, document(harmless))))
		if strings.Count(got, "\n") != strings.Count(document(harmless), "\n") {
			t.Errorf("another number of lines in %q", got)
		}
	})
}

func FuzzHTML(f *testing.F) {
	for _, text := range append([]string{hostileText}, more...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkHTML(t, text) })
}

func FuzzMarkdown(f *testing.F) {
	for _, text := range more {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkMarkdown(t, text) })
}

func FuzzText(f *testing.F) {
	for _, text := range more {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkText(t, text)
		checkJUnit(t, text)
	})
}

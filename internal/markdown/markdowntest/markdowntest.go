// Package markdowntest has hostile texts, and looks at a page that was made with
// them as a forge and a runner would. It is for tests alone.
//
// Foreign text must change nothing but the words on a page: made with hostile
// text and with a harmless word, a page has the same elements, the same
// addresses, and outside of code no text that a forge would link.
package markdowntest

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	gmhtml "github.com/yuin/goldmark/renderer/html"
	"golang.org/x/net/html"
)

// Hostile tries everything that a runner, a terminal or a forge would act on.
const Hostile = "::error::owned\n::set-output name=x::y\r\n##[error]x ##[[add-path] \x1b[31mred\x1b]8;;https://evil.example\x07link\x1b]8;;\x07 " +
	"\u202eRTL\u2066 zero\u200bwidth \ufeff | a | b |\n| --- | --- |\n# heading\n## h2\n- list\n1. one\n> quote\n> [!CAUTION]\n```\nfence\n```\n~~~\n" +
	"<script>alert(1)</script><img src=x onerror=alert(1)><!-- c --></details></summary><b>bold</b> &lt; &copy; &#64; " +
	"[link](https://evil.example) ![image](https://evil.example/x.png) [ref]: https://evil.example\n<https://evil.example> https://evil.example www.evil.example " +
	"mail@evil.example mailto:a@b.example @molecule @molecule/team #123 GH-45 molecule/core#7 !9 JIRA-12 4c1d56e0a9b8c7d6e5f4031221304f5e6d7c8b9a 4c1d56e :+1: :rocket: **b** _i_ ~~s~~ `code` ``two`` \\` \\| |\\|| $x$ ]]> \x00\x85\u2028"

// Texts are Hostile and others that broke renderers of this kind before.
func Texts() []string {
	return []string{
		Hostile,
		"", " ", "|", "||", "\\|", "\\", "`", "``", "` ", "`a", "a`", "`|`", "| `", "a|b\\", "\\`", "a `b` c", "`a` `b", "x`|`y", "`` ` ``",
		"1.", "1)", "-", "+", "*", "#", "# x", ">", "===", "---", "```", "~~~", "~", "~~", "_", "__a__", "*a*", "[ ]", "[x]", "[]", "![", "](", "](x)", "[a]: b",
		"<", "&", "&amp", "&#64;x", "&lt;b&gt;", "<!--", "-->", "]]>", "<code>", "</code>", "</details>", "<summary>",
		"@a", "a@b.c", "(@a)", "\"@a\"", "'@a'", "@a,", "#1", "(#1)", "#1.", "GH-1", "gh-1", "A-1", "a/b#1", "!1", "deadbee", "(deadbee)", "1234567", "\"1234567\".", "deadbee…", "dead’beef", "x deadbeef1 y",
		"www.a.b", "(www.a.b)", "http://a", "HTTP://A", ":a:", "::", ":::", ": :", "a:b:c", ":+1:", ":+:", "##[error]x", "##[", "# #[a", "::error::x", "x:", "a\u00a0b", "\u00a0::error::", "é", "日本語テキスト", "👩\u200d💻", "a\u0301\u0301",
		strings.Repeat("`", 300), strings.Repeat("|", 300), strings.Repeat("a", 5000), strings.Repeat("\\", 301), strings.Repeat("@a ", 500), strings.Repeat("<", 2000), strings.Repeat("[", 2000),
	}
}

// A Page is what counts of an HTML document: how many of each element and
// address it has, and its texts outside of code.
type Page struct {
	Elements, Addresses map[string]int
	Texts               []string
}

// Dissect walks an HTML document. A comment counts as the element "a comment",
// an event handler as "a handler".
func Dissect(t testing.TB, document []byte) Page {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	p := Page{map[string]int{}, map[string]int{}, nil}
	p.walk(root, false)
	return p
}

func (p *Page) walk(n *html.Node, inCode bool) {
	switch n.Type {
	case html.TextNode:
		if !inCode {
			p.Texts = append(p.Texts, n.Data)
		}
	case html.CommentNode:
		p.Elements["a comment"]++
	case html.ElementNode:
		p.Elements[n.Data]++
		for _, a := range n.Attr {
			if slices.Contains([]string{"href", "src", "action", "srcset", "data", "formaction"}, a.Key) {
				p.Addresses[a.Val]++
			}
			if strings.HasPrefix(a.Key, "on") {
				p.Elements["a handler"]++
			}
		}
		inCode = inCode || n.Data == "code" || n.Data == "pre" || n.Data == "style"
	}
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		p.walk(child, inCode)
	}
}

// Render is what a forge does to Markdown before it adds links of its own.
func Render(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	md := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(gmhtml.WithUnsafe()))
	if err := md.Convert([]byte(text), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// SameMarkup demands that hostile text changed nothing but words. Inline code
// may differ.
func SameMarkup(t testing.TB, hostile, harmless Page) {
	t.Helper()
	for _, p := range []Page{hostile, harmless} {
		delete(p.Elements, "code")
	}
	if !maps.Equal(hostile.Elements, harmless.Elements) {
		t.Errorf("elements are %v, want %v", hostile.Elements, harmless.Elements)
	}
	if !maps.Equal(hostile.Addresses, harmless.Addresses) {
		t.Errorf("addresses are %v, want %v", hostile.Addresses, harmless.Addresses)
	}
}

// linked is what forges make links and pictures of, outside of code.
var linked = []*regexp.Regexp{
	regexp.MustCompile(`@[A-Za-z0-9]`), regexp.MustCompile(`[#!]\d`), regexp.MustCompile(`(?i)\bgh-\d`), regexp.MustCompile(`\b[A-Z]+-\d`),
	regexp.MustCompile(`(?i)(^|[^0-9a-f])[0-9a-f]{7,64}([^0-9a-f]|$)`), regexp.MustCompile(`(?i)(https?|ftp)://\S|(mailto|xmpp):[\pL\pN]`),
	regexp.MustCompile(`(?i)www\.[\pL\pN_-]`), regexp.MustCompile(`:[a-z+-][a-z0-9_+-]*:`), regexp.MustCompile(`\w/\w+#`),
}

// NothingLinked demands that a forge finds nothing to link in the page's texts.
func NothingLinked(t testing.TB, p Page) {
	t.Helper()
	for _, text := range p.Texts {
		for _, form := range linked {
			if found := form.FindString(text); found != "" {
				t.Errorf("a forge would link %q in %q", found, text)
			}
		}
	}
}

// SafeLines demands that a runner and a terminal find nothing to act on.
func SafeLines(t testing.TB, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(strings.TrimLeft(line, " \t\u00a0"), "::") || strings.Contains(line, "##[") {
			t.Errorf("a workflow command: %q", line)
		}
		if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || isHidden(r) }); i >= 0 {
			t.Errorf("%q is in %q", line[i:i+1], line)
		}
	}
}

func isHidden(r rune) bool {
	return r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff
}

// Same demands that a Markdown document made with hostile text is as safe as one
// made with a harmless word.
func Same(t testing.TB, hostile, harmless string) {
	t.Helper()
	page := Dissect(t, Render(t, hostile))
	SameMarkup(t, page, Dissect(t, Render(t, harmless)))
	NothingLinked(t, page)
	SafeLines(t, hostile)
}

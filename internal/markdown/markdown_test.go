package markdown_test

import (
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown/markdowntest"
)

func TestForms(t *testing.T) {
	for _, tc := range []struct{ name, got, want string }{
		{"code", markdown.Code("latest", 0), "`latest`"},
		{"blank code", markdown.Code(" \n", 0), "–"},
		{"code cut", markdown.Code("abcdef", 3), "`ab…`"},
		{"code with a backtick", markdown.Code("a`b", 0), "``a`b``"},
		{"code with a pipe", markdown.Code("a|b", 0), "`a`&#124;`b`"},
		{"prose", markdown.Prose("The token of `pm` is refused: ask @ops, not #7.", 0), "The token of `pm` is refused: ask `@ops`, not `#7`&#46;"},
		{"blank prose", markdown.Prose(" ", 0), "–"},
		{"block", markdown.Block("sh", 0, "a ``` b", "c\nd"), "````sh\na ``` b\nc d\n````\n"},
		{"link", markdown.Link("run", "https://git.example.com/?a=1&copy=2"), "[run](<https://git.example.com/?a=1&amp;copy=2>)"},
		{"no link", markdown.Link("run", "javascript:alert(1)"), "run"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, tc.got, tc.want)
		}
	}
}

func TestWebAddress(t *testing.T) {
	for address, want := range map[string]string{
		"https://git.example.com/a?b=1#c":                   "https://git.example.com/a?b=1#c",
		"https://user:password@git.example.com/":            "https://git.example.com/",
		"https://git.example.com/>)[x](javascript:alert(1)": "https://git.example.com/%3E%29%5Bx%5D%28javascript:alert%281%29",
		`https://git.example.com/?a"b'c|d\e`:                "https://git.example.com/?a%22b%27c%7Cd%5Ce",
		"javascript:alert(1)":                               "", "//git.example.com": "", "https://": "", "https://a b": "", "https://a\n": "", "ftp://a": "", "": "",
		"https://" + strings.Repeat("a", 3000): "",
	} {
		if got := markdown.WebAddress(address); got != want {
			t.Errorf("WebAddress(%q) = %q, want %q", address, got, want)
		}
	}
}

func TestSameSite(t *testing.T) {
	for address, want := range map[string]bool{
		"https://git.example.com/molecule/core/actions/runs/9": true, "https://GIT.example.com/x": true, "http://git.example.com/x": false,
		"https://evil.example/x": false, "https://git.example.com:8443/x": false, "https://git.example.com@evil.example/x": false, "": false,
	} {
		if markdown.SameSite(address, "https://git.example.com/run") != want {
			t.Errorf("%q: want %v", address, want)
		}
	}
}

// document has each form in each place where it is used.
func document(text string) string {
	code, prose := markdown.Code(text, 100), markdown.Prose(text, 1000)
	return "## T: " + code + " x\n\n> **a:** " + prose + "\n>\n> **b:** " + prose + "\n\n- " + prose +
		"\n- **c:** " + code + ", y\n\n| a | b |\n| --- | --- |\n| ✅ " + code + " | " + prose + ": " + prose + " |\n| " + prose + " | " + code + " |\n\n" +
		"<details><summary>s</summary>\n\n" + markdown.Block("text", 4000, text, "got "+text) + "</details>\n\n" +
		markdown.Block("sh", 4000, text) + "\nx " + markdown.Link(code, "https://git.example.com/x?a=1&copy=2") + "\n"
}

func checkForms(t *testing.T, text string) {
	t.Helper()
	got, harmless := document(text), "word"
	if text == "" {
		harmless = ""
	}
	markdowntest.Same(t, got, document(harmless))
	if strings.Count(got, "\n") != strings.Count(document(harmless), "\n") {
		t.Errorf("another number of lines in %q", got)
	}
}

func TestHostileText(t *testing.T) {
	for _, text := range markdowntest.Texts() {
		checkForms(t, text)
	}
}

// Whatever the text, the markup around it stays as it is.
func FuzzEscape(f *testing.F) {
	f.Add(markdowntest.Hostile)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) <= 4<<10 { // longer ones are cut to the same beginning everywhere
			checkForms(t, text)
		}
	})
}

// An address that comes back is one of the web, without credentials, and stays
// itself when it is read again.
func FuzzWebAddress(f *testing.F) {
	for _, address := range []string{"https://user:password@git.example.com/?a=1#b", "http://[::1]:80/%zz", "https://a/\"'<>|`", "javascript:alert(1)"} {
		f.Add(address)
	}
	f.Fuzz(func(t *testing.T, s string) {
		address := markdown.WebAddress(s)
		if address == "" {
			return
		}
		if !strings.HasPrefix(address, "http") || strings.ContainsAny(address, "<>\"'`| \n\\") {
			t.Errorf("%q gave %q", s, address)
		}
		if again := markdown.WebAddress(address); again != address {
			t.Errorf("%q gave %q, and that %q", s, address, again)
		}
	})
}

package untrusted

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	tests := []struct {
		name, in string
		limit    int
		want     string
	}{
		{"plain", "hello wörld", 0, "hello wörld"},
		{"line breaks", "a\r\nb\tc", 0, "a  b c"},
		{"terminal escape", "\x1b[31mred", 0, `\x1b[31mred`},
		{"bidi override", "a\u202eb", 0, `a\u202eb`},
		{"zero width", "a\u200bb\ufeff", 0, `a\u200bb\ufeff`},
		{"line separator", "a\u2028b", 0, `a\u2028b`},
		{"tag character", "a\U000e0041", 0, `a\U000e0041`},
		{"invalid UTF-8", "a\xffb", 0, `a\xffb`},
		{"command", "::error::boom", 0, ": :error::boom"},
		{"command behind blanks", strings.Repeat(" ", 200) + "::error::boom", 0, strings.Repeat(" ", 200) + ": :error::boom"},
		{"command behind a line break", "x\n::error::boom", 0, "x ::error::boom"},
		{"colons inside", "dial [::1]:80", 0, "dial [::1]:80"},
		{"legacy command anywhere", "x ##[error]boom", 0, "x ## [error]boom"},
		{"three hashes", "###[error]boom", 0, "### [error]boom"},
		{"three colons", ":::", 0, ": ::"},
		{"exact limit", "abc", 3, "abc"},
		{"over the limit", "abcd", 3, "ab…"},
		{"escape over the limit", "ab\x00", 3, "ab…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Line(tt.in, tt.limit); got != tt.want {
				t.Errorf("Line(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
			}
		})
	}
}

func TestTextKeepsLinesAndDisarmsEach(t *testing.T) {
	got := Text("a\n::error::b\n  ::warning::c\n##[debug]d", 0)
	want := "a\n: :error::b\n  : :warning::c\n## [debug]d"
	if got != want {
		t.Errorf("Text = %q, want %q", got, want)
	}
}

// command is what the runners look for: toolkit commands after leading blanks,
// and the older spelling anywhere.
var command = regexp.MustCompile(`(?m)^\s*::|##\[`)

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "::set-output name=a::b", "\x1b]0;x\a", "##[command]", "a\xf0\x28\x8c\x28", "\u2066::\u2069", ":\n:\n::", "\u00a0::x", "\v::x"} {
		f.Add(s, 12)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		for _, clean := range []func(string, int) string{Line, Text} {
			got := clean(s, limit)
			if !utf8.ValidString(got) {
				t.Errorf("not UTF-8: %q", got)
			}
			if limit > 0 && utf8.RuneCountInString(got) > limit {
				t.Errorf("%d characters, want at most %d: %q", utf8.RuneCountInString(got), limit, got)
			}
			for _, r := range got {
				if r != '\n' && invisible(r) {
					t.Errorf("%U survived in %q", r, got)
				}
			}
			if command.MatchString(got) {
				t.Errorf("a runner would read %q as a command", got)
			}
			if again := clean(got, limit); again != got {
				t.Errorf("not stable: %q then %q", got, again)
			}
		}
		if strings.ContainsAny(Line(s, limit), "\r\n") {
			t.Errorf("Line(%q) has a line break", s)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	for _, n := range []int{300, 1 << 20} {
		s := strings.Repeat("::error::\x1b[31m<b>tenant</b> ", n/27+1)[:n]
		b.Run(map[int]string{300: "300B", 1 << 20: "1MiB"}[n], func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				Line(s, 0)
			}
		})
	}
}

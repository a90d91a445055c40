package smoke

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTemplates(t *testing.T) {
	values := map[string]any{"probe": "p/q r&\"'\n", "sha": "abc", "tenant": "t", "n": json.Number("12345678901234567890.50")}
	for text, want := range map[string]map[encoding]string{
		"a ${probe} b": {
			inPath: "a p%2Fq%20r&%22%27%0A b", inQuery: "a p%2Fq+r%26%22%27%0A b", inText: "a p/q r&\"'\n b",
			inJSONText: `a p/q r\u0026\"'\n b`,
		},
		"${n}":              {inPath: "12345678901234567890.50", inJSONText: "12345678901234567890.50", inJSON: "12345678901234567890.50", inHeader: "12345678901234567890.50"},
		"$${probe} $ {x} $": {inPath: "${probe} $ {x} $"},
		"${sha}${sha}":      {inQuery: "abcabc"},
		"":                  {inPath: ""},
	} {
		for where, want := range want {
			parsed, err := parseTemplate(text, where)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := parsed.expand(values); got != want || err != nil {
				t.Errorf("%s in %d: %q, %v; want %q", text, where, got, err, want)
			}
		}
	}
	header, _ := parseTemplate("a ${probe}", inHeader)
	if got, err := header.expand(values); err == nil {
		t.Errorf("a line break went into a header: %q", got)
	}
	for _, v := range []any{nil, []any{}, map[string]any{}} {
		if got, err := escape(v, inPath); err == nil {
			t.Errorf("%v went into a path: %q", v, got)
		}
	}
	if got, err := escape("", inPath); err == nil {
		t.Errorf("nothing went into a path: %q", got)
	}
}

func TestProbe(t *testing.T) {
	seen := map[string]bool{}
	letters := map[rune]int{}
	for range 2000 {
		p := newProbe()
		if len(p) != 16 || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz") != "" || seen[p] {
			t.Fatalf("%q", p)
		}
		seen[p] = true
		for _, r := range p {
			letters[r]++
		}
	}
	for r := 'a'; r <= 'z'; r++ {
		if letters[r] < 900 || letters[r] > 1600 { // 1231 expected, nine deviations off
			t.Errorf("%c came %d times of 32000", r, letters[r])
		}
	}
}

package sim

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestLexemesAreThoseOfPostgres compares with what Postgres 15 itself said.
func TestLexemesAreThoseOfPostgres(t *testing.T) {
	f, err := os.Open("testdata/lexemes.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cases := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "# ") {
			continue
		}
		text, list, _ := strings.Cut(s.Text(), "\t")
		want := strings.Fields(list)
		slices.Sort(want)
		have := lexemes(text)
		slices.Sort(have)
		if have = slices.Compact(have); !slices.Equal(have, want) {
			t.Errorf("%q: %q, Postgres says %q", text, have, want)
		}
		cases++
	}
	if cases < 400 {
		t.Errorf("only %d cases", cases)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		text, query string
		want        bool
	}{
		{"probe-9dc0e5-5-f1fb", "9dc0e5-5-f1fb", false}, // the probe that was never found
		{"9dc0e5-5-f1fb", "9dc0e5-5-f1fb", false},
		{"probe-qwertyuiopasdfgh", "probe-qwertyuiopasdfgh", true},
		{"probe-qwertyuiopasdfgh", "QWERTYUIOPASDFGH", true},
		{"qwertyuiopasdfghx", "qwertyuiopasdfgh", false}, // no substrings
		{"a probe of the canary", "canary probe", true},
		{"a probe of the canary", "probe elsewhere", false},
		{"a probe", "the of", false}, // stop words alone find nothing
		{"a probe", "", false},
		{"a probe", "!?", false},
		{"", "probe", false},
	} {
		if matches(c.text, c.query) != c.want {
			t.Errorf("%q in %q: %t, want %t", c.query, c.text, !c.want, c.want)
		}
	}
}

// FuzzProbe: a probe of 16 lower-case letters is found in any text that holds it
// as a word, and the search always ends.
func FuzzProbe(f *testing.F) {
	f.Add("probe-", "9dc0e5-5-f1fb")
	f.Add("a -1e5-", "\xff é")
	f.Fuzz(func(t *testing.T, before, after string) {
		const probe = "qwertyuiopasdfgh"
		if !matches(before+" "+probe+" "+after, probe) {
			t.Errorf("not found between %q and %q", before, after)
		}
		matches(before, after)
	})
}

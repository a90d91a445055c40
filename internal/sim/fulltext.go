package sim

import (
	"regexp"
	"slices"
	"strings"
)

// blob matches what the product's scrubber takes for a secret in base64.
var blob = regexp.MustCompile(`[A-Za-z0-9]{33,}`)

// scrub replaces what looks like a secret, as the product does before it
// stores a memory.
func scrub(s string) string { return blob.ReplaceAllString(s, "[REDACTED:BASE64_BLOB]") }

// matches reports whether a text has all lexemes of a query, as
// to_tsvector('english', text) @@ plainto_tsquery('english', query) does in
// Postgres 15. It differs in three things: it doesn't stem, which is the same
// for text and query; it knows only the commonest stop words; and a negative
// number in a query matches nothing. Postgres reads "-5" as a number in the query
// "9dc0e5-5-f1fb" but not in the text "probe-9dc0e5-5-f1fb", which is why such
// a probe was never found; where the text stands alone it would find it, but a
// suite that relies on that is wrong.
func matches(text, query string) bool {
	have, want := lexemes(text), lexemes(query)
	if len(want) == 0 {
		return false
	}
	for _, l := range want {
		if l[0] == '-' || !slices.Contains(have, l) {
			return false
		}
	}
	return true
}

// stopWords are those of Postgres' English dictionary that turn up in memories.
var stopWords = strings.Fields("a an and are as at be but by for from if in into is it no not of on or so such that the their then there these they this to was will with")

// The default parser of Postgres, as far as letters, digits and hyphens go. A
// word may go on after a hyphen with a letter, or with digits that a letter
// follows; it then counts as a whole and in its parts.
var (
	hyphenated = regexp.MustCompile(`^(?:[a-z]+[a-z0-9]*|[0-9]+[a-z][a-z0-9]*)(?:-(?:[0-9]*[a-z][a-z0-9]*))+`)
	word       = regexp.MustCompile(`^[a-z0-9]*[a-z][a-z0-9]*`)
	number     = regexp.MustCompile(`^[-+]?[0-9]+(?:\.[0-9]+)?`)
)

// lexemes returns what Postgres would index of a text.
func lexemes(text string) []string {
	var out []string
	add := func(l string) {
		if !slices.Contains(stopWords, l) {
			out = append(out, l)
		}
	}
	for s := strings.ToLower(text); s != ""; {
		if m := hyphenated.FindString(s); m != "" {
			add(m)
			for part := range strings.SplitSeq(m, "-") {
				add(part)
			}
			s = strings.TrimPrefix(s[len(m):], "-") // a hyphen after it is no sign
			continue
		}
		if m := word.FindString(s); m != "" {
			add(m)
			s = s[len(m):]
			continue
		}
		if m := number.FindString(s); m != "" {
			add(strings.TrimPrefix(m, "+"))
			s = s[len(m):]
			continue
		}
		s = s[1:]
	}
	return out
}

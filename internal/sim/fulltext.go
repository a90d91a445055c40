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
// Postgres 15, with three differences: nothing is stemmed, only the commonest
// stop words are known, and a negative number in a query matches nothing.
//
// The last one is about the probe "9dc0e5-5-f1fb", which was stored and never
// found: Postgres reads "-5" as a number in the query, but not in the text
// "probe-9dc0e5-5-f1fb". Where the probe stood alone it would be found; a suite
// that relies on that is wrong, and this search tells it.
func matches(text, query string) bool {
	have, found := lexemes(text), false
	for _, l := range lexemes(query) {
		if slices.Contains(stopWords, l) {
			continue
		}
		if l[0] == '-' || !slices.Contains(have, l) {
			return false
		}
		found = true
	}
	return found
}

// stopWords are those of Postgres' English dictionary that turn up in memories.
var stopWords = strings.Fields("a an and are as at be but by for from if in into is it no not of on or so such that the their then there these they this to was will with")

// The default parser of Postgres, as far as letters, digits and hyphens go. A
// word may go on after a hyphen with a letter, or with digits that a letter
// follows; it then counts as a whole and in its parts. A number may have an
// exponent.
var (
	scientific = regexp.MustCompile(`^[-+]?[0-9]+(?:\.[0-9]+)?e[-+]?[0-9]+`)
	signed     = regexp.MustCompile(`^[-+][0-9]+(?:\.[0-9]+)?`)
	hyphenated = regexp.MustCompile(`^(?:[0-9]*[a-z][a-z0-9]*)(?:-[0-9]*[a-z][a-z0-9]*)+`)
	word       = regexp.MustCompile(`^[0-9]*[a-z][a-z0-9]*`)
	unsigned   = regexp.MustCompile(`^[0-9]+(?:\.[0-9]+)?`)
)

// lexemes returns what Postgres would index of a text, stop words included.
func lexemes(text string) []string {
	var out []string
	for s := strings.ToLower(text); s != ""; {
		token := first(s, scientific, signed, hyphenated, word, unsigned)
		if token == "" {
			s = s[1:]
			continue
		}
		s = s[len(token):]
		out = append(out, strings.TrimPrefix(token, "+"))
		if hyphenated.FindString(token) == token {
			out = append(out, strings.Split(token, "-")...)
			s = strings.TrimPrefix(s, "-") // a hyphen after such a word is no sign
		}
	}
	return out
}

// first returns what the first of the patterns that matches finds at the
// beginning of s.
func first(s string, patterns ...*regexp.Regexp) string {
	for _, p := range patterns {
		if m := p.FindString(s); m != "" {
			return m
		}
	}
	return ""
}

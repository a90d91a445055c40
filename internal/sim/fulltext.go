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

// lexeme matches what the search compares: words between hyphens and other
// punctuation, and digits after a hyphen, which are a negative number.
var lexeme = regexp.MustCompile(`-[0-9]+\b|[\pL\pN]+`)

// matches reports whether a text has all words of a query, as the product's
// search does, which is the full text search of Postgres. Negative numbers are
// read differently in a text and in a query there, so that a query with one
// finds nothing: "9dc0e5-5-f1fb" was stored and never found.
func matches(text, query string) bool {
	have, want := lexemes(text), lexemes(query)
	return len(want) > 0 && !slices.ContainsFunc(want, func(l string) bool {
		return l[0] == '-' || !slices.Contains(have, l)
	})
}

func lexemes(text string) []string { return lexeme.FindAllString(strings.ToLower(text), -1) }

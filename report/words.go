package report

import (
	"fmt"
	"strconv"
	"strings"
)

// words are the text forms of an enum, by value. The first is the word of the
// zero value, and of every value that is none.
type words[E ~int] []string

func (w words[E]) of(e E) string {
	if e < 0 || int(e) >= len(w) {
		return w[0]
	}
	return w[e]
}

func (w words[E]) parse(e *E, what string, text []byte) error {
	for i, word := range w {
		if word == string(text) {
			*e = E(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not a %s; it is one of %s", clip(text), what, strings.Join(w, ", "))
}

// clip keeps an unknown word short in an error.
func clip(text []byte) string {
	const limit = 40
	if len(text) > limit {
		return string(text[:limit]) + "…"
	}
	return string(text)
}

// Count writes a number with its noun: "1 check", "12,000 tenants", "2 entries".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Thousands(n) + " " + plural(noun)
}

// plural is the plural of a regular noun.
func plural(noun string) string {
	if stem, found := strings.CutSuffix(noun, "y"); found && !strings.ContainsAny(stem[max(0, len(stem)-1):], "aeiou") {
		return stem + "ies"
	}
	return noun + "s"
}

// Thousands writes a count with commas.
func Thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

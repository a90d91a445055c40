// Package untrusted makes text that a tenant, a registry, a forge or an event
// file sent fit to be shown. It is the one sanitiser between everything foreign
// and a log, a terminal, an annotation or a table.
//
// It takes any bytes and gives valid UTF-8 without control characters, terminal
// escapes, bidirectional overrides and invisible characters (all of them shown
// as escapes, so that the reader sees that they were there), and without
// anything that a runner reads as a workflow command. Markup is not its
// business: whoever writes Markdown, HTML or XML escapes for that as well.
package untrusted

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Ellipsis stands where text was cut.
const Ellipsis = "…"

// Line returns s as one line of at most limit characters; line breaks and tabs
// become blanks. A limit of 0 or less means no limit. Line(Line(s, n), n) is
// Line(s, n).
func Line(s string, limit int) string {
	if plain(s) && (limit <= 0 || len(s) <= limit) {
		return s
	}
	return clean(s, limit, false)
}

// plain reports whether there is nothing to do for a line. So it is with nearly
// every name and sentence, of which a report on a large fleet has 100,000.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == ':' && i+1 < len(s) && s[i+1] == ':' || c == '[' {
			return false
		}
	}
	return true
}

// Text returns s as clean lines separated by "\n", at most limit characters in
// all, as [Line] does for each of them.
func Text(s string, limit int) string {
	return clean(s, limit, true)
}

// clean is both faces of the sanitiser.
func clean(s string, limit int, keepLines bool) string {
	if limit <= 0 {
		limit = len(s)*len(`\U0010ffff`) + 1
	}
	w := writer{limit: limit}
	w.b.Grow(min(len(s), 4*limit))
	for i := 0; i < len(s) && !w.full; {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\n' && keepLines:
			w.put('\n')
		case r == '\n' || r == '\t' || r == '\r':
			w.put(' ')
		case r == utf8.RuneError && size <= 1:
			w.escape('x', 2, rune(s[i]))
		case invisible(r):
			w.escapeRune(r)
		default:
			w.put(r)
		}
		i += size
	}
	return w.b.String()
}

// A writer collects at most limit clean characters and breaks up what a runner
// would read as a command: "::" as the first thing on a line, blanks aside, and
// the older "##[" anywhere.
type writer struct {
	b          strings.Builder
	limit      int
	count      int
	full       bool
	line       lineState
	prev, last rune // the two characters written before
}

// A lineState tells how near the line written so far is to a command.
type lineState int

const (
	onlyBlanks lineState = iota
	oneColon
	harmless
)

// put writes one character that is visible, a blank or a line break.
func (w *writer) put(r rune) {
	if r == ':' && w.line == oneColon || r == '[' && w.last == '#' && w.prev == '#' {
		w.emit(' ')
	}
	w.emit(r)
	switch {
	case r == '\n':
		w.line = onlyBlanks
	case w.line == onlyBlanks && unicode.IsSpace(r): // still
	case w.line == onlyBlanks && r == ':':
		w.line = oneColon
	default:
		w.line = harmless
	}
	w.prev, w.last = w.last, r
}

// escapeRune shows an invisible character as Go would write it in a string.
func (w *writer) escapeRune(r rune) {
	switch {
	case r < 0x80:
		w.escape('x', 2, r)
	case r > 0xffff:
		w.escape('U', 8, r)
	default:
		w.escape('u', 4, r)
	}
}

// escape writes a backslash, a letter and the value in so many hex digits, all
// of it or nothing.
func (w *writer) escape(letter rune, digits int, value rune) {
	if w.count+2+digits > w.limit {
		w.cut()
		return
	}
	w.put('\\')
	w.put(letter)
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		w.put(rune("0123456789abcdef"[value>>shift&0xf]))
	}
}

// emit appends r, or ends the text where the limit is reached.
func (w *writer) emit(r rune) {
	if w.full {
		return
	}
	if w.count == w.limit {
		w.cut()
		return
	}
	w.b.WriteRune(r)
	w.count++
}

// cut ends the text with an ellipsis. The last character makes room for it when
// there is none left, so that cutting a second time changes nothing.
func (w *writer) cut() {
	w.full = true
	if w.count < w.limit {
		w.b.WriteString(Ellipsis)
		return
	}
	s := w.b.String()
	_, size := utf8.DecodeLastRuneInString(s)
	w.b.Reset()
	w.b.WriteString(s[:len(s)-size] + Ellipsis)
}

// invisible reports whether r must not reach a reader as it is: controls,
// format characters (among them bidirectional overrides and zero-width ones),
// separators that some readers take for line breaks, private and unassigned use.
func invisible(r rune) bool {
	if r < utf8.RuneSelf {
		return r < ' ' || r == 0x7f
	}
	return !unicode.IsPrint(r) && r != '\u00a0' || unicode.Is(unicode.Variation_Selector, r)
}

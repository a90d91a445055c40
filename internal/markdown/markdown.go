// Package markdown writes text that somebody else chose into GitHub's flavour of
// Markdown, so that it changes nothing but the words on the page.
//
// It takes any text, passes it through internal/untrusted, and gives Markdown:
// inline code, a block of code, a sentence, a link. All of it fits into a
// paragraph, a list and, but for [Block], a cell of a table.
//
// It exists because escaping the markup is not enough. Forges work on the
// finished page: mentions, references to issues and commits, bare addresses and
// emoji short codes become links and pictures there, whatever entities or
// backslashes were used to write them. Only code is left alone. So a name or a
// value becomes inline code, and in a sentence so does each word that is not
// plainly a word.
package markdown

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// Nothing stands for an empty text.
const Nothing = "–"

// Code writes s as inline code of at most limit characters (0: no limit), and
// [Nothing] when s is blank. A pipe, which no inline code can hold both inside
// and outside a table, stands between two pieces of code.
func Code(s string, limit int) string {
	s = strings.TrimSpace(untrusted.Line(s, limit))
	if s == "" {
		return Nothing
	}
	if !strings.Contains(s, "|") {
		return fenced(s)
	}
	var b strings.Builder
	for i, piece := range strings.Split(s, "|") {
		if i > 0 {
			b.WriteString(entities("|"))
		}
		if strings.TrimSpace(piece) != "" {
			b.WriteString(fenced(piece))
		}
	}
	return b.String()
}

// fenced is inline code around a text that is not blank. Its fence is longer
// than any run of backticks in the text. A text that begins or ends with a
// backtick or a blank gets one more blank on both sides, which Markdown removes.
func fenced(s string) string {
	fence := strings.Repeat("`", longestRun(s)+1)
	if edge := s[0] == '`' || s[0] == ' ' || s[len(s)-1] == '`' || s[len(s)-1] == ' '; edge {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}

// longestRun is the length of the longest run of backticks in s.
func longestRun(s string) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// Block writes lines as a block of code, each of at most limit characters (0: no
// limit). The language is for highlighting and is not escaped.
func Block(language string, limit int, lines ...string) string {
	longest := 2
	clean := make([]string, 0, len(lines))
	for _, line := range lines {
		line = untrusted.Line(line, limit)
		longest = max(longest, longestRun(line))
		clean = append(clean, line)
	}
	fence := strings.Repeat("`", longest+1)
	return fence + language + "\n" + strings.Join(clean, "\n") + "\n" + fence + "\n"
}

// A Piece is a part of a sentence: words, or a name that the sentence quotes.
type Piece struct {
	Text string
	Name bool
}

// Quoted splits a sentence at its names, which it has in `backticks`.
func Quoted(s string) []Piece {
	split := strings.Split(s, "`")
	var pieces []Piece
	for i, text := range split {
		switch {
		case i%2 == 0:
			pieces = append(pieces, Piece{text, false})
		case i == len(split)-1: // no second backtick
			pieces = append(pieces, Piece{"`" + text, false})
		case strings.TrimSpace(text) != "":
			pieces = append(pieces, Piece{text, true})
		}
	}
	return pieces
}

// Prose writes a sentence of at most limit characters (0: no limit): plain words
// as they are, everything else and what it quotes in backticks as inline code;
// [Nothing] when it is blank.
func Prose(s string, limit int) string {
	var b strings.Builder
	for _, piece := range Quoted(untrusted.Line(s, limit)) {
		if piece.Name {
			b.WriteString(space(&b, "") + Code(piece.Text, 0))
			continue
		}
		for _, word := range strings.Fields(piece.Text) {
			b.WriteString(space(&b, word))
			writeWord(&b, word)
		}
	}
	if b.Len() == 0 {
		return Nothing
	}
	return b.String()
}

// space separates what is about to be written from what stands before. Stops
// follow without it, as after a quoted name.
func space(b *strings.Builder, word string) string {
	if b.Len() == 0 || word != "" && strings.Trim(word, ".,;:!?)") == "" {
		return ""
	}
	return " "
}

// writeWord writes one word: the quotes and stops around it as text, and what is
// between them as text too when it is plain, else as code.
func writeWord(b *strings.Builder, word string) {
	core := strings.TrimLeft(word, `("'`)
	b.WriteString(word[:len(word)-len(core)])
	stem := strings.TrimRight(core, `.,;:!?)"'`)
	switch {
	case plainWord(stem):
		b.WriteString(stem)
	case !strings.ContainsFunc(stem, isWordRune) && !strings.Contains(stem, ":"): // ":+:" may be a short code
		b.WriteString(entities(stem))
	default:
		b.WriteString(Code(stem, 0))
	}
	// "1." and "1)" begin a list at the start of a line; elsewhere they are stops.
	if last, _ := utf8.DecodeLastRuneInString(stem); unicode.IsLetter(last) && strings.Trim(core[len(stem):], ".)") == "" {
		b.WriteString(core[len(stem):])
		return
	}
	b.WriteString(entities(core[len(stem):]))
}

// plainWord reports whether a forge makes nothing of a word: letters and digits,
// with an apostrophe, a hyphen between letters, a comma or point between digits.
// A run of 7 hex digits may be a commit, and "GH-1" an issue.
func plainWord(s string) bool {
	hex := 0
	var before rune
	for i, r := range s {
		next, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
		switch {
		case isWordRune(r), r == '…':
		case r == '\'' || r == '’':
		case r == '-' && unicode.IsLetter(before) && unicode.IsLetter(next):
		case (r == ',' || r == '.') && isDigit(before) && isDigit(next):
		case r > unicode.MaxASCII && (unicode.IsPunct(r) || unicode.IsSymbol(r)):
		default:
			return false
		}
		if hex++; !strings.ContainsRune("0123456789abcdefABCDEF", r) {
			hex = 0
		}
		if hex >= 7 {
			return false
		}
		before = r
	}
	return true
}

func isDigit(r rune) bool    { return r >= '0' && r <= '9' }
func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

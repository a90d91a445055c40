package summary

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escaping for GitHub's flavour of Markdown, and what forges do to the page
// after it: mentions, references to issues and commits, bare addresses and
// emoji short codes become links and pictures there, and entities or
// backslashes don't stop that, since it works on the finished text. Only code
// is left alone by all of them. So a name or a value is a code span, and in a
// sentence each word that is not plainly a word is one.

// codeSpan writes s as inline code of at most limit characters; "–" when empty.
// It serves inside and outside tables: a pipe, which no code span can hold in
// both, stands between two spans.
func codeSpan(s string, limit int) string {
	s = strings.TrimSpace(clean(s, limit))
	if s == "" {
		return "–"
	}
	if !strings.Contains(s, "|") {
		return fenced(s)
	}
	var b strings.Builder
	for i, piece := range strings.Split(s, "|") {
		if i > 0 {
			b.WriteString("&#124;")
		}
		if strings.TrimSpace(piece) != "" {
			b.WriteString(fenced(piece))
		}
	}
	return b.String()
}

// fenced is a code span around a text that is not blank. It has a fence longer
// than any run of backticks in it, and a blank on both sides where the text
// begins or ends with a backtick or a blank, which Markdown takes away again.
func fenced(s string) string {
	fence := strings.Repeat("`", longestRun(s, '`')+1)
	if edge := s[0] == '`' || s[0] == ' ' || s[len(s)-1] == '`' || s[len(s)-1] == ' '; edge {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}

// longestRun is the length of the longest run of c in s.
func longestRun(s string, c byte) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] != c {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// codeBlock writes lines as a block of code, each at most maxValue characters.
func codeBlock(language string, lines ...string) string {
	longest := 2
	for i, line := range lines {
		lines[i] = clean(line, maxValue)
		longest = max(longest, longestRun(lines[i], '`'))
	}
	fence := strings.Repeat("`", longest+1)
	return fence + language + "\n" + strings.Join(lines, "\n") + "\n" + fence + "\n"
}

// prose writes a sentence of at most limit characters: words as they are,
// whatever else as code, and what it quotes in backticks too; "–" when empty.
func prose(s string, limit int) string {
	var b strings.Builder
	for _, piece := range quoted(clean(s, limit)) {
		if piece.kind == kindName {
			b.WriteString(space(&b, "") + codeSpan(piece.text, 0))
			continue
		}
		for _, word := range strings.Fields(piece.text) {
			b.WriteString(space(&b, word))
			writeWord(&b, word)
		}
	}
	if b.Len() == 0 {
		return "–"
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
		entities(b, stem)
	default:
		b.WriteString(codeSpan(stem, 0))
	}
	// "1." and "1)" begin a list at the start of a line; elsewhere they are stops.
	if last, _ := utf8.DecodeLastRuneInString(stem); isLetter(last) && strings.Trim(core[len(stem):], ".)") == "" {
		b.WriteString(core[len(stem):])
		return
	}
	entities(b, core[len(stem):])
}

// plainWord reports whether nothing would be made of a word: letters and
// digits, with an apostrophe, a hyphen before a letter, a comma or point between
// digits. A run of 7 hex digits may be a commit, and "GH-1" an issue.
func plainWord(s string) bool {
	hex := 0
	var before rune
	for i, r := range s {
		next, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
		switch {
		case isWordRune(r), r == '…':
		case r == '\'' || r == '’':
		case r == '-' && isLetter(before) && isLetter(next):
		case (r == ',' || r == '.') && isDigit(before) && isDigit(next):
		case r > unicode.MaxASCII && (unicode.IsPunct(r) || unicode.IsSymbol(r)):
		default:
			return false
		}
		if hex++; !isHex(string(r)) {
			hex = 0
		}
		if hex >= 7 {
			return false
		}
		before = r
	}
	return true
}

func isLetter(r rune) bool   { return unicode.IsLetter(r) }
func isDigit(r rune) bool    { return r >= '0' && r <= '9' }
func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

// entities writes punctuation so that Markdown takes none of it for its own.
func entities(b *strings.Builder, s string) {
	for _, r := range s {
		switch {
		case r > unicode.MaxASCII || strings.ContainsRune(`,;:?="'`, r):
			b.WriteRune(r)
		default:
			b.WriteString(entity(r))
		}
	}
}

// entity is the numeric reference of an ASCII character.
func entity(r rune) string {
	const digits = "0123456789"
	if r < 100 {
		return "&#" + string(digits[r/10]) + string(digits[r%10]) + ";"
	}
	return "&#1" + string(digits[r/10%10]) + string(digits[r%10]) + ";"
}

// link writes a link with a label that is Markdown already. The label alone
// stands where the address is not one of the web.
func link(label, address string) string {
	if address = webAddress(address); address == "" {
		return label
	}
	return "[" + label + "](<" + strings.ReplaceAll(address, "&", "&amp;") + ">)"
}

// webAddress returns an absolute http or https address in a form that ends no
// attribute and no Markdown link, and "" for anything else. It drops a user and
// a password.
func webAddress(s string) string {
	if len(s) > 2000 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }) {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	u.User = nil
	var b strings.Builder
	for _, c := range []byte(u.String()) {
		if c > '~' || strings.IndexByte("<>{}|\\^`\"'", c) >= 0 {
			b.WriteString("%" + strings.ToUpper(hexByte(c)))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func hexByte(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}

// markdown writes a phrase. In tables and outside, on one line.
func (p phrase) markdown(commitURL string) string {
	var b strings.Builder
	for _, part := range p {
		switch part.kind {
		case kindName:
			b.WriteString(codeSpan(part.text, maxName))
		case kindCommit:
			b.WriteString(link(codeSpan(part.text, maxName), commitURL))
		case kindSaid:
			b.WriteString(prose(part.text, maxSaid))
		default:
			b.WriteString(part.text)
		}
	}
	return b.String()
}

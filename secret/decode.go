package secret

import (
	"html"
	"iter"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// An encoding is one of those that write a character as an escape, or a set of
// them.
type encoding int

const (
	backslash encoding = 1 << iota
	percent
	entity
)

// maxEscape is the length in bytes of the longest escape of one character that
// is decoded, such as &#0000047; or &amp;#x2f;.
const maxEscape = 10

// maxLayers is how many encodings around each other are decoded.
const maxLayers = 3

// A view is a text with its escapes decoded.
type view struct {
	text string
	// at is where in the whole text each byte comes from, and the end of it; the
	// bytes of one escape all come from its beginning. Nil: it is the whole text.
	at []int32
}

// origin is where in the whole text a byte of the view comes from.
func (v view) origin(i int) int32 {
	if v.at == nil {
		return int32(i)
	}
	return v.at[i]
}

// span is the stretch of the whole text that became v.text[start:end], with the
// whole of every escape.
func (v view) span(start, end int) span {
	if v.at == nil {
		return span{start, end}
	}
	for v.at[end] == v.at[end-1] {
		end++
	}
	return span{int(v.at[start]), int(v.at[end])}
}

// layers decodes everything, and that again, as long as there are escapes.
func (v view) layers() iter.Seq[view] {
	return func(yield func(view) bool) {
		var ok bool
		for range maxLayers {
			if v, ok = v.decode(backslash | percent | entity); !ok || !yield(v) {
				return
			}
		}
	}
}

// decode returns the view with the escapes of some encodings decoded, and
// whether there were any.
func (v view) decode(of encoding) (view, bool) {
	if !of.mayBeIn(v.text) {
		return v, false
	}
	text := make([]byte, 0, len(v.text))
	at := make([]int32, 0, len(v.text)+1)
	found := false
	for i := 0; i < len(v.text); {
		width := 0
		switch v.text[i] {
		case '\\', '\'', '%', '&':
			text, width = of.unescape(text, v.text[i:])
		}
		found = found || width > 0
		if width == 0 {
			text, width = append(text, v.text[i]), 1
		}
		for len(at) < len(text) {
			at = append(at, v.origin(i))
		}
		i += width
	}
	return view{string(text), append(at, v.origin(len(v.text)))}, found
}

// mayBeIn reports whether text has the first character of any escape.
func (of encoding) mayBeIn(text string) bool {
	return of&backslash != 0 && (strings.Contains(text, `\`) || strings.Contains(text, shellQuote)) ||
		of&percent != 0 && strings.Contains(text, "%") ||
		of&entity != 0 && strings.Contains(text, "&")
}

// shellQuote is a single quote inside a word in single quotes, as some write it;
// others write '\”.
const shellQuote = `'"'"'`

// unescape appends what an escape at the beginning of s means to dst and returns
// the escape's length; 0: s begins with none.
func (of encoding) unescape(dst []byte, s string) ([]byte, int) {
	switch {
	case of&backslash != 0 && s[0] == '\'':
		for _, quote := range []string{`'\''`, shellQuote} {
			if strings.HasPrefix(s, quote) {
				return append(dst, '\''), len(quote)
			}
		}
	case of&backslash != 0 && s[0] == '\\':
		if len(s) > 1 && (s[1] == '%' || s[1] == '&') {
			if _, inner := of.unescape(dst, s[1:]); inner > 0 {
				return dst, 0 // that one first: what it means may be what the backslash escapes
			}
		}
		return unescapeBackslash(dst, s)
	case of&percent != 0 && s[0] == '%':
		if c, ok := hexOf(s, 1, 2); ok {
			return append(dst, byte(c)), 3
		}
	case of&entity != 0 && s[0] == '&':
		return unescapeEntity(dst, s)
	}
	return dst, 0
}

func unescapeBackslash(dst []byte, s string) ([]byte, int) {
	if len(s) < 2 {
		return dst, 0
	}
	switch c := s[1]; c {
	case 'n':
		return append(dst, '\n'), 2
	case 'r':
		return append(dst, '\r'), 2
	case 't':
		return append(dst, '\t'), 2
	case 'x', 'X':
		if c, ok := hexOf(s, 2, 2); ok {
			return append(dst, byte(c)), 4
		}
	case 'u', 'U':
		return unescapeUnicode(dst, s)
	default:
		if c < utf8.RuneSelf && !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return append(dst, c), 2
		}
	}
	return dst, 0
}

// unescapeUnicode reads \u002f, a pair of surrogates, and \U0000002f.
func unescapeUnicode(dst []byte, s string) ([]byte, int) {
	if r, ok := hexOf(s, 2, 8); ok && s[1] == 'U' {
		return utf8.AppendRune(dst, r), 10
	}
	high, ok := hexOf(s, 2, 4)
	if !ok {
		return dst, 0
	}
	if low, ok := hexOf(s, 8, 4); ok && s[6] == '\\' {
		if r := utf16.DecodeRune(high, low); r != utf8.RuneError {
			return utf8.AppendRune(dst, r), 12
		}
	}
	return utf8.AppendRune(dst, high), 6
}

func unescapeEntity(dst []byte, s string) ([]byte, int) {
	end := strings.IndexByte(s[:min(len(s), maxEscape)], ';') + 1
	for _, escape := range []string{s[:end], strings.ToLower(s[:end])} {
		// A text after the name means that something shorter was decoded.
		if text := html.UnescapeString(escape); text != escape && (text == ";" || !strings.HasSuffix(text, ";")) {
			return append(dst, text...), end
		}
	}
	return dst, 0
}

// hexOf returns the value of n hex digits at an offset of s.
func hexOf(s string, offset, n int) (rune, bool) {
	if len(s) < offset+n {
		return 0, false
	}
	var value uint32
	for _, c := range []byte(s[offset : offset+n]) {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		value = value<<4 | uint32(c)
	}
	return rune(value), value <= utf8.MaxRune
}

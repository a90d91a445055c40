package secret

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"slices"
	"sort"
	"strings"
)

// minRedact is the length in bytes under which a value is not looked for in
// text: replacing something as short as "a" would make every text unreadable
// and reveal the value by the holes. Inputs demand 8 characters of a token.
const minRedact = 4

// minBase64 is the same for what base64 makes of a secret, in characters.
const minBase64 = 6

// A Redactor removes known secrets from text. It finds each secret as it is and
// in the encodings in which a server, a shell or a renderer may return it, upper
// or lower case alike:
//
//   - with backslashes: JSON with \/ and \u002f, Go with \" and \x2f, a quoted
//     word of a shell;
//   - with percent signs: of a query or a path, or of every character;
//   - with HTML entities: named, decimal and hexadecimal;
//   - up to three of these around each other, such as JSON in HTML;
//   - quotes doubled, as SQL, CSV and YAML write them;
//   - in hexadecimal, and in base64 and base64url, padded or not, also as a part
//     of what was encoded, such as Basic credentials.
//
// Of a secret of several lines it also finds each line.
//
// It can't find what was compressed, encrypted, reversed, cut into pieces or
// broken over lines, written with separators (de:ad:be:ef) or in an encoding
// that is not listed, nor base64 of base64. So nothing foreign should be shown
// that need not be.
//
// A nil Redactor, and one without secrets, returns text unchanged. A Redactor
// may be used by several goroutines at once.
type Redactor struct {
	forms   []string // what is looked for, folded, in order
	shorter []int32  // for each form the longest other one that it begins with; -1: none
	// filter holds the hashes of the forms' first four bytes as a set of bits:
	// nearly every place of a text begins no form, and is passed with one look.
	filter []uint64
	shift  int // of a hash, down to the number of a bit

	lookalike bool // some secret holds what may begin an escape of another encoding
	longest   int
}

// NewRedactor returns a Redactor of the given secrets. Absent secrets and
// those under 4 bytes are left out.
func NewRedactor(values ...Value) *Redactor {
	r := &Redactor{}
	for _, v := range values {
		r.add(v.text)
		if strings.Contains(v.text, "\n") {
			for line := range strings.Lines(v.text) {
				if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") { // PEM begins and ends so
					r.add(line)
				}
			}
		}
	}
	slices.Sort(r.forms)
	r.forms = slices.Compact(r.forms)
	r.link()
	return r
}

// add takes one secret.
func (r *Redactor) add(s string) {
	if len(s) < minRedact {
		return
	}
	r.longest = max(r.longest, maxEscape*len(s))
	first := len(r.forms)
	add := func(form string) {
		if form = string(fold(nil, form)); len(form) >= minRedact && !slices.Contains(r.forms[first:], form) {
			r.forms = append(r.forms, form)
		}
	}
	add(s)
	add(strings.ToLower(s)) // beyond ASCII, which is folded
	add(strings.ToUpper(s))
	add(strings.ReplaceAll(s, " ", "+")) // of a query
	add(strings.ReplaceAll(s, `'`, `''`))
	add(strings.ReplaceAll(s, `"`, `""`))
	add(hex.EncodeToString([]byte(s)))
	for _, form := range base64Forms(s) {
		add(form)
	}
	// A text is decoded layer by layer; what the secret itself has of escapes is
	// decoded with it.
	for v := range (view{text: s}).layers() {
		add(v.text)
	}
	r.lookalike = r.lookalike || strings.ContainsAny(s, `\'%&`)
}

// base64Forms returns what base64 makes of s wherever it stands in a longer
// text: for the three alignments the characters that depend on s alone, and the
// same with the last one, where s is the end of the text. That finds it in Basic
// credentials, whose user name shifts it and which it ends.
func base64Forms(s string) []string {
	var forms []string
	for before := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte("\x00\x00"[:before] + s))
		first, last := (8*before+5)/6, 8*(before+len(s))/6
		if last-first >= minBase64 {
			forms = append(forms, encoded[first:last], encoded[first:])
		}
	}
	return forms
}

// link makes ready what a search needs.
func (r *Redactor) link() {
	size := min(max(bits.Len(uint(32*len(r.forms))), 10), 24) // of the filter: the logarithm of its bits
	r.filter, r.shift = make([]uint64, 1<<size/64), 32-size
	r.shorter = make([]int32, len(r.forms))
	for i, form := range r.forms {
		parent := int32(i - 1)
		for parent >= 0 && !strings.HasPrefix(form, r.forms[parent]) {
			parent = r.shorter[parent]
		}
		r.shorter[i] = parent
		word, bit := r.bit(binary.LittleEndian.Uint32([]byte(form[:minRedact])))
		r.filter[word] |= bit
	}
}

// bit is the place in the filter of a form's first four bytes.
func (r *Redactor) bit(begins uint32) (word uint32, bit uint64) {
	hash := begins * 2654435761 >> r.shift // Knuth's multiplier
	return hash / 64, 1 << (hash % 64)
}

// mayBegin reports whether a form may begin with these four bytes.
func (r *Redactor) mayBegin(begins uint32) bool {
	word, bit := r.bit(begins)
	return r.filter[word]&bit != 0
}

// Longest returns the length in bytes of the longest text that the Redactor is
// sure to replace, a secret in the longest of the encodings. Whoever cuts a text
// must redact that much more than is kept, or half a secret stays at the cut.
func (r *Redactor) Longest() int {
	if r == nil {
		return 0
	}
	return r.longest
}

// Redact returns s with every known secret replaced by [Mask].
func (r *Redactor) Redact(s string) string {
	if r == nil || len(r.forms) == 0 {
		return s
	}
	whole := view{text: s}
	spans := r.find(whole, nil)
	for v := range whole.layers() {
		spans = r.find(v, spans)
	}
	if r.lookalike { // then decoding everything may decode too much
		for _, one := range []encoding{backslash, percent, entity} {
			if v, ok := whole.decode(one); ok {
				spans = r.find(v, spans)
			}
		}
	}
	return mask(s, spans)
}

// A span is a stretch of a text, in bytes.
type span struct{ start, end int }

// find appends the stretches of the whole text that hold a secret in the view.
func (r *Redactor) find(v view, spans []span) []span {
	var short [512]byte
	folded := fold(short[:0], v.text)
	before := len(spans)
	var begins uint32
	for next, c := range folded {
		begins = begins>>8 | uint32(c)<<24
		if !r.mayBegin(begins) || next < minRedact-1 {
			continue
		}
		i := next - (minRedact - 1)
		n := r.match(folded[i:min(i+r.longest, len(folded))])
		if n == 0 {
			continue
		}
		found := v.span(i, i+n)
		if last := len(spans) - 1; last >= before && found.start < spans[last].end {
			spans[last].end = max(spans[last].end, found.end)
		} else {
			spans = append(spans, found)
		}
	}
	return spans
}

// match returns the length of the longest form that the text begins with; 0:
// there is none. Of the forms in order, one that the text begins with is either
// the last that is not greater than the text or what that one begins with.
func (r *Redactor) match(text []byte) int {
	i := int32(sort.Search(len(r.forms), func(i int) bool { return r.forms[i] > string(text) })) - 1
	for ; i >= 0; i = r.shorter[i] {
		if form := r.forms[i]; len(form) <= len(text) && string(text[:len(form)]) == form {
			return len(form)
		}
	}
	return 0
}

// mask replaces the spans of s; those that overlap as one.
func mask(s string, spans []span) string {
	if len(spans) == 0 {
		return s
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	var b strings.Builder
	b.Grow(len(s))
	end := 0
	for i, found := range spans {
		if i == 0 || found.start >= end {
			b.WriteString(s[end:found.start])
			b.WriteString(Mask)
		}
		end = max(end, found.end)
	}
	b.WriteString(s[end:])
	return b.String()
}

// fold returns s, in the space of dst, in lower case, and with the two characters of base64 in
// place of those of base64url, so that one form finds both.
func fold(dst []byte, s string) []byte {
	dst = append(dst, s...)
	for i, c := range dst {
		dst[i] = folded[c]
	}
	return dst
}

var folded = func() (table [256]byte) {
	for i := range table {
		switch c := byte(i); {
		case 'A' <= c && c <= 'Z':
			table[i] = c - 'A' + 'a'
		case c == '-':
			table[i] = '+'
		case c == '_':
			table[i] = '/'
		default:
			table[i] = c
		}
	}
	return table
}()

package secret

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"
)

// minRedact is the length in bytes under which a value is not looked for in
// text: replacing something as short as "a" would make every text unreadable
// and reveal the value by the holes. Inputs demand 8 characters of a token.
const minRedact = 4

// A Redactor removes known secrets from text. It finds each secret as it is
// and in the encodings in which a server or an encoder of ours may return it:
// JSON string, URL query and path, HTML, and base64 of the three alignments.
//
// A nil Redactor, and one without secrets, returns text unchanged. A Redactor
// may be used by several goroutines at once.
type Redactor struct {
	replacer *strings.Replacer
	longest  int
}

// NewRedactor returns a Redactor of the given secrets. Absent secrets and
// those under 4 bytes are left out.
func NewRedactor(values ...Value) *Redactor {
	var forms []string
	for _, v := range values {
		if len(v.text) >= minRedact {
			forms = append(forms, encodings(v.text)...)
		}
	}
	if len(forms) == 0 {
		return &Redactor{}
	}
	// A longer form first: one secret may be the beginning of another.
	slices.SortFunc(forms, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	forms = slices.Compact(forms)
	pairs := make([]string, 0, 2*len(forms))
	for _, f := range forms {
		pairs = append(pairs, f, Mask)
	}
	return &Redactor{replacer: strings.NewReplacer(pairs...), longest: len(forms[0])}
}

// Longest returns the length in bytes of the longest text that the Redactor
// replaces. Whoever cuts a text must redact that much more than is kept, or
// half a secret stays at the cut.
func (r *Redactor) Longest() int {
	if r == nil {
		return 0
	}
	return r.longest
}

// Redact returns s with every known secret replaced by [Mask].
func (r *Redactor) Redact(s string) string {
	if r == nil || r.replacer == nil {
		return s
	}
	return r.replacer.Replace(s)
}

// encodings returns the forms of one secret that a Redactor looks for.
func encodings(s string) []string {
	forms := []string{s, url.QueryEscape(s), url.PathEscape(s), html.EscapeString(s)}
	if quoted, err := json.Marshal(s); err == nil {
		forms = append(forms, strings.Trim(string(quoted), `"`))
	}
	return append(forms, base64Forms(s)...)
}

// base64Forms returns what base64 makes of s wherever it stands in a longer
// text: the characters that depend on s alone, for the three alignments, and the
// same with the last ones, padded or not, where s is the end of the text. That
// finds it in Basic credentials, whose user name shifts it and which it ends.
func base64Forms(s string) []string {
	var forms []string
	for shift := range 3 {
		shifted := strings.Repeat("\x00", shift) + s
		whole := len(shifted) / 3 * 3
		start := 3
		if shift == 0 {
			start = 0
		}
		if whole-start < 2*minRedact {
			continue
		}
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			forms = append(forms,
				enc.EncodeToString([]byte(shifted[start:])),
				enc.WithPadding(base64.NoPadding).EncodeToString([]byte(shifted[start:])),
				enc.EncodeToString([]byte(shifted[start:whole])))
		}
	}
	return forms
}

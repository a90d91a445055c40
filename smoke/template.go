package smoke

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
)

// An encoding says where in a request a placeholder stands, and so how its value
// is escaped.
type encoding int

const (
	inPath encoding = iota
	inQuery
	inHeader
	inText     // a text body: as it is
	inJSONText // inside a JSON string
	inJSON     // a JSON value of its own: numbers stay numbers
)

// placeholders are the names that always have a value.
var placeholders = []string{"probe", "sha", "tenant"}

// A template is text with placeholders.
type template []part

// A part is literal text, or the placeholder of a name.
type part struct {
	literal  string
	name     string
	encoding encoding
}

// parseTemplate splits text at its placeholders, ${name}. "$${" stands for the
// text "${".
func parseTemplate(text string, e encoding) (template, error) {
	var t template
	var literal strings.Builder
	for text != "" {
		before, after, found := strings.Cut(text, "${")
		if !found {
			literal.WriteString(text)
			break
		}
		if strings.HasSuffix(before, "$") {
			literal.WriteString(before + "{")
			text = after
			continue
		}
		literal.WriteString(before)
		name, rest, closed := strings.Cut(after, "}")
		if !closed {
			return nil, errors.New(`the placeholder "${" is not closed; write $${ for the text "${"`)
		}
		t = append(t, part{literal: literal.String()}, part{name: name, encoding: e})
		literal.Reset()
		text = rest
	}
	return append(t, part{literal: literal.String()}), nil
}

// names returns the names of t's placeholders.
func (t template) names() []string {
	var names []string
	for _, p := range t {
		if p.name != "" {
			names = append(names, p.name)
		}
	}
	return names
}

// uses reports whether t has the placeholder of a name.
func (t template) uses(name string) bool { return slices.Contains(t.names(), name) }

// expand returns the text with the values in place of the placeholders. The
// error says which value can't stand there, without quoting it.
func (t template) expand(values map[string]any) (string, error) {
	if len(t) == 1 && t[0].name == "" {
		return t[0].literal, nil
	}
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.literal)
		if p.name == "" {
			continue
		}
		v, ok := values[p.name]
		if !ok {
			return "", fmt.Errorf("${%s} has no value: the step that saves it did not get that far", p.name)
		}
		text, err := escape(v, p.encoding)
		if err != nil {
			return "", fmt.Errorf("${%s} %w", p.name, err)
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// escape returns v as it must be written in an encoding.
func escape(v any, e encoding) (string, error) {
	if e == inJSON {
		text, err := json.Marshal(v)
		return string(text), err
	}
	text, err := scalarText(v)
	if err != nil {
		return "", err
	}
	switch e {
	case inPath:
		if text == "" {
			return "", errors.New("is empty, which would change the path")
		}
		return url.PathEscape(text), nil
	case inQuery:
		return url.QueryEscape(text), nil
	case inHeader:
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return "", errors.New("has a character that no header can carry")
		}
		return text, nil
	case inJSONText:
		return jsonText(text), nil
	default:
		return text, nil
	}
}

// scalarText returns a text, number or boolean as text; numbers keep their digits.
func scalarText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return string(v), nil
	case int:
		return strconv.Itoa(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	default:
		return "", fmt.Errorf("is %s, which can't stand here", expr.Describe(v))
	}
}

// jsonText returns s as it stands between the quotes of a JSON string.
func jsonText(s string) string {
	quoted, err := json.Marshal(s)
	if err != nil { // of a string there is none
		return ""
	}
	return string(quoted[1 : len(quoted)-1])
}

// newProbe returns 16 random lower-case letters. What stores it may scrub long
// runs of characters, and what searches it may split words at hyphens and read
// digits as numbers.
func newProbe() string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	probe := make([]byte, 0, 16)
	var random [32]byte
	for len(probe) < cap(probe) {
		_, _ = rand.Read(random[:]) // never fails
		for _, b := range random {
			// 234 is 9 times 26: no letter is likelier than another.
			if b < 234 && len(probe) < cap(probe) {
				probe = append(probe, letters[b%26])
			}
		}
	}
	return string(probe)
}

// sampleValues are values for every placeholder: with them a request can be
// shown, and tried, before anything was sent.
func sampleValues(saved []string) map[string]any {
	values := map[string]any{
		"probe": "abcdefghijklmnop", "sha": "0123456789abcdef0123456789abcdef01234567", "tenant": "tenant.example",
	}
	for _, name := range saved {
		values[name] = "saved-" + strings.ToLower(name)
	}
	return values
}

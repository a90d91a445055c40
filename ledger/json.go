package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// maxDepth is how deeply JSON may be nested. Records need 8 levels.
const maxDepth = 32

// maxName is how many characters of a foreign name an error repeats.
const maxName = 60

// decodeStrict reads one JSON object of at most limit bytes into v. encoding/json
// lets a later key overwrite an earlier one, also one in other letters
// ("Payload" for "payload"). Two readers could then see two contents in one signed
// document, so such keys are refused. Unknown keys are allowed: later versions add
// some.
func decodeStrict(b []byte, limit int, v any) error {
	if len(b) > limit {
		return fmt.Errorf("it has %d bytes; at most %d are read", len(b), limit)
	}
	if !utf8.Valid(b) {
		return errors.New("it is not UTF-8")
	}
	err := json.Unmarshal(b, v)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("it is not JSON: %w", clean(err))
	case !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")):
		return errors.New("it is not a JSON object")
	}
	if err := checkKeys(b); err != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("it has a value of the wrong type: %w", clean(err))
	}
	return nil
}

// checkKeys finds keys that an object of valid JSON has twice, and too much nesting.
func checkKeys(b []byte) error {
	var open []map[string]bool // the keys of the objects around; nil: an array
	key := false               // the next string is a key
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			if len(open) == maxDepth {
				return fmt.Errorf("it is nested more than %d levels deep", maxDepth)
			}
			key = b[i] == '{'
			var keys map[string]bool
			if key {
				keys = map[string]bool{}
			}
			open = append(open, keys)
		case '}', ']':
			open, key = open[:len(open)-1], false
		case ',':
			key = open[len(open)-1] != nil
		case '"':
			end := endOfString(b, i)
			if key {
				if err := addKey(open[len(open)-1], b[i:end]); err != nil {
					return err
				}
			}
			i, key = end-1, false
		}
	}
	return nil
}

// endOfString returns where the string that begins at i ends.
func endOfString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// addKey adds a key, as it stands in the JSON, to those of its object.
func addKey(keys map[string]bool, quoted []byte) error {
	name := string(quoted[1 : len(quoted)-1])
	if strings.Contains(name, `\`) {
		if err := json.Unmarshal(quoted, &name); err != nil {
			return clean(err)
		}
	}
	folded := fold(name)
	if keys[folded] {
		return fmt.Errorf("the key %q appears twice", untrusted.Line(name, maxName))
	}
	keys[folded] = true
	return nil
}

// fold returns one form for all keys that encoding/json takes for the same.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, key)
}

// clean makes an error of a parser, which may quote its input, fit to be shown.
func clean(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(untrusted.Line(err.Error(), 3*maxName))
}

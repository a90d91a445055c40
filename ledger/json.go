package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	first, err := d.Token()
	if err != nil {
		return fmt.Errorf("it is not JSON: %w", clean(err))
	}
	if first != json.Delim('{') {
		return errors.New("it is not a JSON object")
	}
	if err := checkObject(d, 1); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the JSON object")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("it has a value of the wrong type: %w", clean(err))
	}
	return nil
}

// checkObject reads the rest of an object, after its opening brace.
func checkObject(d *json.Decoder, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fmt.Errorf("it is not JSON: %w", clean(err))
		}
		name, _ := key.(string) // the decoder accepts nothing else as a key
		folded := fold(name)
		if seen[folded] {
			return fmt.Errorf("the key %q appears twice", untrusted.Line(name, maxName))
		}
		seen[folded] = true
		if err := checkValue(d, depth); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return clean(err)
}

// checkValue reads one value.
func checkValue(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("it is not JSON: %w", clean(err))
	}
	if depth >= maxDepth {
		return fmt.Errorf("it is nested more than %d levels deep", maxDepth)
	}
	switch token {
	case json.Delim('{'):
		return checkObject(d, depth+1)
	case json.Delim('['):
		for d.More() {
			if err := checkValue(d, depth+1); err != nil {
				return err
			}
		}
		_, err = d.Token()
	}
	return clean(err)
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

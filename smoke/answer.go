package smoke

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
)

// An answer is one response as an expectation sees it. What costs something is
// made on first use: most expectations look at a part only.
type answer struct {
	response *fleet.Response
	header   map[string]string
	lenient  bool // take whatever parses for JSON: to learn what must be cleaned up
	parsed   bool
	value    any
	err      error // why there is no json
}

// headers returns the header with lower-case names; values of one name are
// joined as HTTP allows.
func (a *answer) headers() map[string]string {
	if a.header == nil {
		a.header = make(map[string]string, len(a.response.Header))
		for name, values := range a.response.Header {
			a.header[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	return a.header
}

// body returns the body as text. Of a body that did not come whole, nothing can
// be said: what is missing might be what an expectation forbids.
func (a *answer) body() (string, error) {
	if !a.response.Complete {
		return "", a.incomplete()
	}
	return string(a.response.Body), nil
}

// incomplete says what is wrong with the body.
func (a *answer) incomplete() error {
	if len(a.response.Body) >= fleet.MaxBody {
		return fmt.Errorf("the body is longer than %d bytes, of which no more are read", fleet.MaxBody)
	}
	return fmt.Errorf("the body ended early, after %d bytes", len(a.response.Body))
}

// json returns the parsed body, or what came instead of JSON.
func (a *answer) json() (any, error) {
	if a.lenient {
		return parseJSON(a.response.Body)
	}
	if !a.parsed {
		a.parsed = true
		a.value, a.err = a.parse()
	}
	return a.value, a.err
}

func (a *answer) parse() (any, error) {
	kind := a.contentType()
	switch {
	case !isJSON(a.response.Header.Get("Content-Type")) && len(a.response.Body) == 0:
		return nil, errors.New("the answer is not JSON: its body is empty")
	case !isJSON(a.response.Header.Get("Content-Type")):
		return nil, fmt.Errorf("the answer is not JSON but %s", kind)
	case !a.response.Complete:
		return nil, a.incomplete()
	case len(a.response.Body) == 0:
		return nil, fmt.Errorf("the answer says it is %s, but its body is empty", kind)
	case !utf8.Valid(a.response.Body):
		return nil, fmt.Errorf("the answer says it is %s, but its body is not UTF-8", kind)
	}
	value, err := parseJSON(a.response.Body)
	if err != nil {
		return nil, fmt.Errorf("the answer says it is %s, but its body is not: %w", kind, err)
	}
	return value, nil
}

// parseJSON reads one JSON value and nothing after it. Numbers keep their
// digits; the library bounds the depth (10,000).
func parseJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}
	return value, nil
}

// contentType names the kind of body for people. Like all that is said of an
// answer it is neither redacted nor sanitised yet.
func (a *answer) contentType() string {
	kind := a.response.Header.Get("Content-Type")
	if kind == "" {
		return "without a content type"
	}
	if media, _, err := mime.ParseMediaType(kind); err == nil {
		kind = media
	}
	return kind
}

// isJSON reports whether a content type is one of JSON (RFC 8259, RFC 6839).
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || media == "text/json" ||
		strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}

// isHTML reports whether an answer is a page.
func isHTML(h http.Header) bool {
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return media == "text/html" || media == "application/xhtml+xml"
}

// describe names a value for people: its kind, and the value itself where that
// is short. It is neither redacted nor sanitised.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool, int, float64:
		return fmt.Sprint(v)
	case json.Number:
		return string(v)
	case string:
		return fmt.Sprintf("%q", v)
	case []any:
		return plural(len(v), "an empty array", "an array of 1 element", "an array of %d elements")
	case map[string]any:
		return plural(len(v), "an empty object", "an object with 1 key", "an object with %d keys")
	case map[string]string:
		return "the header"
	default:
		return fmt.Sprintf("a %T", v)
	}
}

// kind names the kind of a value.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "true or false"
	case string:
		return "text"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	case map[string]string:
		return "the header"
	default:
		return "a number"
	}
}

func plural(n int, none, one, many string) string {
	switch n {
	case 0:
		return none
	case 1:
		return one
	default:
		return fmt.Sprintf(many, n)
	}
}

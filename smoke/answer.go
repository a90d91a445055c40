package smoke

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// An answer is one response as an expectation sees it, with the values that have
// names. What costs something is made on first use: most expectations look at a
// part only.
type answer struct {
	response *fleet.Response
	values   map[string]any // saved ones, probe, sha, tenant
	redact   *secret.Redactor
	header   map[string]string
	lenient  bool // take whatever parses for JSON: to learn what must be cleaned up
	parsed   bool
	json     any
	err      error // why there is no json
}

// errWithoutCommit is the error of an expression that needs the commit of a run
// that has none. Every text begins with nothing: a comparison would pass on any
// build.
var errWithoutCommit = errors.New("sha is not known")

// Value returns what a name of an expression stands for.
func (a *answer) Value(name string) (any, error) {
	switch name {
	case "status":
		return a.response.Status, nil
	case "elapsed":
		return int(a.response.Elapsed.Milliseconds()), nil
	case "header":
		return a.headers(), nil
	case "body":
		return a.body()
	case "json":
		return a.parse()
	}
	v, ok := a.values[name]
	if !ok {
		return nil, fmt.Errorf("%s has no value", name)
	}
	if name == "sha" && v == "" {
		return nil, errWithoutCommit
	}
	return v, nil
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
		return "", a.tooLarge()
	}
	return string(a.response.Body), nil
}

// A tooLargeError says that a body is longer than what is read of one. That says
// nothing against the build: a list grows with its tenant.
type tooLargeError struct{ read int } // bytes

// tooLargeHint says what to do about it.
const tooLargeHint = "raise max-body, or check a smaller route"

// Error says how much was read.
func (e *tooLargeError) Error() string {
	const mib = 1 << 20
	switch {
	case e.read >= mib:
		return fmt.Sprintf("answered more than %d MiB", e.read/mib)
	default:
		return fmt.Sprintf("answered more than %s bytes", report.Thousands(e.read))
	}
}

// tooLarge is the error of a body that did not come whole. (One that broke off is
// no answer at all.)
func (a *answer) tooLarge() error { return &tooLargeError{len(a.response.Body)} }

// parse returns the parsed body, or what came instead of JSON.
func (a *answer) parse() (any, error) {
	if a.lenient {
		return parseJSON(a.response.Body)
	}
	if !a.parsed {
		a.parsed = true
		a.json, a.err = a.parseStrictly()
	}
	return a.json, a.err
}

func (a *answer) parseStrictly() (any, error) {
	kind := a.contentType()
	switch {
	case !a.saysJSON() && len(a.response.Body) == 0:
		return nil, errors.New("the answer is not JSON: its body is empty")
	case !a.saysJSON():
		return nil, fmt.Errorf("the answer is not JSON but %s", kind)
	case !a.response.Complete:
		return nil, a.tooLarge()
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

// summary describes the answer without anything that differs from tenant to
// tenant. Its content type is neither redacted nor sanitised.
func (a *answer) summary() string {
	text := fmt.Sprintf("answered %d", a.response.Status)
	switch {
	case len(a.response.Body) == 0:
		return text + ", empty body"
	case !a.saysJSON() && a.response.Header.Get("Content-Type") == "":
		return text + ", " + a.contentType()
	case !a.saysJSON():
		return text + ", not JSON but " + a.contentType()
	case !a.response.Complete:
		return text + ", incomplete body"
	case a.parsed && a.err != nil:
		return text + ", not valid JSON"
	default:
		return text
	}
}

// saysJSON reports whether the answer says that it is JSON (RFC 8259, RFC 6839).
func (a *answer) saysJSON() bool {
	media := mediaType(a.response.Header.Get("Content-Type"))
	return media == "application/json" || media == "text/json" ||
		strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}

// contentType names the kind of body for people. Like all that comes from an
// answer it is neither redacted nor sanitised yet.
func (a *answer) contentType() string {
	// Parsing changes it to lower case, in which no secret would be found.
	kind := a.redact.Redact(a.response.Header.Get("Content-Type"))
	return cmp.Or(mediaType(kind), kind, "without a content type")
}

// mediaType returns the media type of a content type, empty where that is not
// valid.
func mediaType(kind string) string {
	media, _, err := mime.ParseMediaType(kind)
	if err != nil {
		return ""
	}
	return media
}

// isHTML reports whether an answer is a page, also where the parameters of its
// content type are malformed.
func isHTML(h http.Header) bool {
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return media == "text/html" || media == "application/xhtml+xml"
}

// parseJSON reads one JSON value and nothing after it. Numbers keep their
// digits; the library limits the depth to 10,000.
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

package smoke

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// FuzzLoad demands of every file that it loads or has errors with places, that
// errors are fit to be shown, and that what loads has the shape of the schema.
func FuzzLoad(f *testing.F) {
	for _, name := range BuiltinNames() {
		text, _ := Builtin(name)
		f.Add(text)
	}
	files, _ := filepath.Glob("testdata/*.yml")
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	s := compiledSchema(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		suite, err := Load("suite.yml", text)
		if (suite == nil) == (err == nil) {
			t.Fatalf("%v, %v", suite, err)
		}
		if err != nil {
			checkErrors(t, err)
			return
		}
		if len(suite.CheckNames()) == 0 || len(suite.Hash) != 71 {
			t.Errorf("a suite without checks: %+v", suite)
		}
		if suite.strict && len(suite.Warnings) > 0 {
			t.Errorf("strict, and yet warnings: %v", suite.Warnings)
		}
		if err := schemaError(t, s, text); err != nil {
			t.Errorf("it loads, but the schema says %v", err)
		}
	})
}

func checkErrors(t *testing.T, err error) {
	t.Helper()
	for _, e := range split(err) {
		var at *FileError
		if errors.As(e, &at) && (at.Line < 1 || at.Column < 1) {
			t.Errorf("no place: %v", e)
		}
		for line := range strings.SplitSeq(e.Error(), "\n") {
			if untrusted.Line(line, 0) != line {
				t.Errorf("not fit to be shown: %q", line)
			}
		}
	}
}

// FuzzTemplate demands that a value stays where it is put, whatever it is.
func FuzzTemplate(f *testing.F) {
	f.Add("/a/${v}/b?c=${v}", "../../x?y#z")
	f.Add("${v}", "a\"b\\c\n\x00\u2028")
	f.Add("$${v}${v}$", "${v}")
	f.Fuzz(func(t *testing.T, text, value string) {
		values := map[string]any{"v": value}
		for _, where := range []encoding{inPath, inQuery, inHeader, inText, inJSONText, inJSON} {
			parsed, err := parseTemplate(text, where)
			if err != nil {
				continue
			}
			got, err := parsed.expand(values)
			if err == nil && where == inHeader && !strings.ContainsAny(text, "\r\n") && strings.ContainsAny(got, "\r\n") {
				t.Errorf("a line break went into a header: %q", got)
			}
		}
		if path, err := escape(value, inPath); err == nil {
			if strings.ContainsAny(path, "/?# \r\n") {
				t.Errorf("%q left its segment: %q", value, path)
			}
			if plain, err := url.PathUnescape(path); err != nil || plain != value {
				t.Errorf("%q became %q", value, plain)
			}
		}
		if query, err := escape(value, inQuery); err != nil || strings.ContainsAny(query, "&=# \r\n") {
			t.Errorf("%q left its parameter: %q, %v", value, query, err)
		}
		quoted, err := escape(value, inJSONText)
		var back string
		if err != nil || json.Unmarshal([]byte(`"`+quoted+`"`), &back) != nil || utf8.ValidString(value) && back != value {
			t.Errorf("%q became %q: %v", value, back, err)
		}
	})
}

// FuzzFailureText demands that nothing that a tenant sends gets into a report
// as a secret or as anything that acts.
func FuzzFailureText(f *testing.F) {
	const token = "s3cr3t-token-0123456789"
	f.Add("", "::error::x\x1b[2J", uint16(300))
	f.Add(strings.Repeat("a", 1200), "\n##[error]", uint16(1))
	f.Add("Bearer ", "\xff\u202e", uint16(20))
	c := cleaner{secret.NewRedactor(secret.New(token))}
	f.Fuzz(func(t *testing.T, before, after string, limit uint16) {
		bound := int(limit%1000) + 1
		response := jsonResponse(before + token + after)
		response.Header.Set("Content-Type", after)
		a := &answer{response: response}
		texts := []string{
			c.line(before+token+after, bound),
			c.got(a, []string{c.line(expr.Describe(before+token+after), maxValueShown)}),
			c.line(a.summary(), maxValueShown),
			c.curl(fleet.Tenant{URL: "https://tenant.example", OrgID: after}, fleet.Request{Method: "PUT", Path: "/" + before, Body: []byte(before + token + after)}),
		}
		if n := utf8.RuneCountInString(texts[0]); n > bound {
			t.Errorf("%d characters, at most %d", n, bound)
		}
		for _, text := range texts {
			if strings.Contains(text, token) && !strings.Contains(before+"|"+after, token) {
				t.Errorf("the token is in %q", text)
			}
			if untrusted.Line(text, 0) != text {
				t.Errorf("not fit to be shown: %q", text)
			}
		}
	})
}

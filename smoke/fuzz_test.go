package smoke

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// FuzzLoad demands of every file that it loads or has faults with places, that
// faults are fit to be shown, and that what loads has the shape of the schema.
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
			checkFaults(t, err)
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

func checkFaults(t *testing.T, err error) {
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
		for _, where := range []place{inPath, inQuery, inHeader, inText, inJSONText, inJSON} {
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

// FuzzExpression demands that every expression is refused or ends within its
// budget on every answer, and that what can't be decided does not pass.
func FuzzExpression(f *testing.F) {
	for _, text := range []string{
		`status == 200 && is_map(json.subsystems) && len(json.subsystems) > 0`, `any(json, .id == id && all(.tags, # in json[0].tags))`,
		`header["content-type"] startsWith "a" or not (body contains "b")`, `0 < json[0 < json[0] < 1] < 1`, `json?.a?.b == -1.5e3`,
		`len(filter(map(json, lower(.a)), # != trim(upper("x")))) >= 1_000`, `json | any(# == nil)`, `[1, "a"] == json`,
		`json.a ? 1 : 2`, `let a = 1; a`, `1..1e9`, `$env`, `::len(json)`, `"\u{41}"`, "`raw`", `a.b.c()`, `{`, `b"x"`,
	} {
		f.Add(text, []byte(document))
		f.Add(text, []byte(`[{"id":"abc","tags":["a"]}]`))
	}
	f.Fuzz(func(t *testing.T, text string, body []byte) {
		root, faults := compile(text, []string{"id"}, true)
		if (root == nil) == (len(faults) == 0) {
			t.Fatalf("%v, %v", root, faults)
		}
		for _, fault := range faults {
			if fault.offset < 0 || fault.offset > utf8.RuneCountInString(text)+1 || fault.message == "" {
				t.Errorf("%+v", fault)
			}
		}
		if root == nil {
			return
		}
		x := &expectation{text: text, root: root, clauses: clauses(root)}
		response := jsonAnswer(string(body))
		e := &evaluation{ctx: context.Background(), answer: &answer{response: response}, vars: map[string]any{"id": "abc", "probe": "p", "sha": "s", "tenant": "t"}}
		found := x.test(e)
		// A single step may be long, but no longer than the answer.
		if e.steps > maxSteps+len(body)+maxExpression {
			t.Errorf("%d steps", e.steps)
		}
		whole := &evaluation{ctx: context.Background(), answer: e.answer, vars: e.vars}
		if holds, err := whole.truth(root); (found == nil) != (holds && err == nil) {
			t.Errorf("clause by clause %+v, as a whole %v, %v", found, holds, err)
		}
		if found != nil {
			found.values(whole, cleaner{})
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
		response := jsonAnswer(before + token + after)
		response.Header.Set("Content-Type", after)
		a := &answer{response: response}
		texts := []string{
			c.line(before+token+after, bound),
			c.got(a, []string{c.line(describe(before+token+after), maxValueShown)}),
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

package smoke

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestBuiltinSuites(t *testing.T) {
	names := BuiltinNames()
	if strings.Join(names, " ") != "canary workspace-server" {
		t.Errorf("%q", names)
	}
	for _, name := range names {
		text, ok := Builtin(name)
		if !ok {
			t.Fatalf("Builtin(%q) is missing", name)
		}
		s, err := Load(name, text)
		if err != nil {
			t.Fatalf("%s:\n%v", name, err)
		}
		if !s.strict || len(s.Warnings) > 0 || s.Name != name || !strings.HasPrefix(s.Hash, "sha256:") {
			t.Errorf("%s: strict %v, warnings %v, %s, %s", name, s.strict, s.Warnings, s.Name, s.Hash)
		}
		text[0] = 'X'
		if again, _ := Builtin(name); again[0] == 'X' {
			t.Error("the caller's copy is the embedded one")
		}
	}
	for _, name := range []string{"", "other", "../suite", "canary.yml", "suites/canary"} {
		if _, ok := Builtin(name); ok {
			t.Errorf("Builtin(%q)", name)
		}
	}
}

// TestEveryExpectationOfTheBuiltinSuitesCanFail tries each of them on each
// negative control, the exempted ones included where they are no exemption of
// the suite's own: an array may be empty.
func TestEveryExpectationOfTheBuiltinSuitesCanFail(t *testing.T) {
	tried := 0
	for _, name := range BuiltinNames() {
		text, _ := Builtin(name)
		s, err := Load(name, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range s.checks {
			for _, st := range c.steps {
				values := sampleValues([]string{"id", "workspace", "memory", "other"})
				for _, control := range negativeControls {
					tried++
					if control.passes(st.expect, st.echo(values), values) && (control.name != "[]" || !st.expect.WantsArray()) {
						t.Errorf("%s: %s: %s passes on %s", name, c.name, st.expect, control.name)
					}
				}
			}
		}
	}
	if tried < 150 {
		t.Errorf("only %d tries", tried)
	}
}

func TestLooseSuiteWarns(t *testing.T) {
	const text = "checks:\n  - {name: a, get: /x, expect: 'status == 200'}\n  - {name: b, get: /x, expect: 'status == 200 && is_array(json)'}\n"
	s, err := Load("suite.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Warnings) != 1 || !strings.HasPrefix(s.Warnings[0], `suite.yml:2:33: check "a" can't tell a dead tenant`) {
		t.Errorf("%q", s.Warnings)
	}
	if _, err := Load("suite.yml", []byte("strict: true\n"+text)); err == nil || !strings.HasPrefix(err.Error(), `suite.yml:3:33: check "a" can't tell a dead tenant`) {
		t.Errorf("strict: %v", err)
	}
}

func TestBounds(t *testing.T) {
	check := func(i int) string {
		return fmt.Sprintf("  - {name: n%d, get: /x, expect: 'status == 200 && is_array(json)'}\n", i)
	}
	var many strings.Builder
	for i := range maxChecks + 1 {
		many.WriteString(check(i))
	}
	for name, c := range map[string]struct{ text, says string }{
		"bytes":  {"checks:\n" + check(1) + strings.Repeat("#", maxSuite), "at most 262144"},
		"checks": {"checks:\n" + many.String(), "at most 1000"},
		"steps":  {"checks:\n  - {name: a, steps: [" + strings.Repeat("{get: /x, expect: 'json[0] == 1'}, ", maxSteps+1) + "]}", "at most 50"},
		"errors": {"checks:\n" + strings.ReplaceAll(many.String()[:strings.Index(many.String(), "  - {name: n200,")], "is_array", "is_list"), "150 more errors"},
	} {
		s, err := Load("suite.yml", []byte(c.text))
		if s != nil || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %.300v", name, err)
		}
		if n := len(split(err)); n > maxErrors+1 {
			t.Errorf("%s: %d errors", name, n)
		}
	}
}

// TestHostileSuitesLoadQuickly tries the largest files that are all errors, all
// nesting or all expressions: the bound is generous, the point is that nothing
// grows with the square of the size.
func TestHostileSuitesLoadQuickly(t *testing.T) {
	expression := "'" + strings.Repeat("(", 2000) + "jsn" + strings.Repeat(")", 2000) + "'"
	var deep strings.Builder
	for i := range 55 {
		fmt.Fprintf(&deep, "  - {name: n%d, get: /x, expect: %s}\n", i, expression)
	}
	began := time.Now()
	for name, text := range map[string]string{
		"nested lists":       "checks: " + strings.Repeat("[", maxSuite-8),
		"nested mappings":    "checks: " + strings.Repeat("{a: ", maxSuite/4-8),
		"deep expressions":   "checks:\n" + deep.String(),
		"unknown names":      "checks: [{name: a, get: /x, expect: '" + strings.Repeat("x||", 1300) + "x'}]",
		"one line of checks": "checks: [" + strings.Repeat("{a: b}, ", maxSuite/8-10) + "]",
		"aliases":            "a: &a [x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nchecks: [*c,*c,*c,*c]",
		"placeholders":       "checks: [{name: a, post: /x, body: '" + strings.Repeat("${x}", 60_000) + "', expect: 'json.a == 1'}]",
	} {
		if s, err := Load("suite.yml", []byte(text)); s != nil || err == nil {
			t.Errorf("%s loads", name)
		}
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("%v", took)
	}
}

// BenchmarkLoad is what compiling the largest built-in suite adds to the start.
func BenchmarkLoad(b *testing.B) {
	text, _ := Builtin("canary")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load("canary", text); err != nil {
			b.Fatal(err)
		}
	}
}

// TestErrorsQuoteNoForeignFile has files that a path may lead to by mistake, or by
// somebody's intent.
func TestErrorsQuoteNoForeignFile(t *testing.T) {
	for name, text := range map[string]string{
		".git/config":      "[remote \"origin\"]\n\turl = https://user:s3cr3t-token@git.example/x\n",
		".env":             "TOKEN=s3cr3t-token\n",
		".netrc":           "machine git.example login user password s3cr3t-token\n",
		"credentials":      "aws: {key: s3cr3t-token}\nother: s3cr3t-token\n",
		"a number":         "53741234\n",
		"a list":           "- s3cr3t-token\n",
		"an anchor":        "a: *s3cr3t-token\n",
		"key":              "s3cr3t-token: 1\n",
		"broken":           "a: [s3cr3t-token\nb: \"\\s3cr3t-token\"",
		"broken escape":    "\"\\s3cr3t-token\"",
		"directive":        "%s3cr3t-token\n---\na: b\n",
		"tag":              "a: !s3cr3t!token b\n",
		"two documents":    "s3cr3t-token\n---\ns3cr3t-token\n",
		"merge":            "<<: s3cr3t-token\n",
		"a private key":    "-----BEGIN PRIVATE KEY-----\ns3cr3t-token\n-----END PRIVATE KEY-----\n",
		"checks elsewhere": "a: {checks: s3cr3t-token}\n",
	} {
		s, err := Load("suite.yml", []byte(text))
		if s != nil || err == nil || strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "5374") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoadEndsInTime(t *testing.T) {
	const text = "checks:\n  - {name: a, get: /x, expect: 'status == 200 && is_array(json)'}\n"
	file := newSuiteFile("suite.yml", []byte(text))
	d := &decoder{suiteFile: file, suite: &Suite{}, deadline: time.Now().Add(-time.Second)}
	d.decode(file.parse([]byte(text)))
	if err := file.err(); err == nil || !strings.Contains(err.Error(), "suite.yml:2:5: the suite takes longer than 10s to load") {
		t.Errorf("%v", err)
	}
}

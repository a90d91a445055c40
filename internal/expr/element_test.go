package expr

import (
	"strings"
	"testing"
)

func TestElementExpressions(t *testing.T) {
	list := jsonAnswer(t, `[{"name":"canary-smoke-abc","age":7},{"name":"of a user","age":9}]`, nil)["json"].([]any)
	where, errs := CompileElement(`.name startsWith "canary-" && .age > 1 // ours`, true)
	if errs != nil {
		t.Fatal(errs)
	}
	age, errs := CompileElement(`.age`, false)
	if errs != nil {
		t.Fatal(errs)
	}
	for i, want := range []bool{true, false} {
		e := NewEvaluation(answer{})
		if got, err := e.Element(where, list[i]); got != want || err != nil {
			t.Errorf("element %d: %v, %v", i, got, err)
		}
		if got, err := e.Element(age, list[i]); Describe(got) != []string{"7", "9"}[i] || err != nil {
			t.Errorf("the age of element %d: %v, %v", i, got, err)
		}
	}
	if v, err := NewEvaluation(answer{}).Element(where, "text"); err == nil {
		t.Errorf("a member of a text is %v", v)
	}
}

func TestElementExpressionsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "is empty",
		"// nothing":                   "unexpected )",
		"1":                            "bool",
		".a == 1) || any(json, .b == ": "unexpected )",
		".a) || any(json, .b":          "mismatched types",
		`.a == "x") | filter(.b`:       "closes a bracket",
		"nothing == 1":                 "unknown name nothing",
		".a matches \"x\"":             "matches is not part",
	} {
		x, errs := CompileElement(text, true)
		if x != nil || len(errs) == 0 || !strings.Contains(errs[0].Error(), want) || errs[0].Offset > len(text) {
			t.Errorf("%q: %v, %+v; want %q", text, x, errs, want)
		}
	}
}

func TestPrefixOfACondition(t *testing.T) {
	for text, want := range map[string]string{
		`.name startsWith "canary-smoke-"`:                    "canary-smoke-",
		`.age > 1 && .a.b == 1 && .name startsWith "canary-"`: "canary-",
		`.name startsWith "canary-" || true`:                  "",
		`not (.name startsWith "canary-")`:                    "",
		`"canary-" startsWith .name`:                          "",
		`.name contains "canary-"`:                            "",
	} {
		x, errs := CompileElement(text, true)
		if errs != nil {
			t.Fatalf("%s: %v", text, errs)
		}
		if got := x.Prefix(); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// TestErrorsShowTextsThroughAFunction has a text that quoting changes.
func TestErrorsShowTextsThroughAFunction(t *testing.T) {
	a := jsonAnswer(t, `{"t":"se\"cret"}`, nil)
	x := condition(t, "json.t > 1")
	hide := func(s string) string { return strings.ReplaceAll(s, `se"cret`, "***") }
	if _, err := NewEvaluation(a).Showing(hide).True(x); err == nil || !strings.Contains(err.Error(), `json.t is "***"`) {
		t.Errorf("%v", err)
	}
}

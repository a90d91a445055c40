package expr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/expr-lang/expr"
)

// An answer is an Env of fixed values; an error is one of the Env's own.
type answer map[string]any

func (a answer) Value(name string) (any, error) {
	v, known := a[name]
	if err, failed := v.(error); failed {
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("%s has no value", name)
	}
	return v, nil
}

// jsonAnswer is an answer with a JSON body, and the given saved values.
func jsonAnswer(t testing.TB, body string, saved map[string]any) answer {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		v = err
	}
	a := answer{
		"status": 200, "elapsed": 12, "body": body, "json": v,
		"header": map[string]string{"content-type": "application/json; charset=utf-8", "x-id": "a, b"},
		"probe":  "qwertyuiopasdfgh", "sha": "4c1d56e", "tenant": "a",
	}
	maps.Copy(a, saved)
	return a
}

// condition compiles a condition over an answer's saved values.
func condition(t testing.TB, text string, saved ...string) *Expr {
	t.Helper()
	x, errs := CompileCondition(text, saved...)
	if len(errs) > 0 {
		t.Fatalf("%s: %v", text, errs)
	}
	return x
}

// evaluate compiles and evaluates a condition.
func evaluate(t testing.TB, text string, a answer) (bool, error) {
	t.Helper()
	x := condition(t, text, slices.Collect(maps.Keys(a))...)
	return NewEvaluation(a).Within(t.Context()).True(x)
}

// A condition that is met, one that is not, and one that can't be decided, which
// is never a pass.
const met, unmet, undecided = "met", "unmet", "undecided"

func outcome(ok bool, err error) string {
	switch {
	case err != nil:
		return undecided
	case ok:
		return met
	default:
		return unmet
	}
}

const document = `{"id":"abc","n":3,"f":1.50,"big":12345678901234567890123,"bigger":12345678901234567890124,
 "zero":0,"minus":-0.0,"exp":15e-1,"list":[1,2,3],"items":[{"id":"abc","ok":true,"tags":["x","y"]},{"id":"def","ok":false,"tags":[]}],
 "none":[],"empty":{},"nothing":null,"yes":true,"no":false,"text":" Ab\u00e9 ","a.b":1,"items-2":[{"id":null}]}`

func TestConditions(t *testing.T) {
	saved := map[string]any{"id": "abc", "number": json.Number("12345678901234567890123"), "gone": nil}
	for text, want := range map[string]string{
		`status == 200`:        met,
		`status == 201`:        unmet,
		`200 <= status < 300`:  met,
		`200 <= status < 200`:  unmet,
		`status in [200, 204]`: met,
		`status not in [200]`:  unmet,
		`elapsed == 12`:        met,
		`header["content-type"] startsWith "application/json"`: met,
		`header["x-id"] == "a, b"`:                             met,
		`header["x-none"] == ""`:                               met,
		`"x-id" in header && len(header) == 2`:                 met,
		`body contains "abc"`:                                  met,
		`body endsWith "}"`:                                    met,

		// Numbers keep their digits.
		`json.n == 3`:                         met,
		`json.n == 3.0`:                       met,
		`json.n == "3"`:                       unmet,
		`json.f == 1.5 && json.exp == json.f`: met,
		`json.zero == json.minus`:             met,
		`json.big == number`:                  met,
		`json.bigger == number`:               unmet,
		`json.bigger > number`:                met,
		`json.big < json.bigger`:              met,
		`-json.n == -3 && -json.minus == 0 && - -json.n == 3`:       met,
		`json.n >= 3 && json.n <= 3 && json.n < 4 && json.n > -2.5`: met,
		`json.f in [1.5]`:                         met,
		`json.list[0] == 1 && json.list[-1] == 3`: met,
		`json.list[json.zero] == 1`:               met,
		`json.list[3] == nil`:                     undecided,
		`json.list[1.5] == 1`:                     undecided,

		// Absent values.
		`json.absent == nil`:               met,
		`json.nothing == nil`:              met,
		`json.absent.deeper == nil`:        undecided,
		`json.absent?.deeper.still == nil`: met,
		`json.id?.deeper == nil`:           undecided,
		`json.absent == gone`:              met,
		`len(json.absent) == 0`:            undecided,
		`!(json.absent contains "error")`:  undecided,
		`json.absent < 3`:                  undecided,
		`json.absent || true`:              undecided,
		`true || json.absent`:              met,
		`!json.absent`:                     undecided,
		`"a" in json.absent`:               undecided,

		// Kinds.
		`is_map(json) && is_map(json.empty) && !is_map(json.list) && !is_map(header)`: met,
		`is_array(json.none) && !is_array(json.empty) && !is_array(json.id)`:          met,
		`len(json.none) == 0 && len(json.items) == 2 && len(json.empty) == 0`:         met,
		`len(json.n) == 1`:    undecided,
		`len(json.yes) == 1`:  undecided,
		`len(json.text) == 5`: met,
		`lower(trim(json.text)) == "abé" && upper(trim(json.text)) == "ABÉ"`: met,
		`lower(json.n) == "3"`:           undecided,
		`json.id contains json.n`:        undecided,
		`json.id < 3`:                    undecided,
		`json.id < "abd"`:                met,
		`json.id == id && id == json.id`: met,
		`json.yes`:                       met,
		`json.no`:                        unmet,
		`json.n`:                         undecided,
		`!json`:                          undecided,
		`json["a.b"] == 1 && json["items-2"][0].id == nil`: met,
		`"id" in json && !("ip" in json)`:                  met,
		`3 in json`:                                        undecided,
		`json.items[0].tags == ["x", "y"]`:                 met,
		`json.items[0] == json.items[1]`:                   unmet,
		`json.items[0] == json.items[0] && json.empty == json.empty && header == header`: met,
		`json.list == json.empty`: unmet,

		// Lists.
		`any(json.items, .id == id)`:             met,
		`any(json.items, .id == probe)`:          unmet,
		`all(json.items, is_array(.tags))`:       met,
		`all(json.items, .ok)`:                   unmet,
		`none(json.items, .id == "x")`:           met,
		`none(json.items, .ok)`:                  unmet,
		`len(filter(json.items, .ok)) == 1`:      met,
		`map(json.items, .id) == ["abc", "def"]`: met,
		`any(json.items, any(.tags, # == "y"))`:  met,
		`all(json.none, .ok)`:                    met,
		`any(json.none, true)`:                   unmet,
		`all(json.empty, .ok)`:                   undecided, // not "all of nothing"
		`none(json, .bad)`:                       undecided,
		`all(json.nothing, .ok)`:                 undecided,
		`all(json.id, # != "z")`:                 undecided,
		`any(json.items, .tags)`:                 undecided,
		`json.items | any(.ok)`:                  met,
	} {
		ok, err := evaluate(t, text, jsonAnswer(t, document, saved))
		if got := outcome(ok, err); got != want {
			t.Errorf("%s: %s (%v), want %s", text, got, err, want)
		}
	}
}

// TestAgreesWithExpr evaluates expressions over plain values with expr-lang's
// own machine as well: whoever knows its language must not be surprised.
func TestAgreesWithExpr(t *testing.T) {
	env := map[string]any{
		"status": 200, "elapsed": 12, "body": document, "probe": "p",
		"json": map[string]any{
			"a": 1, "b": "two", "c": []any{1, 2, 3}, "d": map[string]any{"e": true, "f": nil}, "g": []any{map[string]any{"h": "i"}},
		},
	}
	body, err := json.Marshal(env["json"])
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`status == 200`, `status != 200 || json.a == 1`, `not (status > 300) and elapsed <= 12`, `json.b contains "w"`,
		`json.b startsWith "t" && json.b endsWith "o"`, `json.a in json.c`, `5 in json.c`, `"e" in json.d`, `json.d.e`, `!json.d.e`,
		`json.d.f == nil`, `json.d.x == nil`, `json.c[-1] == 3`, `any(json.c, # > 2)`, `all(json.c, # > 2)`, `none(json.c, # > 3)`,
		`len(filter(json.c, # > 1)) == 2`, `map(json.c, # == 1)[0]`, `json.g[0].h == "i"`, `any(json.g, .h == "i")`,
		`len(json.b) == 3 && len(json.c) == 3 && len(json.d) == 2`, `lower("AB") == "ab" && upper("ab") == "AB" && trim(" a ") == "a"`,
		`1 < 2 < 3`, `1 < 3 < 2`, `"a" < "b"`, `json.x?.y == nil`, `[1, 2] == [1, 2]`, `json.a == 1.0`, `probe == "p"`, `-1 < json.a`,
	} {
		want, err := expr.Eval(text, env)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got, err := evaluate(t, text, jsonAnswer(t, string(body), map[string]any{"probe": "p"}))
		if err != nil || got != want {
			t.Errorf("%s: %v (%v), expr-lang says %v", text, got, err, want)
		}
	}
}

// TestEvaluationIsBounded demands that no expression and no answer take long: what
// would is refused at load or ends at a limit, and so is never a pass.
func TestEvaluationIsBounded(t *testing.T) {
	numbers := make([]string, 9000)
	for i := range numbers {
		numbers[i] = fmt.Sprint(i)
	}
	long := `{"list":[` + strings.Join(numbers, ",") + `],"text":"` + strings.Repeat("a", 500_000) + `","digits":` + strings.Repeat("1", 300_000) + `}`
	big := jsonAnswer(t, long, nil)
	for _, text := range []string{
		`all(json.list, any(json.list, # == -1) == false)`,
		`none(json.list, json.text contains "ab")`,
		`none(json.list, lower(json.text) == "a")`,
		`none(json.list, json.digits == # )`,
		`none(json.list, json.text > json.text)`,
		`all(json.list, len(json.text) > 0)`,
		`all(json.list, json == json)`,
		`all(json.list, # in json.list)`,
		`all(json.list, len(map(json.list, #)) > 1)`,
	} {
		ok, err := evaluate(t, text, big)
		if limit := new(LimitError); ok || !errors.As(err, &limit) {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
	}
	many := jsonAnswer(t, `[`+strings.Repeat("1,", maxElements)+`1]`, nil)
	if ok, err := evaluate(t, `all(json, # == 1)`, many); ok || err == nil || !strings.Contains(err.Error(), "10,001 elements") {
		t.Errorf("over the cap: %v, %v", ok, err)
	}
	if ok, err := evaluate(t, `len(json) == 10001`, many); !ok {
		t.Errorf("len over the cap: %v", err)
	}
	if _, err := evaluate(t, `json[0] == 1`, jsonAnswer(t, `[1e99999999999999999999]`, nil)); err == nil {
		t.Error("a number that is too large was compared")
	}
}

func TestEvaluationEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := NewEvaluation(jsonAnswer(t, `[`+strings.Repeat("1,", 5000)+`1]`, nil)).Within(ctx)
	if _, err := e.True(condition(t, `all(json, all(json, # == 1))`)); err == nil || e.steps > 2*checkEvery {
		t.Errorf("%v after %d steps", err, e.steps)
	}
}

func TestDecimals(t *testing.T) {
	ordered := []string{"-1e400", "-123456789012345678901234567890", "-1.5", "-0.1", "0", "1e-400", "0.1", "0.10000000000000000001", "1", "1.5", "10", "123456789012345678901234567890", "1e400"}
	for i, a := range ordered {
		for j, b := range ordered {
			c, err := compareNumbers(json.Number(a), json.Number(b))
			if err != nil || (c < 0) != (i < j) || (c > 0) != (i > j) {
				t.Errorf("%s against %s: %d, %v", a, b, c, err)
			}
		}
	}
	for _, same := range [][2]any{{1, 1.0}, {json.Number("1.0e1"), 10}, {json.Number("-0"), 0}, {json.Number("100"), json.Number("1E2")}, {0.1, json.Number("0.1")}} {
		if c, err := compareNumbers(same[0], same[1]); c != 0 || err != nil {
			t.Errorf("%v against %v: %d, %v", same[0], same[1], c, err)
		}
	}
}

// TestUnmet demands the clause that is not met, why, and the values behind it.
func TestUnmet(t *testing.T) {
	for text, want := range map[string]struct{ clause, reason, values string }{
		`status == 200 && json.n == 4 && json.x == 1`: {"json.n == 4", "", "json.n"},
		`status == 201 and json.n == 3`:               {"status == 201", "", ""},
		`len(json.absent) > 0`:                        {"len(json.absent) > 0", "json.absent is null, which has no length", "json.absent"},
		`any(json.items, .id == "zzz")`:               {`any(json.items, .id == "zzz")`, "", "json.items"},
		`any(json.items, .id == id && .x)`:            {`any(json.items, .id == id && .x)`, ".x is null, where true or false is needed", `json.items, id`},
		`header["x-id"] == id`:                        {`header["x-id"] == id`, "", `header["x-id"], id`},
		`json.n == 4 || json.f == 2 || json.n == 5`:   {"json.n == 4 || json.f == 2 || json.n == 5", "", "json.n, json.f"},
		`json?.absent?.x == 1`:                        {"json?.absent?.x == 1", "", "json?.absent?.x"},
		`status == 200 && elapsed < 3`:                {"elapsed < 3", "", "elapsed"},
		`300 <= status < 400`:                         {"300 <= status", "", ""},
	} {
		clause, err := NewEvaluation(jsonAnswer(t, document, map[string]any{"id": "abc"})).Within(t.Context()).Unmet(condition(t, text, "id"))
		if clause == nil {
			t.Errorf("%s is met", text)
			continue
		}
		var values []string
		for _, v := range clause.Values() {
			values = append(values, v.String())
		}
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		if got := strings.Join(values, ", "); clause.String() != want.clause || reason != want.reason || got != want.values {
			t.Errorf("%s:\n got %s | %s | %s\nwant %+v", text, clause, reason, got, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	for want, v := range map[string]any{
		"null": nil, "true": true, "3": 3, "1.50": json.Number("1.50"), `"a\x1b"`: "a\x1b", "an empty array": []any{}, "an array of 1 element": []any{1},
		"an empty object": map[string]any{}, "an object with 2 keys": map[string]any{"a": 1, "b": 2}, "the header": map[string]string{},
	} {
		if got := Describe(v); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
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
		f.Add(text, document)
		f.Add(text, `[{"id":"abc","tags":["a"]}]`)
	}
	f.Fuzz(func(t *testing.T, text string, body string) {
		x, errs := CompileCondition(text, "id")
		if (x == nil) == (len(errs) == 0) {
			t.Fatalf("%v, %v", x, errs)
		}
		for _, err := range errs {
			if err.Offset < 0 || err.Offset > utf8.RuneCountInString(text)+1 || err.Message == "" {
				t.Errorf("%+v", err)
			}
		}
		if x == nil {
			return
		}
		a := jsonAnswer(t, body, map[string]any{"id": "abc"})
		e := NewEvaluation(a)
		clause, _ := e.Unmet(x)
		// A single step may be long, but no longer than the answer.
		if e.steps > maxSteps+len(body)+MaxLength {
			t.Errorf("%d steps", e.steps)
		}
		whole := NewEvaluation(a)
		if ok, err := whole.True(x); (clause == nil) != (ok && err == nil) {
			t.Errorf("clause by clause %v, as a whole %v, %v", clause, ok, err)
		}
		for _, v := range x.Values() {
			_, _ = whole.Value(v)
		}
	})
}

// BenchmarkWorstEvaluation is the most that one evaluation can cost.
func BenchmarkWorstEvaluation(b *testing.B) {
	a := jsonAnswer(b, `[`+strings.Repeat("1,", 9999)+`1]`, nil)
	x := condition(b, `all(json, none(json, # == 2))`)
	for b.Loop() {
		if ok, _ := NewEvaluation(a).Within(b.Context()).True(x); ok {
			b.Fatal("it ended within its budget")
		}
	}
}

// BenchmarkCondition is what one answer of the built-in suites costs.
func BenchmarkCondition(b *testing.B) {
	a := jsonAnswer(b, `{"subsystems":{"scheduler":{"last_tick_at":"2026-01-01T00:00:00Z","seconds_ago":3}}}`, nil)
	x := condition(b, `status == 200 && is_map(json.subsystems) && len(json.subsystems) > 0`)
	for b.Loop() {
		if clause, err := NewEvaluation(a).Within(b.Context()).Unmet(x); clause != nil {
			b.Fatal(clause, err)
		}
	}
}

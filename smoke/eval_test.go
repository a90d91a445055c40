package smoke

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
)

// jsonAnswer is an answer with a JSON body.
func jsonAnswer(body string) *fleet.Response {
	return &fleet.Response{
		Status: 200, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "X-Id": {"a", "b"}},
		Body: []byte(body), Complete: true, Elapsed: 12 * time.Millisecond, Attempts: 1,
	}
}

// evaluate compiles and evaluates an expectation on an answer.
func evaluate(t testing.TB, text string, response *fleet.Response, vars map[string]any) (bool, error) {
	t.Helper()
	saved := []string{}
	for name := range vars {
		if !isPlaceholder(name) {
			saved = append(saved, name)
		}
	}
	root, faults := compile(text, saved, true)
	if len(faults) > 0 {
		t.Fatalf("%s: %v", text, faults)
	}
	e := &evaluation{ctx: context.Background(), answer: &answer{response: response}, vars: vars}
	return e.truth(root)
}

// An expectation that holds, one that does not, and one that can't be decided,
// which is never a pass.
const holds, breaks, undecided = "holds", "breaks", "undecided"

func verdict(ok bool, err error) string {
	switch {
	case err != nil:
		return undecided
	case ok:
		return holds
	default:
		return breaks
	}
}

const document = `{"id":"abc","n":3,"f":1.50,"big":12345678901234567890123,"bigger":12345678901234567890124,
 "zero":0,"minus":-0.0,"exp":15e-1,"list":[1,2,3],"items":[{"id":"abc","ok":true,"tags":["x","y"]},{"id":"def","ok":false,"tags":[]}],
 "none":[],"empty":{},"nothing":null,"yes":true,"no":false,"text":" Ab\u00e9 ","a.b":1,"items-2":[{"id":null}]}`

func TestExpectations(t *testing.T) {
	vars := map[string]any{"id": "abc", "number": json.Number("12345678901234567890123"), "probe": "qwertyuiopasdfgh", "gone": nil}
	for text, want := range map[string]string{
		`status == 200`:        holds,
		`status == 201`:        breaks,
		`200 <= status < 300`:  holds,
		`200 <= status < 200`:  breaks,
		`status in [200, 204]`: holds,
		`status not in [200]`:  breaks,
		`elapsed == 12`:        holds,
		`header["content-type"] startsWith "application/json"`: holds,
		`header["x-id"] == "a, b"`:                             holds,
		`header["x-none"] == ""`:                               holds,
		`"x-id" in header && len(header) == 2`:                 holds,
		`body contains "abc"`:                                  holds,
		`body endsWith "}"`:                                    holds,

		// Numbers keep their digits.
		`json.n == 3`:                         holds,
		`json.n == 3.0`:                       holds,
		`json.n == "3"`:                       breaks,
		`json.f == 1.5 && json.exp == json.f`: holds,
		`json.zero == json.minus`:             holds,
		`json.big == number`:                  holds,
		`json.bigger == number`:               breaks,
		`json.bigger > number`:                holds,
		`json.big < json.bigger`:              holds,
		`-json.n == -3 && -json.minus == 0 && - -json.n == 3`:       holds,
		`json.n >= 3 && json.n <= 3 && json.n < 4 && json.n > -2.5`: holds,
		`json.f in [1.5]`:                         holds,
		`json.list[0] == 1 && json.list[-1] == 3`: holds,
		`json.list[json.zero] == 1`:               holds,
		`json.list[3] == nil`:                     undecided,
		`json.list[1.5] == 1`:                     undecided,

		// Absent values.
		`json.absent == nil`:               holds,
		`json.nothing == nil`:              holds,
		`json.absent.deeper == nil`:        undecided,
		`json.absent?.deeper.still == nil`: holds,
		`json.id?.deeper == nil`:           undecided,
		`json.absent == gone`:              holds,
		`len(json.absent) == 0`:            undecided,
		`!(json.absent contains "error")`:  undecided,
		`json.absent < 3`:                  undecided,
		`json.absent || true`:              undecided,
		`true || json.absent`:              holds,
		`!json.absent`:                     undecided,
		`"a" in json.absent`:               undecided,

		// Kinds.
		`is_map(json) && is_map(json.empty) && !is_map(json.list) && !is_map(header)`: holds,
		`is_array(json.none) && !is_array(json.empty) && !is_array(json.id)`:          holds,
		`len(json.none) == 0 && len(json.items) == 2 && len(json.empty) == 0`:         holds,
		`len(json.n) == 1`:    undecided,
		`len(json.yes) == 1`:  undecided,
		`len(json.text) == 5`: holds,
		`lower(trim(json.text)) == "abé" && upper(trim(json.text)) == "ABÉ"`: holds,
		`lower(json.n) == "3"`:           undecided,
		`json.id contains json.n`:        undecided,
		`json.id < 3`:                    undecided,
		`json.id < "abd"`:                holds,
		`json.id == id && id == json.id`: holds,
		`json.yes`:                       holds,
		`json.no`:                        breaks,
		`json.n`:                         undecided,
		`!json`:                          undecided,
		`json["a.b"] == 1 && json["items-2"][0].id == nil`: holds,
		`"id" in json && !("ip" in json)`:                  holds,
		`3 in json`:                                        undecided,
		`json.items[0].tags == ["x", "y"]`:                 holds,
		`json.items[0] == json.items[1]`:                   breaks,
		`json.items[0] == json.items[0] && json.empty == json.empty && header == header`: holds,
		`json.list == json.empty`: breaks,

		// Lists.
		`any(json.items, .id == id)`:             holds,
		`any(json.items, .id == probe)`:          breaks,
		`all(json.items, is_array(.tags))`:       holds,
		`all(json.items, .ok)`:                   breaks,
		`none(json.items, .id == "x")`:           holds,
		`none(json.items, .ok)`:                  breaks,
		`len(filter(json.items, .ok)) == 1`:      holds,
		`map(json.items, .id) == ["abc", "def"]`: holds,
		`any(json.items, any(.tags, # == "y"))`:  holds,
		`all(json.none, .ok)`:                    holds,
		`any(json.none, true)`:                   breaks,
		`all(json.empty, .ok)`:                   undecided, // not "all of nothing"
		`none(json, .bad)`:                       undecided,
		`all(json.nothing, .ok)`:                 undecided,
		`all(json.id, # != "z")`:                 undecided,
		`any(json.items, .tags)`:                 undecided,
		`json.items | any(.ok)`:                  holds,
	} {
		ok, err := evaluate(t, text, jsonAnswer(document), vars)
		if got := verdict(ok, err); got != want {
			t.Errorf("%s: %s (%v), want %s", text, got, err, want)
		}
	}
}

func TestJSONIsThereOnlyForJSON(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fleet.Response)
		says   string
	}{
		"html":         {func(r *fleet.Response) { r.Header.Set("Content-Type", "text/html") }, "not JSON but text/html"},
		"no type":      {func(r *fleet.Response) { r.Header.Del("Content-Type") }, "without a content type"},
		"empty":        {func(r *fleet.Response) { r.Body = nil }, "its body is empty"},
		"broken":       {func(r *fleet.Response) { r.Body = []byte(`{"id":`) }, "unexpected EOF"},
		"two values":   {func(r *fleet.Response) { r.Body = []byte(`{} {}`) }, "something follows"},
		"not UTF-8":    {func(r *fleet.Response) { r.Body = []byte("{\"id\":\"\xff\"}") }, "not UTF-8"},
		"too long":     {func(r *fleet.Response) { r.Complete = false; r.Body = make([]byte, fleet.MaxBody) }, "longer than"},
		"cut":          {func(r *fleet.Response) { r.Complete = false }, "ended early"},
		"deep":         {func(r *fleet.Response) { r.Body = []byte(strings.Repeat("[", 100_000)) }, "depth"},
		"hostile type": {func(r *fleet.Response) { r.Header.Set("Content-Type", "a\x1b[31m/\u202e") }, "a\x1b[31m/"},
	} {
		r := jsonAnswer(document)
		c.change(r)
		ok, err := evaluate(t, `json == json`, r, nil)
		if ok || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	for _, kind := range []string{"application/json", "Application/JSON; charset=UTF-8", "application/problem+json", "text/json"} {
		r := jsonAnswer("{}")
		r.Header.Set("Content-Type", kind)
		if ok, err := evaluate(t, `is_map(json)`, r, nil); !ok {
			t.Errorf("%s: %v", kind, err)
		}
	}
	r := jsonAnswer(document)
	r.Complete = false
	if ok, err := evaluate(t, `!(body contains "zzz")`, r, nil); ok || err == nil {
		t.Error("a body that did not come whole was searched")
	}
	if ok, err := evaluate(t, `status == 200`, r, nil); !ok {
		t.Errorf("status of a cut answer: %v", err)
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
		r := jsonAnswer(string(body))
		got, err := evaluate(t, text, r, map[string]any{"probe": "p"})
		if err != nil || got != want {
			t.Errorf("%s: %v (%v), expr-lang says %v", text, got, err, want)
		}
	}
}

// TestEvaluationIsBounded holds that no expression and no answer take long: what
// would is refused at load or ends at a limit, and so is never a pass.
func TestEvaluationIsBounded(t *testing.T) {
	numbers := make([]string, 9000)
	for i := range numbers {
		numbers[i] = fmt.Sprint(i)
	}
	long := `{"list":[` + strings.Join(numbers, ",") + `],"text":"` + strings.Repeat("a", 500_000) + `","digits":` + strings.Repeat("1", 300_000) + `}`
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
		ok, err := evaluate(t, text, jsonAnswer(long), nil)
		if _, limited := err.(*limitError); ok || !limited {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
	}
	many := jsonAnswer(`[` + strings.Repeat("1,", maxElements) + `1]`)
	if ok, err := evaluate(t, `all(json, # == 1)`, many, nil); ok || err == nil || !strings.Contains(err.Error(), "10001 elements") {
		t.Errorf("over the cap: %v, %v", ok, err)
	}
	if ok, err := evaluate(t, `len(json) == 10001`, many, nil); !ok {
		t.Errorf("len over the cap: %v", err)
	}
	if _, err := evaluate(t, `json[0] == 1`, jsonAnswer(`[1e99999999999999999999]`), nil); err == nil {
		t.Error("a number beyond all bounds was compared")
	}
}

func TestEvaluationEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root, faults := compile(`all(json, all(json, # == 1))`, nil, true)
	if faults != nil {
		t.Fatal(faults)
	}
	e := &evaluation{ctx: ctx, answer: &answer{response: jsonAnswer(`[` + strings.Repeat("1,", 5000) + `1]`)}}
	if _, err := e.truth(root); err == nil || e.steps > 2*askEvery {
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

// BenchmarkWorstEvaluation is the most that one evaluation can cost.
func BenchmarkWorstEvaluation(b *testing.B) {
	response := jsonAnswer(`[` + strings.Repeat("1,", 9999) + `1]`)
	root, faults := compile(`all(json, none(json, # == 2))`, nil, true)
	if faults != nil {
		b.Fatal(faults)
	}
	b.ReportAllocs()
	for b.Loop() {
		e := &evaluation{ctx: context.Background(), answer: &answer{response: response}}
		if ok, _ := e.truth(root); ok {
			b.Fatal("it ended within its budget")
		}
	}
}

// BenchmarkExpectation is what one answer of the built-in suites costs.
func BenchmarkExpectation(b *testing.B) {
	response := jsonAnswer(`{"subsystems":{"scheduler":{"last_tick_at":"2026-01-01T00:00:00Z","seconds_ago":3}}}`)
	root, faults := compile(`status == 200 && is_map(json.subsystems) && len(json.subsystems) > 0`, nil, true)
	if faults != nil {
		b.Fatal(faults)
	}
	x := &expectation{root: root, clauses: clauses(root)}
	b.ReportAllocs()
	for b.Loop() {
		e := &evaluation{ctx: context.Background(), answer: &answer{response: response}}
		if x.test(e) != nil {
			b.Fatal("it does not hold")
		}
	}
}

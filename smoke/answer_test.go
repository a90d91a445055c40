package smoke

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
)

// jsonResponse is an answer with a JSON body.
func jsonResponse(body string) *fleet.Response {
	return &fleet.Response{
		Status: 200, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "X-Id": {"a", "b"}},
		Body: []byte(body), Complete: true, Elapsed: 12 * time.Millisecond, Attempts: 1,
	}
}

// evaluate compiles and evaluates an expectation on an answer.
func evaluate(t testing.TB, text string, response *fleet.Response) (bool, error) {
	t.Helper()
	x, errs := expr.CompileCondition(text)
	if len(errs) > 0 {
		t.Fatalf("%s: %v", text, errs)
	}
	return expr.NewEvaluation(&answer{response: response}).Within(t.Context()).True(x)
}

func TestNamesOfAnAnswer(t *testing.T) {
	const text = `status == 200 && elapsed == 12 && header["x-id"] == "a, b" && header["x-none"] == "" && body contains "abc" && json.id == "abc"`
	if ok, err := evaluate(t, text, jsonResponse(`{"id":"abc"}`)); !ok {
		t.Error(err)
	}
}

// TestSummaryIsTheSameForAllTenants demands what causes are grouped by.
func TestSummaryIsTheSameForAllTenants(t *testing.T) {
	for want, change := range map[string]func(*fleet.Response){
		"answered 200":                           func(*fleet.Response) {},
		"answered 404, empty body":               func(r *fleet.Response) { r.Status, r.Body = 404, nil },
		"answered 502, not JSON but text/html":   func(r *fleet.Response) { r.Status = 502; r.Header.Set("Content-Type", "text/html; charset=utf-8") },
		"answered 200, without a content type":   func(r *fleet.Response) { r.Header.Del("Content-Type") },
		"answered 200, not valid JSON":           func(r *fleet.Response) { r.Body = []byte(`{"id":`) },
		"answered 200, incomplete body":          func(r *fleet.Response) { r.Complete = false },
		"answered 200, not JSON but a\x1b[31m/x": func(r *fleet.Response) { r.Header.Set("Content-Type", "a\x1b[31m/x") },
	} {
		a := &answer{response: jsonResponse(`{"id":"of this tenant"}`)}
		change(a.response)
		_, _ = a.Value("json")
		if got := a.summary(); got != want {
			t.Errorf("%q, want %q", got, want)
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
		"too long":     {func(r *fleet.Response) { r.Complete = false; r.Body = make([]byte, 8<<20) }, "answered more than 8 MiB"},
		"cut":          {func(r *fleet.Response) { r.Complete = false }, "answered more than 12 bytes"},
		"deep":         {func(r *fleet.Response) { r.Body = []byte(strings.Repeat("[", 100_000)) }, "depth"},
		"hostile type": {func(r *fleet.Response) { r.Header.Set("Content-Type", "a\x1b[31m/\u202e") }, "a\x1b[31m/"},
	} {
		r := jsonResponse(`{"id":"abc"}`)
		c.change(r)
		ok, err := evaluate(t, `json == json`, r)
		if ok || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	for _, kind := range []string{"application/json", "Application/JSON; charset=UTF-8", "application/problem+json", "text/json"} {
		r := jsonResponse("{}")
		r.Header.Set("Content-Type", kind)
		if ok, err := evaluate(t, `is_map(json)`, r); !ok {
			t.Errorf("%s: %v", kind, err)
		}
	}
	r := jsonResponse(`{"id":"abc"}`)
	r.Complete = false
	if ok, err := evaluate(t, `!(body contains "zzz")`, r); ok || err == nil {
		t.Error("a body that did not come whole was searched")
	}
	if ok, err := evaluate(t, `status == 200`, r); !ok {
		t.Errorf("status of a cut answer: %v", err)
	}
}

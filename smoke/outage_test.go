package smoke_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

const (
	confirmed = `confirm: {get: /up, down: 'status == 503 && json.code == "db_down"'}` + "\n"
	dbDown    = `{"code":"db_down"}`
	bare      = `{"error":"internal server error"}`
)

// script is the answers of one route, in turn; the last one stays.
type script []struct {
	status int
	body   string
}

// scripted serves scripts by method and path, and counts the requests.
func scripted(routes map[string]script) (served, func(route string) int) {
	var mu sync.Mutex
	asked := map[string]int{}
	serve := func(r *http.Request) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		route := r.Method + " " + r.URL.Path
		s := routes[route]
		if len(s) == 0 {
			return 404, "404 page not found"
		}
		a := s[min(asked[route], len(s)-1)]
		asked[route]++
		return a.status, a.body
	}
	return serve, func(route string) int {
		mu.Lock()
		defer mu.Unlock()
		return asked[route]
	}
}

// TestServerErrors has every way in which a tenant can answer a 5xx.
func TestServerErrors(t *testing.T) {
	ok, fails, down := script{{200, `{"ok":true}`}}, script{{500, bare}}, script{{503, dbDown}}
	once := func(first, then script) script { return append(first[:1:1], then...) }
	for name, c := range map[string]struct {
		method  string
		confirm string
		a, up   script
		asked   int // how often the step was sent
		want    report.Result
		flaky   bool
		hint    string
	}{
		"again and again":                  {"get", confirmed, fails, ok, 2, report.Failed, false, "the service failed"},
		"once":                             {"get", confirmed, once(fails, ok), ok, 2, report.Passed, true, ""},
		"while the database is down":       {"get", confirmed, fails, down, 2, report.Errored, false, "something it depends on is down"},
		"and then no longer":               {"get", confirmed, once(fails, script{{200, `{}`}}), ok, 2, report.Failed, false, ""},
		"and the confirmation fails, too":  {"get", confirmed, fails, fails, 2, report.Failed, false, "the service failed"},
		"and a proxy confirms":             {"get", confirmed, fails, script{{502, "<p>Bad Gateway"}}, 2, report.Errored, false, "could not be learned"},
		"and the database comes back":      {"get", confirmed, fails, once(down, ok), 2, report.Errored, false, ""},
		"the outage in the answer itself":  {"get", confirmed, script{{500, `{"code":"platform_unavailable"}`}}, ok, 2, report.Errored, false, ""},
		"without a confirmation":           {"get", "", fails, ok, 2, report.Failed, false, "the service failed"},
		"once, without a confirmation":     {"get", "", once(fails, ok), ok, 2, report.Passed, true, ""},
		"of a POST":                        {"post", confirmed, fails, ok, 1, report.Failed, false, "the service failed"},
		"of a POST, database down":         {"post", confirmed, fails, down, 1, report.Errored, false, "something it depends on is down"},
		"of a POST, no confirmation":       {"post", "", fails, ok, 1, report.Failed, false, ""},
		"anything else is asked once":      {"get", confirmed, once(script{{200, `{}`}}, ok), ok, 1, report.Failed, false, ""},
		"a refusal is asked once":          {"get", confirmed, once(script{{404, bare}}, ok), ok, 1, report.Failed, false, ""},
		"of a PUT, which is sent again":    {"put", confirmed, once(fails, ok), ok, 2, report.Passed, true, ""},
		"of an idempotent POST":            {"idempotent: true, post", confirmed, once(fails, ok), ok, 2, report.Passed, true, ""},
		"while polling, and then it works": {"within: 3s, get", confirmed, once(fails, ok), ok, 2, report.Passed, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				method := strings.ToUpper(c.method[strings.LastIndex(c.method, " ")+1:])
				serve, asked := scripted(map[string]script{method + " /a": c.a, "GET /up": c.up})
				sessions := bubble(t, fleet.Config{Retries: -1}, 1, serve)
				suite := c.confirm + `checks: [{name: a, ` + c.method + `: /a, expect: 'status == 200 && json.ok == true'}]`
				began := time.Now()
				got := load(t, "suite.yml", suite).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks[0]
				if got.Result != c.want || got.Flaky != c.flaky || !strings.Contains(got.Hint, c.hint) || asked(method+" /a") != c.asked {
					t.Errorf("sent %d times: %+v", asked(method+" /a"), got)
				}
				if c.flaky && !strings.Contains(got.Detail, "answered 500") && !strings.Contains(got.Detail, "got 500") {
					t.Errorf("it does not say what came first: %+v", got)
				}
				if c.asked == 2 && (time.Since(began) < 50*time.Millisecond || time.Since(began) > time.Second) {
					t.Errorf("it took %v", time.Since(began))
				}
			})
		})
	}
}

// TestOutageAnywhereExcusesAll has one route that says why the other one fails.
func TestOutageAnywhereExcusesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const suite = `checks:
 - {name: a, get: /a, expect: 'status == 200 && json.ok == true'}
 - {name: b, get: /b, expect: 'status == 200 && json.ok == true'}
 - {name: c, get: /c, expect: 'status == 200 && json.ok == true'}`
		serve, _ := scripted(map[string]script{
			"GET /a": {{500, bare}}, "GET /b": {{503, `{"code":"platform_unavailable","error":"database unavailable"}`}}, "GET /c": {{200, "{}"}},
		})
		checks := load(t, "suite.yml", suite).Run(t.Context(), bubble(t, fleet.Config{Retries: -1}, 1, serve), smoke.RunOptions{})[0].Checks
		for i, want := range []report.Result{report.Errored, report.Errored, report.Failed} {
			if checks[i].Result != want {
				t.Errorf("%+v", checks[i])
			}
			if strings.Contains(checks[i].Hint, "Postgres") {
				t.Errorf("a hint of another product: %+v", checks[i])
			}
		}
	})
}

// TestConfirmationWithoutAnAnswerDecidesNothing has a tenant that fails, and whose
// confirming route hangs.
func TestConfirmationWithoutAnAnswerDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const suite = confirmed + oneCheck
		serve, _ := scripted(map[string]script{"GET /a": {{500, bare}}, "GET /up": {{0, ""}}})
		c := load(t, "suite.yml", suite).Run(t.Context(), bubble(t, fleet.Config{Retries: -1}, 1, serve), smoke.RunOptions{})[0].Checks[0]
		if c.Result != report.Errored || !strings.Contains(c.Hint, "could not be learned") {
			t.Errorf("%+v", c)
		}
	})
}

func TestStoppedBeforeItIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		serve, asked := scripted(map[string]script{"GET /a": {{500, bare}}})
		c := load(t, "suite.yml", oneCheck).Run(ctx, bubble(t, fleet.Config{Retries: -1}, 1, serve), smoke.RunOptions{})[0].Checks[0]
		if c.Result != report.Errored || !strings.Contains(c.Detail, "stopped before it could be asked again") || asked("GET /a") != 1 {
			t.Errorf("%+v", c)
		}
	})
}

// TestTooLargeAnswers says what to do about a list that has grown, and still fails
// what is plainly wrong about it.
func TestTooLargeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const suite = `checks:
 - {name: json, get: /a, within: 1m, expect: 'status == 200 && is_array(json)'}
 - {name: body, get: /a, expect: 'status == 200 && body contains "x"'}
 - {name: save, get: /a, expect: 'status == 200', save: {id: 'json[0]'}}
 - {name: open, get: /a, auth: none, expect: 'status == 401 && len(json.error) > 0'}
 - {name: enough, get: /a, expect: 'status == 200 && header["content-type"] == "application/json"'}`
		serve, asked := scripted(map[string]script{"GET /a": {{200, "[" + strings.Repeat("1,", 600) + "1]"}}})
		checks := load(t, "suite.yml", suite).Run(t.Context(), bubble(t, fleet.Config{MaxBody: 1000}, 1, serve), smoke.RunOptions{})[0].Checks
		for i, want := range []report.Result{report.Errored, report.Errored, report.Errored, report.Failed, report.Passed} {
			c := checks[i]
			if c.Result != want || want == report.Errored && (!strings.Contains(c.Detail, "answered more than 1,000 bytes") || c.Hint != "raise max-body, or check a smaller route") {
				t.Errorf("%+v", c)
			}
		}
		if asked("GET /a") != 5 {
			t.Errorf("it was asked %d times", asked("GET /a"))
		}
	})
}

// refusing refuses connections to some routes.
type refusing struct {
	served
	path string
}

func (f refusing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == f.path {
		return nil, fmt.Errorf("dial tcp: %w", syscall.ECONNREFUSED)
	}
	return f.served.RoundTrip(r)
}

func TestRefusedConnectionsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const suite = `checks:
 - {name: a, get: /a, expect: 'status == 200 && json.ok == true'}
 - name: b
   steps: [{get: /a, expect: 'status == 200 && json.ok == true'}]
   finally: [{delete: /b}]`
		serve, _ := scripted(map[string]script{"GET /a": {{200, `{"ok":true}`}}})
		sessions := bubbleOf(t, fleet.Config{Retries: -1}, fleet.Tenant{}, refusing{serve, "/b"})
		if got := load(t, "suite.yml", suite).Run(t.Context(), sessions, smoke.RunOptions{})[0]; got.Refused != 1 {
			t.Errorf("%+v", got)
		}
	})
}

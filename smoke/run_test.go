package smoke_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// A served function answers requests in place of a network: time in it is the
// bubble's.
type served func(*http.Request) (status int, body string)

func (f served) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	status, body := f(r)
	if status == 0 { // it never answers
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	kind := "application/json"
	if strings.HasPrefix(body, "<") {
		kind = "text/html"
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {kind}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

// bubble returns sessions of n tenants that are served by f.
func bubble(t testing.TB, cfg fleet.Config, n int, f served) []*fleet.Session {
	t.Helper()
	cfg.Transport = f
	var tenants []fleet.Tenant
	for i := range n {
		tenants = append(tenants, fleet.Tenant{URL: fmt.Sprintf("https://tenant-%d.example", i), Token: secret.New("token-of-a-tenant")})
	}
	fl, err := fleet.New(tenants, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return fl.Sessions()
}

// bubbleOf returns the session of one tenant, whose URL and token are filled in.
func bubbleOf(t testing.TB, cfg fleet.Config, tenant fleet.Tenant, f http.RoundTripper) []*fleet.Session {
	t.Helper()
	cfg.Transport = f
	tenant.URL, tenant.Token = "https://tenant.example", secret.New("token-of-a-tenant")
	fl, err := fleet.New([]fleet.Tenant{tenant}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return fl.Sessions()
}

const oneCheck = `checks: [{name: a, get: /a, expect: 'status == 200 && json.ok == true'}]`

func TestFlakyIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) {
			if tries++; tries < 3 {
				return 503, ""
			}
			return 200, `{"ok":true}`
		})
		c := load(t, "suite", oneCheck).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks[0]
		if c.Result != report.Passed || !c.Flaky || c.Attempts != 3 || c.Detail != "it passed only after a retry" {
			t.Errorf("%+v", c)
		}
	})
}

func TestPollingIsNotFlaky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, polls := time.Now(), 0
		sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) {
			polls++
			return 200, fmt.Sprintf(`{"ok":%t}`, time.Since(began) >= 4*time.Second)
		})
		const suite = `checks: [{name: a, get: /a, within: 5s, expect: 'status == 200 && json.ok == true'}]`
		c := load(t, "suite", suite).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks[0]
		if c.Result != report.Passed || c.Flaky || c.Attempts != 1 || polls < 5 || polls > 10 {
			t.Errorf("%d polls: %+v", polls, c)
		}
	})
}

func TestPollingEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last time.Time
		began := time.Now()
		sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) {
			last = time.Now()
			return 200, `{"ok":false}`
		})
		const suite = `checks: [{name: a, get: /a, within: 5s, expect: 'status == 200 && json.ok == true'}]`
		c := load(t, "suite", suite).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks[0]
		if c.Result != report.Failed || last.Sub(began) != 5*time.Second || !strings.Contains(c.Got, "json.ok = false") {
			t.Errorf("last poll after %v: %+v", last.Sub(began), c)
		}
	})
}

// TestWaitingOccupiesNoSlot lets one tenant poll for a minute where there is one
// slot: the other one must not wait for it.
func TestWaitingOccupiesNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		sessions := bubble(t, fleet.Config{Concurrency: 1}, 2, func(r *http.Request) (int, string) {
			return 200, fmt.Sprintf(`{"ok":%t}`, r.URL.Host == "tenant-1.example" || time.Since(began) > time.Minute)
		})
		const suite = `checks:
 - {name: a, get: /a, within: 2m, expect: 'status == 200 && json.ok == true'}
 - {name: b, get: /b, within: 2m, expect: 'status == 200 && json.ok == true'}`
		var second time.Duration
		results := load(t, "suite", suite).Run(t.Context(), sessions, smoke.RunOptions{
			Checked: func(tenant int, c report.CheckResult) {
				if tenant == 1 {
					second = time.Since(began)
				}
			},
		})
		for _, r := range results {
			for _, c := range r.Checks {
				if c.Result != report.Passed {
					t.Errorf("%+v", c)
				}
			}
		}
		if second > time.Second {
			t.Errorf("the second tenant was done after %v", second)
		}
	})
}

// TestConcurrencyIsLimited counts the tenants that are asked at the same time.
func TestConcurrencyIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		sessions := bubble(t, fleet.Config{Concurrency: 3}, 20, func(*http.Request) (int, string) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return 200, `{"ok":true}`
		})
		began := time.Now()
		load(t, "suite", oneCheck).Run(t.Context(), sessions, smoke.RunOptions{})
		if most.Load() != 3 || time.Since(began) != 7*time.Second {
			t.Errorf("%d tenants at once, %v", most.Load(), time.Since(began))
		}
	})
}

// TestHungTenantsCostTheirOwnTimeout has 20 tenants among 100 that never answer.
func TestHungTenantsCostTheirOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := func(host string) bool {
			var i int
			_, _ = fmt.Sscanf(host, "tenant-%d", &i)
			return i%5 == 0
		}
		sessions := bubble(t, fleet.Config{RequestTimeout: 10 * time.Second, Retries: 1}, 100, func(r *http.Request) (int, string) {
			if hung(r.URL.Host) {
				return 0, ""
			}
			time.Sleep(50 * time.Millisecond)
			return 200, `{"ok":true}`
		})
		began := time.Now()
		ends := make([]time.Duration, 100)
		results := load(t, "suite", oneCheck).Run(t.Context(), sessions, smoke.RunOptions{
			Checked: func(tenant int, _ report.CheckResult) { ends[tenant] = time.Since(began) },
		})
		for i, r := range results {
			c := r.Checks[0]
			switch {
			case i%5 != 0 && (c.Result != report.Passed || ends[i] != 50*time.Millisecond):
				t.Errorf("tenant %d: %v after %v", i, c.Result, ends[i])
			case i%5 == 0 && (c.Result != report.Errored || c.Attempts != 2 || ends[i] < 20*time.Second || ends[i] > 21*time.Second):
				t.Errorf("tenant %d: %+v after %v", i, c, ends[i])
			}
		}
		if took := time.Since(began); took > 21*time.Second {
			t.Errorf("%v in all", took)
		}
	})
}

func TestSoakRepeatsRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n time.Duration
		sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) {
			n++
			time.Sleep(n * time.Millisecond)
			return 200, `{"ok":true}`
		})
		reported := 0
		began := time.Now()
		c := load(t, "suite", oneCheck).Run(t.Context(), sessions, smoke.RunOptions{
			Soak: 90 * time.Second, SoakInterval: time.Second, Checked: func(int, report.CheckResult) { reported++ },
		})[0].Checks[0]
		if c.Result != report.Passed || time.Since(began) < 90*time.Second || c.Rounds != int(n) || n < 80 || reported != 1 {
			t.Errorf("%d requests in %v, reported %d times: %+v", n, time.Since(began), reported, c)
		}
		ms := func(n time.Duration) report.Millis { return report.Millis(n * time.Millisecond) }
		want := report.Latency{P50: ms((n + 1) / 2), P95: ms((n*95 + 99) / 100), Max: ms(n)}
		if c.Latency != want {
			t.Errorf("latency %+v, want %+v", c.Latency, want)
		}
	})
}

// TestFlakyInAnyRoundIsFlaky has a retry in the second round of many.
func TestFlakyInAnyRoundIsFlaky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) {
			if n++; n == 2 {
				return 502, ""
			}
			return 200, `{"ok":true}`
		})
		c := load(t, "suite", oneCheck).Run(t.Context(), sessions, smoke.RunOptions{Soak: 10 * time.Second})[0].Checks[0]
		if c.Result != report.Passed || !c.Flaky {
			t.Errorf("%+v", c)
		}
	})
}

// TestNothingIsNotSaved tries every value that is empty.
func TestNothingIsNotSaved(t *testing.T) {
	const suite = `checks:
 - name: a
   steps:
    - {get: /a, expect: 'status == 200 && is_map(json)', save: {v: json.v}}
    - {post: /b, body: {v: '${v}'}, expect: 'status == 200 && is_map(json)'}`
	for _, v := range []string{`null`, `""`, `[]`, `{}`} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) {
				n++
				return 200, `{"v":` + v + `}`
			})
			c := load(t, "suite", suite).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks[0]
			if c.Result != report.Failed || n != 1 || !strings.Contains(c.Detail, "expected a value to save as v in json.v") {
				t.Errorf("%s: %d requests, %+v", v, n, c)
			}
		})
	}
}

// TestSavedValuesKeepTheirForm sends back what came.
func TestSavedValuesKeepTheirForm(t *testing.T) {
	const suite = `checks:
 - name: a
   steps:
    - {get: /a, expect: 'status == 200 && is_map(json)', save: {n: json.n, s: json.s, o: json.o, t: json.t}}
    - {post: '/b/${n}/${s}?q=${s}&n=${n}', headers: {X-N: 'n ${n}'}, body: {n: '${n}', s: '${s}', o: '${o}', t: '${t}', in: 'n${n} s${s}', own: 1.50}, expect: 'status == 200 && json.n == n && json.o == o'}`
	const body = `{"n":12345678901234567890.10,"s":"a \"b\"/c","o":{"x":[1]},"t":true}`
	synctest.Test(t, func(t *testing.T) {
		sent := ""
		sessions := bubble(t, fleet.Config{}, 1, func(r *http.Request) (int, string) {
			if r.Method == http.MethodPost {
				b, _ := io.ReadAll(r.Body)
				sent = r.URL.RequestURI() + " " + r.Header.Get("X-N") + " " + r.Header.Get("Content-Type") + " " + string(b)
			}
			return 200, body
		})
		c := load(t, "suite", suite).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks[0]
		const want = `/b/12345678901234567890.10/a%20%22b%22%2Fc?q=a+%22b%22%2Fc&n=12345678901234567890.10 n 12345678901234567890.10 application/json ` +
			`{"n":12345678901234567890.10,"s":"a \"b\"/c","o":{"x":[1]},"t":true,"in":"n12345678901234567890.10 sa \"b\"/c","own":1.50}`
		if c.Result != report.Passed || sent != want {
			t.Errorf("sent\n%s\nwant\n%s\n%+v", sent, want, c)
		}
	})
}

func TestSoakEndsWithTheFirstFailingRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) {
			n++
			return 200, fmt.Sprintf(`{"ok":%t}`, n != 5)
		})
		c := load(t, "suite", oneCheck).Run(t.Context(), sessions, smoke.RunOptions{Soak: time.Hour})[0].Checks[0]
		if c.Result != report.Failed || c.Rounds != 5 || n != 5 {
			t.Errorf("%d requests: %+v", n, c)
		}
	})
}

// TestTokenOnceAcceptedIsRight has a tenant that accepts our token in the first round
// and refuses it everywhere in the second: that is the build's doing.
func TestTokenOnceAcceptedIsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) {
			if n++; n > 1 {
				return 401, `{"error":"invalid admin auth token"}`
			}
			return 200, `{"ok":true}`
		})
		c := load(t, "suite", oneCheck).Run(t.Context(), sessions, smoke.RunOptions{Soak: time.Minute})[0].Checks[0]
		if c.Result != report.Failed || !strings.Contains(c.Hint, "GET /a accepted it") {
			t.Errorf("%+v", c)
		}
	})
}

func TestCancelNeverPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Second, func() { cancel(errors.New("the deadline is over")) })
		sessions := bubble(t, fleet.Config{Concurrency: 2}, 4, func(r *http.Request) (int, string) {
			if r.URL.Path == "/b" {
				return 0, ""
			}
			return 200, `{"ok":true}`
		})
		const suite = `checks:
 - {name: a, get: /a, expect: 'status == 200 && json.ok == true'}
 - {name: b, get: /b, expect: 'status == 200 && json.ok == true'}
 - {name: c, get: /c, within: 1m, expect: 'status == 200 && json.ok == false'}`
		reported := 0
		began := time.Now()
		results := load(t, "suite", suite).Run(ctx, sessions, smoke.RunOptions{Checked: func(int, report.CheckResult) { reported++ }})
		if time.Since(began) != 5*time.Second || reported != 12 {
			t.Errorf("after %v, reported %d", time.Since(began), reported)
		}
		for i, r := range results {
			var got []report.Result
			for _, c := range r.Checks {
				got = append(got, c.Result)
				if c.Result != report.Passed && !strings.Contains(c.Detail, "stopped") {
					t.Errorf("tenant %d: %+v", i, c)
				}
			}
			want := []report.Result{report.Passed, report.Errored, report.Errored}
			if i >= 2 {
				want[0] = report.Errored // it never had its turn
			}
			if !slices.Equal(got, want) {
				t.Errorf("tenant %d: %v, want %v", i, got, want)
			}
		}
	})
}

func TestSoakCutShortDoesNotPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
		defer cancel()
		sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) { return 200, `{"ok":true}` })
		c := load(t, "suite", oneCheck).Run(ctx, sessions, smoke.RunOptions{Soak: time.Minute, SoakInterval: time.Second})[0].Checks[0]
		if c.Result != report.Errored || c.Rounds < 9 || !strings.Contains(c.Detail, "before the soak was over") {
			t.Errorf("%+v", c)
		}
	})
}

const withCleanUp = `checks:
 - name: a
   steps:
    - {post: /things, body: {n: 1}, expect: 'status == 201 && json.kind == "thing"', save: {id: json.id}}
    - {get: '/things/${id}', within: 1m, expect: 'status == 200 && json.ok == true'}
   finally:
    - {delete: '/things/${id}'}
    - {delete: /always}`

// TestFinallyAlwaysRuns ends the check in each possible way.
func TestFinallyAlwaysRuns(t *testing.T) {
	for name, c := range map[string]struct {
		create, read string
		cancel       time.Duration
		deletes      string
		result       report.Result
	}{
		"all well":               {create: `{"id":7,"kind":"thing"}`, read: `{"ok":true}`, deletes: "/things/7 /always", result: report.Passed},
		"first step fails":       {create: `{"id":7,"kind":"other"}`, deletes: "/things/7 /always", result: report.Failed},
		"nothing to save":        {create: `{"kind":"thing"}`, deletes: "/always", result: report.Failed},
		"second step fails":      {create: `{"id":7,"kind":"thing"}`, read: `{"ok":false}`, deletes: "/things/7 /always", result: report.Failed},
		"cancel while it polls":  {create: `{"id":7,"kind":"thing"}`, read: `{"ok":false}`, cancel: 10 * time.Second, deletes: "/things/7 /always", result: report.Errored},
		"panic":                  {create: `{"id":7,"kind":"thing"}`, read: "panic", deletes: "/things/7 /always", result: report.Errored},
		"a hostile saved value":  {create: `{"id":"../../x","kind":"thing"}`, read: `{"ok":true}`, deletes: "/always", result: report.Failed},
		"a saved value to quote": {create: `{"id":"a b?c","kind":"thing"}`, read: `{"ok":true}`, deletes: "/things/a%20b%3Fc /always", result: report.Passed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, cancel)
				}
				var mu sync.Mutex
				var deletes []string
				sessions := bubble(t, fleet.Config{Retries: -1}, 1, func(r *http.Request) (int, string) {
					switch {
					case r.Method == http.MethodPost:
						return 201, c.create
					case r.Method == http.MethodDelete:
						select { // also after a cancel there is time for an answer
						case <-time.After(500 * time.Millisecond):
						case <-r.Context().Done():
							return 0, ""
						}
						mu.Lock()
						defer mu.Unlock()
						deletes = append(deletes, r.URL.EscapedPath())
						return 204, ""
					case c.read == "panic":
						panic("an error of ours")
					default:
						return 200, c.read
					}
				})
				got := load(t, "suite", withCleanUp).Run(ctx, sessions, smoke.RunOptions{})[0].Checks[0]
				if got.Result != c.result || strings.Join(deletes, " ") != c.deletes {
					t.Errorf("%v, deleted %q: %+v", got.Result, deletes, got)
				}
			})
		})
	}
}

// TestCleanUpAfterCancelIsBounded has a tenant that does not answer clean-ups.
func TestCleanUpAfterCancelIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		time.AfterFunc(3*time.Second, cancel)
		sessions := bubble(t, fleet.Config{}, 1, func(r *http.Request) (int, string) {
			if r.Method == http.MethodPost {
				return 201, `{"id":7,"kind":"thing"}`
			}
			return 0, ""
		})
		c := load(t, "suite", withCleanUp).Run(ctx, sessions, smoke.RunOptions{})[0].Checks[0]
		if took := time.Since(began); c.Result != report.Errored || took > 5100*time.Millisecond || !strings.Contains(c.Detail, "left behind") {
			t.Errorf("after %v: %+v", took, c)
		}
	})
}

// TestLostAnswerIsReported has a tenant whose answer to the creation never comes:
// whether there is something to clean up, nobody knows.
func TestLostAnswerIsReported(t *testing.T) {
	for status, want := range map[int]bool{0: true, 502: true, 500: true, 401: false} {
		synctest.Test(t, func(t *testing.T) {
			sessions := bubble(t, fleet.Config{}, 1, func(r *http.Request) (int, string) {
				if r.Method == http.MethodPost {
					return status, "{}"
				}
				return 204, ""
			})
			c := load(t, "suite", withCleanUp).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks[0]
			if c.Result == report.Passed || strings.Contains(c.Detail, "POST /things may have been carried out") != want {
				t.Errorf("%d: %+v", status, c)
			}
		})
	}
}

// TestOwnCredentials demands that a refusal of our credentials is the build's
// failure only where another answer proves that they are right.
func TestOwnCredentials(t *testing.T) {
	const suite = `checks:
 - {name: health, get: /health, expect: 'status == 200 && json.ok == true'}
 - {name: one, get: /one, expect: 'status == 200 && json.ok == true'}
 - {name: two, get: /two, expect: 'status == 200 && json.ok == true'}
 - {name: three, get: /three, auth: none, expect: 'status == 401 && len(json.error) > 0'}`
	const refusal, well = `{"error":"no"}`, `{"ok":true}`
	type answer struct {
		status int
		body   string
	}
	for name, c := range map[string]struct {
		one, two, three answer
		want            string // of one, two and three: p, f, e
	}{
		"all well":                         {answer{200, well}, answer{200, well}, answer{401, refusal}, "ppp"},
		"token refused everywhere":         {answer{401, refusal}, answer{403, refusal}, answer{401, refusal}, "eep"},
		"token refused once":               {answer{401, refusal}, answer{200, well}, answer{401, refusal}, "fpp"},
		"refused, and the other is down":   {answer{401, refusal}, answer{503, ""}, answer{401, refusal}, "eep"},
		"refused, and the other is 500":    {answer{401, refusal}, answer{500, refusal}, answer{401, refusal}, "efp"},
		"refused, and the other is wrong":  {answer{401, refusal}, answer{200, `{}`}, answer{401, refusal}, "ffp"},
		"org refused everywhere":           {answer{404, ""}, answer{404, ""}, answer{404, ""}, "eee"},
		"org refused, one route answers":   {answer{404, ""}, answer{404, ""}, answer{401, refusal}, "ffp"},
		"one route is hidden":              {answer{404, ""}, answer{200, well}, answer{401, refusal}, "fpp"},
		"a 404 with a body":                {answer{404, "404 page not found"}, answer{404, "404 page not found"}, answer{404, "404 page not found"}, "fff"},
		"refused, and the other is a page": {answer{401, refusal}, answer{200, "<p>Welcome"}, answer{401, refusal}, "efp"},
		"open to all":                      {answer{200, well}, answer{200, well}, answer{200, well}, "ppf"},
		"open to all but us":               {answer{401, refusal}, answer{401, refusal}, answer{200, well}, "eef"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sessions := bubbleOf(t, fleet.Config{Retries: -1}, fleet.Tenant{OrgID: "our-org"}, served(func(r *http.Request) (int, string) {
					a := map[string]answer{"/one": c.one, "/two": c.two, "/three": c.three, "/health": {200, well}}[r.URL.Path]
					return a.status, a.body
				}))
				var got strings.Builder
				for _, check := range load(t, "suite", suite).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks[1:] {
					got.WriteString(check.Result.String()[:1])
				}
				if got.String() != c.want {
					t.Errorf("%s, want %s", got.String(), c.want)
				}
			})
		})
	}
}

// TestHintOfTheOrgGuard tells a wrong org id from a missing one.
func TestHintOfTheOrgGuard(t *testing.T) {
	tn := tenant(t, sim.TenantConfig{})
	list := []fleet.Tenant{
		{Name: "none", URL: tn.URL(), Token: secret.New(tn.Token())},
		{Name: "wrong", URL: tn.URL() + "/", Token: secret.New(tn.Token()), OrgID: "of-another-tenant"},
	}
	for _, l := range list {
		f, err := fleet.New([]fleet.Tenant{l}, quick)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range builtin(t, "canary").Run(t.Context(), f.Sessions(), smoke.RunOptions{})[0].Checks[1:] {
			if strings.Contains(c.Name, "org id") {
				continue
			}
			if c.Result != report.Errored || strings.Contains(c.Hint, "this tenant has none") != (l.OrgID == "") {
				t.Errorf("%s: %+v", l.Name, c)
			}
		}
		f.Close()
	}
}

// TestResultsAreReported demands one call for each check, one at a time, with what
// is in the results.
func TestResultsAreReported(t *testing.T) {
	tn := []*sim.Tenant{tenant(t, sim.TenantConfig{Name: "one"}), tenant(t, sim.TenantConfig{Name: "two"})}
	tn[1].Break(sim.TokenRefused)
	reported := map[string]report.CheckResult{}
	busy := false
	suite := builtin(t, "canary")
	results := suite.Run(t.Context(), sessionsOf(t, quick, tn...), smoke.RunOptions{Checked: func(i int, c report.CheckResult) {
		if busy {
			t.Error("two calls at a time")
		}
		busy = true
		if key := fmt.Sprint(i, c.Name); reported[key].Name == "" {
			reported[key] = c
		} else {
			t.Errorf("%s was reported twice", key)
		}
		busy = false
	}})
	for i, r := range results {
		if r.Name != tn[i].Name() || len(r.Checks) != len(suite.CheckNames()) {
			t.Errorf("tenant %d: %s, %d checks", i, r.Name, len(r.Checks))
		}
		for k, c := range r.Checks {
			if c.Name != suite.CheckNames()[k] || reported[fmt.Sprint(i, c.Name)] != c {
				t.Errorf("%s: reported %+v, returned %+v", c.Name, reported[fmt.Sprint(i, c.Name)], c)
			}
		}
	}
}

func TestPanicOfTheCallerIsContained(t *testing.T) {
	tn := tenant(t, sim.TenantConfig{})
	results := builtin(t, "canary").Run(t.Context(), sessionsOf(t, quick, tn), smoke.RunOptions{
		Checked: func(int, report.CheckResult) { panic("the caller's") },
	})
	for _, c := range results[0].Checks {
		if c.Result != report.Passed {
			t.Errorf("%+v", c)
		}
	}
}

// TestUnknownSHA has checks that need a commit where the run has none: they can't
// pass or fail, least of all by comparing with nothing.
func TestUnknownSHA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const suite = `checks:
 - {name: a, get: /a, expect: 'status == 200 && json.sha startsWith sha'}
 - {name: b, get: '/b/${sha}', expect: 'status == 200 && json.ok == true'}`
		sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) { return 200, `{"ok":true,"sha":"abc"}` })
		s := load(t, "suite", suite)
		for _, c := range s.Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks {
			if c.Result != report.Errored || !strings.Contains(c.Hint, "give it a sha") || c.Expected == "" || c.Got == "" {
				t.Errorf("%+v", c)
			}
		}
		for _, c := range s.Run(t.Context(), sessions, smoke.RunOptions{SHA: "abc"})[0].Checks {
			if c.Result != report.Passed {
				t.Errorf("%+v", c)
			}
		}
	})
}

// TestOverLimitIsAnError has a tenant with more elements than an
// expectation may walk over.
func TestOverLimitIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const suite = `checks: [{name: a, get: /a, within: 1m, expect: 'status == 200 && all(json, # == 1)'}]`
		polls := 0
		sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) {
			polls++
			return 200, `[` + strings.Repeat("1,", 20_000) + `1]`
		})
		c := load(t, "suite", suite).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks[0]
		if c.Result != report.Errored || polls != 1 || !strings.Contains(c.Detail, "20,001 elements") || !strings.Contains(c.Hint, "fewer at a time") {
			t.Errorf("%d polls: %+v", polls, c)
		}
	})
}

// TestTextsOfAFailure compares what a check says for each way not to pass.
func TestTextsOfAFailure(t *testing.T) {
	const suite = `checks:
 - {name: status, get: /ok, auth: none, expect: 'status == 401 && len(json.error) > 0'}
 - {name: value, get: /ok, expect: 'status == 200 && json.ok == false'}
 - {name: undecided, get: /ok, expect: 'status == 200 && len(json.id) > 0'}
 - {name: page, get: /page, expect: 'status == 200 && is_array(json)'}
 - {name: no answer, get: /never, expect: 'status == 200 && is_array(json)'}
 - {name: limit, get: /many, expect: 'status == 200 && all(json, # == 1)'}
 - {name: save, get: /ok, expect: 'status == 200 && json.ok == true', save: {id: json.id}}`
	const page = "the answer is not JSON but text/html"
	want := map[string][3]string{ // answer, expected, detail
		"status":    {"answered 200", "status == 401", "GET /ok: expected status == 401, got 200"},
		"value":     {"answered 200", "json.ok == false", "GET /ok: expected json.ok == false, got json.ok = true"},
		"undecided": {"answered 200", "len(json.id) > 0", "GET /ok: expected len(json.id) > 0, got 200: json.id is null, which has no length"},
		"page":      {"answered 200, not JSON but text/html", "is_array(json)", "GET /page: expected is_array(json), got 200: " + page},
		"no answer": {"no answer: timeout", "status == 200 && is_array(json)", ""},
		"limit":     {"could not be evaluated", "all(json, # == 1)", ""},
		"save":      {"answered 200", "a value to save as id in json.id", "GET /ok: expected a value to save as id in json.id, got 200: it is null"},
	}
	synctest.Test(t, func(t *testing.T) {
		sessions := bubble(t, fleet.Config{Retries: -1}, 1, func(r *http.Request) (int, string) {
			switch r.URL.Path {
			case "/page":
				return 200, "<p>Welcome to tenant 0"
			case "/never":
				return 0, ""
			case "/many":
				return 200, `[` + strings.Repeat("1,", 20_000) + `1]`
			}
			return 200, `{"ok":true,"tenant":"tenant-0"}`
		})
		for _, c := range load(t, "suite", suite).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks {
			w := want[c.Name]
			if c.Answer != w[0] || c.Expected != w[1] || w[2] != "" && c.Detail != w[2] {
				t.Errorf("%s: %q, %q, %q; want %q", c.Name, c.Answer, c.Expected, c.Detail, w)
			}
		}
	})
}

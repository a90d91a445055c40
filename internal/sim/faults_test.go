package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// faultTests says for each fault what a plain client sees of it. The tenant
// runs shaA and was broken before the caller's first request.
var faultTests = map[Fault]func(t *testing.T, c *caller){
	Unreachable: func(t *testing.T, c *caller) {
		g := c.call(deadline(t), "GET /health", "none", false, "")
		if !errors.Is(g.err, syscall.ECONNREFUSED) {
			t.Errorf("%v, want connection refused", g.err)
		}
		c.tenant.Heal()
		c.want("GET /health", 200, `{"status":"ok"}`)
	},
	Hang: func(t *testing.T, c *caller) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if g := c.call(ctx, "GET /health", "none", false, ""); !errors.Is(g.err, context.DeadlineExceeded) {
			t.Errorf("%d %v, want no answer", g.status, g.err)
		}
	},
	Slow: func(t *testing.T, c *caller) {
		c.tenant.BreakWith(Slow, Params{Delay: 80 * time.Millisecond})
		start := time.Now()
		c.want("GET /events", 200, "[]")
		if d := time.Since(start); d < 80*time.Millisecond {
			t.Errorf("answered after %v", d)
		}
	},
	SlowDrip: func(t *testing.T, c *caller) {
		c.tenant.BreakWith(SlowDrip, Params{Delay: time.Millisecond})
		resp := c.open("GET /events")
		defer resp.Body.Close()
		b := make([]byte, 5)
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "[    " {
			t.Errorf("%q %v, want a drip of blanks", b, err)
		}
	},
	CutOff: func(t *testing.T, c *caller) {
		if g := c.call(deadline(t), "POST /events", "admin", true, "x"); !errors.Is(g.err, syscall.ECONNRESET) && !errors.Is(g.err, io.EOF) {
			t.Errorf("%v, want a reset", g.err)
		}
		c.want("GET /health", 200, `{"status":"ok"}`)
	},
	Redirects: func(t *testing.T, c *caller) {
		g := c.want("GET /events?a=b", 302, "")
		if l := g.header.Get("Location"); l != "http://127.0.0.1:1/elsewhere/events?a=b" {
			t.Errorf("Location %q", l)
		}
	},
	Flapping: func(t *testing.T, c *caller) {
		for _, status := range []int{503, 503, 200, 200} {
			c.want("GET /events", status, "")
		}
		c.want("GET /workspaces", 503, "") // each route flaps for itself
	},
	RateLimit: func(t *testing.T, c *caller) {
		for range 3 {
			if g := c.want("GET /events", 429, `{"error"`); g.header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After %q", g.header.Get("Retry-After"))
			}
		}
		c.tenant.BreakWith(RateLimit, Params{Count: 1})
		c.want("GET /events", 429, "")
		c.want("GET /events", 200, "[]")
	},
	BadGateway: func(t *testing.T, c *caller) { c.want("GET /buildinfo", 502, "<!DOCTYPE html>") },
	Outage: func(t *testing.T, c *caller) {
		c.want("GET /health", 200, `{"status":"ok"}`)
		c.want("GET /events", 503, `{"code":"platform_unavailable","error":"`)
		c.wantAuth("GET /events", "none", 503)
	},
	ServerError: func(t *testing.T, c *caller) {
		c.want("GET /events", 500, `{"error":`)
		c.wantAuth("GET /events", "none", 401)
	},
	FailOpen: func(t *testing.T, c *caller) {
		c.wantAuth("GET /events", "none", 200)
		c.wantAuth("GET /events", "wrong", 401)
		c.tenant.BreakWith(FailOpen, Params{Route: "/admin"})
		c.wantAuth("GET /admin/liveness", "none", 200)
		c.wantAuth("GET /events", "none", 401)
	},
	WrongBearer: func(t *testing.T, c *caller) {
		c.wantAuth("GET /events", "wrong", 200)
		c.wantAuth("GET /events", "none", 401)
	},
	TokenRefused: func(t *testing.T, c *caller) {
		c.want("GET /events", 401, `{"error":"invalid admin auth token"}`)
		c.want("GET /workspaces", 401, "")
	},
	RouteRefused: func(t *testing.T, c *caller) {
		c.want("GET /events", 401, "")
		c.want("GET /workspaces", 200, "[]")
	},
	OrgRefused: func(t *testing.T, c *caller) {
		if g := c.want("GET /events", 404, ""); g.body != "" {
			t.Errorf("body %q, want none", g.body)
		}
		c.want("GET /buildinfo", 200, "{")
	},
	MidRunRoll: func(t *testing.T, c *caller) {
		for range 5 {
			c.want("GET /buildinfo", 200, `{"git_sha":"`+shaA)
		}
		c.want("GET /buildinfo", 200, `{"git_sha":"0ddba11`)
	},
	BuildinfoGone:  func(t *testing.T, c *caller) { c.want("GET /buildinfo", 404, "404 page not found") },
	BuildinfoHTML:  func(t *testing.T, c *caller) { c.want("GET /buildinfo", 200, "<!DOCTYPE html>") },
	BuildinfoEmpty: func(t *testing.T, c *caller) { c.want("GET /buildinfo", 200, "{}") },
	HTMLEcho: func(t *testing.T, c *caller) {
		g := c.want("GET /memories/search?query=x", 200, "<!DOCTYPE html>")
		c.contains(g, "/memories/search?query=x", `"subsystems"`)
		c.wantAuth("GET /events", "none", 200)
	},
	HTMLEchoAll: func(t *testing.T, c *caller) {
		g := c.want("GET /events", 200, "<!DOCTYPE html>")
		c.contains(g, c.tenant.Token(), c.tenant.OrgID())
	},
	HugeBody: func(t *testing.T, c *caller) {
		resp := c.open("GET /events")
		defer resp.Body.Close()
		if n, err := io.CopyN(io.Discard, resp.Body, 20<<20); err != nil {
			t.Errorf("ended after %d bytes: %v", n, err)
		}
	},
	HugeHeader: func(t *testing.T, c *caller) {
		if g := c.call(deadline(t), "GET /events", "admin", true, ""); g.err == nil {
			t.Error("a header of 10 MB was taken")
		}
	},
	WrongLength: func(t *testing.T, c *caller) {
		if g := c.call(deadline(t), "GET /events", "admin", true, ""); g.status != 200 || !errors.Is(g.err, io.ErrUnexpectedEOF) {
			t.Errorf("%d %q %v, want an unexpected end", g.status, g.body, g.err)
		}
	},
	WrongType: func(t *testing.T, c *caller) {
		if g := c.want("GET /events", 200, "[]"); g.header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("content type %q", g.header.Get("Content-Type"))
		}
	},
	BrokenJSON: func(t *testing.T, c *caller) {
		if g := c.want("GET /admin/liveness", 200, "{"); json.Valid([]byte(g.body)) {
			t.Errorf("%s is valid", g.body)
		}
	},
	DeepJSON:    func(t *testing.T, c *caller) { c.want("GET /events", 200, strings.Repeat("[", 100_000)+"]") },
	InvalidUTF8: func(t *testing.T, c *caller) { c.hostile(func(s string) bool { return !utf8.ValidString(s) }) },
	WorkflowCommands: func(t *testing.T, c *caller) {
		c.hostile(func(s string) bool {
			return strings.Contains(s, "\n::error") && strings.Contains(s, "##[error]")
		})
	},
	TerminalEscapes: func(t *testing.T, c *caller) {
		c.hostile(func(s string) bool { return strings.Contains(s, "\x1b[2J") })
	},
	Markup: func(t *testing.T, c *caller) {
		c.hostile(func(s string) bool { return strings.Contains(s, "<script>") && strings.Contains(s, "|---|") })
	},
	TokenEcho: func(t *testing.T, c *caller) {
		c.hostile(func(s string) bool { return strings.Contains(s, c.tenant.Token()) })
	},
	HealthFails:               func(t *testing.T, c *caller) { c.want("GET /health", 500, "{") },
	LivenessWithoutSubsystems: func(t *testing.T, c *caller) { c.only("GET /admin/liveness", 200, `{"status":"ok"}`) },
	LivenessEmpty:             func(t *testing.T, c *caller) { c.only("GET /admin/liveness", 200, `{"subsystems":{}}`) },
	LivenessNotMap:            func(t *testing.T, c *caller) { c.only("GET /admin/liveness", 200, `{"subsystems":[`) },
	WorkspacesNotArray:        func(t *testing.T, c *caller) { c.only("GET /workspaces", 200, `{"workspaces":[`) },
	EventsNotArray:            func(t *testing.T, c *caller) { c.only("GET /events", 200, `{"events":[`) },
	CommitFails: func(t *testing.T, c *caller) {
		if g := c.admin("POST /memories/commit", memoryBody); g.status != 500 {
			t.Errorf("status %d", g.status)
		}
		c.left(0, 0)
	},
	CommitWithoutID: func(t *testing.T, c *caller) {
		if g := c.admin("POST /memories/commit", memoryBody); g.status != 201 || g.field(t, "id") != "" {
			t.Errorf("%d %s", g.status, g.body)
		}
		c.left(0, 0)
	},
	MemoryLost: func(t *testing.T, c *caller) {
		if id := c.commit(); id == "" {
			t.Error("no id")
		}
		c.want("GET /memories/search", 200, "[]")
	},
	SearchFails:    func(t *testing.T, c *caller) { c.want("GET /memories/search", 500, "{") },
	SearchNotArray: func(t *testing.T, c *caller) { c.want("GET /memories/search", 200, `{"memories":[`) },
	SearchFindsOther: func(t *testing.T, c *caller) {
		id := c.commit()
		if g := c.want("GET /memories/search?query=qwertyuiopasdfgh", 200, `[{`); strings.Contains(g.body, id) {
			t.Errorf("found the right one: %s", g.body)
		}
	},
	SearchFindsAll: func(t *testing.T, c *caller) {
		id := c.commit()
		g := c.want("GET /memories/search?query=zzz", 200, "[{")
		if hits := g.json(t).([]any); len(hits) != 2 || !strings.Contains(g.body, id) {
			t.Errorf("%s, want the memory and another one", g.body)
		}
	},
	SearchLags: func(t *testing.T, c *caller) {
		c.tenant.BreakWith(SearchLags, Params{Delay: time.Hour})
		c.commit()
		c.want("GET /memories/search?query=qwertyuiopasdfgh", 200, "[]")
		c.tenant.BreakWith(SearchLags, Params{Delay: time.Nanosecond})
		c.want("GET /memories/search?query=qwertyuiopasdfgh", 200, "[{")
	},
	DeleteFails: func(t *testing.T, c *caller) {
		c.want("DELETE /memories/"+c.commit(), 500, "{")
		c.left(1, 0)
	},
	DeleteLost: func(t *testing.T, c *caller) {
		c.want("DELETE /memories/"+c.commit(), 200, "{")
		c.left(1, 0)
	},
	WorkspaceFails: func(t *testing.T, c *caller) {
		if g := c.admin("POST /workspaces", `{"name":"x"}`); g.status != 500 {
			t.Errorf("status %d", g.status)
		}
		c.left(0, 0)
	},
	WorkspaceWithoutID: func(t *testing.T, c *caller) {
		if g := c.admin("POST /workspaces", `{"name":"x"}`); g.status != 201 || g.field(t, "id") != "" {
			t.Errorf("%d %s", g.status, g.body)
		}
		c.left(0, 0)
	},
	WorkspaceDeleteFails: func(t *testing.T, c *caller) {
		ws := c.admin("POST /workspaces", `{"name":"x"}`).field(t, "id")
		c.want("DELETE /workspaces/"+ws+"?confirm=true", 500, "{")
		c.left(0, 1)
	},
	WorkspaceDeleteLost: func(t *testing.T, c *caller) {
		ws := c.admin("POST /workspaces", `{"name":"x"}`).field(t, "id")
		c.want("DELETE /workspaces/"+ws+"?confirm=true", 200, "{")
		c.left(0, 1)
	},
	Stale: func(*testing.T, *caller) {}, // TestAStaleTenantStays

	Throttle:     func(t *testing.T, c *caller) { testThrottle(t, c) },
	CrashLoop:    func(*testing.T, *caller) {}, // TestATenantThatDiesIsStartedAgain
	DatabaseDown: func(t *testing.T, c *caller) { testDatabaseDown(t, c) },
	RedisDown: func(t *testing.T, c *caller) {
		c.want("GET /events", 200, "[]")
		c.left(0, 0)
	},
	LateAnswers: func(t *testing.T, c *caller) {
		c.tenant.BreakWith(LateAnswers, Params{Delay: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		made := make(chan got)
		go func() { made <- c.call(ctx, "POST /workspaces", "admin", true, `{"name":"x"}`) }()
		for c.tenant.Left().Workspaces == 0 {
			runtime.Gosched() // until it is made
		}
		cancel()
		if g := <-made; g.err == nil {
			t.Errorf("answered %d at once", g.status)
		}
		c.tenant.BreakWith(LateAnswers, Params{Delay: time.Millisecond})
		c.want("GET /workspaces", 200, "[{")
	},
	GuardOff: func(t *testing.T, c *caller) {
		for _, org := range []string{"", "another"} {
			if g := c.callAs(deadline(t), "GET /events", "admin", org, ""); g.status != 200 {
				t.Errorf("org %q: %d, want 200", org, g.status)
			}
		}
		c.wantAuth("GET /events", "none", 401)
	},
	AdminOpen: func(t *testing.T, c *caller) {
		for _, auth := range []string{"none", "wrong"} {
			c.wantAuth("GET /events", auth, 200)
			c.wantAuth("GET /workspaces/x/memories", auth, 401)
		}
	},
	WorkspaceOpen: func(t *testing.T, c *caller) {
		memories := "GET /workspaces/" + c.workspace() + "/memories"
		for _, auth := range []string{"none", "wrong"} {
			c.wantAuth(memories, auth, 200)
			c.wantAuth("GET /workspaces", auth, 401)
		}
	},
	Alternating: func(t *testing.T, c *caller) {
		for _, want := range []string{shaA, otherBuild, shaA, otherBuild} {
			one := newCaller(t, c.tenant)
			for range 2 { // a connection leads to one build
				if g := one.admin("GET /buildinfo", ""); g.field(t, "git_sha") != want {
					t.Errorf("%s, want %s", g.body, want)
				}
			}
		}
	},
	HalfOld: func(t *testing.T, c *caller) {
		old := 0
		for range 40 {
			if strings.Contains(newCaller(t, c.tenant).want("GET /buildinfo", 200, "{").body, otherBuild) {
				old++
			}
		}
		if old < 8 || old > 32 {
			t.Errorf("%d of 40 connections lead to the old build", old)
		}
	},
	BuildinfoDuplicate: func(t *testing.T, c *caller) {
		c.want("GET /buildinfo", 200, `{"git_sha":"`+otherBuild+`","git_sha":"`+shaA+`"}`)
	},
	BuildinfoTrailing: func(t *testing.T, c *caller) {
		if g := c.want("GET /buildinfo", 200, `{"git_sha":"`+shaA+`"}`); json.Valid([]byte(g.body)) {
			t.Errorf("%s is valid", g.body)
		}
	},
	BuildinfoPlain: func(t *testing.T, c *caller) {
		if g := c.want("GET /buildinfo", 200, `{"git_sha":"`+shaA+`"}`); g.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("content type %q", g.header.Get("Content-Type"))
		}
	},
	BuildinfoLong: func(t *testing.T, c *caller) {
		if g := c.admin("GET /buildinfo", ""); g.field(t, "git_sha") != shaA+"0" {
			t.Errorf("%s", g.body)
		}
	},
	SearchIgnoresQuery: func(t *testing.T, c *caller) {
		id := c.commit()
		if hits := c.want("GET /memories/search?query=zzz", 200, "[{").json(t).([]any); len(hits) != 1 || hits[0].(map[string]any)["id"] != id {
			t.Errorf("%v, want the one memory", hits)
		}
	},
	MemoriesGone: func(t *testing.T, c *caller) {
		for _, route := range []string{"POST /memories/commit", "GET /memories/search", "DELETE /memories/x"} {
			c.want(route, 404, "404 page not found")
		}
		c.want("GET /workspaces/"+c.workspace()+"/memories", 200, "[]")
	},
	LargeLists: func(t *testing.T, c *caller) {
		id := c.workspace()
		g := c.want("GET /workspaces", 200, "[{")
		if rows := g.json(t).([]any); len(g.body) < 2_200_000 || len(g.body) > 3_000_000 || len(rows) < 3000 || !strings.Contains(g.body, id) {
			t.Errorf("%d bytes, %d rows", len(g.body), len(rows))
		}
		c.want("GET /workspaces/"+id, 200, "{")
	},
	WorkspacesUndated: func(t *testing.T, c *caller) {
		c.workspace()
		if g := c.want("GET /workspaces", 200, "[{"); strings.Contains(g.body, "created_at") {
			t.Errorf("%s", g.body)
		}
	},
}

// testThrottle spends the requests of a window.
func testThrottle(t *testing.T, c *caller) {
	c.tenant.BreakWith(Throttle, Params{Count: 2, Delay: time.Hour})
	for i, route := range []string{"GET /health", "GET /events", "GET /buildinfo", "GET /events"} {
		status, left := 200, fmt.Sprint(1-i)
		if i > 1 {
			status, left = 429, "0"
		}
		g := c.want(route, status, "")
		reset, err := strconv.Atoi(g.header.Get("X-RateLimit-Reset"))
		if g.header.Get("X-RateLimit-Limit") != "2" || g.header.Get("X-RateLimit-Remaining") != left || err != nil || reset < 3500 || reset > 3600 {
			t.Errorf("request %d: %v", i, g.header)
		}
		if retry := g.header.Get("Retry-After"); (retry != "") != (status == 429) || status == 429 && retry != g.header.Get("X-RateLimit-Reset") {
			t.Errorf("request %d: Retry-After %q", i, retry)
		}
	}
}

// testDatabaseDown stops the database after one more request.
func testDatabaseDown(t *testing.T, c *caller) {
	const outage = `{"code":"platform_unavailable","error":"`
	c.tenant.Heal()
	memories := "GET /workspaces/" + c.workspace() + "/memories"
	c.tenant.BreakWith(DatabaseDown, Params{Count: 1})
	c.want("GET /events", 200, "[{")
	c.want("GET /events", 500, `{"error":`) // it was at work
	for _, auth := range []string{"admin", "none", "wrong"} {
		if g := c.call(deadline(t), "GET /events", auth, true, ""); g.status != 503 || !strings.HasPrefix(g.body, outage) {
			t.Errorf("%s bearer: %d %s", auth, g.status, g.body)
		}
	}
	c.want(memories, 500, `{"error":`)
	c.wantAuth(memories, "none", 401)
	c.wantAuth(memories, "wrong", 503)
	c.want("GET /health", 200, `{"status":"ok"}`)
	c.want("GET /buildinfo", 200, `{"git_sha":"`)
	if g := c.call(deadline(t), "GET /events", "admin", false, ""); g.status != 404 || g.body != "" {
		t.Errorf("without an org id: %d %q", g.status, g.body)
	}
	c.tenant.BreakWith(DatabaseDown, Params{For: time.Nanosecond})
	c.want("GET /events", 200, "[{")
	c.want("DELETE /"+strings.TrimSuffix(strings.TrimPrefix(memories, "GET /"), "/memories")+"?confirm=true&purge=true", 200, "{")
}

const memoryBody = `{"scope":"LOCAL","namespace":"n","content":"probe-qwertyuiopasdfgh"}`

// TestFaults sees each fault through a plain client.
func TestFaults(t *testing.T) {
	for _, f := range AllFaults() {
		t.Run(string(f), func(t *testing.T) {
			test := faultTests[f]
			if test == nil {
				t.Fatal("no test")
			}
			tenant := startTenant(t, TenantConfig{SHA: shaA})
			tenant.Break(f)
			test(t, newCaller(t, tenant))
			tenant.Heal()
			for _, route := range []string{"GET /events", "GET /workspaces", "GET /admin/liveness", "GET /memories/search?query=zzz"} {
				newCaller(t, tenant).want(route, 200, "") // healed
			}
		})
	}
	if len(faultTests) != len(AllFaults()) {
		t.Errorf("%d tests for %d faults", len(faultTests), len(AllFaults()))
	}
}

// want makes an admin's request and checks status and the body's beginning.
func (c *caller) want(route string, status int, body string) got {
	c.t.Helper()
	g := c.admin(route, "")
	if g.status != status || !strings.HasPrefix(g.body, body) {
		c.t.Errorf("%s: %d %.100q, want %d %.100q", route, g.status, g.body, status, body)
	}
	return g
}

// wantAuth checks the status for a kind of bearer.
func (c *caller) wantAuth(route, auth string, status int) {
	c.t.Helper()
	if g := c.call(deadline(c.t), route, auth, true, ""); g.err != nil || g.status != status {
		c.t.Errorf("%s with %s bearer: %d %v, want %d", route, auth, g.status, g.err, status)
	}
}

// only checks that one behaviour is broken, and no other one.
func (c *caller) only(route string, status int, body string) {
	c.t.Helper()
	c.want(route, status, body)
	c.wantAuth(route, "none", 401)
	c.wantAuth(route, "wrong", 401)
	for _, other := range []string{"GET /events", "GET /workspaces", "GET /memories/search"} {
		if other != route {
			c.want(other, 200, "[]")
		}
	}
}

// hostile checks the text of an error after authentication.
func (c *caller) hostile(is func(string) bool) {
	c.t.Helper()
	if g := c.want("GET /events", 500, ""); !is(g.body) {
		c.t.Errorf("%q is harmless", g.body)
	}
	c.wantAuth("GET /events", "none", 401)
}

func (c *caller) contains(g got, parts ...string) {
	c.t.Helper()
	for _, p := range parts {
		if !strings.Contains(g.body, p) {
			c.t.Errorf("%q is not in %q", p, g.body)
		}
	}
}

// open starts an admin's request and leaves its body to the caller.
func (c *caller) open(route string) *http.Response {
	c.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	req, err := http.NewRequestWithContext(deadline(c.t), method, c.tenant.URL()+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.tenant.Token())
	req.Header.Set(orgHeader, c.tenant.OrgID())
	resp, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

// workspace makes a workspace and returns its id.
func (c *caller) workspace() string {
	c.t.Helper()
	g := c.admin("POST /workspaces", `{"name":"x","external":true}`)
	if g.status != 201 {
		c.t.Fatalf("create: %d %s", g.status, g.body)
	}
	return g.field(c.t, "id")
}

// commit stores the probe and returns its id.
func (c *caller) commit() string {
	c.t.Helper()
	g := c.admin("POST /memories/commit", memoryBody)
	if g.status != 201 {
		c.t.Fatalf("commit: %d %s", g.status, g.body)
	}
	return g.field(c.t, "id")
}

func (c *caller) left(memories, workspaces int) {
	c.t.Helper()
	if left := c.tenant.Left(); left != (Counts{memories, workspaces}) {
		c.t.Errorf("left %+v, want %d memories and %d workspaces", left, memories, workspaces)
	}
}

func TestUnreachableCutsStandingConnections(t *testing.T) {
	for _, useTLS := range []bool{false, true} {
		tenant := startTenant(t, TenantConfig{TLS: useTLS})
		c := newCaller(t, tenant)
		c.want("GET /health", 200, "")
		for range 3 {
			tenant.Break(Unreachable)
			if g := c.call(deadline(t), "GET /health", "none", false, ""); g.err == nil {
				t.Errorf("TLS %t: answered %d", useTLS, g.status)
			}
			tenant.Heal(Unreachable)
			newCaller(t, tenant).want("GET /health", 200, "")
		}
	}
}

func TestFaultsOverHTTP2(t *testing.T) {
	tenant := startTenant(t, TenantConfig{TLS: true})
	for _, f := range []Fault{CutOff, WrongLength} {
		tenant.Break(f)
		if g := newCaller(t, tenant).call(deadline(t), "GET /events", "admin", true, ""); g.err == nil {
			t.Errorf("%s: %d %.50q, want a failure", f, g.status, g.body)
		}
		tenant.Heal()
	}
	newCaller(t, tenant).want("GET /events", 200, "[]")
}

func TestRoutesOfFaults(t *testing.T) {
	for _, c := range []struct {
		route, method, path string
		want                bool
	}{
		{"/", "GET", "/health", true},
		{"guarded", "GET", "/health", false},
		{"guarded", "GET", "/buildinfo", false},
		{"guarded", "GET", "/healthy", true},
		{"/admin", "GET", "/admin/liveness", true},
		{"/admin", "GET", "/administrators", false},
		{"DELETE /memories", "DELETE", "/memories/1", true},
		{"DELETE /memories", "POST", "/memories/commit", false},
		{"GET /events, /admin/", "PUT", "/admin", true},
		{"GET /workspaces$", "GET", "/workspaces", true},
		{"GET /workspaces$", "GET", "/workspaces/1", false},
		{"/workspaces/*/memories", "GET", "/workspaces/1/memories", true},
		{"/workspaces/*/memories", "DELETE", "/workspaces/1/memories/2", true},
		{"/workspaces/*/memories", "DELETE", "/workspaces/1", false},
	} {
		if (Params{Route: c.route}).covers(c.method, c.path) != c.want {
			t.Errorf("%q on %s %s: %t, want %t", c.route, c.method, c.path, !c.want, c.want)
		}
	}
}

func TestNamesOfFaults(t *testing.T) {
	for _, f := range AllFaults() {
		if got, err := ParseFault(string(f)); err != nil || got != f {
			t.Errorf("%s: %v", f, err)
		}
	}
	if _, err := ParseFault("nonsense"); err == nil {
		t.Error("nonsense is a fault")
	}
	label := joinFaults([]Fault{FailOpen, Slow})
	if got := splitFaults(label + ", nonsense,"); !slices.Equal(got, []Fault{FailOpen, Slow}) {
		t.Errorf("%q is %v", label, got)
	}
}

func TestFaultsOfABuildEndWithIt(t *testing.T) {
	tenant := startTenant(t, TenantConfig{SHA: shaA})
	c := newCaller(t, tenant)
	tenant.Roll(shaB, Flapping, FailOpen)
	c.want("GET /events", 503, "")
	tenant.Heal() // not those of the build
	c.want("GET /events", 503, "")
	c.wantAuth("GET /events", "none", 200)
	tenant.Roll(shaA)
	c.wantAuth("GET /events", "none", 401)
	tenant.Roll(shaB, Flapping)
	c.want("GET /events", 503, "")
}

package sim

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
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

package sim

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// piped starts a tenant without a socket, for tests with a clock of their own.
func piped(t *testing.T, cfg TenantConfig) *caller {
	t.Helper()
	cfg.InMemory = true
	return newCaller(t, startTenant(t, cfg))
}

func TestATenantThatDiesIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, TenantConfig{SHA: shaA, Started: true, Faults: []Fault{CrashLoop}})
		first := c.want("GET /buildinfo", 200, `{"git_sha":"`+shaA+`","started_at":"2000`)
		for life := range 3 {
			time.Sleep(6*time.Second + 100*time.Millisecond) // dead for 100 ms of 500
			if g := c.call(t.Context(), "GET /health", "none", false, ""); !errors.Is(g.err, syscall.ECONNREFUSED) {
				t.Errorf("life %d: %d %v, want connection refused", life, g.status, g.err)
			}
			time.Sleep(400*time.Millisecond + time.Nanosecond)
			if again := c.want("GET /buildinfo", 200, "{"); again.body == first.body {
				t.Errorf("life %d: the start time is still %s", life, again.body)
			}
		}
		c.tenant.Heal()
		time.Sleep(time.Minute)
		c.want("GET /health", 200, "{")
	})
}

func TestARestartResetsConnections(t *testing.T) {
	for _, memory := range []bool{false, true} {
		c := newCaller(t, startTenant(t, TenantConfig{InMemory: memory, Started: true}))
		before := c.want("GET /buildinfo", 200, "{").body
		c.tenant.Restart()
		if after := c.want("GET /buildinfo", 200, "{").body; after == before {
			t.Errorf("in memory %t: started at the same time: %s", memory, after)
		}
		c.tenant.Break(CutOff)
		if g := c.call(deadline(t), "POST /events", "admin", true, "x"); !errors.Is(g.err, syscall.ECONNRESET) && !errors.Is(g.err, io.EOF) {
			t.Errorf("in memory %t: %v, want a reset", memory, g.err)
		}
	}
}

func TestRequestsAreLimitedForAWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := new(Bucket)
		a := piped(t, TenantConfig{Name: "a", Bucket: bucket, Faults: []Fault{Throttle}})
		b := piped(t, TenantConfig{Name: "b", Bucket: bucket, Faults: []Fault{Throttle}})
		for range 300 { // behind one tunnel they share the limit
			a.want("GET /events", 200, "[]")
			b.want("GET /health", 200, "{")
		}
		time.Sleep(40 * time.Second)
		g := b.want("GET /events", 429, `{"error":"rate limit exceeded","retry_after":20}`)
		if g.header.Get("Retry-After") != "20" || g.header.Get("X-RateLimit-Remaining") != "0" {
			t.Errorf("%v", g.header)
		}
		time.Sleep(20 * time.Second)
		if g := a.want("GET /events", 200, "[]"); g.header.Get("X-RateLimit-Remaining") != "599" {
			t.Errorf("%v", g.header)
		}
	})
}

func TestTheDatabaseComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, TenantConfig{})
		c.tenant.BreakWith(DatabaseDown, Params{For: time.Minute})
		c.wantAuth("GET /events", "none", 503)
		time.Sleep(time.Minute)
		c.want("GET /events", 200, "[]")
	})
}

func TestRowsAgeByTheTenantsClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, TenantConfig{})
		c.workspace()
		c.tenant.Advance(2 * time.Hour)
		c.workspace()
		g := c.want("GET /workspaces", 200, "[{")
		if date := g.header.Get("Date"); date != "Sat, 01 Jan 2000 02:00:00 GMT" {
			t.Errorf("Date: %s", date)
		}
		for i, created := range []string{"2000-01-01T00:00:00Z", "2000-01-01T02:00:00Z"} {
			if row := g.json(t).([]any)[i].(map[string]any); row["created_at"] != created {
				t.Errorf("row %d: %v, want created_at %s", i, row, created)
			}
		}
		if events := c.want("GET /events", 200, "[{"); !strings.Contains(events.body, `"created_at":"2000-01-01T02:00:00Z"`) {
			t.Errorf("%s", events.body)
		}
	})
}

func TestDeletedWorkspacesLeaveRowsUntilTheyArePurged(t *testing.T) {
	c := newCaller(t, startTenant(t, TenantConfig{Memories: PerWorkspaceRoutes}))
	id := c.workspace()
	if g := c.admin("POST /workspaces/"+id+"/memories", memoryBody); g.status != 201 {
		t.Fatalf("commit: %d %s", g.status, g.body)
	}
	c.want("DELETE /workspaces/"+id+"?confirm=true", 200, `{"status":"removed"}`)
	c.left(0, 0)
	c.want("GET /workspaces", 200, "[]")
	c.want("GET /workspaces/"+id+"/memories", 404, `{"error":"workspace not found"}`)
	if rows := c.tenant.Rows(); rows != (Rows{Removed: 1, Memories: 1, Events: 2}) {
		t.Errorf("rows: %+v", rows)
	}
	c.want("DELETE /workspaces/"+id+"?confirm=true&purge=true", 200, `{"status":"purged"}`)
	if rows := c.tenant.Rows(); rows != (Rows{Events: 3}) {
		t.Errorf("rows after the purge: %+v", rows)
	}
}

func TestALargeListIsAsLargeAsAskedFor(t *testing.T) {
	c := newCaller(t, startTenant(t, TenantConfig{}))
	c.tenant.BreakWith(LargeLists, Params{Count: 20_000_000})
	resp := c.open("GET /workspaces")
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n < 20_000_000 || n > 21_000_000 {
		t.Errorf("%d bytes: %v", n, err)
	}
}

func TestAnotherBuildAfterTheRequestsOfARoute(t *testing.T) {
	c := newCaller(t, startTenant(t, TenantConfig{SHA: shaA}))
	c.tenant.BreakWith(MidRunRoll, Params{Route: "DELETE /workspaces/*$", Count: 1})
	id := c.workspace()
	for range 10 {
		c.want("GET /events", 200, "[{")
	}
	c.want("DELETE /workspaces/"+id+"?confirm=true", 200, "{")
	c.want("GET /buildinfo", 200, `{"git_sha":"`+shaA)
	c.admin("DELETE /workspaces/"+id+"?confirm=true", "")
	c.want("GET /buildinfo", 200, `{"git_sha":"`+otherBuild)
}

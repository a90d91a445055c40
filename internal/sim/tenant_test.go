package sim

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A cell is one answer.
type cell struct {
	status int
	body   string // a prefix; "" is an empty body
}

// TestAnswers compares the answers with those measured on the product's own
// server, for each way to authenticate.
func TestAnswers(t *testing.T) {
	var (
		health   = cell{200, `{"status":"ok"}`}
		build    = cell{200, `{"git_sha":"` + shaA + `"}`}
		hidden   = cell{404, ""}
		noBearer = cell{401, `{"error":"admin auth required"}`}
		wrong    = cell{401, `{"error":"invalid admin auth token"}`}
		live     = cell{200, `{"subsystems":{"scheduler":{"last_tick_at":"`}
		empty    = cell{200, `[]`}
		notFound = cell{404, `404 page not found`}
		metrics  = cell{200, `# TYPE http_requests_total counter`}
		web      = cell{404, `<!DOCTYPE html>`}
	)
	current, old, dev := TenantConfig{SHA: shaA}, TenantConfig{SHA: OldBuild}, TenantConfig{}
	front := TenantConfig{SHA: shaA, Web: true}
	for _, row := range []struct {
		cfg     TenantConfig
		route   string
		columns [4]cell // no org header; org, no bearer; org, wrong bearer; org, admin bearer
	}{
		{current, "GET /health", [4]cell{health, health, health, health}},
		{current, "GET /buildinfo", [4]cell{build, build, build, build}},
		{dev, "GET /buildinfo", [4]cell{{200, `{"git_sha":"dev"}`}, {200, `{"git_sha":"dev"}`}, {200, `{"git_sha":"dev"}`}, {200, `{"git_sha":"dev"}`}}},
		{old, "GET /buildinfo", [4]cell{hidden, notFound, notFound, notFound}},
		{current, "GET /admin/liveness", [4]cell{hidden, noBearer, wrong, live}},
		{current, "GET /workspaces", [4]cell{hidden, noBearer, wrong, empty}},
		{current, "GET /events", [4]cell{hidden, noBearer, wrong, empty}},
		{current, "POST /memories/commit", [4]cell{hidden, noBearer, wrong, {400, `{"error":"content is required"}`}}},
		{current, "GET /memories/search?query=x", [4]cell{hidden, noBearer, wrong, empty}},
		{current, "GET /workspaces/x/memories", [4]cell{hidden, {401, `{"error":"missing workspace auth token"}`}, {401, `{"error":"invalid workspace auth token"}`}, {404, `{"error":"workspace not found"}`}}},
		{current, "GET /nowhere", [4]cell{hidden, notFound, notFound, notFound}},
		{current, "GET /events/", [4]cell{hidden, notFound, notFound, notFound}},
		{current, "DELETE /memories/", [4]cell{hidden, notFound, notFound, notFound}},
		{current, "GET /registry/x", [4]cell{notFound, notFound, notFound, notFound}},
		{current, "GET /metrics", [4]cell{metrics, metrics, metrics, metrics}},
		{current, "HEAD /health", [4]cell{{404, ""}, {404, ""}, {404, ""}, {404, ""}}},
		{front, "GET /nowhere?[\"subsystems\"]", [4]cell{hidden, web, web, web}},
	} {
		c := newCaller(t, startTenant(t, row.cfg))
		for i, column := range []struct {
			auth string
			org  bool
		}{{"admin", false}, {"none", true}, {"wrong", true}, {"admin", true}} {
			g, want := c.call(deadline(t), row.route, column.auth, column.org, ""), row.columns[i]
			if g.err != nil || g.status != want.status || !strings.HasPrefix(g.body, want.body) || want.body == "" && g.body != "" {
				t.Errorf("%s, %s bearer, org header %t: %d %q %v, want %d %q", row.route, column.auth, column.org, g.status, g.body, g.err, want.status, want.body)
			}
			if ct := g.header.Get("Content-Type"); contentType(want.body) != ct && !strings.HasPrefix(row.route, "HEAD") {
				t.Errorf("%s, %s bearer: content type %q, want %q", row.route, column.auth, ct, contentType(want.body))
			}
		}
	}
}

// contentType is what the product's server says of such a body.
func contentType(body string) string {
	switch {
	case body == "":
		return ""
	case body[0] == '{' || body[0] == '[':
		return "application/json; charset=utf-8"
	case body[0] == '#':
		return "text/plain; version=0.0.4; charset=utf-8"
	case body[0] == '<':
		return "text/html; charset=utf-8"
	default:
		return "text/plain"
	}
}

func TestAWrongOrgHeaderIsNoOrgHeader(t *testing.T) {
	tenant := startTenant(t, TenantConfig{SHA: shaA})
	req, _ := http.NewRequest(http.MethodGet, tenant.URL()+"/events", nil)
	req.Header.Set("Authorization", "Bearer "+tenant.Token())
	req.Header.Set(orgHeader, "another")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("status %d, want 404", resp.StatusCode)
	}
}

func TestWithoutAnOrgTheGuardIsOff(t *testing.T) {
	c := newCaller(t, startTenant(t, TenantConfig{NoOrg: true}))
	if g := c.call(deadline(t), "GET /events", "admin", false, ""); g.status != 200 {
		t.Errorf("status %d, want 200", g.status)
	}
}

func TestTheFrontEndEchoesWhatNaiveChecksLookFor(t *testing.T) {
	c := newCaller(t, startTenant(t, TenantConfig{Web: true}))
	g := c.admin(`GET /nowhere?probe=qwertyuiopasdfgh`, "")
	for _, want := range []string{"probe=qwertyuiopasdfgh", "[", `"subsystems"`} {
		if !strings.Contains(g.body, want) {
			t.Errorf("%q is not in %q", want, g.body)
		}
	}
}

func TestDocumentedMemories(t *testing.T) {
	tenant := startTenant(t, TenantConfig{Memories: DocumentedRoutes})
	c := newCaller(t, tenant)
	commit := c.admin("POST /memories/commit", `{"scope":"LOCAL","namespace":"canary-smoke","content":"probe-qwertyuiopasdfgh"}`)
	id := commit.field(t, "id")
	if commit.status != 201 || id == "" {
		t.Fatalf("commit: %d %s", commit.status, commit.body)
	}
	c.admin("POST /memories/commit", `{"scope":"LOCAL","namespace":"canary-smoke","content":"something else"}`)
	for query, want := range map[string]int{
		"query=probe-qwertyuiopasdfgh": 1, "query=qwertyuiopasdfgh": 1, "query=probe-abcdefghijklmnop": 0,
		"q=probe-abcdefghijklmnop": 2, "": 2, "query=the": 0,
	} {
		g := c.admin("GET /memories/search?"+query, "")
		hits, ok := g.json(t).([]any)
		if !ok || len(hits) != want {
			t.Errorf("search %q: %s, want %d hits", query, g.body, want)
		}
	}
	if left := tenant.Left(); left != (Counts{Memories: 2}) {
		t.Errorf("left %+v", left)
	}
	if g := c.admin("DELETE /memories/"+id, ""); g.status != 200 {
		t.Errorf("delete: %d %s", g.status, g.body)
	}
	if g := c.admin("DELETE /memories/"+id, ""); g.status != 404 {
		t.Errorf("delete again: %d %s", g.status, g.body)
	}
	if left := tenant.Left(); left != (Counts{Memories: 1}) {
		t.Errorf("left %+v", left)
	}
	if g := c.admin("POST /workspaces", `{"name":"x"}`); g.status != 201 {
		t.Errorf("workspaces: %d", g.status)
	}
	ws := c.admin("GET /workspaces", "").json(t).([]any)[0].(map[string]any)["id"].(string)
	if g := c.admin("GET /workspaces/"+ws+"/memories", ""); g.status != 404 {
		t.Errorf("the other generation's route: %d, want 404", g.status)
	}
}

func TestMemoriesOfAWorkspace(t *testing.T) {
	tenant := startTenant(t, TenantConfig{Memories: PerWorkspaceRoutes})
	c := newCaller(t, tenant)
	if g := c.admin("POST /memories/commit", `{"scope":"LOCAL","content":"x"}`); g.status != 404 || g.body != "404 page not found" {
		t.Errorf("the documented route: %d %q, want 404", g.status, g.body)
	}
	made := c.admin("POST /workspaces", `{"name":"canary","runtime":"external","external":true,"url":"http://127.0.0.1:1"}`)
	ws := made.field(t, "id")
	if made.status != 201 || ws == "" || made.field(t, "status") != "online" || made.json(t).(map[string]any)["external"] != true {
		t.Fatalf("create: %d %s", made.status, made.body)
	}
	base := "/workspaces/" + ws
	if g := c.admin("GET "+base, ""); g.field(t, "name") != "canary" {
		t.Errorf("get: %s", g.body)
	}
	if g := c.admin("PATCH "+base, `{"name":"renamed"}`); g.status != 200 {
		t.Errorf("patch: %d %s", g.status, g.body)
	}
	if g := c.admin("GET "+base, ""); g.field(t, "name") != "renamed" {
		t.Errorf("get after patch: %s", g.body)
	}
	var ids []string
	for _, content := range []string{"probe-9dc0e5-5-f1fb", "probe-qwertyuiopasdfgh"} {
		g := c.admin("POST "+base+"/memories", `{"scope":"LOCAL","namespace":"n","content":"`+content+`"}`)
		if g.status != 201 {
			t.Fatalf("commit: %d %s", g.status, g.body)
		}
		ids = append(ids, g.field(t, "id"))
	}
	for query, want := range map[string]int{
		"q=qwertyuiopasdfgh": 1, "q=probe": 2, "q=9dc0e5-5-f1fb": 0, "query=qwertyuiopasdfgh": 2, "q=zzz": 0,
	} {
		if hits := c.admin("GET "+base+"/memories?"+query, "").json(t).([]any); len(hits) != want {
			t.Errorf("search %q: %d hits, want %d", query, len(hits), want)
		}
	}
	if g := c.admin("DELETE "+base+"/memories/"+ids[0], ""); g.status != 200 {
		t.Errorf("delete memory: %d", g.status)
	}
	if events := c.admin("GET /events", "").json(t).([]any); len(events) != 1 {
		t.Errorf("%d events, want one", len(events))
	}
	if g := c.admin("DELETE "+base, ""); g.status != 409 {
		t.Errorf("delete unconfirmed: %d, want 409", g.status)
	}
	if g := c.admin("DELETE "+base+"?confirm=true", ""); g.status != 200 {
		t.Errorf("delete: %d", g.status)
	}
	if left := tenant.Left(); left != (Counts{}) {
		t.Errorf("left %+v, want nothing", left)
	}
	if g := c.admin("GET "+base+"/memories", ""); g.status != 404 || g.field(t, "error") != "workspace not found" {
		t.Errorf("memories of nothing: %d %s", g.status, g.body)
	}
}

func TestBadBodies(t *testing.T) {
	c := newCaller(t, startTenant(t, TenantConfig{}))
	for _, bad := range [][2]string{
		{"POST /memories/commit", `{`}, {"POST /memories/commit", `{"scope":"LOCAL"}`},
		{"POST /memories/commit", `{"scope":"SOMETHING","content":"x"}`},
		{"POST /workspaces", ``}, {"POST /workspaces", `{"runtime":"external"}`},
	} {
		if g := c.admin(bad[0], bad[1]); g.status != 400 || g.field(t, "error") == "" {
			t.Errorf("%s %s: %d %s, want 400 with an error", bad[0], bad[1], g.status, g.body)
		}
	}
}

func TestScrubber(t *testing.T) {
	for in, want := range map[string]string{
		strings.Repeat("a", 32):                   strings.Repeat("a", 32),
		strings.Repeat("a", 33):                   "[REDACTED:BASE64_BLOB]",
		"x " + strings.Repeat("aB3", 15) + "-end": "x [REDACTED:BASE64_BLOB]-end",
		"550e8400-e29b-41d4-a716-446655440000":    "550e8400-e29b-41d4-a716-446655440000",
	} {
		c := newCaller(t, startTenant(t, TenantConfig{}))
		c.admin("POST /memories/commit", `{"scope":"LOCAL","content":"`+in+`"}`)
		hits := c.admin("GET /memories/search", "").json(t).([]any)
		if content := hits[0].(map[string]any)["content"]; content != want {
			t.Errorf("%q came back as %q, want %q", in, content, want)
		}
	}
}

func TestRequestsAreNoted(t *testing.T) {
	tenant := startTenant(t, TenantConfig{})
	c := newCaller(t, tenant)
	for _, auth := range []string{"none", "wrong", "admin"} {
		c.call(deadline(t), "GET /events?a=b", auth, true, "")
	}
	requests := tenant.Requests()
	var auths []string
	var statuses []int
	for _, r := range requests {
		auths, statuses = append(auths, r.Auth), append(statuses, r.Status)
		if r.Method != "GET" || r.Path != "/events" || r.Query != "a=b" || r.Org != tenant.OrgID() || r.Proto != "HTTP/1.1" {
			t.Errorf("noted %+v", r)
		}
	}
	if !slices.Equal(auths, []string{"none", "wrong", "admin"}) || !slices.Equal(statuses, []int{401, 401, 200}) {
		t.Errorf("noted %v %v", auths, statuses)
	}
	if tenant.Connections() != 1 {
		t.Errorf("%d connections, want one", tenant.Connections())
	}
	tenant.ResetLog()
	if len(tenant.Requests()) != 0 {
		t.Error("ResetLog has kept something")
	}
}

func TestTLSAndHTTP2(t *testing.T) {
	tenant := startTenant(t, TenantConfig{TLS: true, SHA: shaA})
	if !strings.HasPrefix(tenant.URL(), "https://") {
		t.Fatalf("URL %s", tenant.URL())
	}
	newCaller(t, tenant).admin("GET /events", "")
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(CAPEM()) || !pool.Equal(CAPool()) {
		t.Error("CAPEM and CAPool differ")
	}
	if r := tenant.Requests()[0]; r.Proto != "HTTP/2.0" {
		t.Errorf("protocol %s, want HTTP/2.0", r.Proto)
	}
	if resp, err := http.Get(tenant.URL() + "/health"); err == nil {
		resp.Body.Close()
		t.Error("a client without the authority has trusted the certificate")
	}
}

func TestInterceptAnswersFirst(t *testing.T) {
	c := newCaller(t, startTenant(t, TenantConfig{Intercept: func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/health" {
			return false
		}
		w.WriteHeader(418)
		return true
	}}))
	if g := c.admin("GET /health", ""); g.status != 418 {
		t.Errorf("status %d, want 418", g.status)
	}
	if g := c.admin("GET /events", ""); g.status != 200 {
		t.Errorf("status %d, want 200", g.status)
	}
}

func TestWorkspacesKeepTheirMemoriesApart(t *testing.T) {
	c := newCaller(t, startTenant(t, TenantConfig{}))
	a := c.admin("POST /workspaces", `{"name":"a"}`).field(t, "id")
	b := c.admin("POST /workspaces", `{"name":"b"}`).field(t, "id")
	c.admin("POST /workspaces/"+a+"/memories", memoryBody)
	c.want("GET /workspaces/"+a+"/memories", 200, "[{")
	c.want("GET /workspaces/"+b+"/memories", 200, "[]")
	c.want("GET /memories/search", 200, "[]")
}

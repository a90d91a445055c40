package sim

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	shaA = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334"
	shaB = "b1b2c3d4e5f60718293a4b5c6d7e8f9001122335"
)

// deadline ends a test that waits for what never comes.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func startTenant(t *testing.T, cfg TenantConfig) *Tenant {
	t.Helper()
	tenant, err := StartTenant(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tenant.Close)
	return tenant
}

func startRegistry(t *testing.T, cfg RegistryConfig) *Registry {
	t.Helper()
	r, err := StartRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// A got is an answer that was read to its end.
type got struct {
	status int
	header http.Header
	body   string
	err    error // of the request, or of reading the body
}

// json decodes the body, and fails the test where it isn't JSON.
func (g got) json(t *testing.T) any {
	t.Helper()
	if ct := g.header.Get("Content-Type"); ct != "application/json; charset=utf-8" {
		t.Errorf("content type %q, want JSON as gin sends it", ct)
	}
	var v any
	if err := json.Unmarshal([]byte(g.body), &v); err != nil {
		t.Fatalf("body %q: %v", g.body, err)
	}
	return v
}

// field returns a string of a JSON object.
func (g got) field(t *testing.T, name string) string {
	t.Helper()
	m, _ := g.json(t).(map[string]any)
	s, _ := m[name].(string)
	return s
}

// A caller makes plain requests to one tenant.
type caller struct {
	t      *testing.T
	tenant *Tenant
	client *http.Client
}

// newCaller returns a caller with connections of its own, which follows no
// redirects.
func newCaller(t *testing.T, tenant *Tenant) *caller {
	t.Helper()
	transport := Transport().Clone()
	if tenant.server.inMemory {
		transport = PipeTransport()
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{t: t, tenant: tenant, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// call sends "METHOD /path" with the kind of bearer, and the org header if org
// is set.
func (c *caller) call(ctx context.Context, route, auth string, org bool, body string) got {
	c.t.Helper()
	if !org {
		return c.callAs(ctx, route, auth, "", body)
	}
	return c.callAs(ctx, route, auth, c.tenant.OrgID(), body)
}

// callAs sends a request with the org id, unless that is empty.
func (c *caller) callAs(ctx context.Context, route, auth, org, body string) got {
	c.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	req, err := http.NewRequestWithContext(ctx, method, c.tenant.URL()+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	switch auth {
	case "admin":
		req.Header.Set("Authorization", "Bearer "+c.tenant.Token())
	case "wrong":
		req.Header.Set("Authorization", "Bearer not-the-token")
	}
	if org != "" {
		req.Header.Set(orgHeader, org)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return got{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return got{status: resp.StatusCode, header: resp.Header, body: string(b), err: err}
}

// admin sends a request with all that it needs.
func (c *caller) admin(route, body string) got {
	c.t.Helper()
	g := c.call(deadline(c.t), route, "admin", true, body)
	if g.err != nil {
		c.t.Fatalf("%s: %v", route, g.err)
	}
	return g
}

package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// FleetConfig is what the tenants of a fleet have in common.
type FleetConfig struct {
	SHA      string        // see [TenantConfig.SHA]
	Latency  time.Duration // before each answer
	TLS      bool          // serve https with HTTP/2
	Memories Memories
}

// A Fleet is many tenants behind one listener, each with a base path and a
// token of its own.
type Fleet struct {
	server  *server
	tenants []*Tenant
	byName  map[string]*Tenant
}

// A Member is what a client needs to know of one tenant.
type Member struct{ Name, URL, Token, OrgID string }

// StartFleet starts n tenants, called canary-0001 and so on, at
// http://127.0.0.1:PORT/t/canary-0001.
func StartFleet(n int, cfg FleetConfig) (*Fleet, error) {
	f := &Fleet{tenants: make([]*Tenant, n), byName: make(map[string]*Tenant, n)}
	for i := range f.tenants {
		t := newTenant(TenantConfig{
			Name: fmt.Sprintf("canary-%04d", i+1), SHA: cfg.SHA, Latency: cfg.Latency,
			Memories: cfg.Memories, NoLog: true,
		})
		f.tenants[i], f.byName[t.cfg.Name] = t, t
	}
	s, err := startServer(f, cfg.TLS)
	if err != nil {
		return nil, err
	}
	f.server = s
	return f, nil
}

// ServeHTTP passes a request to the tenant that its path names.
func (f *Fleet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, _ := strings.CutPrefix(r.URL.Path, "/t/")
	name, path, _ := strings.Cut(rest, "/")
	t := f.byName[name]
	if t == nil {
		http.NotFound(w, r)
		return
	}
	inner := new(http.Request)
	*inner = *r
	inner.URL = new(url.URL)
	*inner.URL = *r.URL
	inner.URL.Path, inner.URL.RawPath = "/"+path, ""
	t.ServeHTTP(w, inner)
}

// Close stops the fleet.
func (f *Fleet) Close() { f.server.close() }

// Members returns what a client needs to know of each tenant.
func (f *Fleet) Members() []Member {
	out := make([]Member, len(f.tenants))
	for i, t := range f.tenants {
		out[i] = Member{Name: t.cfg.Name, URL: f.server.url() + "/t/" + t.cfg.Name, Token: t.cfg.Token, OrgID: t.cfg.OrgID}
	}
	return out
}

// Roll makes every tenant run another build at once.
func (f *Fleet) Roll(sha string, faults ...Fault) {
	for _, t := range f.tenants {
		t.Roll(sha, faults...)
	}
}

// Requests returns how many requests all tenants got.
func (f *Fleet) Requests() int {
	n := int64(0)
	for _, t := range f.tenants {
		n += t.requests.Load()
	}
	return int(n)
}

// Left returns what all tenants have stored.
func (f *Fleet) Left() Counts {
	var sum Counts
	for _, t := range f.tenants {
		c := t.Left()
		sum.Memories += c.Memories
		sum.Workspaces += c.Workspaces
	}
	return sum
}

// Connections returns how many connections were opened to the fleet so far, and
// how many are open now.
func (f *Fleet) Connections() (opened, open int) {
	return int(f.server.opened.Load()), f.server.standing()
}

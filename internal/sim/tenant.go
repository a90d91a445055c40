package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// OldBuild as a commit means a build from before /buildinfo: the route
// does not exist.
const OldBuild = "old build"

// Memories is which generation of memory routes a tenant has.
type Memories int

// The generations of memory routes.
const (
	BothMemories       Memories = iota
	DocumentedRoutes            // POST /memories/commit, GET /memories/search?query=
	PerWorkspaceRoutes          // POST and GET /workspaces/:id/memories?q=, the server of April 2026
)

// TenantConfig describes a tenant. The zero value is a healthy tenant over
// plain HTTP whose build has no stamp.
type TenantConfig struct {
	Name  string // "tenant" if empty
	Token string // the admin token; "sim-admin-token-of-<name>" if empty
	OrgID string // "sim-org-of-<name>" if empty
	NoOrg bool   // no org id is configured, so that the org guard is off
	// SHA is the commit that the tenant reports at first, in any form: full,
	// short, invalid. Empty: a build without the stamp, which reports "dev".
	// [OldBuild]: there is no /buildinfo. With Follow it may stay empty.
	SHA      string
	Memories Memories
	Web      bool // a web front end answers unknown routes with an HTML page that echoes the URL
	TLS      bool // serve https with HTTP/2; clients need [CAPool]
	Latency  time.Duration
	Follow   *Follow // how it updates itself; nil: it doesn't
	Faults   []Fault // broken from the start
	// Intercept sees each request first and reports whether it has answered it.
	Intercept func(w http.ResponseWriter, r *http.Request) bool
	NoLog     bool // keep no [TenantRequest]
	// InMemory starts the tenant without a socket, for clients that use
	// [PipeTransport]. TLS is not simulated then.
	InMemory bool
	Started  bool    // /buildinfo shows when the process was started, as "started_at"
	Bucket   *Bucket // what [Throttle] counts in; nil: one of its own
}

// A TenantRequest is one request that a tenant got.
type TenantRequest struct {
	Method string
	Path   string
	Query  string
	Auth   string // "none", "admin" or "wrong"
	Org    string // the org header
	Status int    // 0: not answered (yet)
	Proto  string // "HTTP/1.1", "HTTP/2.0"
	Time   time.Time
}

// Counts are what a tenant has stored, as its users see it.
type Counts struct{ Memories, Workspaces int }

// Rows are what is in a tenant's database, whoever sees it. Removed are the
// workspaces that were deleted and not purged; they are not among Workspaces.
type Rows struct{ Workspaces, Removed, Memories, Events int }

// A Tenant is one simulated deployment of the product. It is an
// [http.Handler]; [StartTenant] gives it a server.
type Tenant struct {
	cfg    TenantConfig
	server *server // nil: it is part of a [Fleet]
	stop   func()  // ends the auto-updater

	reaching  sync.Mutex // held while the port is opened or closed
	crashing  sync.Mutex
	stopCrash func() // ends a [CrashLoop]; nil: there is none

	ahead    atomic.Int64 // of the machine's clock, in nanoseconds
	requests atomic.Int64
	faulty   atomic.Bool // some fault is on

	mu      sync.Mutex
	log     []*TenantRequest
	sha     string
	built   []Fault          // of the build that runs
	broken  map[Fault]Params // switched on by hand
	hits    map[string]int   // requests that a fault has hit, by fault and route
	reached string           // the sha for which the port was last opened or closed
	changed chan struct{}    // closed and replaced when reached changes
	store   store

	started  time.Time // the process that runs
	dead     bool      // the process is dead at the moment
	database databaseState
}

// StartTenant starts a tenant on a free port of 127.0.0.1. With Follow, it
// boots: it runs the build behind the tag, if there is one, before
// StartTenant returns.
func StartTenant(cfg TenantConfig) (*Tenant, error) {
	t := newTenant(cfg)
	s, err := (&server{inMemory: cfg.InMemory}).start(t, cfg.TLS && !cfg.InMemory)
	if err != nil {
		return nil, err
	}
	t.server = s
	t.reach()
	t.crash()
	if cfg.Follow != nil {
		if err := t.follow(*cfg.Follow); err != nil {
			s.close()
			return nil, err
		}
	}
	return t, nil
}

// newTenant makes a tenant without a server.
func newTenant(cfg TenantConfig) *Tenant {
	if cfg.Name == "" {
		cfg.Name = "tenant"
	}
	if cfg.Token == "" {
		cfg.Token = "sim-admin-token-of-" + cfg.Name
	}
	switch {
	case cfg.NoOrg:
		cfg.OrgID = ""
	case cfg.OrgID == "":
		cfg.OrgID = "sim-org-of-" + cfg.Name
	}
	if cfg.Bucket == nil {
		cfg.Bucket = new(Bucket)
	}
	t := &Tenant{cfg: cfg, sha: cfg.SHA, reached: cfg.SHA, changed: make(chan struct{}), stop: func() {}, started: time.Now()}
	t.Break(cfg.Faults...)
	return t
}

// Close stops the tenant, its auto-updater and its hanging requests.
func (t *Tenant) Close() {
	t.stop()
	t.Heal(CrashLoop)
	if t.server != nil {
		t.server.close()
	}
}

// Name returns the tenant's name.
func (t *Tenant) Name() string { return t.cfg.Name }

// Token returns the admin token.
func (t *Tenant) Token() string { return t.cfg.Token }

// OrgID returns the org id, empty where there is none.
func (t *Tenant) OrgID() string { return t.cfg.OrgID }

// URL returns the tenant's base URL; empty for one of a [Fleet], which knows it.
func (t *Tenant) URL() string {
	if t.server == nil {
		return ""
	}
	return t.server.url()
}

// SHA returns the commit that the tenant reports now; see [TenantConfig.SHA].
func (t *Tenant) SHA() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sha
}

// Roll makes the tenant run another build at once.
func (t *Tenant) Roll(sha string, faults ...Fault) {
	t.mu.Lock()
	t.sha, t.built, t.hits = sha, slices.Clone(faults), nil
	t.started, t.database = t.Now(), databaseState{}
	t.faulty.Store(len(t.built)+len(t.broken) > 0)
	t.mu.Unlock()
	t.switched()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reached = t.sha
	close(t.changed)
	t.changed = make(chan struct{})
}

// WaitFor waits until the tenant reports the commit, and can be reached if its
// faults let it. Its error is that of ctx.
func (t *Tenant) WaitFor(ctx context.Context, sha string) error {
	for {
		t.mu.Lock()
		now, changed := t.reached, t.changed
		t.mu.Unlock()
		if now == sha {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("sim: %s reports %q, not %q: %w", t.cfg.Name, now, sha, context.Cause(ctx))
		}
	}
}

// Break switches faults on, each with its defaults.
func (t *Tenant) Break(faults ...Fault) {
	for _, f := range faults {
		t.BreakWith(f, Params{})
	}
}

// BreakWith switches a fault on, limited by p. It panics on an unknown
// fault.
func (t *Tenant) BreakWith(f Fault, p Params) {
	spec, ok := f.spec()
	if !ok {
		panic(fmt.Sprintf("sim: unknown fault %q", f))
	}
	t.mu.Lock()
	if t.broken == nil {
		t.broken = map[Fault]Params{}
	}
	t.broken[f] = p.or(spec.defaults)
	maps.DeleteFunc(t.hits, func(key string, _ int) bool { return strings.HasPrefix(key, string(f)+" ") })
	if f == DatabaseDown {
		t.database = databaseState{}
	}
	t.faulty.Store(true)
	t.mu.Unlock()
	t.switched()
}

// Heal switches the faults off; without arguments, all that were switched on.
// Faults of the build that runs stay.
func (t *Tenant) Heal(faults ...Fault) {
	t.mu.Lock()
	for f := range t.broken {
		if len(faults) == 0 || slices.Contains(faults, f) {
			delete(t.broken, f)
		}
	}
	t.faulty.Store(len(t.built)+len(t.broken) > 0)
	t.mu.Unlock()
	t.switched()
}

// switched does what a change of the faults asks for.
func (t *Tenant) switched() {
	t.reach()
	if t.server != nil {
		t.crash()
	}
}

// has returns the fault's parameters where it acts on a request of the method
// and path.
func (t *Tenant) has(f Fault, method, path string) (Params, bool) {
	if !t.faulty.Load() { // the common case, without a lock
		return Params{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.params(f)
	return p, ok && p.covers(method, path)
}

// params returns the parameters of a fault that is on; t.mu is held.
func (t *Tenant) params(f Fault) (Params, bool) {
	if p, ok := t.broken[f]; ok {
		return p, true
	}
	if slices.Contains(t.built, f) {
		return f.defaults(), true
	}
	return Params{}, false
}

// spent counts a request on a route against a fault's limit and reports whether
// the limit is exceeded there. A negative limit is none.
func (t *Tenant) spent(f Fault, limit int, route string) bool {
	if limit < 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hits == nil {
		t.hits = map[string]int{}
	}
	key := string(f) + " " + route
	t.hits[key]++
	return t.hits[key] > limit
}

// reach opens or closes the tenant's port, as its faults and its auto-updater
// say.
func (t *Tenant) reach() {
	if t.server == nil {
		return
	}
	t.reaching.Lock()
	defer t.reaching.Unlock()
	if t.down() {
		t.server.refuse()
		return
	}
	_ = t.server.listen() // the port is reserved; else it stays unreachable
}

// down reports whether the tenant refuses connections.
func (t *Tenant) down() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.params(Unreachable)
	return t.dead || ok && p.Route == everywhere
}

// Requests returns what came since the start or the last [Tenant.ResetLog].
func (t *Tenant) Requests() []TenantRequest {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]TenantRequest, len(t.log))
	for i, e := range t.log {
		out[i] = *e
	}
	return out
}

// ResetLog forgets the requests.
func (t *Tenant) ResetLog() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log = nil
}

// Connections returns how many connections were opened to the tenant's server.
func (t *Tenant) Connections() int {
	if t.server == nil {
		return 0
	}
	return int(t.server.opened.Load())
}

// Left returns what the tenant has stored, as its users see it: what a suite has
// not cleaned up.
func (t *Tenant) Left() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := t.store.rows()
	return Counts{Memories: rows.Memories - t.store.hidden(), Workspaces: rows.Workspaces}
}

// Rows returns what is in the tenant's database.
func (t *Tenant) Rows() Rows {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.store.rows()
}

// begin records a request.
func (t *Tenant) begin(r *http.Request) *TenantRequest {
	t.requests.Add(1)
	if t.cfg.NoLog {
		return nil
	}
	e := &TenantRequest{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Proto: r.Proto,
		Auth: t.bearer(r).String(), Org: r.Header.Get(orgHeader), Time: time.Now(),
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log = append(t.log, e)
	return e
}

// end records how a request was answered.
func (t *Tenant) end(e *TenantRequest, status int) {
	if e == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Status = status
}

// rolling counts a request against [MidRunRoll].
func (t *Tenant) rolling(r *http.Request) {
	if p, ok := t.has(MidRunRoll, r.Method, r.URL.Path); ok && t.spent(MidRunRoll, p.Count, "") {
		t.Heal(MidRunRoll)
		t.Roll(p.Text)
	}
}

// readJSON decodes the body of a request.
func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	return json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(v) == nil
}

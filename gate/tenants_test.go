package gate_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

const (
	before    = "1f0c7be24a6d93b85e17c04fa2d6b9038e5c71da"
	candidate = "4c1d56e0b7a92f3844de61c05b9a7d20e8f31c6b"
	anotherOn = "9e77a10c5b2d8f46e1a3907cb85d2f6430e9ab17"

	documented = "canary"
	workspaces = "workspace-server"
	app        = "org/app"
)

// A world is a registry and tenants without sockets, so that time is the test's:
// target at the commit before, candidate published, tenants at the candidate.
type world struct {
	*testing.T
	registry *sim.Registry
	tenants  []*sim.Tenant
	plan     gate.Plan
	hooks    hooks
}

// hooks call a function as a phase of the run begins.
type hooks struct {
	gate.Silent
	at map[report.PhaseName]func()
}

func (h hooks) Phase(name report.PhaseName) {
	if f := h.at[name]; f != nil {
		f()
	}
}

// newWorld starts a world in the bubble of the test, which waits for nothing.
func newWorld(t *testing.T, suite string, configs ...sim.TenantConfig) *world {
	t.Helper()
	w := &world{T: t, registry: sim.NewRegistry(sim.RegistryConfig{Referrers: true}), hooks: hooks{at: map[report.PhaseName]func(){}}}
	for sha, tags := range map[string]string{before: "staging-1f0c7be,latest", candidate: "staging-4c1d56e"} {
		built := time.Date(2026, time.April, 1, 0, 0, 0, 0, time.UTC)
		if sha == candidate {
			built = built.Add(time.Hour)
		}
		build := sim.Build{SHA: sha, Images: []string{app}, Tag: tags, Created: built}
		if _, err := sim.Publish(t.Context(), w.registry.Host(), build, w.registry.InMemory()...); err != nil {
			t.Fatal(err)
		}
	}
	w.registry.ResetLog()
	transport := sim.PipeTransport()
	t.Cleanup(transport.CloseIdleConnections)
	w.plan = gate.Plan{
		Mode: report.ModeVerify, SHA: candidate, Suite: builtin(t, suite), Observer: w.hooks,
		Fleet:   fleet.Config{Transport: transport},
		Promote: promote.Config{Images: []string{w.registry.Host() + "/" + app}, Transport: w.registry.RoundTripper()},
	}
	if len(configs) == 0 {
		configs = []sim.TenantConfig{{}}
	}
	for i, cfg := range configs {
		cfg.InMemory, cfg.Name = true, fmt.Sprintf("canary-%c", 'a'+i)
		if cfg.SHA == "" {
			cfg.SHA = candidate
		}
		if cfg.Memories == sim.BothMemories && suite == documented {
			cfg.Memories = sim.DocumentedRoutes
		}
		w.start(cfg)
	}
	return w
}

// start starts a tenant and puts it on the plan.
func (w *world) start(cfg sim.TenantConfig) *sim.Tenant {
	w.Helper()
	tenant, err := sim.StartTenant(cfg)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(tenant.Close)
	w.tenants = append(w.tenants, tenant)
	w.plan.Tenants = append(w.plan.Tenants, fleet.Tenant{
		Name: tenant.Name(), URL: tenant.URL(), Token: secret.New(tenant.Token()), OrgID: tenant.OrgID(),
	})
	return tenant
}

// run runs the plan, and checks what must be true whatever the verdict is: only
// green moves the target, and only red leaves a record behind.
func (w *world) run(ctx context.Context) *report.Report {
	w.Helper()
	g, err := gate.New(w.plan)
	if err != nil {
		w.Fatal(err)
	}
	got := g.Run(ctx)
	moved := w.registry.Digest(app, "latest") == w.registry.Digest(app, "staging-4c1d56e")
	if moved != (got.Verdict == report.Green) || got.Promoted != moved {
		w.Errorf("verdict %s, promoted %t, and the target is moved: %t", got.Verdict, got.Promoted, moved)
	}
	written := w.registry.Count(http.MethodPut) > 0
	if wants := got.Verdict == report.Green || got.Verdict == report.Red; written != wants {
		w.Errorf("verdict %s, and a record was written: %t", got.Verdict, written)
	}
	return got
}

func builtin(t testing.TB, name string) *smoke.Suite {
	t.Helper()
	text, ok := smoke.Builtin(name)
	if !ok {
		t.Fatalf("no built-in suite %q", name)
	}
	s, err := smoke.Load(name, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A trouble is something that real tenants do, and what must become of it.
type trouble struct {
	name   string
	suites []string // both when nil
	tenant sim.TenantConfig
	// intercept makes the tenant's Intercept.
	intercept func() func(http.ResponseWriter, *http.Request) bool
	fault     sim.Fault
	params    sim.Params
	at        report.PhaseName // when the fault begins; empty: it is there from the start
	prepare   func(w *world)
	verdicts  []report.Verdict
	// checks matches the names of the checks that must be causes, all of them and
	// no other. Empty: nothing is asked of them; "no": there is no cause.
	checks string
	result report.Result // of these checks
	what   string        // matches what each of these causes says
	advice string        // matches a hint of a cause, or what to do next
	warns  string        // matches a warning
}

const no = "no"

var (
	green        = []report.Verdict{report.Green}
	red          = []report.Verdict{report.Red}
	inconclusive = []report.Verdict{report.Inconclusive}
	// bearable is what may become of an outage: it isn't the build's.
	bearable = []report.Verdict{report.Green, report.Inconclusive}
	// closed is what may become of a run that must not promote.
	closed = []report.Verdict{report.Red, report.Inconclusive}

	onlyWorkspaces = []string{workspaces}
	onlyDocumented = []string{documented}
)

const trip = "^memory round-trip$"

// troubles is the table. Rows of one kind stand together.
var troubles = []trouble{
	{name: "a healthy tenant", verdicts: green, checks: no},
	{name: "a healthy tenant with a web front end", tenant: sim.TenantConfig{Web: true, Started: true}, verdicts: green, checks: no},
	{name: "Redis down", fault: sim.RedisDown, verdicts: green, checks: no},
	{name: "a search that needs a moment", fault: sim.SearchLags, verdicts: green, checks: no},
	{name: "workspaces without an age", suites: onlyWorkspaces, fault: sim.WorkspacesUndated, verdicts: green, checks: no},

	// Doors that are open.
	{name: "guard off", fault: sim.GuardOff, verdicts: red, checks: `(?i)\borg\b`, result: report.Failed, what: "404", advice: "."},
	{
		name: "workspace auth open", suites: onlyWorkspaces, fault: sim.WorkspaceOpen, verdicts: red,
		checks: `(?i)memor.*bearer`, result: report.Failed, what: "401", advice: "open to everybody",
	},
	{name: "any bearer", fault: sim.WrongBearer, verdicts: red, checks: "with a wrong bearer", result: report.Failed, what: "401", advice: "open to everybody"},
	{name: "no bearer", fault: sim.FailOpen, verdicts: red, checks: "without( and with a wrong)? bearer", result: report.Failed, what: "401", advice: "open to everybody"},
	{name: "admin auth open", suites: onlyDocumented, fault: sim.AdminOpen, verdicts: red, checks: "bearer", result: report.Failed, what: "401", advice: "open to everybody"},
	{
		name: "admin auth open", suites: onlyWorkspaces, fault: sim.AdminOpen, verdicts: red,
		checks: "^(liveness|workspaces|events) with(out| a wrong) bearer", result: report.Failed, what: "401", advice: "open to everybody",
	},
	{
		name: "a door that is open once", intercept: openOnce, verdicts: red,
		checks: "^events without bearer", result: report.Failed, what: "401", advice: "open to everybody",
	},

	// What the build broke.
	{name: "a search that ignores its query", suites: onlyWorkspaces, fault: sim.SearchIgnoresQuery, verdicts: red, checks: trip, result: report.Failed},
	{name: "500 on one route", fault: sim.ServerError, params: sim.Params{Route: "GET /events$"}, verdicts: red, checks: "^events$", result: report.Failed, what: "500", advice: "log"},
	{name: "500 on one route, once", fault: sim.Flapping, params: sim.Params{Route: "GET /events$", Count: 1, Status: 500}, verdicts: green, checks: no, warns: "events.*(retry|again)"},
	{name: "one route refuses the token", fault: sim.RouteRefused, params: sim.Params{Route: "GET /events$"}, verdicts: red, checks: "^events$", result: report.Failed, what: "401", advice: "token is right"},

	// What is not the build's.
	{name: "outage at start", fault: sim.DatabaseDown, verdicts: inconclusive, result: report.Errored, advice: "Postgres"},
	{name: "outage of every guarded route at start", fault: sim.Outage, verdicts: inconclusive, result: report.Errored, advice: "Postgres"},
	{name: "a proxy without a tenant behind it", fault: sim.BadGateway, at: report.PhaseSmoke, verdicts: inconclusive, result: report.Errored, advice: "proxy"},
	{name: "our token refused everywhere", fault: sim.TokenRefused, verdicts: inconclusive, result: report.Errored, advice: "token"},
	{name: "our org id refused", fault: sim.OrgRefused, verdicts: inconclusive, result: report.Errored, advice: "org id"},
	{name: "a list of 2 MB", suites: onlyWorkspaces, fault: sim.LargeLists, verdicts: green, checks: no},
	{
		name: "a list of 20 MB", suites: onlyDocumented, fault: sim.LargeLists, params: sim.Params{Count: 20_000_000}, verdicts: inconclusive,
		checks: "^workspaces$", result: report.Errored, advice: `(?i)MiB|longer|larger|limit`,
	},
	{
		name: "/memories/commit is missing", suites: onlyDocumented, tenant: sim.TenantConfig{Memories: sim.PerWorkspaceRoutes}, verdicts: closed,
		checks: trip, result: report.Failed, what: "404", advice: "workspace-server",
	},

	// What runs, and whether it stays.
	{name: "stale", tenant: sim.TenantConfig{SHA: before}, verdicts: inconclusive, what: "stale at 1f0c7be", advice: `\b7 ?m`},
	{name: "unreachable", fault: sim.Unreachable, verdicts: inconclusive, what: "unreachable", advice: `\b7 ?m`},
	{name: "a build without a stamp", tenant: sim.TenantConfig{SHA: "dev"}, verdicts: inconclusive, what: "unknown"},
	{name: "a build from before /buildinfo", tenant: sim.TenantConfig{SHA: sim.OldBuild}, verdicts: inconclusive, what: "unknown"},
	{name: "a version answer with a key twice", fault: sim.BuildinfoDuplicate, verdicts: inconclusive, what: "unknown"},
	{name: "a version answer with data behind it", fault: sim.BuildinfoTrailing, verdicts: inconclusive, what: "unknown"},
	{name: "a version answer that is not JSON by its type", fault: sim.BuildinfoPlain, verdicts: inconclusive, what: "unknown"},
	{name: "a version answer with too many digits", fault: sim.BuildinfoLong, verdicts: inconclusive, what: "unknown"},
	{name: "another commit after the checks", prepare: rollAt(report.PhaseIdentity), verdicts: inconclusive, what: "9e77a10"},
	{name: "another commit after refused connections", prepare: redeployDuringSmoke, tenant: sim.TenantConfig{Latency: 50 * time.Millisecond}, verdicts: inconclusive, what: "9e77a10"},
	{
		name: "restarts during a soak", fault: sim.CrashLoop, params: sim.Params{Delay: 4500 * time.Millisecond, For: 1500 * time.Millisecond},
		tenant:  sim.TenantConfig{Started: true, Latency: 20 * time.Millisecond},
		prepare: soak(40 * time.Second), verdicts: bearable, warns: "(?i)refused|restart",
	},

	// A soak under the product's rate limit.
	{name: "600 requests a minute during a soak", suites: onlyWorkspaces, fault: sim.Throttle, prepare: soak(2 * time.Minute), verdicts: green, checks: no},
	{name: "60 requests a minute during a soak", fault: sim.Throttle, params: sim.Params{Count: 60}, prepare: soak(2 * time.Minute), verdicts: green, checks: no},
}

// openOnce lets the first request without a bearer see the events.
func openOnce() func(http.ResponseWriter, *http.Request) bool {
	var opened atomic.Bool
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/events" || r.Header.Get("Authorization") != "" || opened.Swap(true) {
			return false
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = io.WriteString(w, "[]")
		return true
	}
}

// soak repeats the checks.
func soak(d time.Duration) func(*world) {
	return func(w *world) { w.plan.Soak = d }
}

// rollAt makes the tenant run another commit as a phase begins.
func rollAt(phase report.PhaseName) func(*world) {
	return func(w *world) { w.hooks.at[phase] = func() { w.tenants[0].Roll(anotherOn) } }
}

// redeployDuringSmoke has the tenant replaced while its first answers are under
// way: it refuses connections, and comes back as another commit.
func redeployDuringSmoke(w *world) {
	w.hooks.at[report.PhaseSmoke] = func() {
		time.AfterFunc(60*time.Millisecond, func() { w.tenants[0].Break(sim.Unreachable) })
		time.AfterFunc(560*time.Millisecond, func() {
			w.tenants[0].Roll(anotherOn)
			w.tenants[0].Heal()
		})
	}
}

func TestWhatRealTenantsDo(t *testing.T) {
	for _, row := range troubles {
		suites := row.suites
		if suites == nil {
			suites = []string{documented, workspaces}
		}
		for _, suite := range suites {
			t.Run(row.name+"/"+suite, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					cfg := row.tenant
					if row.intercept != nil {
						cfg.Intercept = row.intercept()
					}
					row.test(newWorld(t, suite, cfg))
				})
			})
		}
	}
}

// test plays the row and compares what became of it.
func (row trouble) test(w *world) {
	begin := func() { w.tenants[0].BreakWith(row.fault, row.params) }
	switch {
	case row.fault == "":
	case row.at == "":
		begin()
	default:
		w.hooks.at[row.at] = begin
	}
	if row.prepare != nil {
		row.prepare(w)
	}
	got := w.run(w.Context())
	if !slices.Contains(row.verdicts, got.Verdict) {
		w.Errorf("verdict %s, want %v: %s", got.Verdict, row.verdicts, got.Reason)
	}
	row.compareCauses(w, got)
	if row.advice != "" && !regexp.MustCompile(row.advice).MatchString(adviceOf(got)) {
		w.Errorf("the advice doesn't match %q:\n%s", row.advice, adviceOf(got))
	}
	if row.warns != "" && !slices.ContainsFunc(got.Warnings, regexp.MustCompile(row.warns).MatchString) {
		w.Errorf("no warning matches %q: %q", row.warns, got.Warnings)
	}
	if got.Verdict != report.Green && got.Next == "" {
		w.Error("nothing says what to do next")
	}
	if row.fault == sim.Throttle {
		row.compareLimits(w)
	}
	if rows := w.tenants[0].Rows(); row.checks == no && rows != (sim.Rows{Events: rows.Events}) {
		w.Errorf("left behind: %+v", rows)
	}
	if row.fault == sim.CrashLoop && got.Tenants[0].Refused+got.Tenants[0].Restarts == 0 {
		w.Error("the report counts neither refused connections nor restarts")
	}
}

// compareCauses compares the causes, and that each says what to do.
func (row trouble) compareCauses(w *world, got *report.Report) {
	if row.checks == no && len(got.Causes) > 0 {
		w.Errorf("causes: %+v", got.Causes)
	}
	if row.checks == no || got.Verdict == report.Green {
		return
	}
	if len(got.Causes) == 0 {
		w.Fatalf("no cause: %s", got.Reason)
	}
	found := map[string]bool{}
	for i, c := range got.Causes {
		found[c.Check] = true
		if row.checks != "" && !regexp.MustCompile(row.checks).MatchString(c.Check) {
			w.Errorf("%q is a cause: %s", c.Check, c.Detail)
			continue
		}
		if c.Result != row.result && c.Check != "" {
			w.Errorf("%s: %s, want %s: %s", c.Check, c.Result, row.result, c.Detail)
		}
		if (row.checks != "" || i == 0) && !regexp.MustCompile(row.what).MatchString(c.What) {
			w.Errorf("%s: %q doesn't match %q", c.Check, c.What, row.what)
		}
	}
	for _, name := range w.plan.Suite.CheckNames() {
		if row.checks != "" && regexp.MustCompile(row.checks).MatchString(name) && !found[name] {
			w.Errorf("%q is not a cause", name)
		}
	}
	if row.checks != "" && row.checks != no && !slices.ContainsFunc(w.plan.Suite.CheckNames(), regexp.MustCompile(row.checks).MatchString) {
		w.Errorf("the suite has no check that matches %q", row.checks)
	}
}

// compareLimits checks that no request was one too many.
func (row trouble) compareLimits(w *world) {
	requests := w.tenants[0].Requests()
	for _, r := range requests {
		if r.Status == http.StatusTooManyRequests {
			w.Fatalf("%s %s was answered 429 at %v, of %d requests", r.Method, r.Path, r.Time.Sub(requests[0].Time), len(requests))
		}
	}
}

// adviceOf is all that a report says about what to do.
func adviceOf(r *report.Report) string {
	all := []string{r.Next, r.Reason}
	for _, c := range r.Causes {
		all = append(all, c.Hint, c.Detail)
	}
	return strings.Join(all, "\n")
}

// TestTwoTenantsShareARateLimit soaks two tenants behind one tunnel, which share
// 600 requests a minute.
func TestTwoTenantsShareARateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := sim.TenantConfig{Bucket: new(sim.Bucket), Faults: []sim.Fault{sim.Throttle}}
		w := newWorld(t, workspaces, shared, shared)
		w.plan.Soak = 90 * time.Second
		if got := w.run(t.Context()); got.Verdict != report.Green {
			t.Errorf("verdict %s: %s", got.Verdict, got.Reason)
		}
	})
}

// TestTheDatabaseStopsAtEveryPointOfARun stops it after each number of requests
// that a run makes: an outage, for good or for a second, is nobody's failure.
func TestTheDatabaseStopsAtEveryPointOfARun(t *testing.T) {
	for _, suite := range []string{documented, workspaces} {
		for _, lasts := range []time.Duration{0, time.Second} {
			t.Run(fmt.Sprintf("%s for %v", suite, lasts), func(t *testing.T) {
				t.Parallel()
				for after := 0; ; after++ {
					beyond := false
					synctest.Test(t, func(t *testing.T) { beyond = stopDatabase(newWorld(t, suite), after, lasts) })
					if beyond {
						break
					}
				}
			})
		}
	}
}

// stopDatabase stops the database after so many requests, and reports whether the
// run was over by then.
func stopDatabase(w *world, after int, lasts time.Duration) (beyond bool) {
	// The default of Count is that it stops at once.
	w.tenants[0].BreakWith(sim.DatabaseDown, sim.Params{Count: after, For: lasts})
	got := w.run(w.Context())
	if !slices.Contains(bearable, got.Verdict) {
		w.Errorf("stopped after %d requests: %s: %s", after, got.Verdict, got.Reason)
	}
	// Where it is soon back, nobody may ever have heard of the outage.
	if lasts == 0 && got.Verdict == report.Inconclusive && !strings.Contains(adviceOf(got), "Postgres") {
		w.Errorf("stopped after %d requests: the advice is %q", after, adviceOf(got))
	}
	return !slices.ContainsFunc(w.tenants[0].Requests(), func(r sim.TenantRequest) bool { return r.Status >= 500 })
}

// TestAFailureBesideAnOutage: red wins, and the outage of one tenant excuses
// nothing on another.
func TestAFailureBesideAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, workspaces, sim.TenantConfig{Faults: []sim.Fault{sim.DatabaseDown}}, sim.TenantConfig{})
		w.tenants[1].BreakWith(sim.ServerError, sim.Params{Route: "GET /events$"})
		got := w.run(t.Context())
		if first, _ := got.FirstCause(); got.Verdict != report.Red || first.Check != "events" || !slices.Equal(first.Tenants, []string{"canary-b"}) {
			t.Errorf("verdict %s: %s", got.Verdict, got.Reason)
		}
		for _, c := range got.Causes[min(1, len(got.Causes)):] {
			if c.Result == report.Failed {
				t.Errorf("%v: %s", c.Tenants, c.Detail)
			}
		}
	})
}

// mixed runs a quick suite on one tenant of which some connections lead to another
// build. It uses real sockets: which connection a request takes is the fleet's
// business.
func mixed(t *testing.T, fault sim.Fault, seed int) *report.Report {
	t.Helper()
	tenant, err := sim.StartTenant(sim.TenantConfig{Name: "canary-a", SHA: candidate})
	if err != nil {
		t.Fatal(err)
	}
	defer tenant.Close()
	tenant.BreakWith(fault, sim.Params{Count: seed, Text: before})
	suite, err := smoke.Load("quick.yml", []byte("checks: [{name: health, get: /health, auth: none, expect: 'status == 200 && json.status == \"ok\"'}]"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(gate.Plan{
		Mode: report.ModeSmoke, SHA: candidate, Suite: suite,
		Tenants:     []fleet.Tenant{{Name: tenant.Name(), URL: tenant.URL(), Token: secret.New(tenant.Token()), OrgID: tenant.OrgID()}},
		WaitTimeout: 150 * time.Millisecond, WaitInterval: 2 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g.Run(t.Context())
}

func TestAlternatingBuildsAreNeverGreen(t *testing.T) {
	t.Parallel()
	for range 5 {
		got := mixed(t, sim.Alternating, 0)
		if got.Verdict != report.Inconclusive || got.IdentityProven {
			t.Errorf("verdict %s, identity proven %t: %s", got.Verdict, got.IdentityProven, got.Reason)
		}
		if first, _ := got.FirstCause(); !strings.Contains(first.What, "mixed") || !strings.Contains(adviceOf(got), before[:7]) {
			t.Errorf("%q, %q: nothing names both builds", first.What, adviceOf(got))
		}
	}
}

// TestHalfAnOldBuildIsCaught wants 99 of 100 runs caught; of 200 some 2 may be
// green, and more than 7 are as good as impossible.
func TestHalfAnOldBuildIsCaught(t *testing.T) {
	t.Parallel()
	const runs = 200
	var greens atomic.Int32
	var workers sync.WaitGroup
	next := make(chan int)
	for range 16 {
		workers.Go(func() {
			for seed := range next {
				if mixed(t, sim.HalfOld, seed).Verdict == report.Green {
					greens.Add(1)
				}
			}
		})
	}
	for seed := range runs {
		next <- seed + 1
	}
	close(next)
	workers.Wait()
	if n := greens.Load(); n > 7 {
		t.Errorf("%d of %d runs are green", n, runs)
	}
}

// A mortal transport ends as a process does that is killed: nothing is sent any
// more, and no answer comes back.
type mortal struct {
	http.RoundTripper
	dead atomic.Bool
}

type killed struct{}

func (killed) Error() string { return "killed" }

// RoundTrip implements [http.RoundTripper].
func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.dead.Load() {
		return nil, killed{}
	}
	resp, err := m.RoundTripper.RoundTrip(r)
	if m.dead.Load() {
		if err == nil {
			_ = resp.Body.Close()
		}
		return nil, killed{}
	}
	return resp, err
}

// TestNothingIsLeftBehind ends 20 runs at random moments, every second one without
// a chance to clean up; one good run an hour later removes what is left, and
// nothing else.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) { testNothingIsLeftBehind(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func testNothingIsLeftBehind(t *testing.T, random *rand.Rand) {
	w := newWorld(t, workspaces, sim.TenantConfig{Memories: sim.PerWorkspaceRoutes, Latency: 5 * time.Millisecond})
	w.plan.Mode, w.plan.Promote = report.ModeSmoke, promote.Config{}
	tenant, transport := w.tenants[0], w.plan.Fleet.Transport
	tenant.BreakWith(sim.LateAnswers, sim.Params{Delay: 15 * time.Millisecond}) // what was asked for may be done when nobody hears of it
	users := create(w, "team workspace")
	run := func(ctx context.Context) *report.Report {
		g, err := gate.New(w.plan)
		if err != nil {
			t.Fatal(err)
		}
		return g.Run(ctx)
	}
	began := time.Now()
	if got := run(t.Context()); got.Verdict != report.Green {
		t.Fatalf("verdict %s: %s", got.Verdict, got.Reason)
	}
	took := time.Since(began)
	for i := range 20 {
		kill := i%2 == 1
		process := &mortal{RoundTripper: transport}
		w.plan.Fleet.Transport = process
		ctx, cancel := context.WithCancel(t.Context())
		rows := stored(tenant)
		after := time.Duration(random.Int64N(int64(took)))
		time.AfterFunc(after, func() {
			process.dead.Store(kill)
			cancel()
		})
		got := run(ctx)
		cancel()
		if left := stored(tenant); !kill && left != rows {
			t.Errorf("cancelled after %v of %v: %+v became %+v; warnings %q", after, took, rows, left, got.Warnings)
		}
	}
	tenant.Advance(time.Hour + time.Minute)
	young := create(w, "canary-smoke-qwertyuiopasdfgh") // of another run, beside this one
	w.plan.Fleet.Transport = transport
	if got := run(t.Context()); got.Verdict != report.Green {
		t.Errorf("verdict %s: %s", got.Verdict, got.Reason)
	}
	if rows := stored(tenant); rows != (sim.Rows{Workspaces: 2}) {
		t.Errorf("%+v, want no more than the user's workspace and the young one", rows)
	}
	for _, id := range []string{users, young} {
		if status, _ := ask(w, http.MethodDelete, "/workspaces/"+id+"?confirm=true&purge=true", ""); status != http.StatusOK {
			t.Errorf("workspace %s is gone", id)
		}
	}
}

// stored is what is in a tenant's database, but for the log of its events.
func stored(tenant *sim.Tenant) sim.Rows {
	rows := tenant.Rows()
	rows.Events = 0
	return rows
}

// create makes a workspace on the first tenant, and returns its id.
func create(w *world, name string) string {
	w.Helper()
	status, body := ask(w, http.MethodPost, "/workspaces", `{"name":"`+name+`","runtime":"external","external":true,"url":"https://example.invalid/"}`)
	id := regexp.MustCompile(`"id":"([^"]+)"`).FindStringSubmatch(body)
	if status != http.StatusCreated || id == nil {
		w.Fatalf("create %s: %d %s", name, status, body)
	}
	return id[1]
}

// ask sends a request to the first tenant.
func ask(w *world, method, path, body string) (int, string) {
	w.Helper()
	tenant := w.tenants[0]
	req, err := http.NewRequestWithContext(w.Context(), method, tenant.URL()+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tenant.Token())
	req.Header.Set("X-Molecule-Org-Id", tenant.OrgID())
	client := sim.PipeTransport()
	defer client.CloseIdleConnections()
	resp, err := client.RoundTrip(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

package smoke_test

import (
	"fmt"
	"net/http"
	pathpkg "path"
	"slices"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// Groups of checks that faults break, by their names in both suites.
const (
	every    = "every check"
	guarded  = "every check but health"
	hidden   = "every check behind the org guard"
	created  = "every check that creates a workspace"
	admitted = "every check that our token lets in"
	bearless = "every check without bearer"
	wrong    = "every check with a wrong bearer"
	orgless  = "every check of the org guard"
	admin    = "every check of an admin route with a bearer that is none of ours"
	no       = "no check"
)

// broken reports whether a fault of a group breaks a check.
func broken(group, check string) bool {
	switch group {
	case every:
		return true
	case guarded:
		return check != "health"
	case orgless:
		return strings.Contains(check, "org id")
	case admin:
		return check != bearers && strings.Contains(check, "bearer")
	case hidden:
		return check != "health" && !strings.Contains(check, "org id")
	case created:
		return check == trip || check == bearers
	case admitted:
		return check == bearers || check != "health" && !strings.Contains(check, "bearer") && !strings.Contains(check, "org id")
	case bearless:
		return check == bearers || strings.Contains(check, "without bearer")
	case wrong:
		return strings.Contains(check, "wrong bearer")
	default:
		return check == group
	}
}

// effect is what a fault does to a run of a suite.
type effect struct {
	fault  sim.Fault
	params sim.Params
	result report.Result // of the broken checks
	breaks string        // a group, or one check
	errors string        // the group of those that are errors in place of result
	hint   string        // a part of the hint of each of them
	got    string        // a part of what they got
	left   bool          // something is left behind, and the check says so
}

// effects is every fault of a tenant.
var effects = []effect{
	{fault: sim.Unreachable, result: report.Errored, breaks: every, hint: "nothing listens", got: "no answer"},
	{fault: sim.Hang, result: report.Errored, breaks: every, got: "no answer"},
	{fault: sim.Slow, params: sim.Params{Delay: 10 * time.Millisecond}, breaks: no},
	{fault: sim.SlowDrip, result: report.Errored, breaks: guarded, got: "no answer"},
	{fault: sim.CutOff, result: report.Errored, breaks: guarded, hint: "may be restarting", got: "no answer"},
	{fault: sim.Redirects, result: report.Failed, breaks: guarded, hint: "redirects are not followed", got: "status 302"},
	{fault: sim.Flapping, params: sim.Params{Count: 1000}, result: report.Errored, breaks: guarded, hint: "a proxy in front of the tenant", got: "status 503"},
	{fault: sim.RateLimit, result: report.Errored, breaks: guarded, hint: "limits requests", got: "status 429"},
	{fault: sim.BadGateway, result: report.Errored, breaks: every, hint: "a proxy in front of the tenant", got: "status 502, text/html"},
	{fault: sim.Outage, result: report.Errored, breaks: hidden, hint: "Postgres", got: "platform_unavailable"},
	{fault: sim.ServerError, result: report.Failed, breaks: admitted, hint: "the service failed", got: "status 500"},

	{fault: sim.FailOpen, result: report.Failed, breaks: bearless, hint: "without a valid token was accepted"},
	{fault: sim.WrongBearer, result: report.Failed, breaks: wrong, hint: "without a valid token was accepted"},
	{fault: sim.TokenRefused, result: report.Errored, breaks: admitted, hint: "check this tenant's token", got: "status 401"},
	{fault: sim.RouteRefused, result: report.Failed, breaks: "events", hint: "the token is right", got: "status 401"},
	{fault: sim.OrgRefused, result: report.Errored, breaks: hidden, hint: "check this tenant's org id", got: "status 404, without a content type, empty body"},

	{fault: sim.Stale, breaks: no},
	{fault: sim.MidRunRoll, breaks: no},
	{fault: sim.BuildinfoGone, breaks: no},
	{fault: sim.BuildinfoHTML, breaks: no},
	{fault: sim.BuildinfoEmpty, breaks: no},

	{fault: sim.HTMLEcho, result: report.Failed, breaks: every, hint: "a web page came", got: "text/html"},
	{fault: sim.HTMLEchoAll, result: report.Failed, breaks: every, hint: "a web page came", got: "text/html"},
	{fault: sim.HugeBody, result: report.Failed, breaks: guarded, errors: admitted, got: "answered more than 65,536 bytes"},
	{fault: sim.HugeHeader, result: report.Errored, breaks: guarded, got: "no answer"},
	{fault: sim.WrongLength, result: report.Errored, breaks: guarded, got: "no answer"},
	{fault: sim.WrongType, result: report.Failed, breaks: admitted, hint: "a web page came", got: "text/html"},
	{fault: sim.BrokenJSON, result: report.Failed, breaks: guarded},
	{fault: sim.DeepJSON, result: report.Failed, breaks: guarded},
	{fault: sim.InvalidUTF8, result: report.Failed, breaks: admitted, got: `\xff\xfe`},
	{fault: sim.WorkflowCommands, result: report.Failed, breaks: admitted, got: ": :error title=pwned"},
	{fault: sim.TerminalEscapes, result: report.Failed, breaks: admitted, got: `\x1b[2J`},
	{fault: sim.Markup, result: report.Failed, breaks: admitted, got: "<script>"},
	{fault: sim.TokenEcho, result: report.Failed, breaks: admitted, got: `"Bearer ***"`},

	{fault: sim.HealthFails, result: report.Failed, breaks: "health", got: "status 500"},
	{fault: sim.LivenessWithoutSubsystems, result: report.Failed, breaks: "liveness", got: "json.subsystems = null"},
	{fault: sim.LivenessEmpty, result: report.Failed, breaks: "liveness", got: "json.subsystems = an empty object"},
	{fault: sim.LivenessNotMap, result: report.Failed, breaks: "liveness", got: "json.subsystems = an array"},
	{fault: sim.WorkspacesNotArray, result: report.Failed, breaks: "workspaces", got: `{"workspaces":`},
	{fault: sim.EventsNotArray, result: report.Failed, breaks: "events", got: `{"events":`},
	{fault: sim.CommitFails, result: report.Failed, breaks: trip, got: "status 500"},
	{fault: sim.CommitWithoutID, result: report.Failed, breaks: trip, got: "json.id = null"},
	{fault: sim.MemoryLost, result: report.Failed, breaks: trip, got: "body: []"},
	{fault: sim.SearchFails, result: report.Failed, breaks: trip, got: "status 500"},
	{fault: sim.SearchNotArray, result: report.Failed, breaks: trip, got: `{"memories":[]}`},
	{fault: sim.SearchFindsOther, result: report.Failed, breaks: trip, got: "another memory"},
	{fault: sim.SearchFindsAll, result: report.Failed, breaks: trip, got: "another memory"},
	{fault: sim.SearchLags, params: sim.Params{Delay: 50 * time.Millisecond}, breaks: no},
	{fault: sim.DeleteFails, breaks: no, left: true},
	{fault: sim.DeleteLost, breaks: no, left: true},
	{fault: sim.WorkspaceFails, result: report.Failed, breaks: created, got: "status 500"},
	{fault: sim.WorkspaceWithoutID, result: report.Failed, breaks: created, got: "json.id = null"},
	{fault: sim.WorkspaceDeleteFails, breaks: no, left: true},
	{fault: sim.WorkspaceDeleteLost, breaks: no, left: true},

	{fault: "throttle", breaks: no},
	{fault: "crash-loop", breaks: no}, // checks are done before it dies
	{fault: "database-down", result: report.Errored, breaks: hidden, hint: "Postgres"},
	{fault: "redis-down", breaks: no},
	{fault: "late-answers", breaks: no},
	{fault: "guard-off", result: report.Failed, breaks: orgless, hint: "org guard", got: "status 200"},
	{fault: "admin-auth-open", result: report.Failed, breaks: admin, hint: "without a valid token was accepted", got: "status 200"},
	{fault: "workspace-auth-open", result: report.Failed, breaks: bearers, hint: "without a valid token was accepted", got: "status 200"},
	{fault: "alternating-builds", breaks: no},
	{fault: "half-old-build", breaks: no},
	{fault: "buildinfo-duplicate-key", breaks: no},
	{fault: "buildinfo-trailing-data", breaks: no},
	{fault: "buildinfo-plain-text", breaks: no},
	{fault: "buildinfo-too-long", breaks: no},
	{fault: "search-ignores-query", result: report.Failed, breaks: trip, got: "canary smoke"},
	{fault: "memories-gone", result: report.Failed, breaks: trip, hint: "checks: workspace-server", got: "status 404"},
	{fault: largeLists, params: sim.Params{Count: 100_000}, result: report.Errored, breaks: "workspaces", hint: "raise max-body", got: "answered more than 65,536 bytes"},
	{fault: "workspaces-undated", breaks: no},
}

const largeLists sim.Fault = "large-lists"

const (
	trip    = "memory round-trip"
	bearers = "memories without bearer and with a wrong bearer" // of workspace-server alone
)

// elsewhere are the faults of routes that a suite does not use, and of promises
// that are documented for the routes of the other suite alone.
var elsewhere = map[string][]sim.Fault{
	"canary":           {sim.SearchFindsAll, "search-ignores-query", sim.WorkspaceFails, sim.WorkspaceWithoutID, sim.WorkspaceDeleteFails, sim.WorkspaceDeleteLost, "workspace-auth-open"},
	"workspace-server": {"memories-gone"},
}

// impatient is a built-in suite that polls for a moment only.
func impatient(t testing.TB, name string, within string) *smoke.Suite {
	t.Helper()
	text, _ := smoke.Builtin(name)
	return load(t, name, strings.ReplaceAll(string(text), "within: 5s", "within: "+within))
}

func TestEveryFaultOfATenant(t *testing.T) {
	known := sim.AllFaults()
	for _, f := range known {
		if !slices.ContainsFunc(effects, func(e effect) bool { return e.fault == f }) {
			t.Errorf("the table says nothing of %s", f)
		}
	}
	for _, name := range smoke.BuiltinNames() {
		for _, e := range effects {
			if !slices.Contains(known, e.fault) {
				continue
			}
			if name != "canary" && (e.breaks == every || e.breaks == guarded) {
				continue // what breaks whatever is asked is the same in both suites
			}
			t.Run(name+"/"+string(e.fault), func(t *testing.T) {
				t.Parallel()
				testEffect(t, name, e)
			})
		}
	}
}

func testEffect(t *testing.T, name string, e effect) {
	if slices.Contains(elsewhere[name], e.fault) {
		e.breaks, e.left = no, false
	}
	said := e.left && !strings.HasSuffix(string(e.fault), "-lost")
	if name == "workspace-server" && (e.fault == sim.DeleteFails || e.fault == sim.DeleteLost) {
		e.left = false // the memories went with their workspace
	}
	within := "100ms"
	if e.breaks == no {
		within = "1m"
	}
	suite := impatient(t, name, within)
	tn := tenant(t, sim.TenantConfig{})
	patience := quick
	switch e.fault {
	case sim.Hang:
		patience.RequestTimeout = 100 * time.Millisecond
	case sim.HugeBody, largeLists:
		patience.MaxBody = 64 << 10
	case sim.SlowDrip: // health must answer in time
		patience.RequestTimeout = time.Second
	}
	sessions := sessionsOf(t, patience, tn)
	tn.BreakWith(e.fault, e.params)
	token := secret.New(tn.Token())
	results := suite.Run(t.Context(), sessions, smoke.RunOptions{SHA: candidate})
	for _, c := range results[0].Checks {
		if said && c.Name == trip && !strings.Contains(c.Detail, "left behind on the tenant: DELETE ") {
			t.Errorf("it says nothing of what is left: %+v", c)
		}
		if !broken(e.breaks, c.Name) {
			if c.Result != report.Passed {
				t.Errorf("%s: %v: %+v", c.Name, c.Result, c)
			}
			continue
		}
		want := e.result
		if e.errors != "" && broken(e.errors, c.Name) {
			want = report.Errored
		}
		if c.Result != want || !strings.Contains(c.Hint, e.hint) || !strings.Contains(c.Got, e.got) {
			t.Errorf("%s: %+v", c.Name, c)
		}
		checkText(t, c, token)
	}
	if left := tn.Left(); (left != sim.Counts{}) != e.left {
		t.Errorf("left behind: %+v", left)
	}
}

// several reports whether the command that shows a failure again runs all checks:
// that of a later step does.
func several(c report.CheckResult) bool {
	return (c.Name == trip || c.Name == bearers) && strings.HasPrefix(c.Reproduce, `CANARY_ADMIN_TOKENS="$TOKEN" canary-verify smoke --checks `)
}

// checkText demands what every failure text needs.
func checkText(t *testing.T, c report.CheckResult, token secret.Value) {
	t.Helper()
	if c.Detail == "" || c.Answer == "" || c.Expected == "" || c.Got == "" || c.Attempts < 1 || !strings.HasPrefix(c.Reproduce, "curl ") && !several(c) {
		t.Errorf("%s: incomplete: %+v", c.Name, c)
	}
	if strings.Contains(c.Name, "bearer") == strings.Contains(c.Reproduce, "$TOKEN") && c.Name != "health" && c.Name != bearers {
		t.Errorf("%s: %s", c.Name, c.Reproduce)
	}
	for _, text := range []string{c.Detail, c.Answer, c.Expected, c.Got, c.Hint, c.Reproduce} {
		if strings.Contains(text, token.Reveal()) {
			t.Errorf("%s: the token is in %q", c.Name, text)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) {
			t.Errorf("%s: a control character is in %q", c.Name, text)
		}
		if strings.HasPrefix(strings.TrimSpace(text), "::") || strings.Contains(text, "##[") {
			t.Errorf("%s: a runner would act on %q", c.Name, text)
		}
	}
}

// A mutation breaks one promise of a tenant: by a fault, or by a change to requests
// before the tenant sees them.
type mutation struct {
	fault  sim.Fault
	route  string
	change func(*http.Request)
	breaks string
	suites []string // both when nil
}

// lets makes a tenant let requests in that it should refuse.
func lets(method, path string, in func(r *http.Request) bool, header, value string) func(*http.Request) {
	return func(r *http.Request) {
		if matched, _ := pathpkg.Match(path, r.URL.Path); matched && r.Method == method && in(r) {
			r.Header.Set(header, value)
		}
	}
}

func noBearer(r *http.Request) bool { return r.Header.Get("Authorization") == "" }
func wrongBearer(r *http.Request) bool {
	return !noBearer(r) && r.Header.Get("Authorization") != "Bearer our-token"
}
func noOrg(r *http.Request) bool    { return r.Header.Get(orgHeader) == "" }
func wrongOrg(r *http.Request) bool { return !noOrg(r) && r.Header.Get(orgHeader) != "our-org" }

var mutations = []mutation{
	{fault: sim.HealthFails, breaks: "health"},
	{fault: sim.LivenessEmpty, breaks: "liveness"},
	{fault: sim.ServerError, route: "GET /admin/liveness", breaks: "liveness"},
	{fault: sim.WorkspacesNotArray, breaks: "workspaces"},
	{fault: sim.EventsNotArray, breaks: "events"},
	{fault: sim.RouteRefused, route: "GET /events", breaks: "events"},
	{fault: sim.MemoryLost, breaks: trip},
	{fault: sim.SearchFindsOther, breaks: trip},
	{fault: sim.SearchFindsAll, breaks: trip, suites: workspaceServer},
	{fault: sim.FailOpen, route: "GET /admin/liveness", breaks: "liveness without bearer"},
	{fault: sim.FailOpen, route: "GET /events", breaks: "events without bearer"},
	{fault: sim.WrongBearer, route: "GET /admin/liveness", breaks: "liveness with a wrong bearer"},
	{fault: sim.WrongBearer, route: "GET /events", breaks: "events with a wrong bearer"},
	{change: lets("GET", "/workspaces", noBearer, "Authorization", "Bearer our-token"), breaks: "workspaces without bearer"},
	{change: lets("GET", "/workspaces", wrongBearer, "Authorization", "Bearer our-token"), breaks: "workspaces with a wrong bearer"},
	{change: lets("GET", "/workspaces/*/memories", noBearer, "Authorization", "Bearer our-token"), breaks: bearers, suites: workspaceServer},
	{change: lets("GET", "/workspaces/*/memories", wrongBearer, "Authorization", "Bearer our-token"), breaks: bearers, suites: workspaceServer},
	{change: lets("GET", "/workspaces", noOrg, orgHeader, "our-org"), breaks: "workspaces without an org id"},
	{change: lets("GET", "/workspaces", wrongOrg, orgHeader, "our-org"), breaks: "workspaces with a wrong org id"},
}

var workspaceServer = []string{"workspace-server"}

// TestEachCheckGuardsItsOwnPromise demands that each mutation turns its check red,
// and no other, and that each check has one.
func TestEachCheckGuardsItsOwnPromise(t *testing.T) {
	for _, name := range smoke.BuiltinNames() {
		proven := map[string]bool{}
		for i, m := range mutations {
			if m.suites != nil && !slices.Contains(m.suites, name) {
				continue
			}
			proven[m.breaks] = true
			t.Run(fmt.Sprint(name, " ", i, " ", m.breaks), func(t *testing.T) {
				t.Parallel()
				tn := tenant(t, sim.TenantConfig{Token: "our-token", OrgID: "our-org", Intercept: func(_ http.ResponseWriter, r *http.Request) bool {
					if m.change != nil {
						m.change(r)
					}
					return false
				}})
				if m.fault != "" {
					tn.BreakWith(m.fault, sim.Params{Route: m.route})
				}
				for _, c := range impatient(t, name, "100ms").Run(t.Context(), sessionsOf(t, quick, tn), smoke.RunOptions{SHA: candidate})[0].Checks {
					if red := c.Name == m.breaks; red != (c.Result == report.Failed) || !red && c.Result != report.Passed {
						t.Errorf("%s: %+v", c.Name, c)
					}
				}
			})
		}
		for _, check := range builtin(t, name).CheckNames() {
			if !proven[check] {
				t.Errorf("%s: no mutation turns %q red", name, check)
			}
		}
	}
}

package smoke_test

import (
	"flag"
	"os"
	"sync"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

const candidate = "4c1d56e0f1a2b3c4d5e6f708192a3b4c5d6e7f80"

// builtin loads a built-in suite.
func builtin(t testing.TB, name string) *smoke.Suite {
	t.Helper()
	text, ok := smoke.Builtin(name)
	if !ok {
		t.Fatalf("no built-in suite %q", name)
	}
	return load(t, name, string(text))
}

// loaded are the suites that were loaded already: under the race detector, loading
// the same ones again and again would be what these tests do most.
var loaded sync.Map

func load(t testing.TB, name, text string) *smoke.Suite {
	t.Helper()
	if s, ok := loaded.Load(name + text); ok {
		return s.(*smoke.Suite)
	}
	s, err := smoke.Load(name, []byte(text))
	if err != nil {
		t.Fatalf("%v", err)
	}
	loaded.Store(name+text, s)
	return s
}

// tenant starts a simulated tenant.
func tenant(t testing.TB, cfg sim.TenantConfig) *sim.Tenant {
	t.Helper()
	if cfg.SHA == "" {
		cfg.SHA = candidate
	}
	tn, err := sim.StartTenant(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tn.Close() })
	return tn
}

// sessionsOf returns sessions with quick retries and bounds.
func sessionsOf(t testing.TB, cfg fleet.Config, tenants ...*sim.Tenant) []*fleet.Session {
	t.Helper()
	var list []fleet.Tenant
	for _, tn := range tenants {
		list = append(list, fleet.Tenant{Name: tn.Name(), URL: tn.URL(), Token: secret.New(tn.Token()), OrgID: tn.OrgID()})
	}
	f, err := fleet.New(list, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f.Sessions()
}

// quick is a configuration without retries, and of more patience than any
// machine needs.
var quick = fleet.Config{RequestTimeout: time.Minute, Retries: -1}

func TestHealthyTenantPasses(t *testing.T) {
	for _, name := range smoke.BuiltinNames() {
		t.Run(name, func(t *testing.T) {
			tn := tenant(t, sim.TenantConfig{})
			for _, r := range builtin(t, name).Run(t.Context(), sessionsOf(t, quick, tn), smoke.RunOptions{SHA: candidate}) {
				for _, c := range r.Checks {
					if c.Result != report.Passed || c.Flaky || c.Detail != "" {
						t.Errorf("%s: %v: %+v", c.Name, c.Result, c)
					}
				}
			}
			if left := tn.Left(); left != (sim.Counts{}) {
				t.Errorf("left behind: %+v", left)
			}
		})
	}
}

// TestMain lets more tests run side by side than there are processors: most of them
// wait for a tenant.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8")
	os.Exit(m.Run())
}

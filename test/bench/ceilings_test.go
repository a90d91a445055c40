package main

import (
	"context"
	"encoding/json"
	"flag"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

var update = flag.Bool("update", false, "rewrite ceilings.json with what is measured now")

// ceilingsFile holds, for each thing that doesn't depend on the machine, how
// much of it there may be.
const ceilingsFile = "ceilings.json"

// room is how much more than what was measured a ceiling of allocations allows:
// pools and maps make them vary a little, the race detector a little more.
// Requests have none.
const room = 1.5

// TestCeilings holds allocations and requests to the recorded ceilings. Who
// raises one on purpose runs it with -update and says why in the commit.
func TestCeilings(t *testing.T) {
	measured := map[string]int{}
	for name, f := range hotAllocations(t) {
		measured["allocations: "+name] = int(math.Ceil(testing.AllocsPerRun(10, f)))
	}
	for name, n := range requestCounts(t) {
		measured["requests: "+name] = n
	}
	if *update {
		writeCeilings(t, measured)
	}
	data, err := os.ReadFile(ceilingsFile)
	if err != nil {
		t.Fatal(err)
	}
	var ceilings map[string]int
	if err := json.Unmarshal(data, &ceilings); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(measured)) {
		ceiling, known := ceilings[name]
		switch {
		case !known:
			t.Errorf("%s: %d, and no ceiling is recorded; run with -update", name, measured[name])
		case measured[name] > ceiling:
			t.Errorf("%s: %d, more than the ceiling of %d", name, measured[name], ceiling)
		}
	}
	for name := range ceilings {
		if _, known := measured[name]; !known {
			t.Errorf("%s: a ceiling is recorded, but nothing is measured; run with -update", name)
		}
	}
}

// writeCeilings records what was measured, allocations with their room.
func writeCeilings(t *testing.T, measured map[string]int) {
	t.Helper()
	ceilings := map[string]int{}
	for name, n := range measured {
		if strings.HasPrefix(name, "allocations") {
			n = int(math.Ceil(float64(n)*room)) + 1
		}
		ceilings[name] = n
	}
	data, err := json.MarshalIndent(ceilings, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ceilingsFile, append(data, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// hotAllocations are the hot paths whose allocations are counted.
func hotAllocations(t *testing.T) map[string]func() {
	t.Helper()
	paths := map[string]func(){}
	for _, body := range bodies {
		r := redactor(1000)
		paths["redact "+body.name] = func() { _ = r.Redact(body.text) }
		paths["sanitise "+body.name] = func() { _ = untrusted.Text(body.text, 0) }
	}
	paths["sanitise 1MiB cut to 300"] = func() { _ = untrusted.Line(bodies[1].text, 300) }
	report := aReport(100)
	for _, form := range renderings {
		paths["report of 100 tenants as "+form.name] = func() {
			if err := form.render(report); err != nil {
				t.Error(err)
			}
		}
	}
	urls, tokens, orgs := lists(100)
	paths["parse lists of 100 tenants"] = func() {
		if _, err := fleet.ParseLists(urls, tokens, orgs, false); err != nil {
			t.Error(err)
		}
	}
	canary, _ := smoke.Builtin("canary")
	paths["load the suite canary"] = func() {
		if _, err := smoke.Load("canary", canary); err != nil {
			t.Error(err)
		}
	}
	f, suite := newFleet(t, 1, fleet.Config{Transport: wire(healthy)}), sixChecks(t)
	paths["six requests of a tenant, judged"] = func() {
		passed(t, suite.Run(context.Background(), f.Sessions(), smoke.RunOptions{}))
	}
	paths["one request of a tenant"] = func() {
		if _, err := f.Sessions()[0].Do(context.Background(), fleet.Request{Method: "GET", Path: "/events"}); err != nil {
			t.Error(err)
		}
	}
	return paths
}

// requestCounts are the requests of whole pieces of work.
func requestCounts(t *testing.T) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, name := range smoke.BuiltinNames() {
		counts["rollout, suite "+name+" and identity on one tenant"] = tenantRequests(t, name)
	}
	for name, spec := range map[string]registrySpec{
		"promotion of 2 images with records":       {Images: 2, Records: true},
		"promotion of 10 images with records":      {Images: 10, Records: true},
		"promotion of 2 images, artifacts refused": {Images: 2},
	} {
		counts[name] = promotionRequests(t, spec)
	}
	return counts
}

// tenantRequests counts what a tenant is asked in one run of the gate. It also
// holds that all of it goes over one connection, and that nothing is left.
func tenantRequests(t *testing.T, suiteName string) int {
	t.Helper()
	tenant, err := sim.StartTenant(sim.TenantConfig{SHA: candidate, TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tenant.Close()
	f, err := fleet.New([]fleet.Tenant{{URL: tenant.URL(), Token: secret.New(tenant.Token()), OrgID: tenant.OrgID()}}, fleet.Config{RootCAs: sim.CAPool()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	src, _ := smoke.Builtin(suiteName)
	suite, err := smoke.Load(suiteName, src)
	if err != nil {
		t.Fatal(err)
	}
	options := fleet.WaitOptions{SHA: candidate}
	if _, err := f.Wait(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	passed(t, suite.Run(t.Context(), f.Sessions(), smoke.RunOptions{SHA: candidate}))
	if r := f.Probe(t.Context(), options); r[0].State != fleet.Current {
		t.Fatal(r[0].Detail)
	}
	if n := tenant.Connections(); n != 1 {
		t.Errorf("%s: %d connections, want 1", suiteName, n)
	}
	if left := tenant.Left(); left != (sim.Counts{}) {
		t.Errorf("%s: %+v is left behind", suiteName, left)
	}
	return len(tenant.Requests())
}

// promotionRequests counts what a registry is asked in one promotion.
func promotionRequests(t *testing.T, spec registrySpec) int {
	t.Helper()
	reg, err := spec.start()
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	images := spec.names()
	for i, name := range images {
		images[i] = reg.Host() + "/" + name
	}
	if err := promoteImages(t.Context(), images); err != nil {
		t.Fatal(err)
	}
	return len(reg.Requests())
}

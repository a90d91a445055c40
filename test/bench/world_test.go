package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// TestMain lets the test binary be the children of the benchmarks too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && children[os.Args[1]] != nil {
		if err := children[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// A wire is a function as a transport: tenants without a network.
type wire func(*http.Request) (*http.Response, error)

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) { return w(r) }

// healthy answers the routes of suite.yml and /buildinfo as a tenant does.
func healthy(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	status, body := http.StatusOK, "[]"
	switch {
	case r.URL.Path == "/buildinfo":
		body = `{"git_sha":"` + candidate + `"}`
	case r.Header.Get("Authorization") == "":
		status, body = http.StatusUnauthorized, `{"error":"admin auth required"}`
	case r.URL.Path == "/admin/liveness":
		body = `{"subsystems":{"scheduler":{"last_tick_at":"2026-04-01T12:00:00Z","seconds_ago":3}}}`
	case r.URL.Path == "/memories/commit":
		status, body = http.StatusCreated, `{"id":"mem-1"}`
	case r.URL.Path == "/memories/search":
		body = `[{"id":"mem-1","content":"probe"}]`
	}
	return reply(r, status, body), nil
}

// reply is an answer in JSON.
func reply(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		Body: io.NopCloser(bytes.NewReader([]byte(body))), ContentLength: int64(len(body)), Request: r,
	}
}

// manyTenants are tenants that exist on a wire only.
func manyTenants(n int) []fleet.Tenant {
	tenants := make([]fleet.Tenant, n)
	for i := range tenants {
		tenants[i] = fleet.Tenant{
			Name: fmt.Sprintf("canary-%05d", i+1), URL: fmt.Sprintf("https://canary-%05d.example.com", i+1),
			Token: secret.New(fmt.Sprintf("token-of-tenant-%05d", i+1)), OrgID: "org",
		}
	}
	return tenants
}

// newFleet is a fleet on a wire.
func newFleet(tb testing.TB, n int, cfg fleet.Config) *fleet.Fleet {
	tb.Helper()
	f, err := fleet.New(manyTenants(n), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(f.Close)
	return f
}

// sixChecks is suite.yml.
func sixChecks(tb testing.TB) *smoke.Suite {
	tb.Helper()
	suite, err := smoke.Load("suite.yml", sixRequests)
	if err != nil {
		tb.Fatal(err)
	}
	return suite
}

// passed fails the test unless every check of every tenant passed.
func passed(tb testing.TB, results []report.Tenant) {
	tb.Helper()
	for _, t := range results {
		for _, c := range t.Checks {
			if c.Result != report.Passed {
				tb.Fatalf("%s: %s: %s: %s", t.Name, c.Name, c.Result, c.Detail)
			}
		}
	}
}

// aReport is the report of a run on n tenants of which one is red.
func aReport(n int) *report.Report {
	at := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	r := &report.Report{
		Schema: report.Schema, Mode: report.ModeVerify, SHA: candidate, Verdict: report.Red, Exit: 1,
		Reason: "canary-00001: liveness: expected status == 200, got 502", Started: at, Finished: at.Add(time.Minute), Ran: true,
		Images: []report.Image{{Image: "registry.example.com/team/app", Source: "staging-4c1d56e", Digest: report.Digest("sha256:" + strings.Repeat("ab", 32)), Target: "latest"}},
		Suite:  &report.Suite{Name: "canary", Hash: "sha256:" + strings.Repeat("cd", 32), Checks: 15, Rounds: 1},
	}
	for i := range n {
		t := report.Tenant{
			Name: fmt.Sprintf("canary-%05d", i+1), URL: fmt.Sprintf("https://canary-%05d.example.com", i+1),
			Rollout: &report.Rollout{State: report.Current, Version: candidate, Waited: report.Millis(41 * time.Second), Polls: 7},
			After:   &report.Rollout{State: report.Current, Version: candidate, Polls: 1},
		}
		for c := range 15 {
			check := report.CheckResult{Name: fmt.Sprintf("check %d", c+1), Result: report.Passed, Attempts: 1, Started: at, Duration: report.Millis(52 * time.Millisecond)}
			if i == 0 && c == 0 {
				check.Result, check.Expected, check.Got = report.Failed, "status == 200", strings.Repeat("<b>502</b> | ", 25)
				check.Detail, check.Reproduce = "GET /admin/liveness answered 502", "curl -H 'Authorization: Bearer '$TOKEN https://canary-00001.example.com/admin/liveness"
			}
			t.Checks = append(t.Checks, check)
		}
		r.Tenants = append(r.Tenants, t)
	}
	return r
}

package smoke_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// six is the suite of the benchmarks: six checks, as the script had that this
// program replaces.
func six(b testing.TB) *smoke.Suite {
	b.Helper()
	text, err := os.ReadFile("testdata/valid-six.yml")
	if err != nil {
		b.Fatal(err)
	}
	return load(b, "six", string(text))
}

// startFleet starts simulated tenants and returns them as the fleet of a run.
func startFleet(b testing.TB, n int, cfg sim.FleetConfig) (*sim.Fleet, []fleet.Tenant) {
	b.Helper()
	f, err := sim.StartFleet(n, cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(f.Close)
	var tenants []fleet.Tenant
	for _, m := range f.Members() {
		tenants = append(tenants, fleet.Tenant{Name: m.Name, URL: m.URL, Token: secret.New(m.Token), OrgID: m.OrgID})
	}
	return f, tenants
}

// BenchmarkSuite is a suite of 6 checks on 100 tenants at 50 ms an answer, and
// beside it the floor: a bare client that sends the same requests in the same
// order to all tenants at once and checks nothing.
func BenchmarkSuite(b *testing.B) {
	for _, tls := range []bool{false, true} {
		scheme := map[bool]string{false: "http", true: "https"}[tls]
		_, tenants := startFleet(b, 100, sim.FleetConfig{SHA: candidate, Latency: 50 * time.Millisecond, TLS: tls})
		suite := six(b)
		b.Run(scheme+"/gate", func(b *testing.B) {
			for b.Loop() {
				f, err := fleet.New(tenants, fleet.Config{RootCAs: sim.CAPool()})
				if err != nil {
					b.Fatal(err)
				}
				mustPass(b, suite.Run(b.Context(), f.Sessions(), smoke.RunOptions{SHA: candidate}))
				f.Close()
			}
		})
		b.Run(scheme+"/floor", func(b *testing.B) {
			for b.Loop() {
				floor(b, tenants)
			}
		})
	}
}

func mustPass(b testing.TB, results []report.Tenant) {
	b.Helper()
	for _, r := range results {
		for _, c := range r.Checks {
			if c.Result != report.Passed || c.Detail != "" {
				b.Fatalf("%s: %+v", r.Name, c)
			}
		}
	}
}

// floor sends what the suite sends, all checks of all tenants at once.
func floor(b *testing.B, tenants []fleet.Tenant) {
	transport := sim.Transport()
	transport.MaxIdleConnsPerHost = 8 * len(tenants)
	transport.ForceAttemptHTTP2 = true
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var all sync.WaitGroup
	for _, t := range tenants {
		send := func(method, path, body string, auth bool) []byte {
			req, err := http.NewRequestWithContext(b.Context(), method, t.URL+path, strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return nil
			}
			if auth {
				req.Header.Set("Authorization", "Bearer "+t.Token.Reveal())
			}
			req.Header.Set("X-Molecule-Org-Id", t.OrgID)
			resp, err := client.Do(req)
			if err != nil {
				b.Error(err)
				return nil
			}
			defer func() { _ = resp.Body.Close() }()
			answer, _ := io.ReadAll(resp.Body)
			return answer
		}
		for _, path := range []string{"/admin/liveness", "/workspaces", "/events"} {
			all.Go(func() { send("GET", path, "", true) })
		}
		for _, path := range []string{"/admin/liveness", "/events"} {
			all.Go(func() { send("GET", path, "", false) })
		}
		all.Go(func() {
			var made struct{ ID string }
			_ = json.Unmarshal(send("POST", "/memories/commit", `{"scope":"LOCAL","namespace":"canary-smoke","content":"canary smoke qwertyuiopasdfgh"}`, true), &made)
			send("GET", "/memories/search?query=qwertyuiopasdfgh", "", true)
			send("DELETE", "/memories/"+made.ID, "", true)
		})
	}
	all.Wait()
}

// BenchmarkFleet10000 is a run over 10,000 tenants with 6 checks each. Its
// memory is that of the whole process, simulated tenants included.
func BenchmarkFleet10000(b *testing.B) {
	sims, tenants := startFleet(b, 10_000, sim.FleetConfig{SHA: candidate})
	suite := six(b)
	before := residentPeak(b)
	for b.Loop() {
		f, err := fleet.New(tenants, fleet.Config{})
		if err != nil {
			b.Fatal(err)
		}
		mustPass(b, suite.Run(context.Background(), f.Sessions(), smoke.RunOptions{SHA: candidate}))
		f.Close()
	}
	b.ReportMetric(before, "MiB-before")
	b.ReportMetric(residentPeak(b), "MiB-peak")
	b.ReportMetric(float64(len(tenants)*8)/b.Elapsed().Seconds()*float64(b.N), "requests/s")
	if left := sims.Left(); left != (sim.Counts{}) {
		b.Errorf("left behind: %+v", left)
	}
}

// residentPeak returns the largest resident memory of this process so far.
func residentPeak(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	kib, err := strconv.Atoi(strings.Fields(string(rest))[0])
	if err != nil {
		b.Fatal(fmt.Errorf("VmHWM: %w", err))
	}
	return float64(kib) / 1024
}

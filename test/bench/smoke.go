package main

import (
	"context"
	"crypto/x509"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// sixRequests is the suite that sends what the incumbent script sends.
//
//go:embed suite.yml
var sixRequests []byte

// measureSmoke is the first part: the checks against the script, then the floor.
func measureSmoke(ctx context.Context, b *bench) (*result, error) {
	r := &result{}
	r.say("Six requests per tenant, each answered after %s. The script (`test/bench/incumbent/smoke.sh`) runs one curl process per request, one tenant after the other; canary-verify is the released binary, from process start to exit, once with the same six requests (`test/bench/suite.yml`) and once with the built-in suite `canary`, which sends more than twice as many.", answerTime)
	if err := b.againstScript(ctx, r); err != nil {
		return nil, err
	}
	r.say("The floor is a bare Go client that sends the same requests in the same order to all tenants at once, over as many connections, and checks nothing. Both run in one process, in turn, with `concurrency` raised to the number of tenants. \"Rounds\" is the median ratio of neighbouring rounds, with the range.")
	return r, b.againstFloor(ctx, r)
}

// againstScript fills the table of the incumbent.
func (b *bench) againstScript(ctx context.Context, r *result) error {
	suite := filepath.Join(b.dir, "suite.yml")
	if err := os.WriteFile(suite, sixRequests, 0o600); err != nil {
		return err
	}
	sizes := []struct{ tenants, rounds int }{{1, 9}, {10, 5}, {100, 1}}
	if b.short {
		sizes = sizes[:2]
		sizes[1].tenants = 3
	}
	rows := [][]string{{"tenants", "script", "canary-verify", "times faster", "suite `canary`", "times faster"}}
	for _, size := range sizes {
		d, whole, err := b.scriptDuel(ctx, suite, size.tenants, b.rounds(size.rounds))
		if err != nil {
			return err
		}
		rows = append(rows, []string{fmt.Sprint(size.tenants), d.theirs.String(), d.ours.String(), fmt.Sprintf("%.0f", d.ratio()), whole.ours.String(), fmt.Sprintf("%.0f", whole.ratio())})
		if size.tenants == 100 {
			r.hold("suite of 6 requests, 100 tenants, against the script", "at least 100 times faster", fmt.Sprintf("%.0f times", d.ratio()), d.ratio() >= 100)
		}
	}
	r.table(rows)
	return nil
}

// scriptDuel measures the script against the gate with the same requests, and
// against it with the suite canary.
func (b *bench) scriptDuel(ctx context.Context, suite string, tenants, rounds int) (same, canary duel, err error) {
	f, err := b.startFleet(ctx, fleetSpec{Tenants: tenants, TLS: true, Latency: answerTime})
	if err != nil {
		return same, canary, err
	}
	defer f.close()
	b.log("script against canary-verify, %d tenants", tenants)
	gate := func() (time.Duration, error) { return b.smokeRun(ctx, f, suite) }
	if same, err = fight(rounds, gate, func() (time.Duration, error) { return b.script(ctx, f) }); err != nil {
		return same, canary, err
	}
	// One script of a minute has as many runs of the gate for a neighbour as the
	// other sizes.
	for len(same.ours) < b.rounds(5) {
		if err := same.ours.measure(gate); err != nil {
			return same, canary, err
		}
	}
	canary.theirs = same.theirs
	for range b.rounds(5) {
		if err := canary.ours.measure(func() (time.Duration, error) { return b.smokeRun(ctx, f, "canary") }); err != nil {
			return same, canary, err
		}
	}
	return same, canary, nil
}

// script runs the incumbent script.
func (b *bench) script(ctx context.Context, f *simFleet) (time.Duration, error) {
	var urls, tokens, orgs []string
	for _, m := range f.members {
		urls, tokens, orgs = append(urls, m.URL), append(tokens, m.Token), append(orgs, m.OrgID)
	}
	cmd := exec.CommandContext(ctx, "bash", filepath.Join(b.root, "test", "bench", "incumbent", "smoke.sh"))
	cmd.Env = f.environ(
		"CANARY_TENANT_URLS="+strings.Join(urls, " "),
		"CANARY_ADMIN_TOKENS="+strings.Join(tokens, " "),
		"CANARY_ORG_IDS="+strings.Join(orgs, " "),
	)
	return timed(cmd)
}

// smokeRun runs the binary in mode smoke, without a commit: as the script, it
// only checks.
func (b *bench) smokeRun(ctx context.Context, f *simFleet, checks string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, b.gate, "smoke", "--tenants-file", f.file, "--checks", checks)
	cmd.Env = f.environ()
	return timed(cmd)
}

// againstFloor fills the table of the floor.
func (b *bench) againstFloor(ctx context.Context, r *result) error {
	rows := [][]string{{"tenants", "", "floor", "canary-verify", "by medians", "rounds", "processor: floor", "canary-verify", "connections: floor", "canary-verify"}}
	sizes, rounds := []int{100, 1000}, 11
	if b.short {
		sizes = []int{10}
	}
	for _, tenants := range sizes {
		for _, tls := range []bool{false, true} {
			row, quotient, err := b.floorRow(ctx, fleetSpec{Tenants: tenants, TLS: tls, Latency: answerTime}, b.rounds(rounds))
			if err != nil {
				return err
			}
			b.log("%s", strings.Join(row, "; "))
			rows = append(rows, row)
			if !b.short {
				r.hold(fmt.Sprintf("the same, %d tenants, %s, against the floor", tenants, row[1]), "at most 1.10", fmt.Sprintf("%.2f", quotient), quotient <= 1.10)
			}
		}
	}
	r.table(rows)
	return nil
}

// floorRow measures one fleet against the floor and returns the quotient of
// the medians.
func (b *bench) floorRow(ctx context.Context, spec fleetSpec, rounds int) ([]string, float64, error) {
	f, err := b.startFleet(ctx, spec)
	if err != nil {
		return nil, 0, err
	}
	defer f.close()
	b.log("floor against canary-verify, %d tenants, %s", spec.Tenants, f.kind())
	roots, err := f.roots()
	if err != nil {
		return nil, 0, err
	}
	suite, err := smoke.Load("suite.yml", sixRequests)
	if err != nil {
		return nil, 0, err
	}
	var ours, theirs usage
	gate := f.observed(&ours, func() (time.Duration, error) { return runSuite(ctx, suite, f.tenants(), roots) })
	bare := f.observed(&theirs, func() (time.Duration, error) { return floor(f.members, roots) })
	d, err := fight(rounds, gate, bare)
	if err != nil {
		return nil, 0, err
	}
	low, middle, high := d.paired()
	quotient := 1 / d.ratio()
	return []string{
		thousands(spec.Tenants), f.kind(), d.theirs.String(), d.ours.String(), fmt.Sprintf("%.2f", quotient),
		fmt.Sprintf("%.2f (%.2f–%.2f)", middle, low, high), show(theirs.cpu.median()), show(ours.cpu.median()), thousands(theirs.opened), thousands(ours.opened),
	}, quotient, nil
}

// A usage is what a contender took beside time.
type usage struct {
	opened int // connections, in the last round
	cpu    samples
}

// observed is a contender whose use of processor and connections is noted.
func (f *simFleet) observed(u *usage, run func() (time.Duration, error)) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		runtime.GC() // one contender's garbage is not the other's
		before, err := f.state()
		if err != nil {
			return 0, err
		}
		cpu := processorTime()
		took, err := run()
		if err != nil {
			return took, err
		}
		u.cpu = append(u.cpu, processorTime()-cpu)
		after, err := f.state()
		u.opened = after.Opened - before.Opened
		return took, err
	}
}

// roots are the authorities that sign the fleet's certificates; nil without TLS.
func (f *simFleet) roots() (*x509.CertPool, error) {
	if f.ca == "" {
		return nil, nil
	}
	data, err := os.ReadFile(f.ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(data)
	return pool, nil
}

// runSuite runs a suite on tenants as the gate does, all at once.
func runSuite(ctx context.Context, suite *smoke.Suite, tenants []fleet.Tenant, roots *x509.CertPool) (time.Duration, error) {
	began := time.Now()
	f, err := fleet.New(tenants, fleet.Config{Concurrency: len(tenants), RequestTimeout: time.Minute, RootCAs: roots})
	if err != nil {
		return 0, err
	}
	defer f.Close()
	results := suite.Run(ctx, f.Sessions(), smoke.RunOptions{})
	took := time.Since(began)
	for _, t := range results {
		for _, c := range t.Checks {
			if c.Result != report.Passed {
				return took, fmt.Errorf("%s: %s: %s", t.Name, c.Name, c.Detail)
			}
		}
	}
	return took, nil
}

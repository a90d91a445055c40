package promote_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutants are the protocol without one of its parts: a change of one place in the
// code. Each must make schedules fail, or they show nothing.
var mutants = []struct{ name, file, old, new string }{
	{"no lease", "clock.go", "return elapsed(l.began) > ", "return l.good < 0 && elapsed(l.began) > "},
	{"one head", "promote.go", "	err := c.p.putAll(ctx, heads, looked)\n", `
	for n, i := range c.images {
		event, stop := report.EventReleased, *c.look.View[n].Stop.Stop
		if stop.Held != nil {
			event = report.EventHeld
		}
		r := c.p.draft(n, c.look, event, heads[n].record.Seq, heads[n].record.Decision)
		r.Stop = &stop
		if w, err := c.p.prepare(ctx, r, ledger.StopHead, i.source); err == nil {
			_ = c.p.put(ctx, w, looked)
		}
	}
	err := c.p.putAll(ctx, heads, looked)
`},
	{"no repair", "settle.go", "off := astray(look.View)", "off := astray(nil)"},
	{"what other heads saw is not looked for", "../ledger/store.go", "for range 4 {", "for range 0 {"},
	{"no witness", "../ledger/store.go", "return s.Witness.Read(ctx)", "return nil, nil"},
	{"stop heads are not written again", "insist.go", "if w != nil && i.look.Shown[n].Stop != w.artifact.Digest {", "if w != nil && n < 0 {"},
	{"stop heads of the same moment are not merged", "insist.go", "if len(siblings) > 0 {", "if len(siblings) > 1000 {"},
	{"no floor", "../ledger/rules.go", "case newest.Seq <= v.floor() && v.floor() > 0:", "case newest.Seq < 0:"},
	{"a hold on one image counts for that image alone", "../ledger/state.go", "if held := v[i].stop().Held; held != nil {", "if held := v[i].stop().Held; held != nil && len(v) == 1 {"},
	{"a rollback revokes only what each image shows", "rollback.go", "also = append(also, ", "_ = append(also, "},
}

// TestMutants runs the schedules over each mutant.
func TestMutants(t *testing.T) {
	if os.Getenv("CANARY_FULL") != "1" || raced() {
		t.Skip("every mutant is compiled: CANARY_FULL=1 runs them, without the race detector")
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			path, err := filepath.Abs(m.file)
			if err != nil {
				t.Fatal(err)
			}
			code, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(code), m.old); n != 1 {
				t.Fatalf("%s has %q %d times, expected it once", m.file, m.old, n)
			}
			dir := t.TempDir()
			mutant, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(mutant, []byte(strings.Replace(string(code), m.old, m.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: mutant}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(overlay, replace, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-run", "^TestSchedules$", ".")
			cmd.Env = append(os.Environ(), "CANARY_FULL=", "CANARY_SCHEDULE=", "CANARY_FIRST_FAULT=1")
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("no schedule found it")
			}
			if !strings.Contains(string(out), "(seeds [") {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

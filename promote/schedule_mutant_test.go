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
var mutants = []struct{ name, file, old, new string }{}

// TestMutants runs the schedules over each mutant.
func TestMutants(t *testing.T) {
	if os.Getenv("CANARY_FULL") != "1" {
		t.Skip("every mutant is compiled: CANARY_FULL=1 runs them")
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
			cmd.Env = append(os.Environ(), "CANARY_FULL=", "CANARY_SCHEDULE=", "CANARY_SCHEDULES=")
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

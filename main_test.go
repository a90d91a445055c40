package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "git.moleculesai.app/molecule-ai/canary-verify"

// borders says what each package may import of the module. A package that is
// not listed may import nothing of it.
var borders = map[string][]string{
	"":                         {"internal/cli"},
	"secret":                   {},
	"internal/untrusted":       {},
	"fleet":                    {"secret", "internal/untrusted"},
	"smoke":                    {"fleet", "secret", "internal/untrusted"},
	"promote":                  {"secret", "internal/untrusted"},
	"gate":                     {"fleet", "smoke", "promote", "secret", "internal/untrusted"},
	"summary":                  {"gate", "internal/untrusted"},
	"internal/forge":           {"promote", "secret", "internal/untrusted"},
	"internal/forge/forgetest": {},
	"internal/cli":             {"fleet", "smoke", "promote", "gate", "summary", "secret", "internal/forge", "internal/untrusted"},
	"internal/sim":             {"secret"},
	"demo":                     {"internal/sim", "internal/cli", "gate", "summary", "secret", "internal/untrusted"},
}

// outside says which packages alone may import a library, or read the
// environment.
var outside = map[string][]string{
	"github.com/sethvargo/go-githubactions": {"internal/cli"},
	"github.com/spf13/pflag":                {"internal/cli", "demo"},
	"github.com/hashicorp/go-retryablehttp": {"fleet", "internal/forge"},
	"github.com/expr-lang/expr":             {"smoke"},
}

// TestBorders holds the borders between packages.
func TestBorders(t *testing.T) {
	seen := 0
	for _, p := range packages(t) {
		seen++
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if strings.HasPrefix(name, "test/") {
			continue // the end-to-end programs see everything
		}
		allowed, known := borders[name]
		if !known {
			t.Errorf("package %q stands nowhere in the borders: say what it may import", name)
		}
		for _, imported := range p.Imports {
			if inner, ours := strings.CutPrefix(imported, module+"/"); ours && !slices.Contains(allowed, inner) {
				t.Errorf("%s imports %s", name, inner)
			}
			for library, users := range outside {
				if strings.HasPrefix(imported+"/", library+"/") && !slices.Contains(users, name) {
					t.Errorf("%s imports %s, which only %v may", name, imported, users)
				}
			}
		}
	}
	if seen < len(borders)-1 {
		t.Errorf("saw %d packages, want at least %d: the test looked at nothing", seen, len(borders)-1)
	}
}

type listed struct {
	ImportPath string
	Imports    []string
}

// packages asks the go command for the module's packages and their imports.
func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

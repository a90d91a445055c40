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

// arrows says what each package may import of the module: down only. A package
// that is not listed may import nothing of it.
//
//	main → internal/cli → gate → promote, smoke, fleet
//	    → ledger, internal/registry, internal/expr, internal/web, … → report → secret
//	summary → report
var arrows = map[string][]string{
	"":                               {"internal/cli"},
	"secret":                         {},
	"report":                         {},
	"summary":                        {"report", "internal/markdown", "internal/untrusted"},
	"fleet":                          {"report", "secret", "internal/molecule", "internal/parallel", "internal/untrusted", "internal/web"},
	"smoke":                          {"fleet", "report", "secret", "internal/expr", "internal/molecule", "internal/parallel", "internal/untrusted", "internal/web"},
	"ledger":                         {"report", "secret", "internal/parallel", "internal/untrusted"},
	"promote":                        {"ledger", "report", "secret", "internal/parallel", "internal/registry", "internal/untrusted", "internal/web"},
	"gate":                           {"fleet", "smoke", "promote", "report", "secret", "internal/markdown", "internal/parallel", "internal/untrusted", "internal/web"},
	"internal/untrusted":             {},
	"internal/markdown":              {"internal/untrusted"},
	"internal/markdown/markdowntest": {},
	"internal/parallel":              {},
	"internal/web":                   {},
	"internal/molecule":              {},
	"internal/expr":                  {"report"},
	"internal/registry":              {"report", "secret", "internal/parallel", "internal/untrusted", "internal/web"},
	"internal/forge":                 {"report", "secret", "internal/untrusted", "internal/web"},
	"internal/forge/forgetest":       {},
	"internal/cli":                   {"fleet", "smoke", "promote", "gate", "ledger", "summary", "report", "secret", "internal/forge", "internal/molecule", "internal/parallel", "internal/untrusted", "internal/web"},
	"internal/sim":                   {},
	"demo":                           {"internal/sim", "internal/cli", "report"},
}

// outside says which packages alone may import a library.
var outside = map[string][]string{
	"github.com/sethvargo/go-githubactions":  {"internal/cli"},
	"github.com/spf13/pflag":                 {"internal/cli", "demo"},
	"github.com/hashicorp/go-retryablehttp":  {"internal/web", "fleet", "internal/forge", "internal/registry"},
	"github.com/expr-lang/expr":              {"internal/expr"},
	"github.com/google/go-containerregistry": {"internal/registry", "promote", "internal/cli", "internal/sim", "demo"},
}

// TestArrows holds the arrows between packages.
func TestArrows(t *testing.T) {
	seen := 0
	for _, p := range packages(t) {
		seen++
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if strings.HasPrefix(name, "test/") {
			continue // the end-to-end programs see everything
		}
		allowed, known := arrows[name]
		if !known {
			t.Errorf("package %q has no arrows: say what it may import", name)
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
	if seen < len(arrows)-1 {
		t.Errorf("saw %d packages, want at least %d: the test looked at nothing", seen, len(arrows)-1)
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

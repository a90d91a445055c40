package cli

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

var update = flag.Bool("update", false, "rewrite action.yml and the tables of README.md from the table of inputs")

const (
	actionFile = "../../action.yml"
	readmeFile = "../../README.md"
)

// TestActionFileIsTheTable holds action.yml equal to the table of inputs.
func TestActionFileIsTheTable(t *testing.T) {
	hold(t, actionFile, func(string) string { return renderActionFile() })
}

// TestReadmeHasTheTables holds the tables of the README equal to it.
func TestReadmeHasTheTables(t *testing.T) {
	hold(t, readmeFile, func(readme string) string {
		readme = between(t, readme, "inputs", renderInputs())
		return between(t, readme, "outputs", renderOutputs())
	})
}

// TestActionFileIsReadAsMeant reads action.yml as a runner does.
func TestActionFileIsReadAsMeant(t *testing.T) {
	var action struct {
		Inputs map[string]struct {
			Description string
			Default     string
			Required    bool
		}
		Outputs map[string]struct{ Description string }
		Runs    struct{ Using, Image string }
	}
	data, err := os.ReadFile(actionFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &action); err != nil {
		t.Fatal(err)
	}
	if action.Runs.Using != "docker" || action.Runs.Image == "" {
		t.Errorf("runs = %+v, want a docker action", action.Runs)
	}
	for _, in := range inputs {
		got, ok := action.Inputs[in.name]
		if !ok || got.Description != in.help || got.Default != in.def || got.Required {
			t.Errorf("input %s = %+v, want help %q and default %q, not required", in.name, got, in.help, in.def)
		}
	}
	for _, out := range outputs {
		if action.Outputs[out.name].Description != out.help {
			t.Errorf("output %s = %+v, want %q", out.name, action.Outputs[out.name], out.help)
		}
	}
	if len(action.Inputs) != len(inputs) || len(action.Outputs) != len(outputs) {
		t.Errorf("%d inputs and %d outputs, want %d and %d", len(action.Inputs), len(action.Outputs), len(inputs), len(outputs))
	}
}

// TestEveryInputHasAFlag holds the command line equal to the table.
func TestEveryInputHasAFlag(t *testing.T) {
	reachable := map[string]bool{"mode": true}
	for _, m := range report.Modes() {
		flags := modeFlags(m)
		for _, in := range inputs {
			name := in.name
			if in.secret {
				if flags.Lookup(name) != nil {
					t.Errorf("%s: the secret %s stands as a flag", m, name)
				}
				name = secretFlag(name)
			}
			if flags.Lookup(name) != nil {
				reachable[in.name] = true
			}
		}
	}
	for _, in := range inputs {
		if !reachable[in.name] {
			t.Errorf("no command takes the input %s", in.name)
		}
	}
}

// hold compares a file with what render makes of it, or rewrites it.
func hold(t *testing.T, file string, render func(string) string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	want := render(string(data))
	if string(data) == want {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the table of inputs; run: go test ./internal/cli -update", file)
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// between replaces what stands between two markers.
func between(t *testing.T, s, marker, content string) string {
	t.Helper()
	begin, end := "<!-- "+marker+" -->\n", "<!-- /"+marker+" -->"
	head, rest, ok := strings.Cut(s, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s: no markers for %s", readmeFile, marker)
	}
	return head + begin + content + end + tail
}

func renderActionFile() string {
	var b strings.Builder
	b.WriteString(`# Held equal to the table of inputs by a test; rewrite with
#   go test ./internal/cli -update
name: canary-verify
description: Move the tag that production follows to exactly the images that the canary tenants were proven to run and that passed every check.
author: Molecule AI
branding:
  icon: shield
  color: yellow
inputs:
`)
	for _, in := range inputs {
		fmt.Fprintf(&b, "  %s:\n    description: %s\n    required: false\n", in.name, quote(in.help))
		if in.def != "" {
			fmt.Fprintf(&b, "    default: %s\n", quote(in.def))
		}
	}
	b.WriteString("outputs:\n")
	for _, out := range outputs {
		fmt.Fprintf(&b, "  %s:\n    description: %s\n", out.name, quote(out.help))
	}
	b.WriteString("runs:\n  using: docker\n  image: Dockerfile\n")
	return b.String()
}

// quote writes a YAML string in single quotes.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func renderInputs() string {
	var b strings.Builder
	b.WriteString("| input | default | meaning |\n|---|---|---|\n")
	for _, in := range inputs {
		def := in.note
		if in.def != "" {
			def = "`" + in.def + "`"
		}
		help := in.help
		if in.secret {
			help += " **Secret.**"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", in.name, def, strings.ReplaceAll(help, "|", `\|`))
	}
	return b.String()
}

func renderOutputs() string {
	var b strings.Builder
	b.WriteString("| output | meaning |\n|---|---|\n")
	for _, out := range outputs {
		fmt.Fprintf(&b, "| `%s` | %s |\n", out.name, out.help)
	}
	return b.String()
}

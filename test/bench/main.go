package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A part is one group of measurements, a section of docs/performance.md.
type part struct {
	name  string
	title string
	run   func(context.Context, *bench) (*result, error)
}

// parts are all of them, in the order of the document.
var parts = []part{
	{"smoke", "Smoke checks against the script and the floor", measureSmoke},
	{"scale", "Fleet scale", measureScale},
	{"registry", "Registry work", measureRegistry},
	{"notice", "Noticing the rollout", measureNotice},
	{"size", "Start and size", measureSize},
	{"hot", "Hot paths", measureHot},
}

// A bench is one run of this program.
type bench struct {
	short bool
	root  string // of the module
	dir   string // temporary
	gate  string // the built canary-verify
	cache string // of tools that are built
}

func main() {
	if len(os.Args) > 1 && children[os.Args[1]] != nil {
		if err := children[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// children are what this program runs of itself in processes of their own.
var children = map[string]func(args []string) error{
	"serve-fleet":    serveFleet,
	"serve-registry": serveRegistry,
	"promote-work":   promoteWork,
	"counted-gate":   countedGate,
}

// run measures what the arguments ask for and writes the document.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	short := flags.Bool("short", false, "each part once, briefly; nothing is written")
	only := flags.String("parts", "", "comma-separated: "+strings.Join(partNames(), ", ")+" (all)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, *short)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	var faults []error
	for _, p := range chosen {
		fmt.Printf("=== %s\n", p.title)
		r, err := p.run(ctx, b)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", p.name, err))
			continue
		}
		fmt.Println(r.text())
		if !b.short {
			faults = append(faults, b.keep(p, r))
		}
	}
	return errors.Join(faults...)
}

func partNames() []string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	return names
}

// choose returns the parts that were asked for.
func choose(only string) ([]part, error) {
	if only == "" {
		return parts, nil
	}
	var chosen []part
	for name := range strings.SplitSeq(only, ",") {
		i := slices.Index(partNames(), name)
		if i < 0 {
			return nil, fmt.Errorf("-parts: there is no %q; there are %s", name, strings.Join(partNames(), ", "))
		}
		chosen = append(chosen, parts[i])
	}
	return chosen, nil
}

// newBench builds the gate as it is released and finds the module.
func newBench(ctx context.Context, short bool) (*bench, error) {
	root, err := output(ctx, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "canary-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{short: short, root: root, dir: dir, gate: filepath.Join(dir, "canary-verify")}
	if b.cache, err = os.UserCacheDir(); err != nil {
		b.cache = dir
	}
	if err := b.build(ctx, b.gate, "."); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return b, nil
}

// build builds a program as the Dockerfile does.
func (b *bench) build(ctx context.Context, out, pkg string, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir, cmd.Env = b.root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, text)
	}
	return nil
}

// rounds returns how often something is repeated: once in a short run.
func (b *bench) rounds(n int) int {
	if b.short {
		return 1
	}
	return n
}

// log says what is going on.
func (b *bench) log(format string, args ...any) { fmt.Printf("  "+format+"\n", args...) }

// output runs a program and returns what it prints, trimmed.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A Command is one execution of the program, shaped like exec.Cmd so that tests
// can run it without a process.
type Command struct {
	Args    []string // without the program's name
	Environ []string // "NAME=value"
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Version string
	// OnStdout and OnStderr are what the two streams are shown on: one may be a
	// terminal and the other a file or a pager.
	OnStdout Screen
	OnStderr Screen
	// Lease is as in promote.Config; 0: its default. Tests shorten it.
	Lease time.Duration

	ctx       context.Context // of the run: what its reading of files ends with
	frontend  frontend
	readerOf  string // the flag that took standard input
	stateFile string // where admit remembers what it saw; empty: nowhere
	mirrorOf  string // the image that admit's is a mirror of; empty: itself
}

// A frontend shows a run.
type frontend interface {
	gate.Observer
	// conclude shows the report and keeps its files; the result is the exit code.
	conclude(s *session, r *report.Report) report.Exit
}

// Run does what the arguments ask for and returns the exit code. Without
// arguments under a runner it is the action.
func (c *Command) Run(ctx context.Context) int {
	c.ctx = ctx
	code := report.ExitInconclusive
	err := parallel.Guard(func() error { code = c.run(ctx); return nil })
	if err != nil { // a bug of ours is not a verdict on anybody's release
		fmt.Fprintf(c.Stderr, "canary-verify: %v\n", err)
		code = report.ExitInconclusive
	}
	return int(code)
}

// run finds the command and runs it.
func (c *Command) run(ctx context.Context) report.Exit {
	if len(c.Args) == 0 {
		if c.underRunner() {
			return c.runAction(ctx)
		}
		c.printUsage(c.Stderr)
		return report.ExitUsage
	}
	name, rest := c.Args[0], c.Args[1:]
	switch name {
	case "-h", "--help", "help":
		return c.help(rest)
	case "-v", "--version", "version":
		fmt.Fprintln(c.Stdout, c.tool())
		return report.ExitOK
	case "suite":
		return c.runSuite(rest)
	}
	for _, m := range report.Modes() {
		if name == string(m) {
			return c.runMode(ctx, m, rest)
		}
	}
	return c.misuse("%q is not a command; canary-verify --help lists them", shown(name))
}

// misuse says what is wrong with the command line.
func (c *Command) misuse(format string, args ...any) report.Exit {
	fmt.Fprintf(c.Stderr, "canary-verify: "+format+"\n", args...)
	return report.ExitUsage
}

// underRunner reports whether a runner of actions started the program.
func (c *Command) underRunner() bool {
	if c.env("GITHUB_ACTIONS") == "true" || c.env("GITEA_ACTIONS") == "true" {
		return true
	}
	for _, kv := range c.Environ {
		if strings.HasPrefix(kv, "INPUT_") {
			return true
		}
	}
	return false
}

// env returns an environment variable; the last one of a name counts.
func (c *Command) env(name string) string {
	for i := len(c.Environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(c.Environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// tool is how the program names itself: to people, tenants, registries and in
// records.
func (c *Command) tool() string { return "canary-verify/" + c.Version }

// execute runs a prepared session, with its commit status, to its exit code.
func (c *Command) execute(ctx context.Context, s *session) report.Exit {
	for _, w := range append(s.warnings, s.suiteWarnings()...) {
		c.frontend.Warn(w)
	}
	cleanup, done := web.Cleanup(ctx)
	defer done()
	status := startStatus(ctx, s)
	r := s.gate.Run(ctx)
	r.Warnings = append(append([]string{}, s.warnings...), r.Warnings...)
	code := c.frontend.conclude(s, r)
	for _, warning := range status.finish(cleanup, r) {
		c.frontend.Warn(warning)
	}
	return code
}

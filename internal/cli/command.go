package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
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
	// Terminal says that Stderr is a terminal of Width columns, for a live line.
	Terminal bool
	Width    int

	face     face
	readerOf string // the flag that took standard input
}

// A face is how a front end shows a run.
type face interface {
	gate.Observer
	// conclude shows the report and keeps its files; the result is the exit code.
	conclude(s *session, report *gate.Report) int
}

// Run does what the arguments ask for and returns the exit code. Without
// arguments under a runner it is the action.
func (c *Command) Run(ctx context.Context) (code int) {
	defer func() {
		if p := recover(); p != nil { // a bug of ours is no verdict on anybody's release
			fmt.Fprintf(c.Stderr, "canary-verify: internal error: %s\n", untrusted.Line(fmt.Sprint(p), 1000))
			code = gate.ExitInconclusive
		}
	}()
	if len(c.Args) == 0 {
		if c.underRunner() {
			return c.runAction(ctx)
		}
		c.printUsage(c.Stderr)
		return gate.ExitUsage
	}
	name, rest := c.Args[0], c.Args[1:]
	switch name {
	case "-h", "--help", "help":
		return c.help(rest)
	case "-v", "--version", "version":
		fmt.Fprintln(c.Stdout, c.tool())
		return gate.ExitOK
	case "suite":
		return c.runSuite(rest)
	}
	for _, m := range gate.Modes() {
		if name == string(m) {
			return c.runMode(ctx, m, rest)
		}
	}
	return c.misuse("%q is no command; canary-verify --help lists them", shown(name))
}

// misuse tells what is wrong with the command line.
func (c *Command) misuse(format string, args ...any) int {
	fmt.Fprintf(c.Stderr, "canary-verify: "+format+"\n", args...)
	return gate.ExitUsage
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

// observer is where the run tells how it goes.
func (c *Command) observer() gate.Observer { return c.face }

// execute runs a prepared session, with its commit status, to its exit code.
func (c *Command) execute(ctx context.Context, s *session) int {
	for _, w := range s.warnings {
		c.face.Warn(w)
	}
	late, done := gate.Grace(ctx)
	defer done()
	status := startStatus(ctx, s)
	report := s.gate.Run(ctx)
	report.Warnings = append(append([]string{}, s.warnings...), report.Warnings...)
	code := c.face.conclude(s, report)
	if warning := status.finish(late, report); warning != "" {
		c.face.Warn(warning)
	}
	return code
}

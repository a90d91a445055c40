package cli

import (
	"fmt"
	"slices"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

const suiteUsage = `canary-verify suite: what is asserted of a tenant.

Usage:
  canary-verify suite check FILE   check a suite file; no tenant is needed
  canary-verify suite show NAME    print a built-in suite to start from
  canary-verify suite schema       print the JSON Schema for editors
`

// runSuite is the command for suite files.
func (c *Command) runSuite(args []string) report.Exit {
	switch {
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-h"):
		fmt.Fprint(c.Stdout, suiteUsage)
		return report.ExitOK
	case len(args) == 1 && args[0] == "schema":
		_, _ = c.Stdout.Write(smoke.Schema())
		return report.ExitOK
	case len(args) == 2 && args[0] == "show":
		return c.showSuite(args[1])
	case len(args) == 2 && args[0] == "check":
		return c.checkSuite(args[1])
	}
	fmt.Fprint(c.Stderr, suiteUsage)
	return report.ExitUsage
}

func (c *Command) showSuite(name string) report.Exit {
	src, ok := smoke.Builtin(name)
	if !ok {
		return c.misuse("%q is not a built-in suite; there are %s", shown(name), strings.Join(smoke.BuiltinNames(), " and "))
	}
	_, _ = c.Stdout.Write(src)
	return report.ExitOK
}

func (c *Command) checkSuite(file string) report.Exit {
	src, err := c.readFile(file, maxSuiteFile)
	if err != nil {
		return c.misuse("the suite file %q can't be read: %v", shown(file), err)
	}
	suite, err := smoke.Load(file, src)
	for _, problem := range problemsOf(err) {
		fmt.Fprintln(c.Stderr, untrusted.Text(problem, 0))
	}
	if err != nil {
		return report.ExitUsage
	}
	for _, w := range suite.Warnings {
		fmt.Fprintln(c.Stderr, "warning: "+untrusted.Text(w, 0))
	}
	fmt.Fprintf(c.Stdout, "%s: %d checks, %s\n", shown(file), len(suite.CheckNames()), suite.Hash)
	return report.ExitOK
}

// maxSuiteWarnings is how many warnings of the suite a run shows as it begins; the
// summary and `suite check` list more.
const maxSuiteWarnings = 5

// suiteWarnings says which checks of the suite prove nothing.
func (s *session) suiteWarnings() []string {
	if s.plan.Suite == nil {
		return nil
	}
	all := s.plan.Suite.Warnings
	shown := slices.Clone(all[:min(len(all), maxSuiteWarnings)])
	if left := len(all) - len(shown); left > 0 {
		shown = append(shown, fmt.Sprintf("the suite has %s; canary-verify suite check lists them", report.Count(left, "more warning")))
	}
	return shown
}

package cli

import (
	"fmt"
	"io"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// help answers `help` and `--help`, of the program or of one command.
func (c *Command) help(args []string) report.Exit {
	if len(args) == 1 {
		for _, m := range report.Modes() {
			if args[0] == string(m) {
				c.printModeHelp(m)
				return report.ExitOK
			}
		}
		if args[0] == "suite" {
			fmt.Fprint(c.Stdout, suiteUsage)
			return report.ExitOK
		}
		return c.misuse("%q is not a command; canary-verify --help lists them", shown(args[0]))
	}
	c.printUsage(c.Stdout)
	return report.ExitOK
}

// printUsage is the help of the program.
func (c *Command) printUsage(w io.Writer) {
	fmt.Fprint(w, `canary-verify is a release gate: it moves the tag that production follows to
exactly the images that the canary tenants were proven to run and that passed
every check. Otherwise the tag stays where it is.

Usage: canary-verify COMMAND [flags]

Commands:
`)
	for _, m := range report.Modes() {
		fmt.Fprintf(w, "  %-9s %s\n", m, summaries[m])
	}
	fmt.Fprint(w, `  suite     check a suite file, or show a built-in one to start from
  help      help on a command: canary-verify help verify
  version   print the version

Every flag can also be set in the environment: --tenant-urls is
CANARY_TENANT_URLS. Secrets come only from the environment or from a file.
Without a command under a runner of GitHub or Gitea actions it is the action.

Exit codes: 0 green, skipped, or done; 1 red or refused; 2 invalid input;
3 inconclusive; 4 the registry refused or failed a move; 5 moved, then something
that follows failed.
`)
}

// printModeHelp is the help of one mode.
func (c *Command) printModeHelp(m report.Mode) {
	argument := ""
	if m == report.ModeAdmit {
		argument = " IMAGE:TAG or IMAGE@DIGEST"
	}
	fmt.Fprintf(c.Stdout, "canary-verify %s: %s.\n\nUsage: canary-verify %s [flags]%s\n\nFlags:\n", m, summaries[m], m, argument)
	for _, in := range inputs {
		if in.name == "mode" || !in.serves(m) || in.secret && hasInput(secretFlag(in.name)) {
			continue
		}
		name := in.name
		if in.secret {
			name = secretFlag(in.name)
		}
		fmt.Fprintf(c.Stdout, "  --%s %s\n", name, placeholderOf(in))
		fmt.Fprintf(c.Stdout, "        %s\n", in.help)
		if in.secret {
			fmt.Fprintf(c.Stdout, "        A secret: the flag names a file, a pipe such as <(command), or - for standard input; or set %s.\n", flagVariable(in.name))
		}
		if in.def != "" {
			fmt.Fprintf(c.Stdout, "        Default: %s\n", in.def)
		}
	}
	if m == report.ModeAdmit {
		fmt.Fprint(c.Stdout, "  --state PATH\n        File that remembers the newest records that were seen, so that a registry\n        that was put back to an older state is noticed.\n"+
			"  --as IMAGE\n        Repository that the image is a mirror of: the one that its records name.\n")
	}
	fmt.Fprint(c.Stdout, "  --output FORM\n        Form of the result on standard output: text, json or markdown.\n        Default: text\n")
	fmt.Fprintf(c.Stdout, "\nEvery flag can also be set in the environment, for example %s.\n", flagVariable("dry-run"))
}

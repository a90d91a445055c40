package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// summaries is one line on each mode, for help.
var summaries = map[report.Mode]string{
	report.ModeVerify:   "wait until every canary tenant runs the commit, check all of them, and promote on green",
	report.ModeSmoke:    "run the checks alone, without a registry; without a commit nothing is waited for",
	report.ModePromote:  "promote a commit that was green before",
	report.ModeRollback: "point the target tag at an earlier good commit",
	report.ModeHold:     "forbid promotions of the target tag, with a reason",
	report.ModeRelease:  "allow promotions of the target tag again",
	report.ModeAdmit:    "may this image run? print the digest to pull, or why not",
	report.ModeStatus:   "show which commit each tenant runs",
	report.ModeHistory:  "show who promoted what, when and from where",
}

// arguments says how many arguments a command takes.
var arguments = [...]string{"no argument", "one image"}

// runMode is one sub-command from its arguments to its exit code.
func (c *Command) runMode(ctx context.Context, mode report.Mode, args []string) report.Exit {
	flags := modeFlags(mode)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			c.printModeHelp(mode)
			return report.ExitOK
		}
		return c.misuse("%s: %v%s", mode, err, secretAdvice(err))
	}
	takes := 0
	if mode == report.ModeAdmit {
		takes = 1
	}
	if flags.NArg() > takes {
		return c.misuse("%s takes %s, %q was given; canary-verify %s --help lists its flags", mode, arguments[takes], shown(flags.Arg(takes)), mode)
	}
	v := c.flagValues(mode, flags)
	if flags.NArg() == 1 {
		v.texts["images"] = flags.Arg(0)
	}
	output, _ := flags.GetString("output")
	switch output {
	case "text", "json", "markdown":
	default:
		v.reject("output", "%q is not one of text, json, markdown", shown(output))
	}
	t := &terminal{command: c, output: output, quiet: mode == report.ModeAdmit}
	c.frontend = t
	c.stateFile, _ = flags.GetString("state")
	c.mirrorOf, _ = flags.GetString("as")
	s, err := c.prepare(mode, v)
	t.session, t.redact = s, s.redact
	if err != nil {
		c.printInvalid(t, err)
		if _, err := c.writeReport(s, s.invalid(err)); err != nil {
			fmt.Fprintf(c.Stderr, "  - %s\n", t.safe(err.Error()))
		}
		return report.ExitUsage
	}
	return c.execute(ctx, s)
}

// printInvalid lists everything that is wrong with the inputs.
func (c *Command) printInvalid(t *terminal, err error) {
	fmt.Fprintln(c.Stderr, "canary-verify: the inputs are invalid; no request was made:")
	for _, problem := range problemsOf(err) {
		fmt.Fprintf(c.Stderr, "  - %s\n", strings.ReplaceAll(t.safe(problem), "\n", "\n    "))
	}
}

// modeFlags are the flags of a sub-command, from the table of inputs.
func modeFlags(mode report.Mode) *pflag.FlagSet {
	flags := pflag.NewFlagSet("canary-verify "+string(mode), pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	flags.Usage = func() {}
	for _, in := range inputs {
		if in.name == "mode" || !in.serves(mode) {
			continue
		}
		name := in.name
		if in.secret {
			if name = secretFlag(in.name); hasInput(name) {
				continue // the input tenants-file is the file of tenants
			}
		}
		flags.String(name, "", in.help)
		if in.kind == boolean {
			flags.Lookup(name).NoOptDefVal = "true"
		}
	}
	flags.String("output", "text", "")
	if mode == report.ModeAdmit {
		flags.String("state", "", "")
		flags.String("as", "", "")
	}
	return flags
}

func hasInput(name string) bool {
	_, ok := lookup(name)
	return ok
}

func placeholderOf(in input) string {
	if in.secret {
		return file.placeholder()
	}
	return in.kind.placeholder()
}

// flagValues gathers the inputs: a flag goes before the environment.
func (c *Command) flagValues(mode report.Mode, flags *pflag.FlagSet) *values {
	v := newValues()
	for _, in := range inputs {
		if in.name == "mode" || !in.serves(mode) {
			continue
		}
		raw := c.env(flagVariable(in.name))
		switch {
		case in.secret && !hasInput(secretFlag(in.name)):
			if file, _ := flags.GetString(secretFlag(in.name)); file != "" {
				raw = c.secretFile(v, in.name, file)
			}
		case !in.secret:
			if given, _ := flags.GetString(in.name); given != "" {
				raw = given
			}
		}
		if in.name == "tenants-file" && (raw == "-" || isPipe(raw)) {
			if data := c.secretFile(v, in.name, raw); data != "" {
				v.set(inputs[tenantsIndex], data)
			}
			continue
		}
		v.set(in, raw)
	}
	return v
}

// tenantsIndex is where the table has the structured tenants, which may come
// from standard input or a pipe by way of tenants-file.
var tenantsIndex = func() int {
	for i, in := range inputs {
		if in.name == "tenants" {
			return i
		}
	}
	panic("the table has no tenants")
}()

// secretFile reads the value of a secret input from a file, a pipe, or "-",
// standard input, which one input can take.
func (c *Command) secretFile(v *values, name, file string) string {
	if file != "-" {
		data, err := c.read(nil, maxSecretFile, func() (io.ReadCloser, error) { return openSecret(file) })
		if err != nil {
			v.reject(name, "the file %q can't be read: %v", shown(file), err)
		}
		return string(data)
	}
	if c.readerOf != "" {
		v.reject(name, "standard input is taken by %s already", c.readerOf)
		return ""
	}
	c.readerOf = name
	data, err := c.read(nil, maxSecretFile, func() (io.ReadCloser, error) { return io.NopCloser(c.Stdin), nil })
	if err != nil {
		v.reject(name, "standard input can't be read: %v", err)
	}
	return string(data)
}

// isPipe reports whether a path names a pipe, such as <(sops -d tenants.yml).
func isPipe(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode()&fs.ModeNamedPipe != 0
}

// secretAdvice says how to give a secret to someone who tried a flag.
func secretAdvice(err error) string {
	for _, in := range inputs {
		if in.secret && strings.HasSuffix(err.Error(), "flag: --"+in.name) {
			return fmt.Sprintf("; a secret is never given on a command line: set %s, or name a file with --%s", flagVariable(in.name), secretFlag(in.name))
		}
	}
	return ""
}

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/sethvargo/go-githubactions"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/summary"
)

// maxWarnings is how many warning annotations a step may show: the platform
// drops those beyond 10, so the last place tells how many there were.
const maxWarnings = 10

// An action is the face of a run under a runner of GitHub or Gitea actions. One
// lock lets one goroutine write at a time.
type action struct {
	command  *Command
	protocol *githubactions.Action
	redact   *secret.Redactor
	session  *session

	mu       sync.Mutex
	group    bool
	warnings int
	summary  int64 // size of the summary file before this run wrote to it
}

// runAction is the program without arguments: inputs come as INPUT_*, results
// go to the runner's files and the log.
func (c *Command) runAction(ctx context.Context) int {
	a := &action{command: c, protocol: githubactions.New(
		githubactions.WithWriter(c.Stdout), githubactions.WithGetenv(c.env))}
	c.face = a
	if err := a.checkFiles(); err != nil {
		a.protocol.Errorf("%s", untrusted.Line(err.Error(), 1000))
		return gate.ExitUsage
	}
	v := a.values()
	s, err := c.prepare(actionMode(v), v)
	a.session, a.redact = s, s.redact
	a.mask(s.secrets)
	if err != nil {
		return a.refuse(s, err)
	}
	return c.execute(ctx, s)
}

// checkFiles makes sure before any request that the run can tell its result: on
// a runner that does not mount its command files into the container a gate
// would otherwise end green and tell nobody.
func (a *action) checkFiles() error {
	for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} {
		file := a.command.env(name)
		if file == "" {
			return fmt.Errorf("%s is not set: this does not run as a step of an action runner; use the command line instead (canary-verify --help)", name)
		}
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("the runner's file for %s can't be written (%w): is this a host-mode runner label that does not mount its files into containers? Use a label that runs jobs in containers", name, plain(err))
		}
		if info, err := f.Stat(); err == nil && name == "GITHUB_STEP_SUMMARY" {
			a.summary = info.Size()
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("the runner's file for %s can't be written: %w", name, plain(err))
		}
	}
	return nil
}

// values reads INPUT_* of every input, and faults those that look misspelt: a
// safeguard that is misspelt is a safeguard that is off.
func (a *action) values() *values {
	v := newValues()
	known := map[string]bool{}
	for _, in := range inputs {
		known[inputVariable(in.name)] = true
		v.set(in, a.protocol.GetInput(in.name))
	}
	for _, kv := range a.command.Environ {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "INPUT_") || known[name] {
			continue
		}
		given := strings.ToLower(strings.TrimPrefix(name, "INPUT_"))
		if near := nearest(given); near != "" {
			v.fault(near, "an input %q was given, which does not exist; did you mean %s?", shown(given), near)
		}
	}
	return v
}

// actionMode reads the input mode. An unknown one is a fault, and the other
// inputs are then held against verify, so that all faults are told at once.
func actionMode(v *values) gate.Mode {
	words := make([]string, 0, len(gate.Modes()))
	for _, m := range gate.Modes() {
		words = append(words, string(m))
	}
	return gate.Mode(v.oneOf("mode", words...))
}

// nearest returns the input that a misspelt name most likely means; empty: it
// looks like none.
func nearest(given string) string {
	fold := strings.NewReplacer("-", "", "_", "", " ", "")
	for _, in := range inputs {
		a, b := fold.Replace(given), fold.Replace(in.name)
		if a == b || a+"s" == b || a == b+"s" {
			return in.name
		}
	}
	return ""
}

// mask tells the runner what to hide, before anything else is printed.
func (a *action) mask(secrets []secret.Value) {
	for _, s := range secrets {
		for line := range strings.Lines(s.Reveal()) {
			if line = strings.TrimSpace(line); len(line) >= minSecret {
				a.protocol.AddMask(line)
			}
		}
	}
}

// refuse ends a run whose inputs are malformed: no request was made.
func (a *action) refuse(s *session, err error) int {
	return a.conclude(s, s.malformed(err))
}

// safe makes text fit for the log.
func (a *action) safe(text string) string {
	return untrusted.Text(a.redact.Redact(text), 0)
}

// Phase begins a group of the log.
func (a *action) Phase(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endGroup()
	a.protocol.Group(name)
	a.group = true
}

func (a *action) endGroup() {
	if a.group {
		a.protocol.EndGroup()
		a.group = false
	}
}

// Log writes one line.
func (a *action) Log(line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.print(line)
}

func (a *action) print(text string) {
	fmt.Fprintln(a.command.Stdout, a.safe(text))
}

// Warn makes a warning annotation, within the platform's limit.
func (a *action) Warn(line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.warnings++
	switch {
	case a.warnings < maxWarnings:
		a.protocol.Warningf("%s", a.safe(line))
	case a.warnings == maxWarnings:
		a.protocol.Warningf("there are more warnings; they stand in the log and the summary")
		fallthrough
	default:
		a.print("warning: " + line)
	}
}

// Progress is for terminals.
func (a *action) Progress(int, int, string) {}

// Draft keeps the report before things are put back.
func (a *action) Draft(report *gate.Report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _ = a.command.writeReport(a.session, report)
	_ = a.writeSummary(report)
}

// conclude shows the report everywhere. That one of the places can't be
// written never hides the others, and never ends green.
func (a *action) conclude(s *session, report *gate.Report) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endGroup()
	finishReport(report)
	reportPath, err := a.command.writeReport(s, report)
	faults := []error{err}
	faults = append(faults, a.writeSummary(report))
	a.print(summary.Text(report, false, 100))
	faults = append(faults, a.writeOutputs(report, reportPath))
	code := report.Exit
	for _, err := range faults {
		if err == nil {
			continue
		}
		a.print("error: the result could not be kept: " + err.Error())
		if code == gate.ExitOK {
			code = gate.ExitInconclusive
		}
	}
	if code != gate.ExitOK {
		a.protocol.Errorf("%s", a.safe(summary.Headline(report)))
	}
	return code
}

// writeSummary puts the summary of this run into the step's summary file, in
// place of a draft of it.
func (a *action) writeSummary(report *gate.Report) error {
	file := a.command.env("GITHUB_STEP_SUMMARY")
	if err := os.Truncate(file, a.summary); err != nil {
		return fmt.Errorf("the step summary can't be written: %w", plain(err))
	}
	return recovered("step summary", func() {
		a.protocol.AddStepSummary(a.redact.Redact(summary.Markdown(report)))
	})
}

// writeOutputs sets every output of the contract.
func (a *action) writeOutputs(report *gate.Report, reportPath string) error {
	rejected := ""
	if report.Verdict == gate.Red {
		rejected = report.SHA
	}
	digests, previous := map[string]string{}, map[string]string{}
	for _, image := range report.Images {
		digests[image.Image] = image.Digest
		previous[image.Image] = image.Previous
	}
	for name, value := range map[string]string{
		"verdict": report.Verdict.String(), "ran": strconv.FormatBool(report.Ran),
		"promoted": strconv.FormatBool(report.Promoted), "sha": report.SHA,
		"rejected-sha": rejected, "digests": object(digests), "previous-digests": object(previous),
		"report": reportPath,
	} {
		if strings.ContainsAny(value, "\r\n") {
			return fmt.Errorf("output %s has a line break, which would forge other outputs; it is not set", name)
		}
		if err := recovered("output "+name, func() { a.protocol.SetOutput(name, value) }); err != nil {
			return err
		}
	}
	return nil
}

// object renders a JSON object; images without a digest are left out.
func object(m map[string]string) string {
	for k, v := range m {
		if v == "" {
			delete(m, k)
		}
	}
	data, err := json.Marshal(m)
	if err != nil {
		return "{}" // strings always marshal
	}
	return string(data)
}

// recovered turns the panics of the protocol library, which has no errors, into
// errors.
func recovered(what string, f func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s can't be written: %v", what, p)
		}
	}()
	f()
	return nil
}

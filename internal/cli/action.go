package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/sethvargo/go-githubactions"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/summary"
)

// maxWarnings is how many warning annotations a step may show: the platform
// drops those beyond 10, so the last place says that there were more.
const maxWarnings = 10

// An action is the front end of a run under a runner of GitHub or Gitea actions. One
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
func (c *Command) runAction(ctx context.Context) report.Exit {
	a := &action{command: c, protocol: githubactions.New(
		githubactions.WithWriter(c.Stdout), githubactions.WithGetenv(c.env))}
	c.frontend = a
	if err := a.checkFiles(); err != nil {
		a.protocol.Errorf("%s", untrusted.Line(err.Error(), 1000))
		return report.ExitUsage
	}
	v := a.values()
	s, err := c.prepare(actionMode(v), v)
	a.session, a.redact = s, s.redact
	a.mask(s.plan.AllSecrets())
	if err != nil {
		return a.refuse(s, err)
	}
	return c.execute(ctx, s)
}

// checkFiles makes sure before any request that the run can report its result: on
// a runner that does not mount its command files into the container a gate
// would otherwise end green and nobody would know.
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

// values reads INPUT_* of every input, and rejects those that look misspelt: a
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
			v.reject(near, "an input %q was given, which does not exist; did you mean %s?", shown(given), near)
		}
	}
	return v
}

// actionMode reads the input mode. An unknown one is rejected, and the other
// inputs are then checked as those of verify, so that all is reported at once.
func actionMode(v *values) report.Mode {
	return report.Mode(v.oneOf("mode", strings.Split(modeWords(", "), ", ")...))
}

// nearest returns the input that a misspelt name most likely means; empty: it
// looks like none of them.
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

// refuse ends a run whose inputs are invalid: no request was made.
func (a *action) refuse(s *session, err error) report.Exit {
	return a.conclude(s, s.invalid(err))
}

// safe makes text fit for the log.
func (a *action) safe(text string) string {
	return untrusted.Text(a.redact.Redact(text), 0)
}

// Phase begins a group of the log.
func (a *action) Phase(name report.PhaseName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endGroup()
	a.protocol.Group(string(name))
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
		a.protocol.Warningf("there are more warnings; they are in the log and the summary")
		fallthrough
	default:
		a.print("warning: " + line)
	}
}

// Progress is for terminals.
func (a *action) Progress(int, int, string) {}

// Draft keeps the report before things are put back.
func (a *action) Draft(r *report.Report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _ = a.command.writeReport(a.session, r)
	_ = a.writeSummary(r)
}

// conclude shows the report everywhere. That one of the places can't be
// written never hides the others, and never ends green.
func (a *action) conclude(s *session, r *report.Report) report.Exit {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endGroup()
	reportPath, err := a.command.writeReport(s, r)
	failed := []error{err, a.writeSummary(r)}
	a.print(summary.Text(r, false, 100))
	failed = append(failed, a.writeOutputs(r, reportPath))
	code := r.Exit
	for _, err := range failed {
		if err == nil {
			continue
		}
		a.print("error: the result could not be kept: " + err.Error())
		code = notKept(r, code)
	}
	if code != report.ExitOK {
		a.protocol.Errorf("%s", a.safe(summary.Headline(r)))
	}
	return code
}

// writeSummary puts the summary of this run into the step's summary file, in
// place of a draft of it.
func (a *action) writeSummary(r *report.Report) error {
	file := a.command.env("GITHUB_STEP_SUMMARY")
	if err := os.Truncate(file, a.summary); err != nil {
		return fmt.Errorf("the step summary can't be written: %w", plain(err))
	}
	return recovered("step summary", func() {
		a.protocol.AddStepSummary(a.redact.Redact(summary.Markdown(r)))
	})
}

// writeOutputs sets every output.
func (a *action) writeOutputs(r *report.Report, reportPath string) error {
	rejected := ""
	if r.Verdict == report.Red {
		rejected = string(r.SHA)
	}
	digests, previous := map[string]report.Digest{}, map[string]report.Digest{}
	for _, image := range r.Images {
		digests[image.Image] = image.Digest
		previous[image.Image] = image.Previous
	}
	if r.Admission != nil && r.Admission.Admitted {
		digests[r.Admission.Image] = r.Admission.Digest
	}
	for name, value := range map[string]string{
		"verdict": r.Verdict.String(), "ran": strconv.FormatBool(r.Ran),
		"promoted": strconv.FormatBool(r.Promoted), "sha": string(r.SHA),
		"rejected-sha": rejected, "digests": object(digests), "previous-digests": object(previous),
		"held": strconv.FormatBool(r.Held != nil), "report": reportPath,
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
func object(m map[string]report.Digest) string {
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
func recovered(what string, f func()) error {
	err := parallel.Guard(func() error { f(); return nil })
	var caught *parallel.PanicError
	if errors.As(err, &caught) {
		return fmt.Errorf("%s can't be written: %v", what, caught.Value)
	}
	return err
}

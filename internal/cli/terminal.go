package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/summary"
)

// A Screen is what a stream is shown on. The zero Screen is a file or a pipe.
type Screen struct {
	Terminal bool
	Width    int // in columns; 0: unknown
}

// Widths of text, in columns.
const (
	usualWidth = 80 // where nothing says how wide the screen is
	leastWidth = 40 // narrower text is no easier to read
)

func (s Screen) width() int { return max(cmp.Or(s.Width, usualWidth), leastWidth) }

// colored reports whether a stream may be coloured: https://no-color.org.
func (c *Command) colored(s Screen) bool {
	return s.Terminal && c.env("NO_COLOR") == "" && c.env("TERM") != "dumb"
}

// A terminal is the front end of a run on the command line: progress on the error
// stream, the result on standard output.
type terminal struct {
	command *Command
	output  string // text, json or markdown
	quiet   bool   // for scripts: no progress, and the result is one line
	redact  *secret.Redactor
	session *session

	mu    sync.Mutex
	live  string // the live line on the screen; empty: none
	drawn time.Time
}

// redrawEvery is how often the live line changes at most: a fleet of thousands
// ends checks faster than a terminal can show.
const redrawEvery = 50 * time.Millisecond

// safe makes text fit for the screen.
func (t *terminal) safe(text string) string {
	return untrusted.Text(t.redact.Redact(text), 0)
}

// Phase begins a stretch of the run.
func (t *terminal) Phase(name report.PhaseName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.quiet {
		return
	}
	t.clear()
	fmt.Fprintf(t.command.Stderr, "== %s\n", t.safe(string(name)))
}

// Log writes one line of progress.
func (t *terminal) Log(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.quiet {
		return
	}
	t.clear()
	fmt.Fprintf(t.command.Stderr, "   %s\n", t.safe(line))
}

// Warn writes one warning.
func (t *terminal) Warn(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	fmt.Fprintf(t.command.Stderr, "warning: %s\n", t.safe(line))
}

// Progress draws the live line, on a terminal only.
func (t *terminal) Progress(done, total int, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.command.OnStderr.Terminal || t.command.env("TERM") == "dumb" || total == 0 {
		return
	}
	width := t.command.OnStderr.width()
	bar := min(30, width/3)
	full := bar * min(done, total) / total
	line := fmt.Sprintf("%s%s %d/%d %s", strings.Repeat("█", full), strings.Repeat("░", bar-full), done, total, t.safe(what))
	line = untrusted.Line(line, width-1) // a line that wraps could not be erased
	if line == t.live || done < total && time.Since(t.drawn) < redrawEvery {
		return
	}
	t.clear()
	t.live, t.drawn = line, time.Now()
	fmt.Fprint(t.command.Stderr, line)
}

// clear takes the live line away, so that a line of text can stand in its place.
func (t *terminal) clear() {
	if t.live != "" {
		fmt.Fprint(t.command.Stderr, "\r\x1b[K") // to the line's beginning, and erase it
		t.live = ""
	}
}

// Draft keeps the report before things are put back.
func (t *terminal) Draft(r *report.Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.command.writeReport(t.session, r)
}

// conclude writes the result.
func (t *terminal) conclude(s *session, r *report.Report) report.Exit {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	code := r.Exit
	if _, err := t.command.writeReport(s, r); err != nil {
		fmt.Fprintf(t.command.Stderr, "error: the report could not be kept: %s\n", t.safe(err.Error()))
		code = notKept(r, code)
	}
	if err := t.render(t.command.Stdout, r); err != nil {
		code = notKept(r, code)
	}
	return code
}

// render writes the report in the form that was asked for, redacted once more.
func (t *terminal) render(w io.Writer, r *report.Report) error {
	var b strings.Builder
	switch {
	case t.output == "json" && r.Mode == report.ModeHistory:
		if err := summary.HistoryJSON(&b, r, t.session.plan.Promote.TargetTag); err != nil {
			return err
		}
	case t.output == "json":
		if err := summary.JSON(&b, r); err != nil {
			return err
		}
	case t.output == "markdown":
		b.WriteString(summary.Markdown(r))
	case t.quiet:
		if r.Admission == nil || !r.Admission.Admitted {
			fmt.Fprintf(t.command.Stderr, "canary-verify: %s\n", t.safe(r.Reason))
			return nil
		}
		b.WriteString(string(r.Admission.Digest) + "\n")
	default:
		b.WriteString(summary.Text(r, t.command.colored(t.command.OnStdout), t.command.OnStdout.width()))
	}
	_, err := io.WriteString(w, t.redact.Redact(b.String()))
	return err
}

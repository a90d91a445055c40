package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestColourAndWidthAreOfEachStream runs the gate into a pager, into a log file
// and onto a terminal.
func TestColourAndWidthAreOfEachStream(t *testing.T) {
	screen := Screen{Terminal: true, Width: 60}
	for name, tt := range map[string]struct {
		out, err Screen
		environ  []string
		color    bool // on standard output
		live     bool // a line that is drawn again, on the error stream
		width    int  // of standard output
	}{
		"terminal":   {out: screen, err: screen, color: true, live: true, width: 60},
		"| less":     {err: screen, live: true, width: 80},
		"2> log":     {out: screen, color: true, width: 60},
		"&> log":     {width: 80},
		"NO_COLOR=1": {out: screen, err: screen, environ: []string{"NO_COLOR=1"}, live: true, width: 60},
		"TERM=dumb":  {out: screen, err: screen, environ: []string{"TERM=dumb"}, width: 60},
	} {
		t.Run(name, func(t *testing.T) {
			var out, log bytes.Buffer
			c := &Command{
				Args:    []string{"smoke", "--tenant-urls", "http://127.0.0.1:1", "--retries", "0", "--version-path", "none"},
				Environ: append(tt.environ, "CANARY_ADMIN_TOKENS=token-of-canary-a"),
				Stdout:  &out, Stderr: &log, OnStdout: tt.out, OnStderr: tt.err,
			}
			if code := c.Run(t.Context()); code != 3 {
				t.Fatalf("exit %d:\n%s%s", code, out.String(), log.String())
			}
			if got := strings.Contains(out.String(), "\x1b["); got != tt.color {
				t.Errorf("standard output is coloured: %v, want %v", got, tt.color)
			}
			if got := strings.Contains(log.String(), "\x1b["); got != tt.live {
				t.Errorf("the error stream has a live line: %v, want %v", got, tt.live)
			}
			reason := ""
			for line := range strings.Lines(out.String()) {
				if strings.HasPrefix(line, "reason: ") {
					reason = strings.TrimSpace(line)
				}
			}
			if n := utf8.RuneCountInString(reason); n > tt.width || n < tt.width-20 {
				t.Errorf("the reason is wrapped at %d columns, want %d: %s", n, tt.width, reason)
			}
		})
	}
}

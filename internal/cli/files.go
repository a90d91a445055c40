package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/summary"
)

// Bounds of the files that a run reads, in bytes. Ten thousand tenants take
// about 2 MB; a suite is a page of text.
const (
	maxTenantsFile = 64 << 20
	maxSuiteFile   = 1 << 20
	maxSecretFile  = 16 << 20
)

// workspace is the folder that relative paths start from.
func (c *Command) workspace() string {
	if dir := c.env("GITHUB_WORKSPACE"); dir != "" && c.confined() {
		return dir
	}
	return "."
}

// confined reports whether files must lie in the workspace: under a runner,
// where inputs may come from people who may not read the machine.
func (c *Command) confined() bool { return len(c.Args) == 0 }

// readTimeout is how long reading one file may take: on a network mount that
// hangs it would take for ever.
const readTimeout = 10 * time.Second

// readFile reads a regular file of at most limit bytes, under a runner inside
// the workspace. No error of it shows what is in the file.
func (c *Command) readFile(name string, limit int64) ([]byte, error) {
	return c.read(time.After(readTimeout), limit, func() (io.ReadCloser, error) {
		if !c.confined() {
			return openRegular(name, os.Stat, os.OpenFile)
		}
		root, err := os.OpenRoot(c.workspace())
		if err != nil {
			return nil, err
		}
		defer root.Close()
		return openRegular(c.relative(name), root.Stat, root.OpenFile)
	})
}

// readEvent reads the payload of the event, which the runner keeps outside the
// workspace.
func (c *Command) readEvent() ([]byte, error) {
	return c.read(time.After(readTimeout), maxEvent, func() (io.ReadCloser, error) {
		return openRegular(c.env("GITHUB_EVENT_PATH"), os.Stat, os.OpenFile)
	})
}

// openRegular opens a regular file, or says what it is instead.
func openRegular(name string, stat func(string) (fs.FileInfo, error), open func(string, int, fs.FileMode) (*os.File, error)) (io.ReadCloser, error) {
	info, err := stat(name)
	if err == nil {
		err = mustBeRegular(info)
	}
	if err != nil {
		return nil, err
	}
	// It may be another by now: opening a pipe must not wait for a writer.
	file, err := open(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = file.Stat(); err == nil {
		err = mustBeRegular(info)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// mustBeRegular refuses what is not a regular file: reading it may block, never
// end, or do something.
func mustBeRegular(info fs.FileInfo) error {
	kind := "something else"
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		kind = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a pipe"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	}
	return fmt.Errorf("it must be a regular file, but it is %s", kind)
}

// openSecret opens the file of a secret that the command line names. People give
// it as the pipe of a process substitution, <(vault read ...).
func openSecret(name string) (io.ReadCloser, error) {
	if isPipe(name) {
		return os.Open(name)
	}
	return openRegular(name, os.Stat, os.OpenFile)
}

// read opens something and reads at most limit bytes of it, until the run is
// cancelled or it is too late (nil: never). What blocks then is left to the end
// of the process.
func (c *Command) read(late <-chan time.Time, limit int64, open func() (io.ReadCloser, error)) ([]byte, error) {
	var cancelled <-chan struct{}
	if c.ctx != nil { // else a part of the command stands alone
		cancelled = c.ctx.Done()
	}
	var data []byte
	done := parallel.Background(func() error {
		file, err := open()
		if err != nil {
			return err
		}
		defer file.Close()
		if data, err = io.ReadAll(io.LimitReader(file, limit+1)); err == nil && int64(len(data)) > limit {
			err = fmt.Errorf("it is larger than %d bytes", limit)
		}
		return err
	})
	select {
	case err := <-done:
		if err != nil {
			return nil, plain(err)
		}
		return data, nil
	case <-late:
		return nil, fmt.Errorf("it was not read within %v; does its file system hang?", readTimeout)
	case <-cancelled:
		return nil, web.Cause(c.ctx)
	}
}

// relative makes a path that names the workspace itself relative to it.
func (c *Command) relative(name string) string {
	if rel, err := filepath.Rel(c.workspace(), name); err == nil && filepath.IsAbs(name) && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return name
}

// plain shortens an error of the file system to what a user can act on.
func plain(err error) error {
	var pathErr *fs.PathError
	if !errors.As(err, &pathErr) {
		return err
	}
	if strings.Contains(pathErr.Err.Error(), "escapes from parent") { // the words of os.Root, which exports no error
		return errors.New("it is not in the workspace; a link must not lead out of it either")
	}
	return pathErr.Err
}

// reportFiles renders the report in every form that report-dir gets. All text
// passes the redactor once more: whatever went wrong before, no known secret
// leaves in a file.
func reportFiles(r *report.Report, redact *secret.Redactor) (map[string][]byte, error) {
	files := map[string][]byte{"summary.md": []byte(redact.Redact(summary.Markdown(r)))}
	var failed []error
	for name, render := range map[string]func(io.Writer, *report.Report) error{
		"report.json": summary.JSON, "junit.xml": summary.JUnit, "report.html": summary.HTML,
	} {
		var b bytes.Buffer
		if err := render(&b, r); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
			continue
		}
		files[name] = []byte(redact.Redact(b.String()))
	}
	return files, errors.Join(failed...)
}

// reportDir makes sure before the run that its report can be kept: a gate that
// has promoted and then can't say so would be the worst of both.
func (c *Command) reportDir(v *values) string {
	dir := v.text("report-dir")
	if dir == "" {
		return ""
	}
	root, err := c.reportRoot(c.relative(dir))
	if err != nil {
		v.reject("report-dir", "%q can't be used: %v; name a folder in the workspace", shown(dir), plain(err))
		return ""
	}
	_ = root.Close()
	return dir
}

// writeReport keeps the report's files in report-dir. It returns the path of
// report.json relative to the workspace; empty when report-dir is not set.
func (c *Command) writeReport(s *session, r *report.Report) (string, error) {
	if s.reportDir == "" {
		return "", nil
	}
	files, failed := reportFiles(r, s.redact)
	dir := c.relative(s.reportDir)
	root, err := c.reportRoot(dir)
	if err != nil {
		return "", fmt.Errorf("report-dir: %q can't be used: %w", shown(s.reportDir), plain(err))
	}
	defer root.Close()
	for name, data := range files {
		if err := root.WriteFile(name, data, 0o644); err != nil {
			failed = errors.Join(failed, fmt.Errorf("report-dir: %s can't be written: %w", name, plain(err)))
		}
	}
	return path.Join(filepath.ToSlash(dir), "report.json"), failed
}

// reportRoot opens the folder for the report, and makes it where it is missing.
// Under a runner nothing outside the workspace can be reached, links included.
func (c *Command) reportRoot(dir string) (*os.Root, error) {
	if !c.confined() {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the report is for others to read
			return nil, err
		}
		return os.OpenRoot(dir)
	}
	workspace, err := os.OpenRoot(c.workspace())
	if err != nil {
		return nil, err
	}
	defer workspace.Close()
	if err := workspace.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return workspace.OpenRoot(dir)
}

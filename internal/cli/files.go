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

// readFile reads a file of at most limit bytes.
func (c *Command) readFile(name string, limit int64) ([]byte, error) {
	file, err := c.open(name)
	if err != nil {
		return nil, plain(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, plain(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("the file is larger than %d bytes", limit)
	}
	return data, nil
}

func (c *Command) open(name string) (*os.File, error) {
	if !c.confined() {
		return os.Open(name)
	}
	root, err := os.OpenRoot(c.workspace())
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Open(c.relative(name))
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
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
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

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What test/e2e/run hands over.
var (
	root     = must(filepath.Abs("../.."))
	actPath  = os.Getenv("CANARY_E2E_ACT")
	crane    = os.Getenv("CANARY_E2E_CRANE")
	jobImage = os.Getenv("CANARY_E2E_JOB_IMAGE")
	network  = os.Getenv("CANARY_E2E_NETWORK") // that builds have
)

func TestMain(m *testing.M) {
	for _, name := range []string{"CANARY_E2E_ACT", "CANARY_E2E_CRANE", "CANARY_E2E_JOB_IMAGE", "CANARY_E2E_NETWORK"} {
		if os.Getenv(name) == "" {
			fmt.Fprintf(os.Stderr, "%s is not set: start these tests with test/e2e/run\n", name)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A result is what became of a command.
type result struct {
	exit   int
	stdout string
	stderr string
}

// all is everything the command wrote.
func (r result) all() string { return r.stdout + r.stderr }

// try runs a command to its end with extra environment and returns what
// became of it. Only a command that cannot be started fails the test.
func try(t *testing.T, env []string, name string, args ...string) result {
	t.Helper()
	// Clean-ups run commands too, when the test's own context is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	return result{exit: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// run runs a command that has to succeed and returns its trimmed output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return runEnv(t, nil, name, args...)
}

// runEnv is run with extra environment.
func runEnv(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	r := try(t, env, name, args...)
	if r.exit != 0 {
		t.Fatalf("%s %s: exit %d\n%s", name, strings.Join(args, " "), r.exit, r.all())
	}
	return strings.TrimSpace(r.stdout)
}

// copyProject copies the project's files, as git knows them, into a folder
// that act can take for a checkout.
func copyProject(t *testing.T, dir string) {
	t.Helper()
	files := run(t, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	for name := range strings.SplitSeq(strings.Trim(files, "\x00"), "\x00") {
		copyFile(t, filepath.Join(root, name), filepath.Join(dir, name))
	}
}

// copyFile copies a file with its mode; one that was deleted is left out.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	check(t, err)
	data, err := os.ReadFile(from)
	check(t, err)
	check(t, os.MkdirAll(filepath.Dir(to), 0o755))
	check(t, os.WriteFile(to, data, info.Mode().Perm()))
}

// commitAll makes dir a repository of one commit and returns its sha.
func commitAll(t *testing.T, dir, origin string) string {
	t.Helper()
	git(t, dir, "init", "-q", "-b", "main")
	git(t, dir, "remote", "add", "origin", origin)
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "All")
	return git(t, dir, "rev-parse", "HEAD")
}

// git runs git in dir, free of this machine's own configuration.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	return runEnv(t, []string{
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=dev", "GIT_AUTHOR_EMAIL=dev@example.com",
		"GIT_COMMITTER_NAME=dev", "GIT_COMMITTER_EMAIL=dev@example.com",
	}, "git", append([]string{"-C", dir}, args...)...)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contains fails the test for each of the texts that is missing, and shows
// where they were missed unless that is long.
func contains(t *testing.T, where, text string, want ...string) {
	t.Helper()
	missing := false
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s lacks %q", where, w)
			missing = true
		}
	}
	if missing && len(text) < 4096 {
		t.Logf("%s:\n%s", where, text)
	}
}

// lacks fails the test for each of the texts that is there, without printing
// where: it may be a secret.
func lacks(t *testing.T, where, text string, unwanted ...string) {
	t.Helper()
	for _, u := range unwanted {
		if i := strings.Index(text, u); i >= 0 {
			line := text[strings.LastIndexByte(text[:i], '\n')+1 : i]
			t.Errorf("%s contains a secret or another forbidden text, after %q", where, line)
		}
	}
}

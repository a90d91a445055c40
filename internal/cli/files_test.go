//go:build unix

package cli

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const goodSuite = "checks:\n  - {name: health, get: /health, auth: none, expect: 'status == 200 && json.status == \"ok\"'}\n"

// workspaceOf makes a workspace with everything that is not a file of it.
func workspaceOf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	inside, outside := filepath.Join(dir, "work"), filepath.Join(dir, "outside")
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	for _, err := range []error{
		os.MkdirAll(filepath.Join(inside, "folder"), 0o700), os.Mkdir(outside, 0o700),
		syscall.Mkfifo(filepath.Join(inside, "pipe"), 0o600),
		os.Rename(filepath.Join(dir, "socket"), filepath.Join(inside, "socket")),
		os.WriteFile(filepath.Join(outside, "config"), []byte("hunter2hunter2: x"), 0o600),
		os.WriteFile(filepath.Join(inside, "good"), []byte(goodSuite), 0o600),
		os.WriteFile(filepath.Join(inside, "large"), nil, 0o600), os.Truncate(filepath.Join(inside, "large"), 100<<20),
		os.Symlink("../outside/config", filepath.Join(inside, "link-out")),
		os.Symlink("good", filepath.Join(inside, "link")), os.Symlink("pipe", filepath.Join(inside, "link-to-pipe")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return inside
}

// play runs the program and returns its exit code and all that it wrote. It must
// not block.
func play(t *testing.T, c *Command) (int, string) {
	t.Helper()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	began := time.Now()
	code := c.Run(t.Context())
	if took := time.Since(began); took > readTimeout/2 {
		t.Errorf("it took %v", took)
	}
	return code, strings.Join(strings.Fields(out.String()), " ") // as if nothing were wrapped
}

// runner is the environment of a step of an action.
func runner(t *testing.T, workspace string, more ...string) []string {
	t.Helper()
	files := t.TempDir()
	return append([]string{
		"GITHUB_ACTIONS=true", "GITHUB_WORKSPACE=" + workspace,
		"GITHUB_OUTPUT=" + filepath.Join(files, "output"), "GITHUB_STEP_SUMMARY=" + filepath.Join(files, "summary"),
		"INPUT_MODE=smoke",
	}, more...)
}

func TestOnlyFilesOfTheWorkspaceAreRead(t *testing.T) {
	workspace := workspaceOf(t)
	const list = "INPUT_TENANT-URLS=https://tenant.example"
	for file, want := range map[string]string{
		"folder": "it is a directory", "pipe": "it is a pipe", "link-to-pipe": "it is a pipe", "socket": "it is a socket",
		"large": "it is larger than", "nowhere": "no such file",
		"link-out": "it is not in the workspace", "../outside/config": "it is not in the workspace",
		"/dev/zero": "it is not in the workspace", filepath.Join(workspace, "pipe"): "it is a pipe",
	} {
		for input, more := range map[string]string{"checks": list, "tenants-file": "X=y"} {
			code, out := play(t, &Command{Environ: runner(t, workspace, "INPUT_"+strings.ToUpper(input)+"="+file, more)})
			if code != 2 || !strings.Contains(out, input+": ") || !strings.Contains(out, want) || !strings.Contains(out, filepath.Base(file)) || strings.Contains(out, "hunter2") {
				t.Errorf("%s is %s: exit %d, want %q in:\n%s", input, file, code, want, out)
			}
		}
	}
	for _, file := range []string{"good", "link", filepath.Join(workspace, "good"), "folder/../good"} {
		if code, out := play(t, &Command{Environ: runner(t, workspace, "INPUT_CHECKS="+file, list)}); code != 2 || strings.Contains(out, "checks: ") {
			t.Errorf("%s: exit %d:\n%s", file, code, out)
		}
	}
}

func TestTheEventIsARegularFile(t *testing.T) {
	workspace := workspaceOf(t)
	payload := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(payload, []byte(`{"workflow_run": {"head_sha": "hunter2hunter2"`), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		filepath.Join(workspace, "pipe"): "it is a pipe", "/dev/zero": "it is a device", "": "no such file", payload: "the payload is not JSON",
	} {
		code, out := play(t, &Command{Environ: runner(t, workspace, "GITHUB_EVENT_NAME=workflow_run", "GITHUB_EVENT_PATH="+file)})
		if code != 2 || !strings.Contains(out, "sha: ") || !strings.Contains(out, want) || strings.Contains(out, "hunter2") {
			t.Errorf("%s: exit %d, want %q in:\n%s", file, code, want, out)
		}
	}
}

// TestTheCommandLineReadsFilesAnywhere holds that paths are free there, and what
// they name is not.
func TestTheCommandLineReadsFilesAnywhere(t *testing.T) {
	workspace := workspaceOf(t)
	if code, out := play(t, &Command{Args: []string{"suite", "check", filepath.Join(workspace, "link")}}); code != 0 {
		t.Errorf("exit %d:\n%s", code, out)
	}
	for file, want := range map[string]string{"pipe": "it is a pipe", "folder": "it is a directory", "socket": "it is a socket", "large": "it is larger than"} {
		file = filepath.Join(workspace, file)
		for _, args := range [][]string{{"suite", "check", file}, {"smoke", "--checks", file}} {
			if code, out := play(t, &Command{Args: args}); code != 2 || !strings.Contains(out, want) {
				t.Errorf("%q: exit %d, want %q in:\n%s", args, code, want, out)
			}
		}
	}
	for _, args := range [][]string{{"--admin-tokens-file", "/dev/zero"}, {"--tenants-file", "/dev/zero"}} {
		if code, out := play(t, &Command{Args: append([]string{"smoke"}, args...)}); code != 2 || !strings.Contains(out, "it is a device") {
			t.Errorf("%q: exit %d:\n%s", args, code, out)
		}
	}
}

// TestASecretComesFromAPipe reads what a process substitution gives.
func TestASecretComesFromAPipe(t *testing.T) {
	pipe := filepath.Join(workspaceOf(t), "pipe")
	for flag, text := range map[string]string{
		"--admin-tokens-file": "short",
		"--tenants-file":      "[{name: a, url: 'https://tenant.example', token: short}]",
	} {
		go func() { _ = os.WriteFile(pipe, []byte(text), 0o600) }()
		code, out := play(t, &Command{Args: []string{"smoke", "--tenant-urls=", flag, pipe}})
		if code != 2 || !strings.Contains(out, "token") || !strings.Contains(out, "8") {
			t.Errorf("%s: exit %d:\n%s", flag, code, out)
		}
	}
}

// TestACancelEndsTheReading holds that nobody has to kill a gate that waits for a
// secret that nobody writes.
func TestACancelEndsTheReading(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	silent, _ := io.Pipe()
	pipe := filepath.Join(workspaceOf(t), "pipe")
	t.Cleanup(func() { // let the reader go
		if file, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			_ = file.Close()
		}
	})
	cancel()
	for _, file := range []string{"-", pipe} {
		var out bytes.Buffer
		c := &Command{Args: []string{"smoke", "--admin-tokens-file", file}, Stdin: silent, Stdout: &out, Stderr: &out}
		if code := c.Run(ctx); code != 2 || !strings.Contains(out.String(), "cancelled") {
			t.Errorf("%s: exit %d:\n%s", file, code, out.String())
		}
	}
}

// TestAFileSystemThatHangsEnds holds that a file is not waited for for ever.
func TestAFileSystemThatHangsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		defer close(hung)
		c := &Command{ctx: t.Context()}
		_, err := c.read(time.After(readTimeout), 10, func() (io.ReadCloser, error) { <-hung; return nil, os.ErrClosed })
		if err == nil || !strings.Contains(err.Error(), "10s") {
			t.Errorf("%v", err)
		}
	})
}

// TestNoFileOfTenantsIsQuoted holds that what is wrong with a list of tenants is
// said without a word of it: it may hold a token in any place, or be another file.
func TestNoFileOfTenantsIsQuoted(t *testing.T) {
	workspace := workspaceOf(t)
	for name, text := range map[string]string{
		"git config":   "[remote \"origin\"]\n\turl = https://user:hunter2hunter2@git.example/x.git\n",
		"environment":  "TOKEN=hunter2hunter2\nA: b\n",
		"key":          "- {hunter2hunter2: a}\n",
		"anchor":       "- *hunter2hunter2\n",
		"tag":          "- {name: a, url: 'https://a.example', token: !!int hunter2hunter2}\n- !hunter2hunter2 {}\n",
		"escape":       "- {token: \"hunter2hunter2\\hunter2hunter2\"}\n",
		"sequence":     "- {token: [hunter2hunter2], url: 'https://hunter2hunter2@a.example/?hunter2hunter2'}\n",
		"duplicate":    "- {token: hunter2hunter2, token: hunter2hunter2}\n",
		"JSON":         `[{"token": "hunter2hunter2", "url": "https://a.example", "hunter2hunter2": 1}, hunter2hunter2]`,
		"unterminated": `[{"token": "hunter2hunter2`,
		"second":       "- {name: a}\n---\nhunter2hunter2: [\n",
		"name":         "- {name: \"hunter2hunter2\\n\", url: \"ftp://hunter2hunter2\", token: hunter2hunter2}\n",
	} {
		file := filepath.Join(workspace, "tenants")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*Command{
			{Args: []string{"smoke", "--tenants-file", file}},
			{Args: []string{"smoke", "--tenants-file", "-"}, Stdin: strings.NewReader(text)},
			{Environ: runner(t, workspace, "INPUT_TENANTS-FILE=tenants")},
			{Environ: runner(t, workspace, "INPUT_TENANTS="+text)},
		} {
			code, out := play(t, c)
			for line := range strings.SplitSeq(out, "::add-mask::") { // what the runner is told to hide comes first
				out = line
			}
			if code != 2 || strings.Contains(strings.TrimPrefix(out, "hunter2hunter2"), "hunter2") {
				t.Errorf("%s, %q: exit %d:\n%s", name, c.Args, code, out)
			}
		}
	}
}

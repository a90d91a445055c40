//go:build e2e

package e2e

import (
	"debug/elf"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// TestRelease makes releases as the workflow does, of a clone, to a bare
// repository and a registry on loopback, and then uses one as users do.
func TestRelease(t *testing.T) {
	r := startOpenRegistry(t)
	image := r.repository("molecule-ai/canary-verify")
	origin, clone := filepath.Join(t.TempDir(), "origin.git"), filepath.Join(t.TempDir(), "clone")
	git(t, ".", "init", "-q", "--bare", origin)
	copyProject(t, clone)
	commitAll(t, clone, origin)
	git(t, clone, "push", "-q", "origin", "main")
	release := func(t *testing.T, version string) result {
		t.Helper()
		start := time.Now()
		got := try(t, []string{"RELEASE_IMAGE=" + image, "DOCKER_CONFIG=" + r.login}, filepath.Join(clone, ".ci", "release"), version)
		t.Logf("release %s: exit %d after %s", version, got.exit, time.Since(start).Round(100*time.Millisecond))
		return got
	}
	tag := func(t *testing.T, version string) string {
		t.Helper()
		git(t, clone, "commit", "-q", "--allow-empty", "-m", "Prepare "+version)
		git(t, clone, "tag", version)
		git(t, clone, "push", "-q", "origin", "main", version)
		return git(t, clone, "rev-parse", "HEAD")
	}
	at := func(t *testing.T, ref string) string {
		t.Helper()
		return git(t, origin, "rev-parse", ref)
	}

	if got := release(t, "v1.2.3"); got.exit == 0 || !strings.Contains(got.stderr, "not on the commit") {
		t.Errorf("a version without a tag was released: %s", got.all())
	}
	revision := tag(t, "v1.2.3")
	if got := release(t, "v1.2.3"); got.exit != 0 {
		t.Fatalf("the release failed:\n%s", got.all())
	}
	digest := run(t, crane, "digest", image+":v1.2.3")
	v1 := at(t, "v1")

	t.Run("the image is for two platforms", func(t *testing.T) {
		checkIndex(t, image+":v1.2.3", revision)
	})
	t.Run("the release commit runs it by digest", func(t *testing.T) {
		contains(t, "action.yml of v1", git(t, origin, "show", "v1:action.yml"), "image: docker://"+image+"@"+digest)
		if got := at(t, "v1^"); got != revision {
			t.Errorf("the parent of v1 is %s, want the tagged commit %s", got, revision)
		}
		if got := git(t, origin, "diff", "--name-only", "v1^", "v1"); got != "action.yml" {
			t.Errorf("the release commit changes %s", got)
		}
		contains(t, "action.yml of main", git(t, origin, "show", "main:action.yml"), "image: Dockerfile")
	})
	t.Run("a repeated run changes nothing", func(t *testing.T) {
		if got := release(t, "v1.2.3"); got.exit != 0 {
			t.Errorf("the second run failed:\n%s", got.all())
		}
		if got := run(t, crane, "digest", image+":v1.2.3"); got != digest || at(t, "v1") != v1 {
			t.Error("the second run made another release")
		}
	})
	t.Run("a user runs it", func(t *testing.T) { useRelease(t, origin) })
	t.Run("an older line leaves v1 alone", func(t *testing.T) {
		tag(t, "v1.1.9")
		if got := release(t, "v1.1.9"); got.exit != 0 {
			t.Fatalf("the release failed:\n%s", got.all())
		}
		if at(t, "v1") != v1 {
			t.Error("v1 went back to v1.1.9")
		}
	})
	t.Run("an image is never overwritten", func(t *testing.T) {
		git(t, clone, "tag", "-d", "v1.2.3")
		tag := git(t, clone, "commit-tree", "-p", "HEAD", "-m", "Else", "HEAD^{tree}")
		git(t, clone, "checkout", "-q", "--detach", tag)
		git(t, clone, "tag", "v1.2.3")
		if got := release(t, "v1.2.3"); got.exit == 0 || !strings.Contains(got.stderr, "never overwritten") {
			t.Errorf("exit %d: %s", got.exit, got.all())
		}
	})
}

// checkIndex checks that an index has one image for each platform, stamped
// with version and revision, with a binary made for it.
func checkIndex(t *testing.T, ref, revision string) {
	t.Helper()
	var index struct {
		Manifests []struct {
			Digest   string
			Platform struct{ OS, Architecture string }
		}
	}
	check(t, json.Unmarshal([]byte(run(t, crane, "manifest", ref)), &index))
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for _, m := range index.Manifests {
		machine, ok := machines[m.Platform.Architecture]
		if !ok || m.Platform.OS != "linux" {
			t.Errorf("an image for %s/%s", m.Platform.OS, m.Platform.Architecture)
			continue
		}
		delete(machines, m.Platform.Architecture)
		child := ref[:strings.LastIndexByte(ref, ':')] + "@" + m.Digest
		config := run(t, crane, "config", child)
		contains(t, "the config", config, `"architecture":"`+m.Platform.Architecture+`"`,
			`"org.opencontainers.image.version":"v1.2.3"`, `"org.opencontainers.image.revision":"`+revision+`"`)
		archive := filepath.Join(t.TempDir(), "image.tar")
		run(t, crane, "export", child, archive)
		dir := t.TempDir()
		run(t, "tar", "-xf", archive, "-C", dir, "canary-verify")
		binary, err := os.ReadFile(filepath.Join(dir, "canary-verify"))
		check(t, err)
		checkBinary(t, binary, machine)
	}
	if len(machines) > 0 {
		t.Errorf("no image for %v", machines)
	}
}

// useRelease runs the shipped workflow as a copy in a product's repository,
// with the one line changed that its comment names.
func useRelease(t *testing.T, origin string) {
	t.Helper()
	released1 := filepath.Join(t.TempDir(), "v1")
	git(t, ".", "clone", "-q", "--branch", "v1", origin, released1)
	w, c := newWorld(t), newProduct(t)
	path := filepath.Join(c.dir, verifyWorkflow)
	workflow, err := os.ReadFile(path)
	check(t, err)
	copied := strings.Replace(string(workflow), "uses: ./\n", "uses: molecule-ai/canary-verify@v1\n", 1)
	check(t, os.WriteFile(path, []byte(copied), 0o600))
	good := w.publish(t, sim.Build{SHA: shaGood, Created: released.Add(time.Hour)})
	j := w.in(afterPublish(shaGood, "success"))
	j.local = []string{"molecule-ai/canary-verify@v1=" + released1}

	got := c.act(t, j)

	if got.exit != 0 {
		t.Errorf("the job failed with exit %d", got.exit)
	}
	contains(t, "the job's output", got.all(), "verdict=green promoted=true")
	lacks(t, "the job's output", got.all(), "docker build")
	w.wantTags(t, "latest", good)
	if tool := c.report(t).Tool; tool != "v1.2.3" {
		t.Errorf("the report is by version %q, want v1.2.3", tool)
	}
}

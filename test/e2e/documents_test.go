//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// fence returns the one fenced block of a document that is in a language and
// contains a text.
func fence(t *testing.T, document, language, text string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, document))
	check(t, err)
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(string(data), -1) {
		if strings.Contains(m[1], text) {
			found = append(found, m[1])
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has %d blocks of %s with %q, want 1", document, len(found), language, text)
	}
	return found[0]
}

// TestReadmeWorkflow runs the workflow that the README gives to be copied, in
// a product's repository.
func TestReadmeWorkflow(t *testing.T) {
	w, c := newWorld(t), newProduct(t)
	workflow := fence(t, "README.md", "yaml", "workflow_run:")
	workflow = strings.NewReplacer(
		"registry.example.com/team/platform\n", w.repository(imagePaths[0])+"\n",
		"registry.example.com/team/web\n", w.repository(imagePaths[1])+"\n",
	).Replace(workflow)
	check(t, os.WriteFile(filepath.Join(c.dir, verifyWorkflow), []byte(workflow), 0o600))
	// The tenants of this fleet update by themselves.
	good := w.publish(t, sim.Build{SHA: shaGood, Created: released.Add(time.Hour)}, "canary")
	j := w.in(afterPublish(shaGood, "success"))
	j.vars["REGISTRY_USERNAME"], j.secrets["REGISTRY_PASSWORD"] = w.username, w.password
	j.local = []string{"molecule-ai/canary-verify@v1=" + newCheckout(t).dir}
	for _, uses := range regexp.MustCompile(`uses: (actions/upload-artifact@\S+)`).FindAllStringSubmatch(workflow, -1) {
		j.local = append(j.local, uses[1]+"="+noAction(t))
	}

	r := c.act(t, j)

	if r.exit != 0 {
		t.Errorf("the job failed with exit %d", r.exit)
	}
	w.wantTags(t, "latest", good)
	w.wantNoSecret(t, c, r)
}

// noAction is a folder with an action that does nothing, for those that speak
// to a forge's own services.
func noAction(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "action.yml", []byte("name: none\ndescription: none\nruns: {using: composite, steps: [{run: \":\", shell: bash}]}\n"))
	return dir
}

// TestDebuggingDocument runs the commands of docs/debugging.md.
func TestDebuggingDocument(t *testing.T) {
	w := newWorld(t)
	good := w.publish(t, sim.Build{SHA: shaGood, Created: released.Add(time.Hour)}, "canary")
	old := w.digests(t, "latest")
	w.wantRoll(t, shaGood)
	tenant := w.tenants[0]
	example := strings.NewReplacer(
		"https://canary.example.com", tenant.URL(),
		"the-org-id", tenant.OrgID(),
		"the-admin-token", tenant.Token(),
		"the-registry-token", w.password,
		"registry.example.com", w.host,
		"=robot", "="+w.username,
		"sha=4c1d56e", "sha="+shaGood[:7],
	)
	shell := func(t *testing.T, dir, command string, env ...string) result {
		t.Helper()
		bin := t.TempDir()
		check(t, os.Symlink(actPath, filepath.Join(bin, "act")))
		check(t, os.Symlink(gateBinary(t), filepath.Join(bin, "canary-verify")))
		env = append(env, "PATH="+bin+":"+os.Getenv("PATH"))
		return try(t, env, "bash", "-euc", "cd "+dir+"\n"+command)
	}
	t.Run("smoke", func(t *testing.T) {
		command := example.Replace(fence(t, "docs/debugging.md", "sh", "canary-verify smoke"))
		got := shell(t, t.TempDir(), command, "TOKEN="+tenant.Token(), "ORG_ID="+tenant.OrgID())
		if got.exit != 0 {
			t.Errorf("exit %d\n%s", got.exit, got.all())
		}
	})
	t.Run("act", func(t *testing.T) {
		c, home := newCheckout(t), t.TempDir()
		files := example.Replace(fence(t, "docs/debugging.md", "sh", "cat > .vars"))
		command := example.Replace(fence(t, "docs/debugging.md", "sh", "act workflow_dispatch"))
		// As the list below the command advises for a machine without network.
		command = strings.TrimSpace(command) + " --pull=false -P ubuntu-latest=" + jobImage + " --action-offline-mode --no-cache-server --rm"
		got := shell(t, c.dir, files+command, "HOME="+home, "XDG_CACHE_HOME="+home, "XDG_CONFIG_HOME="+home, "GOCACHE="+goEnv(t, "GOCACHE"), "GOPATH="+goEnv(t, "GOPATH"))
		if got.exit != 0 {
			t.Errorf("exit %d\n%s", got.exit, got.all())
		}
		contains(t, "act's output", got.all(), "verdict=green promoted=false")
		w.wantTags(t, "latest", old)
		w.wantTags(t, "canary", good)
	})
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	return run(t, "go", "env", name)
}

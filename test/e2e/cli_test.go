//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// environ is what the command line needs to know of a world.
func (w *world) environ(report string) []string {
	vars, secrets := w.vars(), w.secrets()
	return []string{
		"CANARY_TENANT_URLS=" + vars["CANARY_TENANT_URLS"],
		"CANARY_ADMIN_TOKENS=" + secrets["CANARY_ADMIN_TOKENS"],
		"CANARY_ORG_IDS=" + vars["CANARY_ORG_IDS"],
		"CANARY_IMAGES=" + vars["CANARY_IMAGES"],
		"CANARY_CANARY_TAG=canary",
		"CANARY_WAIT_TIMEOUT=30s",
		"CANARY_REPORT_DIR=" + report,
		"DOCKER_CONFIG=" + w.login,
	}
}

// TestCommandLine is the loop without a runner: the same gate, from a shell,
// with the credentials of a Docker login.
func TestCommandLine(t *testing.T) {
	w, gate := newWorld(t), gateBinary(t)
	report := t.TempDir()
	good := w.publish(t, sim.Build{SHA: shaGood, Created: released.Add(time.Hour)})
	w.publish(t, sim.Build{SHA: shaBad, Created: released.Add(2 * time.Hour), Faults: []sim.Fault{sim.FailOpen}})

	verify := func(sha string) result {
		t.Helper()
		got := try(t, w.environ(report), gate, "verify", "--sha", sha)
		lacks(t, "its output", got.all(), w.secretTexts(nil)...)
		data, err := os.ReadFile(filepath.Join(report, "report.json"))
		check(t, err)
		lacks(t, "report.json", string(data), w.secretTexts(nil)...)
		return got
	}
	if got := verify(shaGood); got.exit != 0 {
		t.Errorf("the good commit: exit %d\n%s", got.exit, got.all())
	}
	w.wantTags(t, "latest", good)
	if got := verify(shaBad); got.exit != 1 {
		t.Errorf("the bad commit: exit %d\n%s", got.exit, got.all())
	}
	w.wantTags(t, "latest", good)
	w.wantTags(t, "canary", good)

	t.Run("history", func(t *testing.T) {
		got := try(t, w.environ(report), gate, "history")
		if got.exit != 0 {
			t.Errorf("exit %d\n%s", got.exit, got.all())
		}
		contains(t, "history", got.all(), shaGood[:7])
	})
	t.Run("one tenant, smoke alone", func(t *testing.T) {
		// The line of the documents: no registry, no wait, the token in the
		// environment.
		tenant := w.tenants[0]
		env := []string{"CANARY_ADMIN_TOKENS=" + tenant.Token()}
		got := try(t, env, gate, "smoke", "--tenant-urls", tenant.URL(), "--org-ids", tenant.OrgID())
		if got.exit != 0 {
			t.Errorf("exit %d\n%s", got.exit, got.all())
		}
		lacks(t, "its output", got.all(), tenant.Token())
	})
}

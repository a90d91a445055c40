//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

const (
	verifyWorkflow   = ".gitea/workflows/canary-verify.yml"
	rollbackWorkflow = ".gitea/workflows/rollback.yml"
	publishWorkflow  = ".gitea/workflows/publish.yml"
)

func TestGreenAfterPublish(t *testing.T) {
	w, c := newWorld(t), newCheckout(t)
	good := w.publish(t, sim.Build{SHA: shaGood, Created: released.Add(time.Hour)})

	r := c.act(t, w.in(afterPublish(shaGood, "success")))

	if r.exit != 0 {
		t.Errorf("the job failed with exit %d", r.exit)
	}
	contains(t, "the job's output", r.all(),
		"verdict=green promoted=true sha="+shaGood, // the next step has the outputs
		"Summary - ", shaGood[:7])
	w.wantTags(t, "latest", good)
	w.wantTags(t, "canary", good)
	w.wantNoSecret(t, c, r)
	got := c.report(t)
	if string(got.SHA) != shaGood || !got.Promoted || !got.IdentityProven || len(got.Tenants) != 3 {
		t.Errorf("report: sha %s, promoted %t, identity proven %t, %d tenants", got.SHA, got.Promoted, got.IdentityProven, len(got.Tenants))
	}
	if got := c.forge.lastState(shaGood); got != "success" {
		t.Errorf("commit status is %q, want success", got)
	}
	for _, tenant := range w.tenants {
		if left := tenant.Left(); left != (sim.Counts{}) {
			t.Errorf("%s was left with %+v", tenant.Name(), left)
		}
	}
}

func TestRed(t *testing.T) {
	w, c := newWorld(t), newCheckout(t)
	old := w.digests(t, "latest")
	w.publish(t, sim.Build{SHA: shaBad, Created: released.Add(time.Hour), Faults: []sim.Fault{sim.FailOpen}})
	j := w.in(dispatch(verifyWorkflow, map[string]string{"sha": shaBad}))
	// The other way to name a fleet: one secret for all of it.
	delete(j.vars, "CANARY_TENANT_URLS")
	delete(j.vars, "CANARY_ORG_IDS")
	delete(j.secrets, "CANARY_ADMIN_TOKENS")
	j.secrets["CANARY_TENANTS"] = w.tenantList()

	r := c.act(t, j)

	if r.exit != 1 {
		t.Errorf("act's exit is %d, want 1", r.exit)
	}
	contains(t, "the job's output", r.all(), "exit with `FAILURE`: 1", "verdict=red promoted=false sha="+shaBad, "Summary - ", shaBad[:7])
	w.wantTags(t, "latest", old)
	w.wantTags(t, "canary", old)
	w.wantRoll(t, shaOld)
	w.wantNoSecret(t, c, r)
	if got := c.forge.lastState(shaBad); got != "failure" {
		t.Errorf("commit status is %q, want failure", got)
	}
}

func TestInconclusive(t *testing.T) {
	w, c := newWorld(t), newCheckout(t)
	old := w.digests(t, "latest")
	w.publish(t, sim.Build{SHA: shaGood, Created: released.Add(time.Hour)})
	w.tenants[1].Break(sim.Stale)
	j := w.in(afterPublish(shaGood, "success"))
	j.vars["CANARY_WAIT_TIMEOUT"] = "3s"

	r := c.act(t, j)

	contains(t, "the job's output", r.all(), "exit with `FAILURE`: 3", "verdict=inconclusive promoted=false", "stale")
	w.wantTags(t, "latest", old)
	w.wantTags(t, "canary", old)
	w.wantNoSecret(t, c, r)
}

func TestRefused(t *testing.T) {
	w, c := newWorld(t), newCheckout(t)
	old := w.digests(t, "latest")

	r := c.act(t, w.in(afterPublish(shaGood, "success"))) // never published

	contains(t, "the job's output", r.all(), "exit with `FAILURE`: 1", "verdict=refused promoted=false", "staging-"+shaGood[:7])
	w.wantTags(t, "latest", old)
	w.wantTags(t, "canary", old)
	w.wantNoSecret(t, c, r)
}

func TestDryRun(t *testing.T) {
	w, c := newWorld(t), newCheckout(t)
	old := w.digests(t, "latest")
	w.publish(t, sim.Build{SHA: shaGood, Created: released.Add(time.Hour)}, "canary")
	j := w.in(dispatch(verifyWorkflow, map[string]string{"sha": shaGood, "dry-run": "true"}))
	delete(j.vars, "CANARY_TAG")

	r := c.act(t, j)

	if r.exit != 0 {
		t.Errorf("the job failed with exit %d", r.exit)
	}
	contains(t, "the job's output", r.all(), "verdict=green promoted=false")
	w.wantTags(t, "latest", old)
	w.wantNoSecret(t, c, r)
}

func TestUnconfigured(t *testing.T) {
	w, c := newWorld(t), newCheckout(t)
	old := w.digests(t, "latest")
	w.publish(t, sim.Build{SHA: shaGood, Created: released.Add(time.Hour)})
	j := w.in(afterPublish(shaGood, "success"))
	delete(j.vars, "CANARY_TENANT_URLS")
	delete(j.vars, "CANARY_ORG_IDS")
	delete(j.secrets, "CANARY_ADMIN_TOKENS")
	t.Run("fails by default", func(t *testing.T) {
		r := c.act(t, j)
		contains(t, "the job's output", r.all(), "exit with `FAILURE`: 2")
		w.wantTags(t, "latest", old)
	})
	t.Run("skips with a warning", func(t *testing.T) {
		j.vars["CANARY_UNCONFIGURED"] = "skip"
		r := c.act(t, j)
		if r.exit != 0 {
			t.Errorf("the job failed with exit %d", r.exit)
		}
		contains(t, "the job's output", r.all(), "::warning", "verdict=skipped promoted=false", "Summary - ")
		w.wantTags(t, "latest", old)
		w.wantNoSecret(t, c, r)
	})
}

func TestFailedPublishIsNotVerified(t *testing.T) {
	w, c := newWorld(t), newCheckout(t)
	r := c.act(t, w.in(afterPublish(shaGood, "failure")))
	lacks(t, "the job's output", r.all(), "Run Main Verify")
	if requests := len(w.tenants[0].Requests()); requests != 0 {
		t.Errorf("the tenant got %d requests", requests)
	}
}

func TestRollback(t *testing.T) {
	w, c := newWorld(t), newCheckout(t)
	old := w.digests(t, "latest")
	good := w.publish(t, sim.Build{SHA: shaGood, Created: released.Add(time.Hour)})
	next := w.publish(t, sim.Build{SHA: shaNext, Created: released.Add(2 * time.Hour)})
	for _, sha := range []string{shaGood, shaNext} {
		if r := c.act(t, w.in(afterPublish(sha, "success"))); r.exit != 0 {
			t.Fatalf("%s was not promoted", sha[:7])
		}
	}
	w.wantTags(t, "latest", next)
	t.Run("without a sha, with an issue", func(t *testing.T) {
		r := c.act(t, w.in(dispatch(rollbackWorkflow, map[string]string{"reason": "orders fail since 02:40", "open-issue": "true"})))
		if r.exit != 0 {
			t.Errorf("the job failed with exit %d", r.exit)
		}
		w.wantTags(t, "latest", good)
		contains(t, "the job's output", r.all(), "opened https://"+c.forge.host+"/shop/product/issues/7")
		if len(c.forge.issues) != 1 {
			t.Fatalf("%d issues were opened, want 1", len(c.forge.issues))
		}
		issue := must(json.Marshal(c.forge.issues[0].body))
		contains(t, "the issue", string(issue), "Post-mortem", shaNext[:7], shaGood[:7], "orders fail since")
		w.wantNoSecret(t, c, r)
	})
	t.Run("the replaced commit is not promoted again without force", func(t *testing.T) {
		r := c.act(t, w.in(afterPublish(shaNext, "success")))
		contains(t, "the job's output", r.all(), "verdict=refused promoted=false")
		w.wantTags(t, "latest", good)
	})
	t.Run("to a sha", func(t *testing.T) {
		r := c.act(t, w.in(dispatch(rollbackWorkflow, map[string]string{"sha": shaOld, "reason": "older yet"})))
		if r.exit != 0 {
			t.Errorf("the job failed with exit %d", r.exit)
		}
		w.wantTags(t, "latest", old)
		w.wantNoSecret(t, c, r)
	})
	t.Run("to a sha that is not there", func(t *testing.T) {
		r := c.act(t, w.in(dispatch(rollbackWorkflow, map[string]string{"sha": "1234567", "reason": "a slip of the finger"})))
		contains(t, "the job's output", r.all(), "exit with `FAILURE`: 1")
		w.wantTags(t, "latest", old)
	})
}

// TestCancelWhileWaiting sends what a runner sends when a run is cancelled. act
// itself leaves the action's container running when it is interrupted, so the
// signal goes to the container directly.
func TestCancelWhileWaiting(t *testing.T) {
	w, c := newWorld(t), newCheckout(t)
	old := w.digests(t, "latest")
	w.publish(t, sim.Build{SHA: shaGood, Created: released.Add(time.Hour)})
	w.tenants[0].Break(sim.Stale)
	j := w.in(afterPublish(shaGood, "success"))
	j.vars["CANARY_WAIT_TIMEOUT"] = "10m"
	var cancelled time.Time
	j.meanwhile = func(ctx context.Context) {
		for len(w.tenants[0].Requests()) < 3 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
		cancelled = time.Now()
		ids := run(t, "docker", "ps", "-q", "--filter", "ancestor=act-dockeraction:latest")
		run(t, "docker", append([]string{"kill", "--signal", "INT"}, strings.Fields(ids)...)...)
	}

	r := c.act(t, j)

	if took := time.Since(cancelled); cancelled.IsZero() || took > 15*time.Second {
		t.Errorf("the job ended %s after it was cancelled", took)
	}
	contains(t, "the job's output", r.all(), "exit with `FAILURE`: 3", "verdict=inconclusive promoted=false", "Summary - ")
	got := c.report(t)
	if got.Verdict != report.Inconclusive || got.Finished.Sub(cancelled) > 7500*time.Millisecond {
		t.Errorf("report: %s, %s after the signal; a runner kills after 7.5 s", got.Verdict, got.Finished.Sub(cancelled))
	}
	w.wantTags(t, "latest", old)
	w.wantTags(t, "canary", old)
	w.wantNoSecret(t, c, r)
}

func TestLoginOfAnEarlierStep(t *testing.T) {
	w, c := newWorld(t), newCheckout(t)
	good := w.publish(t, sim.Build{SHA: shaGood, Created: released.Add(time.Hour)})
	j := w.in(dispatch("test/e2e/testdata/login.yml", map[string]string{"sha": shaGood}))
	j.vars["REGISTRY"] = w.host

	r := c.act(t, j)

	if r.exit != 0 {
		t.Errorf("the job failed with exit %d", r.exit)
	}
	w.wantTags(t, "latest", good)
	w.wantNoSecret(t, c, r)
}

func TestPublish(t *testing.T) {
	w := newWorld(t)
	old := w.digests(t, "latest")
	c := newProduct(t)
	j := w.in(job{workflow: publishWorkflow, event: "push", payload: map[string]any{"ref": "refs/heads/main"}})
	j.vars["CANARY_DOCKERFILES"] = "platform.Dockerfile\ntenant.Dockerfile"

	for name, change := range map[string]func(map[string]string){
		"a tag in an image": func(v map[string]string) {
			v["CANARY_IMAGES"] = strings.ReplaceAll(v["CANARY_IMAGES"], "platform\n", "platform:latest\n")
		},
		"the target as source":    func(v map[string]string) { v["CANARY_TARGET_TAG"] = "staging-" + c.sha[:7] },
		"a Dockerfile is missing": func(v map[string]string) { v["CANARY_DOCKERFILES"] = "platform.Dockerfile" },
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			refused := w.in(job{workflow: j.workflow, event: j.event, payload: j.payload})
			refused.vars["CANARY_DOCKERFILES"] = j.vars["CANARY_DOCKERFILES"]
			change(refused.vars)
			r := c.act(t, refused)
			if r.exit == 0 {
				t.Error("the job succeeded")
			}
			contains(t, "the job's output", r.all(), "Refused")
			w.wantTags(t, "latest", old)
			w.wantTags(t, "staging-"+c.sha[:7], map[string]string{})
		})
	}
	t.Run("pushes the source tag only", func(t *testing.T) {
		r := c.act(t, j)
		if r.exit != 0 {
			t.Fatalf("the job failed with exit %d", r.exit)
		}
		w.wantTags(t, "latest", old)
		lacks(t, "the job's output", r.all(), w.secretTexts(c)...)
		for _, path := range imagePaths {
			config := runEnv(t, []string{"DOCKER_CONFIG=" + w.login}, crane, "config", w.repository(path)+":staging-"+c.sha[:7])
			contains(t, "the image's config", config, `"org.opencontainers.image.revision":"`+c.sha+`"`, "GIT_SHA="+c.sha)
		}
	})
	t.Run("and is verified and promoted", func(t *testing.T) {
		candidate := w.digests(t, "staging-"+c.sha[:7])
		gateCheckout := newCheckout(t)
		r := gateCheckout.act(t, w.in(afterPublish(c.sha, "success")))
		if r.exit != 0 {
			t.Errorf("the job failed with exit %d", r.exit)
		}
		w.wantTags(t, "latest", candidate)
	})
}

// newProduct is a checkout of a product that uses the workflows: two
// Dockerfiles and nothing of the gate.
func newProduct(t *testing.T) *checkout {
	t.Helper()
	c := &checkout{dir: t.TempDir(), forge: startForge(t)}
	for _, name := range []string{publishWorkflow, verifyWorkflow, rollbackWorkflow} {
		copyFile(t, filepath.Join(root, name), filepath.Join(c.dir, name))
	}
	for _, name := range []string{"platform", "tenant"} {
		dockerfile := "FROM scratch\nARG GIT_SHA=dev\nENV GIT_SHA=$GIT_SHA\nCOPY " + name + ".Dockerfile /\n"
		check(t, os.WriteFile(filepath.Join(c.dir, name+".Dockerfile"), []byte(dockerfile), 0o600))
	}
	c.sha = commitAll(t, c.dir, c.forge.origin())
	return c
}

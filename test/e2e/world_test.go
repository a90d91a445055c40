//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// Commits of the product, oldest first.
var (
	shaOld   = commitSHA("0a1b2c3")
	shaGood  = commitSHA("4c1d56e")
	shaNext  = commitSHA("7f00ba2")
	shaBad   = commitSHA("bad5eed")
	released = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
)

func commitSHA(start string) string { return start + strings.Repeat("0", 33) }

// A world is a registry and three canary tenants that follow its canary tag,
// with shaOld in production.
type world struct {
	*registry
	tenants []*sim.Tenant
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{registry: startRegistry(t)}
	w.publish(t, sim.Build{SHA: shaOld, Created: released}, "latest", "canary")
	for i := range 3 {
		name := fmt.Sprintf("canary-%d", i+1)
		tenant, err := sim.StartTenant(sim.TenantConfig{
			Name:  name,
			Token: "token-of-" + name + "-0123456789",
			OrgID: "org-of-" + name,
			Follow: &sim.Follow{
				Image: w.repository(imagePaths[1]), Tag: "canary", Interval: 100 * time.Millisecond,
				Remote: []remote.Option{remote.WithAuth(w.auth())},
			},
		})
		check(t, err)
		t.Cleanup(tenant.Close)
		w.tenants = append(w.tenants, tenant)
	}
	return w
}

// vars are the repository variables of the workflows.
func (w *world) vars() map[string]string {
	var urls, orgs, images []string
	for _, tenant := range w.tenants {
		urls = append(urls, tenant.URL())
		orgs = append(orgs, tenant.OrgID())
	}
	for _, path := range imagePaths {
		images = append(images, w.repository(path))
	}
	return map[string]string{
		"CANARY_TENANT_URLS":       "# the fleet\n" + strings.Join(urls, "\n") + "\n",
		"CANARY_ORG_IDS":           strings.Join(orgs, ", "),
		"CANARY_IMAGES":            strings.Join(images, "\n"),
		"CANARY_TAG":               "canary",
		"CANARY_WAIT_TIMEOUT":      "30s",
		"CANARY_REGISTRY_USERNAME": w.username,
	}
}

// secrets are the repository secrets of the workflows.
func (w *world) secrets() map[string]string {
	var tokens []string
	for _, tenant := range w.tenants {
		tokens = append(tokens, tenant.Token())
	}
	return map[string]string{
		"CANARY_ADMIN_TOKENS":      strings.Join(tokens, "\n"),
		"CANARY_REGISTRY_PASSWORD": w.password,
	}
}

// secretTexts must not appear in any output.
func (w *world) secretTexts(c *checkout) []string {
	all := []string{w.password}
	if c != nil {
		all = append(all, c.forge.token)
	}
	for _, tenant := range w.tenants {
		all = append(all, tenant.Token())
	}
	return all
}

// in makes a job one of this world.
func (w *world) in(j job) job {
	j.vars, j.secrets = w.vars(), w.secrets()
	return j
}

// tenantList is the fleet as one secret.
func (w *world) tenantList() string {
	var list strings.Builder
	for _, tenant := range w.tenants {
		fmt.Fprintf(&list, "- {name: %s, url: %q, token: %q, org-id: %q}\n", tenant.Name(), tenant.URL(), tenant.Token(), tenant.OrgID())
	}
	return list.String()
}

// digests asks crane what a tag of each image points at.
func (w *world) digests(t *testing.T, tag string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range imagePaths {
		if all[path] = w.digest(t, path, tag); all[path] == "" {
			t.Fatalf("%s has no tag %s", path, tag)
		}
	}
	return all
}

// wantTags fails the test unless a tag of both images points at these digests.
func (w *world) wantTags(t *testing.T, tag string, want map[string]string) {
	t.Helper()
	for _, path := range imagePaths {
		if got := w.digest(t, path, tag); got != want[path] {
			t.Errorf("crane: %s:%s is %s, want %s", path, tag, got, want[path])
		}
	}
}

// wantNoSecret fails the test if a secret is in what the job printed, in what
// it wrote, or in what it attached to the images.
func (w *world) wantNoSecret(t *testing.T, c *checkout, r result) {
	t.Helper()
	lacks(t, "the job's output", r.all(), w.secretTexts(c)...)
	lacks(t, "the report folder", c.written(t), w.secretTexts(c)...)
}

// wantRoll waits until every tenant runs a commit.
func (w *world) wantRoll(t *testing.T, sha string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, tenant := range w.tenants {
		check(t, tenant.WaitFor(ctx, sha))
	}
}

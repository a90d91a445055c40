package main

import (
	"context"
	"fmt"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// The product of the story: two images, deployed together.
var images = []string{"acme/platform", "acme/web"}

// A world is the registry and the tenants that the gate works with.
type world struct {
	registry   *sim.Registry
	canaries   []*sim.Tenant // follow the tag canary
	production []*sim.Tenant // follow the tag latest
	born       time.Time
}

// newWorld starts the registry, publishes the commit that is live from the start,
// and starts the tenants on it.
func newWorld(ctx context.Context, live commit) (*world, error) {
	registry, err := sim.StartRegistry(sim.RegistryConfig{Referrers: true, CheckBlobs: true})
	if err != nil {
		return nil, err
	}
	w := &world{registry: registry, born: time.Now()}
	if err := w.publish(ctx, live, live.stagingTag()+",canary,latest"); err != nil {
		return w, err
	}
	for _, group := range []struct {
		name, tag string
		tenants   *[]*sim.Tenant
		count     int
	}{{"canary", "canary", &w.canaries, 3}, {"customer", "latest", &w.production, 2}} {
		for i := range group.count {
			t, err := sim.StartTenant(sim.TenantConfig{
				Name: fmt.Sprintf("%s-%c", group.name, 'a'+i), Web: true,
				Follow: &sim.Follow{
					Image: registry.Host() + "/" + images[0], Tag: group.tag,
					Interval: 150 * time.Millisecond, Restart: time.Duration(300+250*i) * time.Millisecond,
				},
			})
			if err != nil {
				return w, err
			}
			*group.tenants = append(*group.tenants, t)
		}
	}
	err = w.settled(ctx, append(w.canaries, w.production...), live)
	return w, err
}

// close stops everything.
func (w *world) close() {
	for _, t := range append(w.canaries, w.production...) {
		t.Close()
	}
	w.registry.Close()
}

// A commit is one merge of the product.
type commit struct {
	sha    string
	title  string
	age    time.Duration // before the demo began
	faults []sim.Fault
}

func (c commit) short() string      { return c.sha[:7] }
func (c commit) stagingTag() string { return "staging-" + c.short() }

// publish does what CI does after a merge: it pushes both images under a tag.
func (w *world) publish(ctx context.Context, c commit, tag string) error {
	_, err := sim.Publish(ctx, w.registry.Host(), sim.Build{
		SHA: c.sha, Images: images, Tag: tag, Created: w.born.Add(-c.age).UTC().Truncate(time.Second), Faults: c.faults,
	}, w.registry.Remote()...)
	return err
}

// settled waits until the tenants run the commit.
func (w *world) settled(ctx context.Context, tenants []*sim.Tenant, c commit) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, t := range tenants {
		if err := t.WaitFor(ctx, c.sha); err != nil {
			return fmt.Errorf("%s did not update to %s, it runs %s: %w", t.Name(), c.short(), t.SHA(), err)
		}
	}
	return nil
}

// pointsAt checks that a tag of every image points at the commit's build.
func (w *world) pointsAt(tag string, c commit) error {
	for _, image := range images {
		got, want := w.registry.Digest(image, tag), w.registry.Digest(image, c.stagingTag())
		if got == "" || got != want {
			return fmt.Errorf("%s:%s points at %q, expected %s of commit %s", image, tag, got, want, c.short())
		}
	}
	return nil
}

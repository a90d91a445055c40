package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Follow makes a tenant update itself from a registry.
type Follow struct {
	Image    string          // with the registry's host: "127.0.0.1:5000/org/platform"
	Tag      string          // for example "latest"
	Interval time.Duration   // between two looks at the tag; 50 ms if 0
	Restart  time.Duration   // from seeing another digest to running it
	Remote   []remote.Option // see [Registry.Remote]
}

// An updater polls a tag for a tenant.
type updater struct {
	Follow
	tenant  *Tenant
	tag     name.Tag
	puller  *remote.Puller
	running v1.Hash
}

// follow boots the tenant and starts its auto-updater.
func (t *Tenant) follow(f Follow) error {
	tag, err := name.NewTag(f.Image + ":" + f.Tag)
	if err != nil {
		return fmt.Errorf("sim: %s can't follow %s:%s: %w", t.cfg.Name, f.Image, f.Tag, err)
	}
	if f.Interval <= 0 {
		f.Interval = 50 * time.Millisecond
	}
	// A tenant asks again soon enough; the library would wait and retry meanwhile.
	opts := append([]remote.Option{
		remote.WithTransport(Transport()),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
	}, f.Remote...)
	puller, err := remote.NewPuller(opts...)
	if err != nil {
		return fmt.Errorf("sim: %s can't follow %s: %w", t.cfg.Name, tag, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	u := &updater{Follow: f, tenant: t, tag: tag, puller: puller}
	u.look(ctx, 0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(ctx, f.Interval) {
			u.look(ctx, f.Restart)
		}
	}()
	t.stop = func() {
		cancel()
		<-done
	}
	return nil
}

// look has the tenant run what the tag points at, if that is something else. A
// registry that doesn't answer, or an image that isn't there, changes nothing.
func (u *updater) look(ctx context.Context, restart time.Duration) {
	desc, err := u.puller.Head(ctx, u.tag)
	if err != nil || desc.Digest == u.running || u.tenant.stale() {
		return
	}
	labels, err := u.labels(ctx, desc.Digest)
	if err != nil {
		return
	}
	if !pause(ctx, restart) {
		return
	}
	u.running = desc.Digest
	u.tenant.Roll(labels[LabelRevision], splitFaults(labels[LabelFaults])...)
}

// labels reads an image's labels; of an index, those of this platform's image.
func (u *updater) labels(ctx context.Context, digest v1.Hash) (map[string]string, error) {
	desc, err := u.puller.Get(ctx, u.tag.Context().Digest(digest.String()))
	if err != nil {
		return nil, err
	}
	img, err := desc.Image()
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	return cfg.Config.Labels, nil
}

// stale reports whether the auto-updater does nothing.
func (t *Tenant) stale() bool {
	_, ok := t.has(Stale, "", "/")
	return ok
}

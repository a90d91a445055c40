package promote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// maxDepth is how deep indexes may be nested.
const maxDepth = 4

// Labels and annotations of the OCI image specification.
const (
	revisionLabel = "org.opencontainers.image.revision"
	createdLabel  = "org.opencontainers.image.created"
)

// maxLabel is how much of a foreign label is kept, in characters.
const maxLabel = 100

// A build is what an image says of how it was built. Both may be unknown: "" and
// the zero time.
type build struct {
	revision string // sanitised
	created  time.Time
}

// wrong is the error of content that is not as it should be.
func (r *repository) wrong(what string, status int, said string) error {
	return &registry.Error{What: what, On: r.Name().String(), Status: status, Said: untrusted.Line(said, maxText)}
}

// missingChild is the error of a manifest that an index names in vain.
func (r *repository) missingChild(d report.Digest) error {
	return r.wrong("read manifest "+d.Short(), http.StatusNotFound, "an index names it, but the registry does not have it")
}

// build reads revision and creation from an image's config, for an index from
// that of its first child; what is not there, from the annotations.
func (r *repository) build(ctx context.Context, m *registry.Manifest) (build, error) {
	annotations := m.Content.Annotations
	for range maxDepth {
		if m.Content.Config != nil {
			b, err := r.configBuild(ctx, m)
			return b.or(m.Content.Annotations).or(annotations), err
		}
		child, ok := firstChild(m.Content.Manifests)
		if !ok {
			return build{}.or(annotations), nil
		}
		next, err := r.Manifest(ctx, registry.ByDigest(child))
		if err != nil {
			return build{}, err
		}
		if next == nil {
			return build{}, r.missingChild(child)
		}
		m = next
	}
	return build{}, r.wrong("read manifest "+m.Digest.Short(), 0, fmt.Sprintf("indexes are nested more than %d deep", maxDepth))
}

// firstChild is the first child of an index that is an image for some platform;
// builders append attestations for the platform unknown/unknown.
func firstChild(children []v1.Descriptor) (report.Digest, bool) {
	i := slices.IndexFunc(children, func(d v1.Descriptor) bool {
		return d.Platform == nil || d.Platform.OS != "unknown"
	})
	if i < 0 {
		return "", false
	}
	return report.Digest(children[i].Digest.String()), true
}

// configBuild reads a config. Artifacts that are not images have none to read.
func (r *repository) configBuild(ctx context.Context, m *registry.Manifest) (build, error) {
	if !m.Content.Config.MediaType.IsConfig() {
		return build{}, nil
	}
	raw, err := r.Blob(ctx, *m.Content.Config, registry.MaxBody)
	if err != nil {
		return build{}, err
	}
	var config struct {
		Created string `json:"created"`
		Config  struct {
			Labels map[string]string `json:"Labels"`
		} `json:"config"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return build{}, r.wrong("read the config of "+m.Digest.Short(), 0, err.Error())
	}
	b := build{revision: untrusted.Line(config.Config.Labels[revisionLabel], maxLabel), created: buildTime(config.Created)}
	return b.or(config.Config.Labels), nil
}

// or fills in what is unknown from labels or annotations.
func (b build) or(labels map[string]string) build {
	if b.revision == "" {
		b.revision = untrusted.Line(strings.TrimSpace(labels[revisionLabel]), maxLabel)
	}
	if b.created.IsZero() {
		b.created = buildTime(labels[createdLabel])
	}
	return b
}

// firstImages is when container images came up. Reproducible builds set fixed
// times of the past, which say nothing about order.
var firstImages = time.Date(2013, 1, 1, 0, 0, 0, 0, time.UTC)

// buildTime reads a time of creation; zero when it says nothing.
func buildTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Before(firstImages) {
		return time.Time{}
	}
	return t.UTC()
}

// complete checks that everything a manifest names as a manifest can be pulled,
// down through indexes in indexes.
func (r *repository) complete(ctx context.Context, m *registry.Manifest, depth int) error {
	if depth > maxDepth {
		return r.wrong("read manifest "+m.Digest.Short(), 0, fmt.Sprintf("indexes are nested more than %d deep", maxDepth))
	}
	children := m.Content.Manifests
	slots := make(chan struct{}, 8)
	errs := parallel.All(len(children), func(i int) error {
		slots <- struct{}{}
		defer func() { <-slots }()
		return r.child(ctx, children[i], depth)
	})
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	return errors.Join(errs[:min(3, len(errs))]...)
}

// child checks one child of an index.
func (r *repository) child(ctx context.Context, d v1.Descriptor, depth int) error {
	digest := report.Digest(d.Digest.String())
	if d.MediaType.IsIndex() {
		m, err := r.Manifest(ctx, registry.ByDigest(digest))
		if err != nil {
			return err
		}
		if m == nil {
			return r.missingChild(digest)
		}
		return r.complete(ctx, m, depth+1)
	}
	got, err := r.Digest(ctx, registry.ByDigest(digest))
	switch {
	case err != nil:
		return err
	case got == "":
		return r.missingChild(digest)
	case got != digest:
		return r.wrong("read the digest of manifest "+digest.Short(), 0, "the registry reports another one: "+got.Short())
	}
	return nil
}

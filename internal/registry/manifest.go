package promote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// Bounds on what a manifest may name.
const (
	maxChildren = 1000 // of an index; a real one has a few dozen
	maxDepth    = 4    // of indexes in indexes
)

// Labels and annotations of the OCI image specification.
const (
	revisionLabel = "org.opencontainers.image.revision"
	createdLabel  = "org.opencontainers.image.created"
)

// maxLabel is how much of a foreign label is kept, in characters.
const maxLabel = 100

// A manifest is an image's or index's manifest as the registry gave it.
type manifest struct {
	digest    string // "sha256:…" of raw
	mediaType string
	raw       []byte
	content   content
}

// content is the part of a manifest that matters here, of whatever kind it is.
type content struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *v1.Descriptor    `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Manifests     []v1.Descriptor   `json:"manifests"`
	Subject       *v1.Descriptor    `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// parseManifest reads a manifest that came with a Content-Type.
func parseManifest(contentType string, raw []byte) (*manifest, error) {
	m := &manifest{digest: digestOf(raw), raw: raw}
	if err := json.Unmarshal(raw, &m.content); err != nil {
		return nil, fmt.Errorf("the manifest is not what it should be: %w", err)
	}
	if m.content.SchemaVersion != 2 {
		return nil, fmt.Errorf("the manifest has schema version %d; only 2 can be moved: build the image anew", m.content.SchemaVersion)
	}
	if n := len(m.content.Manifests); n > maxChildren {
		return nil, fmt.Errorf("the index names %d manifests; more than %d are refused", n, maxChildren)
	}
	var err error
	m.mediaType, err = m.content.kind(contentType)
	return m, err
}

// kind decides a manifest's media type: what the registry says, unless that is
// no manifest's type; then what the manifest says of itself; then its shape. A
// tag must move with the same type, or clients would read other content.
func (c *content) kind(contentType string) (string, error) {
	told, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		told = ""
	}
	known := func(s string) bool { t := types.MediaType(s); return t.IsImage() || t.IsIndex() }
	kind := told
	switch {
	case known(told) && c.MediaType != "" && told != c.MediaType:
		return "", fmt.Errorf("the registry calls the manifest %s, it calls itself %s",
			untrusted.Line(told, maxLabel), untrusted.Line(c.MediaType, maxLabel))
	case known(told):
	case known(c.MediaType):
		kind = c.MediaType
	case c.Manifests != nil:
		kind = string(types.OCIImageIndex)
	case c.Config != nil:
		kind = string(types.OCIManifestSchema1)
	default:
		return "", fmt.Errorf("%s is no manifest's media type", untrusted.Line(contentType, maxLabel))
	}
	if types.MediaType(kind).IsIndex() == (c.Config != nil) {
		return "", fmt.Errorf("the manifest's content does not fit its type %s", kind)
	}
	return kind, nil
}

// matches holds a manifest against the reference that it was read by and the
// digest that the registry told.
func (m *manifest) matches(reference, told string) error {
	for _, want := range []string{reference, told} {
		h, err := v1.NewHash(want)
		if err != nil {
			continue // a tag; or a registry that tells nothing
		}
		if got := sumLike(h.Algorithm, m.raw); got != h.String() {
			return fmt.Errorf("the manifest's bytes have the digest %s, not %s", short(got), short(want))
		}
	}
	return nil
}

// digestOf is the sha256 digest of bytes.
func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// sumLike is the digest of bytes by the algorithm that another digest uses.
func sumLike(algorithm string, b []byte) string {
	h, err := v1.Hasher(algorithm)
	if err != nil {
		return ""
	}
	h.Write(b)
	return algorithm + ":" + hex.EncodeToString(h.Sum(nil))
}

// holds reports whether content is what a descriptor says.
func holds(d v1.Descriptor, b []byte) error {
	if int64(len(b)) != d.Size {
		return fmt.Errorf("it has %d bytes, not %d", len(b), d.Size)
	}
	if got := sumLike(d.Digest.Algorithm, b); got != d.Digest.String() {
		return fmt.Errorf("its bytes have the digest %s", short(got))
	}
	return nil
}

// An origin is what an image tells about where it comes from. Both may be
// unknown: "" and the zero time.
type origin struct {
	revision string // sanitised
	created  time.Time
}

// origin reads revision and creation from an image's config, for an index from
// that of its first child; what is not there, from the annotations.
func (r *repository) origin(ctx context.Context, m *manifest) (origin, error) {
	annotations := m.content.Annotations
	for range maxDepth {
		if m.content.Config != nil {
			o, err := r.configOrigin(ctx, m)
			return o.or(m.content.Annotations).or(annotations), err
		}
		child, ok := firstChild(m.content.Manifests)
		if !ok {
			return origin{}.or(annotations), nil
		}
		next, err := r.manifest(ctx, child.Digest.String())
		if err != nil {
			return origin{}, err
		}
		if next == nil {
			return origin{}, &failure{what: "read " + tagOrDigest(child.Digest.String()), on: r.name.Name(), status: 404, said: "the index names it, the registry lacks it"}
		}
		m = next
	}
	return origin{}, &failure{what: "read manifest " + short(m.digest), on: r.name.Name(), said: fmt.Sprintf("indexes are nested more than %d deep", maxDepth)}
}

// firstChild is the first child of an index that is an image for some platform;
// builders append attestations for the platform unknown/unknown.
func firstChild(children []v1.Descriptor) (v1.Descriptor, bool) {
	i := slices.IndexFunc(children, func(d v1.Descriptor) bool {
		return d.Platform == nil || d.Platform.OS != "unknown"
	})
	if i < 0 {
		return v1.Descriptor{}, false
	}
	return children[i], true
}

// configOrigin reads a config. Artifacts that are no images have none to read.
func (r *repository) configOrigin(ctx context.Context, m *manifest) (origin, error) {
	if !m.content.Config.MediaType.IsConfig() {
		return origin{}, nil
	}
	raw, err := r.blob(ctx, *m.content.Config, maxBody)
	if err != nil {
		return origin{}, err
	}
	var config struct {
		Created string `json:"created"`
		Config  struct {
			Labels map[string]string `json:"Labels"`
		} `json:"config"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return origin{}, &failure{what: "read config of " + short(m.digest), on: r.name.Name(), said: r.clean(err.Error()), err: err}
	}
	o := origin{revision: untrusted.Line(config.Config.Labels[revisionLabel], maxLabel), created: buildTime(config.Created)}
	return o.or(config.Config.Labels), nil
}

// or fills in what is unknown from labels or annotations.
func (o origin) or(labels map[string]string) origin {
	if o.revision == "" {
		o.revision = untrusted.Line(strings.TrimSpace(labels[revisionLabel]), maxLabel)
	}
	if o.created.IsZero() {
		o.created = buildTime(labels[createdLabel])
	}
	return o
}

// firstImages is when container images came up. Reproducible builds set fixed
// times of the past, which tell no order.
var firstImages = time.Date(2013, 1, 1, 0, 0, 0, 0, time.UTC)

// buildTime reads a time of creation; zero when it tells nothing.
func buildTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Before(firstImages) {
		return time.Time{}
	}
	return t.UTC()
}

// complete proves that everything a manifest names as a manifest can be pulled,
// down through indexes in indexes.
func (r *repository) complete(ctx context.Context, m *manifest, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: indexes are nested more than %d deep", r.name.Name(), maxDepth)
	}
	children := m.content.Manifests
	slots := make(chan struct{}, 8)
	faults := all(len(children), func(i int) error {
		slots <- struct{}{}
		defer func() { <-slots }()
		return r.child(ctx, children[i], depth)
	})
	return errors.Join(firstFaults(faults, 3)...)
}

// child proves one child of an index.
func (r *repository) child(ctx context.Context, d v1.Descriptor, depth int) error {
	digest := d.Digest.String()
	missing := &failure{what: "read " + tagOrDigest(digest), on: r.name.Name(), status: 404, said: "an index names it, the registry lacks it"}
	if d.MediaType.IsIndex() {
		m, err := r.manifest(ctx, digest)
		if err == nil && m == nil {
			err = missing
		}
		if err != nil {
			return err
		}
		return r.complete(ctx, m, depth+1)
	}
	got, err := r.digest(ctx, digest)
	switch {
	case err != nil:
		return err
	case got == "":
		return missing
	case got != digest:
		return &failure{what: "read " + tagOrDigest(digest), on: r.name.Name(), said: "the registry tells another digest for it: " + short(got)}
	}
	return nil
}

// firstFaults drops what is nil and keeps the first few.
func firstFaults(faults []error, limit int) []error {
	faults = slices.DeleteFunc(faults, func(err error) bool { return err == nil })
	return faults[:min(limit, len(faults))]
}

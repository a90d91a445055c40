package registry

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// maxChildren is how many manifests an index may name; real ones have a few dozen.
const maxChildren = 1000

// A Manifest is an image's, index's or artifact's manifest, byte for byte as the
// registry gave it.
type Manifest struct {
	Digest    report.Digest // of Raw
	MediaType string
	Raw       []byte
	Content   Content
}

// Content is the part of a manifest that matters here, of whatever kind it is.
type Content struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *v1.Descriptor    `json:"config,omitempty"`
	Layers        []v1.Descriptor   `json:"layers,omitempty"`
	Manifests     []v1.Descriptor   `json:"manifests,omitempty"`
	Subject       *v1.Descriptor    `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// ParseManifest reads a manifest that came with a Content-Type.
func ParseManifest(contentType string, raw []byte) (*Manifest, error) {
	m := &Manifest{Digest: DigestOf(raw), Raw: raw}
	if err := json.Unmarshal(raw, &m.Content); err != nil {
		return nil, fmt.Errorf("the manifest is not valid: %w", err)
	}
	if m.Content.SchemaVersion != 2 {
		return nil, fmt.Errorf("the manifest has schema version %d; only 2 is supported: rebuild the image", m.Content.SchemaVersion)
	}
	if n := len(m.Content.Manifests); n > maxChildren {
		return nil, fmt.Errorf("the index names %d manifests; more than %d are refused", n, maxChildren)
	}
	var err error
	m.MediaType, err = m.Content.kind(contentType)
	return m, err
}

// NewArtifact makes the manifest of an artifact: of type, with the empty config
// and these layers, attached to subject. [EmptyConfig] must be pushed before it.
func NewArtifact(artifactType string, subject v1.Descriptor, annotations map[string]string, layers ...v1.Descriptor) *Manifest {
	// The library's mutate sets neither artifactType nor the empty config.
	config := Describe(EmptyType, EmptyConfig)
	content := Content{
		SchemaVersion: 2, MediaType: string(types.OCIManifestSchema1), ArtifactType: artifactType,
		Config: &config, Layers: layers, Subject: &subject, Annotations: annotations,
	}
	raw, err := json.Marshal(content)
	if err != nil {
		panic(err) // strings and numbers
	}
	return &Manifest{Digest: DigestOf(raw), MediaType: content.MediaType, Raw: raw, Content: content}
}

// EmptyType is the media type of [EmptyConfig], the config of artifacts that have
// none, as the OCI image specification fixes it.
const EmptyType = "application/vnd.oci.empty.v1+json"

// EmptyConfig is the content of an empty config.
var EmptyConfig = []byte("{}")

// Describe returns the descriptor of a blob.
func Describe(mediaType string, content []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: types.MediaType(mediaType), Digest: hash(DigestOf(content)), Size: int64(len(content))}
}

// Descriptor returns the manifest's descriptor, as a subject or in a list of
// referrers.
func (m *Manifest) Descriptor() v1.Descriptor { return Describe(m.MediaType, m.Raw) }

// IsIndex reports whether the manifest is an index of manifests.
func (m *Manifest) IsIndex() bool { return types.MediaType(m.MediaType).IsIndex() }

// DigestOrNone returns the manifest's digest, and the empty one for nil.
func (m *Manifest) DigestOrNone() report.Digest {
	if m == nil {
		return ""
	}
	return m.Digest
}

// kind decides a manifest's media type: what the registry says, unless that is
// not a manifest's type; then what the manifest says of itself; then its shape. A
// tag must move with the same type, or clients would read other content.
func (c *Content) kind(contentType string) (string, error) {
	claimed, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		claimed = ""
	}
	known := func(s string) bool { t := types.MediaType(s); return t.IsImage() || t.IsIndex() }
	kind := claimed
	switch {
	case known(claimed) && c.MediaType != "" && claimed != c.MediaType:
		return "", fmt.Errorf("the registry calls the manifest %s, it calls itself %s",
			untrusted.Line(claimed, 100), untrusted.Line(c.MediaType, 100))
	case known(claimed):
	case known(c.MediaType):
		kind = c.MediaType
	case c.Manifests != nil:
		kind = string(types.OCIImageIndex)
	case c.Config != nil:
		kind = string(types.OCIManifestSchema1)
	default:
		return "", fmt.Errorf("%s is not a manifest's media type", untrusted.Line(contentType, 100))
	}
	if types.MediaType(kind).IsIndex() == (c.Config != nil) {
		return "", fmt.Errorf("the manifest's content does not fit its type %s", kind)
	}
	return kind, nil
}

// matches compares the bytes of a manifest with digests that were asked for or
// claimed; what is not a digest is left out.
func matches(raw []byte, digests ...string) error {
	for _, want := range digests {
		d, err := report.ParseDigest(want)
		if err != nil {
			continue
		}
		if got := digestLike(want, raw); got != d {
			return fmt.Errorf("the manifest's bytes have the digest %s, expected %s", got.Short(), d.Short())
		}
	}
	return nil
}

// DigestOf returns the sha256 digest of bytes.
func DigestOf(b []byte) report.Digest { return digestLike("sha256:", b) }

// digestLike is the digest of bytes by the algorithm that another digest uses;
// empty for an unknown one.
func digestLike(digest string, b []byte) report.Digest {
	algorithm, _, _ := strings.Cut(digest, ":")
	h, err := v1.Hasher(algorithm)
	if err != nil {
		return ""
	}
	h.Write(b)
	return report.Digest(algorithm + ":" + hex.EncodeToString(h.Sum(nil)))
}

// hash is the library's form of a digest.
func hash(d report.Digest) v1.Hash {
	algorithm, hex, _ := strings.Cut(string(d), ":")
	return v1.Hash{Algorithm: algorithm, Hex: hex}
}

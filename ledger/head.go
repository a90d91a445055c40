package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// The parts of a record's manifest that the OCI image specification fixes.
const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeEmpty    = "application/vnd.oci.empty.v1+json"
	maxManifest  = 256 << 10
)

// emptyConfig is the content of the config of an artifact without one.
const emptyConfig = "{}"

// The annotations of a record's manifest. They are for people and listings; what
// counts is in the statement. cosign looks for the first three by these names.
const (
	noteCreated   = "org.opencontainers.image.created"
	noteContent   = "dev.sigstore.bundle.content"
	notePredicate = "dev.sigstore.bundle.predicateType"
	noteEvent     = "vnd.canary-verify.event"
	noteSeq       = "vnd.canary-verify.seq"
)

// A Kind is one of the two heads of a target.
type Kind int

// The heads of a target.
const (
	GoHead   Kind = iota // written by promotions
	StopHead             // written by hold, release and rollback
)

// String returns go or stop, the end of the head's tag.
func (k Kind) String() string {
	if k == StopHead {
		return "stop"
	}
	return "go"
}

// namespace begins the tags of heads.
const namespace = "canary-verify."

// Reserved reports whether a tag is in a namespace of the ledger: the heads' own,
// or that of the lists that stand in for a referrers API. Such a tag can't be a
// source, target or canary tag.
func Reserved(tag string) bool {
	return strings.HasPrefix(tag, namespace) || strings.HasPrefix(tag, "sha256-")
}

// HeadTag returns the tag of a target's head, for example
// "canary-verify.latest.go". An error: the target has no heads, because it is not a
// tag, is reserved or is too long.
func HeadTag(target string, kind Kind) (string, error) {
	longest := 128 - len(namespace) - len(".stop") // both heads must fit
	switch {
	case !tagForm.MatchString(target):
		return "", fmt.Errorf("%q is not a tag", untrusted.Line(target, maxName))
	case Reserved(target):
		return "", fmt.Errorf("tag %q is reserved: tags that start with %s or sha256- belong to records", untrusted.Line(target, maxName), namespace)
	case len(target) > longest:
		return "", fmt.Errorf("tag %q is longer than %d characters, which records of a target tag need", untrusted.Line(target, maxName), longest)
	}
	return namespace + target + "." + kind.String(), nil
}

// A Descriptor names a blob or manifest in a registry.
type Descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    report.Digest `json:"digest"`
	Size      int64         `json:"size"`
}

// A layer is the descriptor of a record's content, which it carries along: reading
// a head is then one request.
type layer struct {
	Descriptor
	Data []byte `json:"data,omitempty"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        Descriptor        `json:"config"`
	Layers        []layer           `json:"layers"`
	Subject       *Descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// An Artifact is a record ready to be written: the blobs first, then the manifest.
type Artifact struct {
	Descriptor // of Manifest
	Manifest   []byte
	// Blobs are what the manifest refers to: the empty config, and the content,
	// which tools that don't read it inline ask for.
	Blobs [][]byte
}

// Seal writes a record of the image that subject describes, signed if there is a
// signer. The same record gives the same bytes unless an ECDSA key signs it.
func Seal(r *Record, subject Descriptor, signer *Signer) (*Artifact, error) {
	if subject.Digest != r.Subject {
		return nil, fmt.Errorf("write the record: it is about %s, not %s", r.Subject.Short(), subject.Digest.Short())
	}
	content, err := statementOf(r)
	if err != nil {
		return nil, err
	}
	kind := typeInToto
	notes := map[string]string{
		noteCreated: r.Time.UTC().Format(time.RFC3339Nano),
		noteEvent:   string(r.Event),
		noteSeq:     strconv.FormatInt(r.Seq, 10),
	}
	if signer != nil {
		kind = typeBundle
		notes[noteContent], notes[notePredicate] = "dsse-envelope", predicateTypeOf(r.Event)
		if content, err = signer.bundleOf(content); err != nil {
			return nil, err
		}
	}
	raw, err := json.Marshal(manifest{
		SchemaVersion: 2, MediaType: typeManifest, ArtifactType: kind,
		Config:      describe(typeEmpty, []byte(emptyConfig)),
		Layers:      []layer{{describe(kind, content), content}},
		Subject:     &subject,
		Annotations: notes,
	})
	if err != nil {
		return nil, fmt.Errorf("write the record: %w", err)
	}
	if len(raw) > maxManifest {
		return nil, fmt.Errorf("write the record: it has %d bytes; at most %d are read", len(raw), maxManifest)
	}
	return &Artifact{describe(typeManifest, raw), raw, [][]byte{[]byte(emptyConfig), content}}, nil
}

// describe returns the descriptor of a content.
func describe(mediaType string, content []byte) Descriptor {
	return Descriptor{mediaType, digestOf(content), int64(len(content))}
}

// digestOf returns the SHA-256 digest of a content.
func digestOf(content []byte) report.Digest {
	sum := sha256.Sum256(content)
	return report.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// parseManifest reads the manifest of a record, of either form. Its content is
// inline, or must be fetched by the layer's digest.
func parseManifest(raw []byte) (*manifest, error) {
	m := &manifest{}
	if err := decodeStrict(raw, maxManifest, m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	want := m.ArtifactType
	if want == typeFirst {
		want = typeInToto
	}
	switch {
	case m.SchemaVersion != 2 || m.MediaType != typeManifest:
		return nil, errors.New("manifest: it is not an OCI image manifest")
	case m.ArtifactType != typeBundle && m.ArtifactType != typeInToto && m.ArtifactType != typeFirst:
		return nil, fmt.Errorf("manifest: its artifact type is %q", untrusted.Line(m.ArtifactType, maxName))
	case m.Config.MediaType != typeEmpty:
		return nil, errors.New("manifest: its config is not the empty one")
	case len(m.Layers) != 1 || m.Layers[0].MediaType != want:
		return nil, fmt.Errorf("manifest: expected one layer of type %s", want)
	case m.Subject == nil:
		return nil, errors.New("manifest: it has no subject")
	}
	l := m.Layers[0]
	if err := errors.Join(checkDigest("subject", m.Subject.Digest, false), checkDigest("layer", l.Digest, false)); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if l.Size < 1 || l.Size > maxBundle {
		return nil, fmt.Errorf("manifest: its layer has %d bytes; at most %d are read", l.Size, maxBundle)
	}
	if l.Data != nil {
		return m, l.check(l.Data)
	}
	return m, nil
}

// check compares a content with what the descriptor says of it.
func (l layer) check(content []byte) error {
	if int64(len(content)) != l.Size || digestOf(content) != l.Digest {
		return errors.New("manifest: its layer's content does not match size and digest")
	}
	return nil
}

// MayBeRecord reports whether a listing of referrers may mean a record by this
// artifact type. Some registries list an artifact under the type of its config, or
// under none.
func MayBeRecord(artifactType string) bool {
	switch artifactType {
	case typeBundle, typeInToto, typeFirst, typeEmpty, "":
		return true
	}
	return false
}

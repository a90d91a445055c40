package promote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// What a record is made of. The statement and its predicate are those of
// in-toto (Statement v1) and SLSA (Verification Summary Attestation v1); what
// SLSA has no field for stands in one extension field, named as SLSA asks.
const (
	recordType    = "application/vnd.canary-verify.record.v1+json"
	payloadType   = "application/vnd.in-toto+json"
	emptyType     = "application/vnd.oci.empty.v1+json"
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://slsa.dev/verification_summary/v1"
	verifierID    = "https://git.moleculesai.app/molecule-ai/canary-verify"
	eventKey      = "vnd.canary-verify.event"
	suitePrefix   = "urn:canary-verify:suite:"
	byHand        = "urn:canary-verify:by-hand"
)

// emptyConfig is the content of the empty config of an artifact, as the OCI
// image specification fixes it.
var emptyConfig = []byte("{}")

// Bounds on records that are read. Ours are under 2 KiB.
const (
	maxPayload = 64 << 10
	maxText    = 500 // characters of a reason, a URL, an actor
)

// passed reports whether an event says that the digest was good.
func (e Event) passed() bool { return e == Verified || e == PromotedBy }

// known reports whether an event is one of ours.
func (e Event) known() bool { return e.passed() || e == Rejected || e == RolledBack }

// A statement is the payload of a record.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

type predicate struct {
	Verifier           verifier  `json:"verifier"`
	TimeVerified       time.Time `json:"timeVerified"`
	ResourceURI        string    `json:"resourceUri"`
	Policy             policyRef `json:"policy"`
	VerificationResult string    `json:"verificationResult"`
	VerifiedLevels     []string  `json:"verifiedLevels"`
	Record             extension `json:"canaryverify_record"`
}

type verifier struct {
	ID string `json:"id"`
}

type policyRef struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest,omitempty"`
}

type extension struct {
	Event    Event  `json:"event"`
	SHA      string `json:"sha"`
	Target   string `json:"target"`
	Replaced string `json:"replaced,omitempty"`
	Tool     string `json:"tool,omitempty"`
	RunURL   string `json:"runUrl,omitempty"`
	Actor    string `json:"actor,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// payload returns the bytes of a record's payload: the same for the same record.
func (rec Record) payload(repository, tool string) []byte {
	result, level := "FAILED", "FAILED"
	if rec.Event.passed() {
		result, level = "PASSED", "CANARY_VERIFIED"
	}
	policy := policyRef{URI: byHand}
	if rec.Suite != "" {
		policy.URI = suitePrefix + url.PathEscape(rec.Suite)
	}
	if hash, found := strings.CutPrefix(rec.Hash, "sha256:"); found {
		policy.Digest = map[string]string{"sha256": hash}
	}
	hex := strings.TrimPrefix(rec.Digest, "sha256:")
	s := statement{
		Type:          statementType,
		Subject:       []subject{{Name: repository, Digest: map[string]string{"sha256": hex}}},
		PredicateType: predicateType,
		Predicate: predicate{
			Verifier: verifier{ID: verifierID}, TimeVerified: rec.Time.UTC(),
			ResourceURI: purl(repository, rec.Digest), Policy: policy,
			VerificationResult: result, VerifiedLevels: []string{level},
			Record: extension{
				Event: rec.Event, SHA: rec.SHA, Target: rec.Target, Replaced: rec.Replaced,
				Tool: tool, RunURL: rec.RunURL, Actor: rec.Actor, Reason: rec.Reason,
			},
		},
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings, maps of strings and a time of this century
	}
	return b
}

// purl is the package URL of an image, which SLSA takes as its resource URI.
func purl(repository, digest string) string {
	base := repository[strings.LastIndex(repository, "/")+1:]
	return "pkg:oci/" + base + "@" + url.QueryEscape(digest) + "?repository_url=" + url.QueryEscape(repository)
}

// artifact returns the manifest that attaches a payload to its subject. The
// library's mutate sets neither artifactType nor the empty config.
func artifact(of v1.Descriptor, rec Record, payload []byte) *manifest {
	raw, err := json.Marshal(struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Subject       descriptor        `json:"subject"`
		Annotations   map[string]string `json:"annotations"`
	}{
		2, string(types.OCIManifestSchema1), recordType,
		descriptor{emptyType, digestOf(emptyConfig), int64(len(emptyConfig))},
		[]descriptor{{payloadType, digestOf(payload), int64(len(payload))}},
		descriptor{string(of.MediaType), of.Digest.String(), of.Size},
		rec.annotations(),
	})
	if err != nil {
		panic(err) // strings and numbers
	}
	return &manifest{digest: digestOf(raw), mediaType: string(types.OCIManifestSchema1), raw: raw}
}

// annotations tell time and event, so that the newest record can be found
// without reading them all, and people see them in a listing.
func (rec Record) annotations() map[string]string {
	return map[string]string{
		createdLabel: rec.Time.UTC().Format(time.RFC3339Nano),
		eventKey:     string(rec.Event),
	}
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// parseArtifact checks that a manifest is a record of the digest and returns
// its payload's descriptor.
func parseArtifact(m *manifest, of string) (v1.Descriptor, error) {
	none := v1.Descriptor{}
	c := m.content
	switch {
	case c.ArtifactType != recordType:
		return none, fmt.Errorf("its type is %q", untrusted.Line(c.ArtifactType, maxLabel))
	case c.Subject == nil || c.Subject.Digest.String() != of:
		return none, errors.New("it is attached to something else")
	case c.Config == nil || c.Config.MediaType != emptyType:
		return none, errors.New("its config is not the empty one")
	case len(c.Layers) != 1 || c.Layers[0].MediaType != payloadType:
		return none, errors.New("it does not have one layer of type " + payloadType)
	case c.Layers[0].Size > maxPayload:
		return none, fmt.Errorf("its payload has %d bytes; at most %d are read", c.Layers[0].Size, maxPayload)
	}
	return c.Layers[0], nil
}

// hashForm is what a suite's hash and a digest look like.
var hashForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// parsePayload reads the payload of a record of the digest. Foreign texts are
// sanitised.
func parsePayload(b []byte, of string) (*Record, error) {
	if len(b) > maxPayload {
		return nil, fmt.Errorf("the payload has %d bytes; at most %d are read", len(b), maxPayload)
	}
	var s statement
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("the payload is no statement: %s", untrusted.Line(err.Error(), maxLabel))
	}
	if d.More() {
		return nil, errors.New("the payload goes on behind the statement")
	}
	p, x := s.Predicate, s.Predicate.Record
	switch {
	case s.Type != statementType || s.PredicateType != predicateType:
		return nil, errors.New("the payload is a statement of another kind")
	case len(s.Subject) != 1 || "sha256:"+s.Subject[0].Digest["sha256"] != of:
		return nil, errors.New("the payload is about something else")
	case !x.Event.known():
		return nil, fmt.Errorf("the event %q is unknown", untrusted.Line(string(x.Event), maxLabel))
	case p.VerificationResult != "PASSED" && p.VerificationResult != "FAILED" || (p.VerificationResult == "PASSED") != x.Event.passed():
		return nil, errors.New("its verdict and its event contradict each other")
	case p.TimeVerified.IsZero():
		return nil, errors.New("it has no time")
	case x.SHA != "" && !commitForm.MatchString(x.SHA):
		return nil, errors.New("its sha is no commit")
	case !tagForm.MatchString(x.Target):
		return nil, errors.New("its target is no tag")
	case x.Replaced != "" && !hashForm.MatchString(x.Replaced):
		return nil, errors.New("what it replaced is no digest")
	}
	rec := &Record{
		Event: x.Event, Time: p.TimeVerified.UTC(), SHA: x.SHA, Digest: of, Target: x.Target, Replaced: x.Replaced,
		RunURL: untrusted.Line(x.RunURL, maxText), Actor: untrusted.Line(x.Actor, maxText), Reason: untrusted.Line(x.Reason, maxText),
	}
	if suite, found := strings.CutPrefix(p.Policy.URI, suitePrefix); found {
		name, err := url.PathUnescape(suite)
		if err != nil {
			return nil, errors.New("its policy's name is malformed")
		}
		rec.Suite = untrusted.Line(name, maxText)
	}
	if hash := "sha256:" + p.Policy.Digest["sha256"]; hashForm.MatchString(hash) {
		rec.Hash = hash
	}
	return rec, nil
}

// An entry is a record in a listing of what refers to a digest.
type entry struct {
	digest string    // of the record's manifest
	time   time.Time // zero: the listing does not tell
}

// maxReferrers is how many referrers of one digest are looked at.
const maxReferrers = 2000

// parseListing reads an index of referrers and returns the records in it.
func parseListing(b []byte) ([]entry, error) {
	var index struct {
		SchemaVersion int `json:"schemaVersion"`
		Manifests     []struct {
			Digest       string            `json:"digest"`
			ArtifactType string            `json:"artifactType"`
			Annotations  map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, fmt.Errorf("the list of referrers is no index: %s", untrusted.Line(err.Error(), maxLabel))
	}
	if index.SchemaVersion != 2 {
		return nil, errors.New("the list of referrers is no index")
	}
	if n := len(index.Manifests); n > maxReferrers {
		return nil, fmt.Errorf("%d artifacts refer to it; more than %d are refused", n, maxReferrers)
	}
	var entries []entry
	for _, d := range index.Manifests {
		if !isRecord(d.ArtifactType, d.Annotations) {
			continue
		}
		if !hashForm.MatchString(d.Digest) {
			return nil, errors.New("the list of referrers names a record without a digest")
		}
		at, err := time.Parse(time.RFC3339Nano, d.Annotations[createdLabel])
		if err != nil {
			at = time.Time{}
		}
		entries = append(entries, entry{d.Digest, at})
	}
	slices.SortFunc(entries, newerEntry)
	return slices.CompactFunc(entries, func(a, b entry) bool { return a.digest == b.digest }), nil
}

// isRecord reports whether a listing means one of our records. Some registries
// list an artifact under the type of its config, or under none.
func isRecord(artifactType string, annotations map[string]string) bool {
	switch artifactType {
	case recordType:
		return true
	case emptyType, "":
		return Event(annotations[eventKey]).known()
	}
	return false
}

// newerEntry orders records: the newest first, ties by digest.
func newerEntry(a, b entry) int {
	if c := b.time.Compare(a.time); c != 0 {
		return c
	}
	return strings.Compare(a.digest, b.digest)
}

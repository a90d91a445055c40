package promote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// What a record is made of. The statement and its predicate are those of
// in-toto (Statement v1) and SLSA (Verification Summary Attestation v1); what
// SLSA has no field for stands in one extension field, named as SLSA asks.
const (
	recordType    = "application/vnd.canary-verify.record.v1+json"
	payloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://slsa.dev/verification_summary/v1"
	verifierID    = "https://git.moleculesai.app/molecule-ai/canary-verify"
	eventKey      = "vnd.canary-verify.event"
	suitePrefix   = "urn:canary-verify:suite:"
	byHand        = "urn:canary-verify:by-hand"
)

// Limits of records that are read. Ours are under 2 KiB.
const (
	maxPayload = 64 << 10
	maxText    = 500 // characters of a reason, a URL, an actor
)

// known reports whether an event is one of ours.
func known(e report.Event) bool {
	return e.Positive() || e == report.EventRejected || e == report.EventRolledBack
}

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
	Event    report.Event  `json:"event"`
	SHA      report.Commit `json:"sha"`
	Target   string        `json:"target"`
	Replaced report.Digest `json:"replaced,omitempty"`
	Tool     string        `json:"tool,omitempty"`
	RunURL   string        `json:"runUrl,omitempty"`
	Actor    string        `json:"actor,omitempty"`
	Reason   string        `json:"reason,omitempty"`
}

// payload returns the bytes of a record's payload: the same for the same record.
func payload(rec report.Record, repository, tool string) []byte {
	result, level := "FAILED", "FAILED"
	if rec.Event.Positive() {
		result, level = "PASSED", "CANARY_VERIFIED"
	}
	policy := policyRef{URI: byHand}
	if rec.Suite != "" {
		policy.URI = suitePrefix + url.PathEscape(rec.Suite)
	}
	if hash, found := strings.CutPrefix(rec.Hash, "sha256:"); found {
		policy.Digest = map[string]string{"sha256": hash}
	}
	hex := strings.TrimPrefix(string(rec.Digest), "sha256:")
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
func purl(repository string, digest report.Digest) string {
	base := repository[strings.LastIndex(repository, "/")+1:]
	return "pkg:oci/" + base + "@" + url.QueryEscape(string(digest)) + "?repository_url=" + url.QueryEscape(repository)
}

// artifact returns the manifest that attaches a payload to its subject. The
// annotations repeat time and event, so that the newest record can be found
// without reading them all, and people see them in a listing.
func artifact(subject *registry.Manifest, rec report.Record, payload []byte) *registry.Manifest {
	return registry.NewArtifact(recordType, subject.Descriptor(), map[string]string{
		createdLabel: rec.Time.UTC().Format(time.RFC3339Nano),
		eventKey:     string(rec.Event),
	}, registry.Describe(payloadType, payload))
}

// parseArtifact checks that a manifest is a record of the digest and returns
// its payload's descriptor.
func parseArtifact(m *registry.Manifest, of report.Digest) (v1.Descriptor, error) {
	none := v1.Descriptor{}
	c := m.Content
	switch {
	case c.ArtifactType != recordType:
		return none, fmt.Errorf("its type is %q", untrusted.Line(c.ArtifactType, maxLabel))
	case c.Subject == nil || c.Subject.Digest.String() != string(of):
		return none, errors.New("it is attached to another digest")
	case c.Config == nil || c.Config.MediaType != registry.EmptyType:
		return none, errors.New("its config is not the empty one")
	case len(c.Layers) != 1 || c.Layers[0].MediaType != payloadType:
		return none, errors.New("it does not have one layer of type " + payloadType)
	case c.Layers[0].Size > maxPayload:
		return none, fmt.Errorf("its payload has %d bytes; at most %d are read", c.Layers[0].Size, maxPayload)
	}
	return c.Layers[0], nil
}

// parsePayload reads the payload of a record of the digest. Foreign texts are
// sanitised.
func parsePayload(b []byte, of report.Digest) (*report.Record, error) {
	if len(b) > maxPayload {
		return nil, fmt.Errorf("the payload has %d bytes; at most %d are read", len(b), maxPayload)
	}
	var s statement
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("the payload is not a statement: %s", untrusted.Line(err.Error(), maxLabel))
	}
	if d.More() {
		return nil, errors.New("the payload goes on after the statement")
	}
	p, x := s.Predicate, s.Predicate.Record
	if err := s.check(of); err != nil {
		return nil, err
	}
	rec := &report.Record{
		Event: x.Event, Time: p.TimeVerified.UTC(), SHA: commitOf(string(x.SHA)), Digest: of, Target: x.Target, Replaced: x.Replaced,
		RunURL: untrusted.Line(x.RunURL, maxText), Actor: untrusted.Line(x.Actor, maxText), Reason: untrusted.Line(x.Reason, maxText),
	}
	if suite, found := strings.CutPrefix(p.Policy.URI, suitePrefix); found {
		name, err := url.PathUnescape(suite)
		if err != nil {
			return nil, errors.New("its policy's name is malformed")
		}
		rec.Suite = untrusted.Line(name, maxText)
	}
	if hash, err := report.ParseDigest("sha256:" + p.Policy.Digest["sha256"]); err == nil {
		rec.Hash = string(hash)
	}
	return rec, nil
}

// check says what is wrong with a statement about a digest.
func (s *statement) check(of report.Digest) error {
	p, x := s.Predicate, s.Predicate.Record
	_, replacedErr := report.ParseDigest(string(x.Replaced))
	switch {
	case s.Type != statementType || s.PredicateType != predicateType:
		return errors.New("the payload is a statement of another kind")
	case len(s.Subject) != 1 || "sha256:"+s.Subject[0].Digest["sha256"] != string(of):
		return errors.New("the payload is about another digest")
	case !known(x.Event):
		return fmt.Errorf("the event %q is unknown", untrusted.Line(string(x.Event), maxLabel))
	case p.VerificationResult != "PASSED" && p.VerificationResult != "FAILED" || (p.VerificationResult == "PASSED") != x.Event.Positive():
		return errors.New("its verdict does not fit its event")
	case p.TimeVerified.IsZero():
		return errors.New("it has no time")
	case x.SHA != "" && commitOf(string(x.SHA)) != x.SHA:
		return errors.New("its sha is not a commit")
	case !registry.ValidTag(x.Target):
		return errors.New("its target is not a tag")
	case x.Replaced != "" && replacedErr != nil:
		return errors.New("what it replaced is not a digest")
	}
	return nil
}

// An entry is a record in a listing of what refers to a digest.
type entry struct {
	digest report.Digest // of the record's manifest
	time   time.Time     // zero: the listing does not say
}

// records picks the records of a listing, newest first; of the same time, by
// digest.
func records(list []v1.Descriptor) []entry {
	var entries []entry
	for _, d := range list {
		if !isRecord(d) {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, d.Annotations[createdLabel])
		if err != nil {
			at = time.Time{}
		}
		entries = append(entries, entry{report.Digest(d.Digest.String()), at})
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if c := b.time.Compare(a.time); c != 0 {
			return c
		}
		return strings.Compare(string(a.digest), string(b.digest))
	})
	return entries
}

// isRecord reports whether a listing means one of our records. Some registries
// list an artifact under the type of its config, or under none.
func isRecord(d v1.Descriptor) bool {
	switch d.ArtifactType {
	case recordType:
		return true
	case registry.EmptyType, "":
		return known(report.Event(d.Annotations[eventKey]))
	}
	return false
}

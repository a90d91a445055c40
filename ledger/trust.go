package ledger

import (
	"errors"
	"fmt"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A Trust says whose records count.
type Trust struct {
	Keys *TrustedKeys
	// RequireSigned: records without a signature of one of Keys count as absent.
	RequireSigned bool
}

// Check finds what is wrong with a trust. The error is a [*report.InvalidError]
// about the field TrustedKeys.
func (t Trust) Check() error {
	if t.RequireSigned && len(t.Keys.Fingerprints()) == 0 {
		return &report.InvalidError{Field: fieldTrusted, Missing: true,
			Problem: "missing: signed records are required, so the keys that sign them must be known"}
	}
	return nil
}

// CheckSigner finds why what a signer (nil: none) writes would not count: a run
// that moves or records must not begin then. The error is a
// [*report.InvalidError] about the field SigningKey.
func (t Trust) CheckSigner(signer *Signer) error {
	switch {
	case signer == nil && t.RequireSigned:
		return &report.InvalidError{Field: fieldKey, Missing: true, Problem: "missing: signed records are required, so what this run decides must be signed"}
	case signer != nil && t.Keys != nil && !t.Keys.Trusts(signer):
		return &report.InvalidError{Field: fieldKey, Problem: fmt.Sprintf("its public key (%s) is not one of the trusted keys", signer.Fingerprint())}
	}
	return nil
}

// ErrUnreadable is the answer of a [Registry] that could not be had: neither the
// content nor the certainty that there is none. It is wrapped.
var ErrUnreadable = errors.New("could not be read")

// ErrNotFound is the answer of a [Registry] that has no such manifest or blob. It
// is wrapped.
var ErrNotFound = errors.New("not found")

// An UntrustedError is a record that came whole and does not count: malformed, not
// signed by a trusted key, or about something else. It counts as absent, and is to
// be named in a warning.
type UntrustedError struct {
	Digest report.Digest // of the manifest
	Reason string        // one sentence part, sanitised
}

// Error returns for example "record sha256:0123… does not count: it is not signed".
func (e *UntrustedError) Error() string {
	return fmt.Sprintf("record %s does not count: %s", e.Digest.Short(), e.Reason)
}

// A Head is a record that counts, with where it is kept.
type Head struct {
	Record
	Digest report.Digest // of the record's manifest
	// SignedBy is the fingerprint of the trusted key that signed it; empty: it is
	// not signed, or no keys are known, and that is allowed.
	SignedBy string
}

// ref names the head for those who come later.
func (h *Head) ref() Ref {
	if h == nil {
		return Ref{}
	}
	return Ref{h.Seq, h.Digest}
}

// Content returns the descriptor of the blob that a record's manifest doesn't carry
// inline. The zero Descriptor: nothing is left to fetch. An error is an
// [*UntrustedError].
func Content(raw []byte) (Descriptor, error) {
	m, err := parseManifest(raw)
	if err != nil {
		return Descriptor{}, untrustedBecause(raw, err)
	}
	if m.Layers[0].Data != nil {
		return Descriptor{}, nil
	}
	return m.Layers[0].Descriptor, nil
}

// Open reads a record of the image and target from the bytes of its manifest, and
// from its content where [Content] asked for it (else nil). An error is an
// [*UntrustedError]: bytes that came whole and don't verify count as absent.
func (t Trust) Open(raw, content []byte, image, target string) (*Head, error) {
	h, err := t.open(raw, content, image, target)
	if err != nil {
		return nil, untrustedBecause(raw, err)
	}
	return h, nil
}

func untrustedBecause(raw []byte, err error) error {
	return &UntrustedError{digestOf(raw), untrusted.Line(err.Error(), maxText)}
}

func (t Trust) open(raw, content []byte, image, target string) (*Head, error) {
	m, err := parseManifest(raw)
	if err != nil {
		return nil, err
	}
	if m.Layers[0].Data != nil {
		content = m.Layers[0].Data
	} else if err := m.Layers[0].check(content); err != nil {
		return nil, err
	}
	h := &Head{Digest: digestOf(raw)}
	payload := content
	if m.ArtifactType == typeBundle {
		b, err := parseBundle(content)
		if err != nil {
			return nil, err
		}
		payload = b.Envelope.Payload
		if h.SignedBy = b.signedBy(t.Keys); h.SignedBy == "" && (t.Keys != nil || t.RequireSigned) {
			return nil, errors.New("no trusted key signed it")
		}
	}
	r, err := parseStatement(payload)
	if err != nil {
		return nil, err
	}
	h.Record = *r
	return h, t.admissible(h, m, image, target)
}

// admissible finds why a well-formed record does not count here.
func (t Trust) admissible(h *Head, m *manifest, image, target string) error {
	switch {
	case (h.Seq == 0) != (m.ArtifactType == typeFirst):
		return errors.New("its content and its artifact type are of different forms")
	case h.Subject != m.Subject.Digest:
		return fmt.Errorf("it is attached to %s and about %s", m.Subject.Digest.Short(), h.Subject.Short())
	case h.Image != image:
		return fmt.Errorf("it is about the image %s", untrusted.Line(h.Image, maxName))
	case h.Target != target:
		return fmt.Errorf("it is about the target %s", untrusted.Line(h.Target, maxName))
	case t.RequireSigned && h.SignedBy == "" && !(h.Seq == 0 && negative(h.Event)):
		return errors.New("it is not signed")
	}
	return nil
}

// OpenHead reads what is behind the tag of a head: a record that [Trust.Open]
// accepts and that carries the state of this head.
func (t Trust) OpenHead(raw []byte, kind Kind, image, target string) (*Head, error) {
	h, err := t.Open(raw, nil, image, target)
	if err != nil {
		return nil, err
	}
	if kind == GoHead && h.Go == nil || kind == StopHead && h.Stop == nil {
		return nil, &UntrustedError{h.Digest, fmt.Sprintf("a record of the event %s is not a %s head", h.Event, kind)}
	}
	return h, nil
}

// OpenNegative reads a record that is not trusted for what it says against its
// digest: its event and digest. The start of a ledger ("begun") takes such records
// up, signed or not, since they can only restrict. False: it says nothing against it.
func OpenNegative(raw, content []byte, image, target string) (Revoked, bool) {
	h, err := Trust{}.Open(raw, content, image, target)
	if err != nil || !negative(h.Event) {
		return Revoked{}, false
	}
	return Revoked{Digest: h.Subject, SHA: h.SHA, Kind: h.Event}, true
}

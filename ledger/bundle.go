package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// The media types of a signed record, outside and inside.
const (
	typeBundle  = "application/vnd.dev.sigstore.bundle.v0.3+json"
	typeInToto  = "application/vnd.in-toto+json"
	maxPayload  = 64 << 10 // bytes of a statement; ours have 2 KiB, with 50 revoked digests 15
	maxBundle   = 128 << 10
	maxSigBytes = 256
)

// A bundle is a Sigstore bundle, version 0.3, of a DSSE envelope that was signed
// with a key. Bundles of certificates or transparency logs are not read.
type bundle struct {
	MediaType            string   `json:"mediaType"`
	VerificationMaterial material `json:"verificationMaterial"`
	Envelope             envelope `json:"dsseEnvelope"`
}

type material struct {
	PublicKey struct {
		Hint string `json:"hint"`
	} `json:"publicKey"`
}

// An envelope is a DSSE envelope. The payload is base64 in JSON.
type envelope struct {
	Payload     []byte      `json:"payload"`
	PayloadType string      `json:"payloadType"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	Sig []byte `json:"sig"`
}

// preAuth is what a DSSE signature covers: type and payload, each with its length,
// so that no other pair has the same bytes (DSSE protocol, "PAE").
func preAuth(payloadType string, payload []byte) []byte {
	b := []byte("DSSEv1 ")
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}

// bundleOf signs a statement.
func (s *Signer) bundleOf(payload []byte) ([]byte, error) {
	sig, err := s.sign(preAuth(typeInToto, payload))
	if err != nil {
		return nil, fmt.Errorf("sign the record: %w", err)
	}
	b := bundle{
		MediaType: typeBundle,
		Envelope:  envelope{Payload: payload, PayloadType: typeInToto, Signatures: []signature{{sig}}},
	}
	b.VerificationMaterial.PublicKey.Hint = s.public.hint()
	return json.Marshal(b)
}

// parseBundle reads a bundle. Its signature is not verified here.
func parseBundle(raw []byte) (*bundle, error) {
	b := &bundle{}
	if err := decodeStrict(raw, maxBundle, b); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	e := b.Envelope
	switch {
	case b.MediaType != typeBundle:
		return nil, fmt.Errorf("bundle: its media type is %q", untrusted.Line(b.MediaType, maxName))
	case e.PayloadType != typeInToto:
		return nil, fmt.Errorf("bundle: its payload type is %q", untrusted.Line(e.PayloadType, maxName))
	case len(e.Signatures) != 1:
		return nil, fmt.Errorf("bundle: expected one signature, got %d", len(e.Signatures))
	case len(e.Signatures[0].Sig) == 0 || len(e.Signatures[0].Sig) > maxSigBytes:
		return nil, errors.New("bundle: its signature has the wrong length")
	case len(e.Payload) == 0 || len(e.Payload) > maxPayload:
		return nil, fmt.Errorf("bundle: its payload has %d bytes; at most %d are read", len(e.Payload), maxPayload)
	}
	return b, nil
}

// signedBy returns the fingerprint of the trusted key that signed the bundle;
// empty: none did.
func (b *bundle) signedBy(trusted *TrustedKeys) string {
	e := b.Envelope
	return trusted.verify(preAuth(e.PayloadType, e.Payload), e.Signatures[0].Sig)
}

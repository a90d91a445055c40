package ledger

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/scrypt"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// Limits of keys that are read. A private key has about 700 bytes.
const (
	maxKeyFile     = 64 << 10
	maxTrustedKeys = 32
)

// supportedKeys is what every message about an unsuitable key ends with.
const supportedKeys = "use ECDSA P-256 or Ed25519"

// The fields that invalid keys are reported under.
const (
	fieldKey      = "SigningKey"
	fieldPassword = "SigningKeyPassword"
	fieldTrusted  = "TrustedKeys"
)

// A publicKey checks signatures.
type publicKey struct {
	key crypto.PublicKey // *ecdsa.PublicKey on P-256, or ed25519.PublicKey
	sum [sha256.Size]byte
}

// newPublicKey accepts the two kinds of key that records are signed with.
func newPublicKey(key crypto.PublicKey) (publicKey, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return publicKey{}, fmt.Errorf("an ECDSA key on curve %s is not supported; %s", k.Curve.Params().Name, supportedKeys)
		}
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		return publicKey{}, errors.New("an RSA key is not supported; " + supportedKeys)
	default:
		return publicKey{}, errors.New("a key of this kind is not supported; " + supportedKeys)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return publicKey{}, errors.New("the key can't be encoded; " + supportedKeys)
	}
	return publicKey{key, sha256.Sum256(der)}, nil
}

// hint is how bundles name a key; cosign makes the same: base64 of the SHA-256 of
// the key's PKIX form.
func (p publicKey) hint() string { return base64.StdEncoding.EncodeToString(p.sum[:]) }

// fingerprint is the same hash in the form that people compare.
func (p publicKey) fingerprint() string { return "sha256:" + hex.EncodeToString(p.sum[:]) }

// verify reports whether the signature of the message was made by this key.
func (p publicKey) verify(message, signature []byte) bool {
	switch k := p.key.(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(k, sum[:], signature)
	case ed25519.PublicKey:
		return ed25519.Verify(k, message, signature)
	}
	return false
}

// A Signer signs records with one private key. Whatever prints it shows no key:
// the key is out of reach of the fmt package. Make it with [ParseSigner].
type Signer struct {
	public publicKey
	sign   func(message []byte) ([]byte, error)
}

// Fingerprint returns "sha256:" and the SHA-256 of the public key in hex digits.
func (s *Signer) Fingerprint() string { return s.public.fingerprint() }

// String returns the fingerprint.
func (s *Signer) String() string { return s.Fingerprint() }

// ParseSigner reads a private key in PEM: PKCS#8 or SEC 1 (as openssl writes),
// ECDSA on P-256 or Ed25519, or one that cosign generate-key-pair made and
// encrypted with the password. The password of a key that isn't encrypted is not
// looked at. An error is a [*report.InvalidError] about the field SigningKey or
// SigningKeyPassword and holds nothing of either.
func ParseSigner(key, password secret.Value) (*Signer, error) {
	if key.IsZero() {
		return nil, &report.InvalidError{Field: fieldKey, Missing: true, Problem: "missing: give a private key in PEM"}
	}
	invalid := func(field string, err error) error {
		return &report.InvalidError{Field: field, Problem: err.Error()}
	}
	block, err := privateBlock([]byte(key.Reveal()))
	if err != nil {
		return nil, invalid(fieldKey, err)
	}
	private, err := parsePrivate(block, password)
	if wrong := (*passwordError)(nil); errors.As(err, &wrong) {
		return nil, &report.InvalidError{Field: fieldPassword, Missing: wrong.missing, Problem: wrong.Error()}
	}
	if err != nil {
		return nil, invalid(fieldKey, err)
	}
	signer, err := newSigner(private)
	if err != nil {
		return nil, invalid(fieldKey, err)
	}
	return signer, nil
}

// newSigner returns the signer of a private key of the supported kinds.
func newSigner(private any) (*Signer, error) {
	key, ok := private.(crypto.Signer)
	if !ok {
		return nil, errors.New("a key of this kind is not supported; " + supportedKeys)
	}
	public, err := newPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return &Signer{public, func(message []byte) ([]byte, error) {
		if _, whole := key.(ed25519.PrivateKey); whole { // Ed25519 signs the message itself
			return key.Sign(nil, message, crypto.Hash(0))
		}
		sum := sha256.Sum256(message)
		return key.Sign(rand.Reader, sum[:], crypto.SHA256)
	}}, nil
}

// blocks returns the PEM blocks of a text. What pem.Decode would skip as broken
// is an error: a key that is silently missing is hard to find.
func blocks(text []byte) ([]*pem.Block, error) {
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(text), maxKeyFile)
	}
	begun := bytes.Count(text, []byte("-----BEGIN "))
	if begun == 0 {
		return nil, errors.New("it is not PEM: no line starts with -----BEGIN")
	}
	var found []*pem.Block
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		found, text = append(found, block), rest
	}
	if len(found) != begun {
		return nil, fmt.Errorf("%d of its %s can't be read: check that line breaks and the END line are intact",
			begun-len(found), report.Count(begun, "PEM block"))
	}
	return found, nil
}

// privateBlock finds the one private key. openssl ecparam writes the name of the
// curve in a block of its own before it.
func privateBlock(text []byte) (*pem.Block, error) {
	all, err := blocks(text)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(b *pem.Block) bool { return b.Type == "EC PARAMETERS" })
	if len(all) != 1 {
		return nil, fmt.Errorf("expected one private key, got %s", report.Count(len(all), "PEM block"))
	}
	return all[0], nil
}

// The PEM types of private keys that cosign encrypted, now and before 2.0.
const (
	typeSigstore = "ENCRYPTED SIGSTORE PRIVATE KEY"
	typeCosign   = "ENCRYPTED COSIGN PRIVATE KEY"
)

// parsePrivate reads a private key. The errors of the x509 package are left out:
// they could quote what they read.
func parsePrivate(block *pem.Block, password secret.Value) (any, error) {
	if block.Headers["DEK-Info"] != "" {
		return nil, errors.New("a key that openssl encrypted is not supported; decrypt it, or encrypt it with cosign import-key-pair")
	}
	der := block.Bytes
	switch block.Type {
	case "PRIVATE KEY":
	case typeSigstore, typeCosign:
		var err error
		if der, err = decrypt(block.Bytes, password); err != nil {
			return nil, err
		}
	case "EC PRIVATE KEY":
		key, err := x509.ParseECPrivateKey(der)
		if err != nil {
			return nil, errors.New("its EC PRIVATE KEY can't be read; " + supportedKeys)
		}
		return key, nil
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("a key that openssl encrypted is not supported; decrypt it, or encrypt it with cosign import-key-pair")
	case "PUBLIC KEY":
		return nil, errors.New("it is a public key; records are signed with the private one")
	default:
		return nil, fmt.Errorf("PEM type %q is not supported; %s in PKCS#8, or a key that cosign made", untrusted.Line(block.Type, maxName), supportedKeys)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("its PRIVATE KEY can't be read as PKCS#8; " + supportedKeys)
	}
	return key, nil
}

// A passwordError is a password that doesn't open the key.
type passwordError struct{ missing bool }

func (e *passwordError) Error() string {
	if e.missing {
		return "missing: the signing key is encrypted"
	}
	return "it does not decrypt the signing key, or the key was changed"
}

// decrypt opens a private key that cosign encrypted. cosign encrypts with the
// empty password where people give none, so that one is tried as well.
func decrypt(b []byte, password secret.Value) ([]byte, error) {
	var envelope struct {
		KDF struct {
			Name   string `json:"name"`
			Params struct {
				N int `json:"N"`
				R int `json:"r"`
				P int `json:"p"`
			} `json:"params"`
			Salt []byte `json:"salt"`
		} `json:"kdf"`
		Cipher struct {
			Name  string `json:"name"`
			Nonce []byte `json:"nonce"`
		} `json:"cipher"`
		Ciphertext []byte `json:"ciphertext"`
	}
	if decodeStrict(b, maxKeyFile, &envelope) != nil {
		return nil, errors.New("the encrypted key is not what cosign writes")
	}
	kdf, cipher := envelope.KDF, envelope.Cipher
	if kdf.Name != "scrypt" || cipher.Name != "nacl/secretbox" {
		return nil, errors.New("the key is encrypted in a way that cosign does not use")
	}
	// cosign writes N of 2^15 to 2^17. A file that asks for more could take all
	// memory and time; one that asks for less harms its owner alone.
	if n := kdf.Params.N; n < 2 || n > 1<<17 || n&(n-1) != 0 || kdf.Params.R != 8 || kdf.Params.P != 1 {
		return nil, errors.New("the encrypted key asks for scrypt parameters that cosign does not use")
	}
	var nonce [24]byte
	if len(cipher.Nonce) != len(nonce) || len(kdf.Salt) == 0 || len(kdf.Salt) > 1<<10 {
		return nil, errors.New("the encrypted key has a nonce or salt of the wrong length")
	}
	copy(nonce[:], cipher.Nonce)
	derived, err := scrypt.Key([]byte(password.Reveal()), kdf.Salt, kdf.Params.N, kdf.Params.R, kdf.Params.P, 32)
	if err != nil {
		return nil, errors.New("the key of the encrypted key can't be derived")
	}
	der, ok := secretbox.Open(nil, envelope.Ciphertext, &nonce, (*[32]byte)(derived))
	if !ok {
		return nil, &passwordError{missing: password.IsZero()}
	}
	return der, nil
}

// TrustedKeys are the public keys whose signatures count. The nil TrustedKeys
// trust nobody. Make them with [ParseTrustedKeys].
type TrustedKeys struct{ keys []publicKey }

// ParseTrustedKeys reads PEM public keys, one after the other: ECDSA on P-256 or
// Ed25519. An error joins one [*report.InvalidError] about the field TrustedKeys
// for each key that is unsuitable, with its place in the list.
func ParseTrustedKeys(text string) (*TrustedKeys, error) {
	all, err := blocks([]byte(text))
	if err == nil && len(all) > maxTrustedKeys {
		err = fmt.Errorf("it has %d keys; at most %d are supported", len(all), maxTrustedKeys)
	}
	if err != nil {
		return nil, &report.InvalidError{Field: fieldTrusted, Missing: strings.TrimSpace(text) == "", Problem: err.Error()}
	}
	var wrong []error
	trusted := &TrustedKeys{}
	for i, block := range all {
		key, err := parsePublic(block)
		if err == nil && trusted.find(key) >= 0 {
			err = fmt.Errorf("the same key as entry %d", trusted.find(key)+1)
		}
		if err != nil {
			wrong = append(wrong, &report.InvalidError{Field: fieldTrusted, Entry: i + 1, Problem: err.Error()})
			key = publicKey{} // keeps the places of later ones
		}
		trusted.keys = append(trusted.keys, key)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return trusted, nil
}

// parsePublic reads one public key.
func parsePublic(block *pem.Block) (publicKey, error) {
	switch {
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return publicKey{}, errors.New("it is a private key; give the public one, and make a new pair if others could read this")
	case block.Type != "PUBLIC KEY":
		return publicKey{}, fmt.Errorf("expected a PEM block PUBLIC KEY, got %q", untrusted.Line(block.Type, maxName))
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return publicKey{}, errors.New("it can't be read as a public key; " + supportedKeys)
	}
	return newPublicKey(key)
}

func (t *TrustedKeys) find(key publicKey) int {
	return slices.IndexFunc(t.keys, func(k publicKey) bool { return k.sum == key.sum })
}

// Trusts reports whether what the signer signs counts.
func (t *TrustedKeys) Trusts(s *Signer) bool { return t != nil && s != nil && t.find(s.public) >= 0 }

// Fingerprints returns the fingerprint of each key, in their order.
func (t *TrustedKeys) Fingerprints() []string {
	var all []string
	if t != nil {
		for _, k := range t.keys {
			all = append(all, k.fingerprint())
		}
	}
	return all
}

// verify returns the fingerprint of the key that made the signature; empty: none
// of these did. Every key is tried, whatever hint the bundle has: the hint isn't
// signed.
func (t *TrustedKeys) verify(message, signature []byte) string {
	if t != nil {
		for _, k := range t.keys {
			if k.verify(message, signature) {
				return k.fingerprint()
			}
		}
	}
	return ""
}

package ledger

import (
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/scrypt"

	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// TestKeysOfTheField signs with keys that openssl and cosign made, and verifies with
// their public halves.
func TestKeysOfTheField(t *testing.T) {
	for name, public := range map[string]string{
		"openssl-sec1.pem": "openssl-sec1.pub.pem", "openssl-p256.pem": "openssl-p256.pub.pem",
		"openssl-ed25519.pem": "openssl-ed25519.pub.pem", "cosign.key": "cosign.pub.pem",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ParseSigner(secret.New(read(t, name)), secret.Value{})
			if name == "cosign.key" {
				s, err = cosignKey()
			}
			if err != nil {
				t.Fatal(err)
			}
			keys, err := ParseTrustedKeys(read(t, public))
			if err != nil {
				t.Fatal(err)
			}
			if !keys.Trusts(s) || keys.Fingerprints()[0] != s.Fingerprint() {
				t.Errorf("the public key does not belong to the private one: %s", s)
			}
			sig, err := s.sign([]byte("message"))
			if err != nil {
				t.Fatal(err)
			}
			if got := keys.verify([]byte("message"), sig); got != s.Fingerprint() {
				t.Errorf("verified by %q, want %q", got, s.Fingerprint())
			}
			if got := keys.verify([]byte("massage"), sig); got != "" {
				t.Errorf("another message is verified by %q", got)
			}
		})
	}
}

func TestSignersThatAreRefused(t *testing.T) {
	good := read(t, "openssl-p256.pem")
	tests := []struct{ name, key, password, field, want string }{
		{"none", "", "", "SigningKey", "missing"},
		{"no PEM", "hunter2hunter2", "", "SigningKey", "not PEM"},
		{"line breaks lost", strings.ReplaceAll(good, "\n", " "), "", "SigningKey", "line breaks"},
		{"cut", good[:len(good)/2], "", "SigningKey", "line breaks"},
		{"two", good + good, "", "SigningKey", "one private key"},
		{"public", read(t, "openssl-p256.pub.pem"), "", "SigningKey", "public key"},
		{"RSA", read(t, "openssl-rsa.pem"), "", "SigningKey", "RSA"},
		{"P-384", read(t, "openssl-p384.pem"), "", "SigningKey", "P-384"},
		{"encrypted by openssl", read(t, "openssl-encrypted.pem"), password, "SigningKey", "openssl encrypted"},
		{"garbage inside", block("PRIVATE KEY", []byte("hunter2")), "", "SigningKey", "PKCS#8"},
		{"garbage inside SEC 1", block("EC PRIVATE KEY", []byte("hunter2")), "", "SigningKey", "EC PRIVATE KEY"},
		{"another type", block("CERTIFICATE", []byte("hunter2")), "", "SigningKey", "CERTIFICATE"},
		{"no password", envelopeOf(t, weak, "nacl/secretbox", password), "", "SigningKeyPassword", "missing"},
		{"wrong password", envelopeOf(t, weak, "nacl/secretbox", password), "hunter2hunter2", "SigningKeyPassword", "does not decrypt"},
		{"scrypt of a hostile file", envelopeOf(t, 1<<30, "nacl/secretbox", ""), "", "SigningKey", "scrypt parameters"},
		{"scrypt of a careless file", envelopeOf(t, 15, "nacl/secretbox", ""), "", "SigningKey", "scrypt parameters"},
		{"another cipher", envelopeOf(t, weak, "none", ""), "", "SigningKey", "in a way"},
		{"envelope of garbage", block(typeSigstore, []byte(`{"kdf":"hunter2"}`)), "", "SigningKey", "not what cosign writes"},
		{"too long", strings.Repeat("#", maxKeyFile) + good, "", "SigningKey", "at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseSigner(secret.New(tt.key), secret.New(tt.password))
			got := strings.Join(invalid(t, err), "\n")
			if !strings.HasPrefix(got, tt.field+" ") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want field %s with %q", got, tt.field, tt.want)
			}
			if strings.Contains(got, "hunter2") || strings.Contains(got, password) {
				t.Errorf("quotes a secret: %s", got)
			}
		})
	}
}

// weak makes tests quick: scrypt is slow on purpose.
const weak = 1 << 4

// envelopeOf encrypts a key as cosign does. Another N than weak is only claimed.
func envelopeOf(t testing.TB, n int, cipher, password string) string {
	t.Helper()
	salt, nonce := []byte(strings.Repeat("s", 32)), [24]byte{1}
	derived, err := scrypt.Key([]byte(password), salt, weak, 8, 1, 32)
	if err != nil {
		t.Fatal(err)
	}
	private, _ := newKey(t, "ed25519")
	der, _ := pem.Decode([]byte(private.Reveal()))
	sealed := secretbox.Seal(nil, der.Bytes, &nonce, (*[32]byte)(derived))
	return block(typeCosign, fmt.Appendf(nil, `{"kdf":{"name":"scrypt","params":{"N":%d,"r":8,"p":1},"salt":%s},"cipher":{"name":%q,"nonce":%s},"ciphertext":%s}`,
		n, base64JSON(salt), cipher, base64JSON(nonce[:]), base64JSON(sealed)))
}

func TestEmptyPasswordOfCosign(t *testing.T) {
	if _, err := ParseSigner(secret.New(envelopeOf(t, weak, "nacl/secretbox", "")), secret.Value{}); err != nil {
		t.Error(err)
	}
}

func TestSignerShowsNoKey(t *testing.T) {
	text := read(t, "openssl-p256.pem")
	s, err := ParseSigner(secret.New(text), secret.Value{})
	if err != nil {
		t.Fatal(err)
	}
	plain := *s
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		got := fmt.Sprintf(verb+verb, s, plain)
		if strings.Contains(got, "PrivateKey") || strings.Contains(got, " D:") {
			t.Errorf("%s shows %s", verb, got)
		}
	}
}

func TestTrustedKeysThatAreRefused(t *testing.T) {
	_, a := newKey(t, "p256")
	_, b := newKey(t, "ed25519")
	keys, err := ParseTrustedKeys("# the old one\n" + a + "\n# the new one\r\n" + b)
	if err != nil || len(keys.Fingerprints()) != 2 {
		t.Fatalf("%v, %v", keys.Fingerprints(), err)
	}
	private, _ := newKey(t, "p256")
	tests := []struct {
		name, text string
		want       []string
	}{
		{"empty", "  \n", []string{"TrustedKeys 0 true"}},
		{"no PEM", "keys/trusted.pem", []string{"TrustedKeys 0 false"}},
		{"one is broken", a + strings.ReplaceAll(b, "-----END", "----END"), []string{"TrustedKeys 0 false 1 of its 2 PEM blocks can't be read"}},
		{"all at once", a + a + private.Reveal() + block("PUBLIC KEY", []byte("x")), []string{
			"TrustedKeys 2 false the same key as entry 1", "TrustedKeys 3 false it is a private key", "TrustedKeys 4 false it can't be read"}},
		{"too many", strings.Repeat(a, maxTrustedKeys+1), []string{"TrustedKeys 0 false it has 33 keys"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseTrustedKeys(tt.text)
			got := invalid(t, err)
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("got %q, want %q", got[i], tt.want[i])
				}
			}
		})
	}
}

func FuzzKeys(f *testing.F) {
	for _, name := range []string{"openssl-sec1.pem", "openssl-p256.pub.pem", "openssl-ed25519.pem", "openssl-rsa.pem"} {
		f.Add(read(f, name))
	}
	f.Add(block(typeSigstore, []byte(`{"kdf":{"name":"scrypt","params":{"N":1073741824,"r":8,"p":1},"salt":"AA=="}}`)))
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSigner(secret.New(text), secret.Value{}); err == nil {
			if _, err := s.sign([]byte("x")); err != nil {
				t.Error(err)
			}
		}
		if keys, err := ParseTrustedKeys(text); err == nil && len(keys.Fingerprints()) == 0 {
			t.Error("no key and no error")
		}
	})
}

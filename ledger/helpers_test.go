package ledger

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

const (
	app    = "registry.example/org/app"
	other  = "registry.example/org/other"
	target = "latest"
	id     = "0123456789abcdef0123456789abcdef"
)

var noon = time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC)

// dig makes a digest of a short name.
func dig(name string) report.Digest { return digestOf([]byte(name)) }

// sha makes a commit of a short name.
func sha(name string) report.Commit {
	return report.Commit(strings.Split(string(dig(name)), ":")[1][:40])
}

// sample is a green record with every field set.
func sample() *Record {
	return &Record{
		Event: report.EventVerified, Time: noon, Image: app, Subject: dig("c"), Target: target, Decision: id,
		Seq: 12, Prev: dig("record 11"),
		Saw: map[string]Seen{
			app:   {Go: Ref{11, dig("record 11")}, Stop: Ref{9, dig("record 9")}},
			other: {},
		},
		SHA: sha("c"), Images: map[string]report.Digest{app: dig("c"), other: dig("c2")}, Fleet: 3,
		Suite: "canary", SuiteHash: string(dig("suite")), RunURL: "https://forge.example/org/repo/actions/runs/7",
		RunID: "7", Actor: "ada", Reason: "every check passed", Forced: "",
		Go: &Go{From: dig("b"), Live: []Live{
			{Digest: dig("c"), SHA: sha("c"), Created: noon, Suite: "canary", Seq: 12},
			{Digest: dig("b"), SHA: sha("b"), Seq: 11},
		}},
	}
}

// rollback is a stop record with every field set.
func rollback() *Record {
	r := sample()
	r.Event, r.Go, r.Seq = report.EventRolledBack, nil, 13
	r.Images = map[string]report.Digest{app: dig("b"), other: dig("b2")}
	r.Stop = &Stop{
		Held:    &Hold{By: "ada", At: noon, Reason: "errors in production"},
		Revoked: []Revoked{{dig("z"), sha("z"), report.EventRejected, 4}, {dig("c"), sha("c"), report.EventRolledBack, 13}},
		Floor:   2, Goal: dig("b"), GoalSeq: 13,
	}
	return r
}

func subjectOf(r *Record) Descriptor { return Descriptor{typeManifest, r.Subject, 423} }

// seal writes a record and fails the test where that fails.
func seal(t testing.TB, r *Record, s *Signer) *Artifact {
	t.Helper()
	a, err := Seal(r, subjectOf(r), s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newKey makes a key pair: "p256" or "ed25519".
func newKey(t testing.TB, kind string) (private secret.Value, public string) {
	t.Helper()
	var key, pub any
	var err error
	if kind == "p256" {
		var k *ecdsa.PrivateKey
		k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		key, pub = k, k.Public()
	} else {
		pub, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pubDER, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return secret.New(block("PRIVATE KEY", der)), block("PUBLIC KEY", pubDER)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// pair is a signer and those who trust it alone.
func pair(t testing.TB, kind string) (*Signer, *TrustedKeys) {
	t.Helper()
	private, public := newKey(t, kind)
	s, err := ParseSigner(private, secret.Value{})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseTrustedKeys(public)
	if err != nil {
		t.Fatal(err)
	}
	return s, keys
}

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const password = "correct-horse"

// cosignKey decrypts the key that cosign made once: scrypt is slow on purpose.
var cosignKey = sync.OnceValues(func() (*Signer, error) {
	b, err := os.ReadFile(filepath.Join("testdata", "cosign.key"))
	if err != nil {
		return nil, err
	}
	return ParseSigner(secret.New(string(b)), secret.New(password))
})

// invalid returns what an error says is wrong, field by field.
func invalid(t testing.TB, err error) []string {
	t.Helper()
	var all []string
	var add func(error)
	add = func(err error) {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				add(e)
			}
			return
		}
		if i := (*report.InvalidError)(nil); errors.As(err, &i) {
			all = append(all, fmt.Sprintf("%s %d %v %s", i.Field, i.Entry, i.Missing, i.Problem))
		} else if err != nil {
			t.Errorf("%T: %v is not an InvalidError", err, err)
		}
	}
	add(err)
	return all
}

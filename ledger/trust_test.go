package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

func base64JSON(b []byte) []byte {
	text, _ := json.Marshal(b)
	return text
}

func TestSealedRecordsOpen(t *testing.T) {
	for _, kind := range []string{"p256", "ed25519", "unsigned"} {
		t.Run(kind, func(t *testing.T) {
			var signer *Signer
			trust, by := Trust{}, ""
			if kind != "unsigned" {
				s, keys := pair(t, kind)
				signer, trust, by = s, Trust{keys, true}, s.Fingerprint()
			}
			a := seal(t, sample(), signer)
			h, err := trust.OpenHead(a.Manifest, GoHead, app, target)
			if err != nil {
				t.Fatal(err)
			}
			if h.SignedBy != by || h.Seq != 12 || h.Digest != a.Digest || digestOf(a.Manifest) != a.Digest {
				t.Errorf("signed by %q, seq %d, %s", h.SignedBy, h.Seq, h.Digest)
			}
			if d, err := Content(a.Manifest); err != nil || d != (Descriptor{}) {
				t.Errorf("%v is to be fetched, %v: a head is one request", d, err)
			}
			if _, err := trust.OpenHead(a.Manifest, StopHead, app, target); err == nil {
				t.Error("a promotion is taken for a stop head")
			}
		})
	}
}

// TestManifestIsCosigns holds names and types to those of a manifest that cosign
// 3.1 wrote.
func TestManifestIsCosigns(t *testing.T) {
	s, _ := pair(t, "p256")
	var m map[string]any
	if err := json.Unmarshal(seal(t, sample(), s).Manifest, &m); err != nil {
		t.Fatal(err)
	}
	notes := m["annotations"].(map[string]any)
	layer := m["layers"].([]any)[0].(map[string]any)
	config := m["config"].(map[string]any)
	for name, pair := range map[string][2]any{
		"artifactType": {m["artifactType"], "application/vnd.dev.sigstore.bundle.v0.3+json"},
		"layer":        {layer["mediaType"], "application/vnd.dev.sigstore.bundle.v0.3+json"},
		"config":       {config["mediaType"], "application/vnd.oci.empty.v1+json"},
		"config hash":  {config["digest"], "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		"content":      {notes["dev.sigstore.bundle.content"], "dsse-envelope"},
		"predicate":    {notes["dev.sigstore.bundle.predicateType"], "https://slsa.dev/verification_summary/v1"},
		"subject":      {m["subject"].(map[string]any)["digest"], string(dig("c"))},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, want %v", name, pair[0], pair[1])
		}
	}
}

// TestBundlesOfCosign reads what cosign signed around our statement. With an
// Ed25519 key, cosign attest-blob signs a hash (Ed25519ph). That is another
// signature scheme, which is not accepted; cosign verify-attestation takes plain
// Ed25519, as we sign.
func TestBundlesOfCosign(t *testing.T) {
	for name, tt := range map[string]struct {
		public   string
		verifies bool
	}{"cosign-bundle.json": {"cosign.pub.pem", true}, "cosign-ed25519-bundle.json": {"openssl-ed25519.pub.pem", false}} {
		t.Run(name, func(t *testing.T) {
			keys, err := ParseTrustedKeys(read(t, tt.public))
			if err != nil {
				t.Fatal(err)
			}
			b, err := parseBundle([]byte(read(t, name)))
			if err != nil {
				t.Fatal(err)
			}
			if string(b.Envelope.Payload) != read(t, "statement.json") {
				t.Error("the payload is another")
			}
			if got, want := b.VerificationMaterial.PublicKey.Hint, keys.keys[0].hint(); got != want {
				t.Errorf("hint %s, want %s", got, want)
			}
			if got := b.signedBy(keys) != ""; got != tt.verifies {
				t.Errorf("verified: %v, want %v", got, tt.verifies)
			}
		})
	}
}

// wrap puts a content into a manifest, as somebody who can push would.
func wrap(t testing.TB, kind string, content []byte, subject report.Digest, inline bool) []byte {
	t.Helper()
	layerType := kind
	if kind == typeFirst {
		layerType = typeInToto
	}
	l := layer{describe(layerType, content), nil}
	if inline {
		l.Data = content
	}
	b, err := json.Marshal(manifest{SchemaVersion: 2, MediaType: typeManifest, ArtifactType: kind,
		Config: describe(typeEmpty, []byte(emptyConfig)), Layers: []layer{l}, Subject: &Descriptor{typeManifest, subject, 423}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhoIsTrusted(t *testing.T) {
	mine, keys := pair(t, "p256")
	foreign, _ := pair(t, "p256")
	required, optional := Trust{keys, true}, Trust{keys, false}
	signed, unsigned := seal(t, sample(), mine).Manifest, seal(t, sample(), nil).Manifest
	strange := seal(t, sample(), foreign).Manifest
	content, err := mine.bundleOf([]byte(read(t, "statement.json")))
	if err != nil {
		t.Fatal(err)
	}
	change := func(raw []byte, old, new string) []byte {
		changed := bytes.Replace(raw, []byte(old), []byte(new), 1)
		if bytes.Equal(changed, raw) {
			t.Fatalf("%q is not there", old)
		}
		return changed
	}
	reseal := func(payload string) []byte { // our signature, another payload
		b, err := parseBundle(content)
		if err != nil {
			t.Fatal(err)
		}
		b.Envelope.Payload = []byte(payload)
		raw, _ := json.Marshal(b)
		return wrap(t, typeBundle, raw, dig("c"), true)
	}
	statement := read(t, "statement.json")
	tests := []struct {
		name          string
		trust         Trust
		raw           []byte
		image, target string
		want          string // empty: it counts
	}{
		{"signed", required, signed, app, target, ""},
		{"signed, no keys known", Trust{}, signed, app, target, ""},
		{"unsigned", required, unsigned, app, target, "not signed"},
		{"unsigned, signatures optional", optional, unsigned, app, target, ""},
		{"foreign key", required, strange, app, target, "no trusted key"},
		{"foreign key, signatures optional", optional, strange, app, target, "no trusted key"},
		{"signatures required, no keys", Trust{nil, true}, signed, app, target, "no trusted key"},
		{"another image", required, signed, other, target, "about the image"},
		{"another target", required, signed, app, "stable", "about the target"},
		{"attached elsewhere", required, wrap(t, typeBundle, content, dig("d"), true), app, target, "attached to"},
		{"payload exchanged", required, reseal(strings.Replace(statement, `"seq":12`, `"seq":99`, 1)), app, target, "no trusted key"},
		{"data exchanged", required, change(signed, `"data":"ey`, `"data":"eA`), app, target, "size and digest"},
		{"two layers", required, change(signed, `"layers":[`, `"layers":[{},`), app, target, "one layer"},
		{"not a manifest", required, []byte("<html>"), app, target, "not JSON"},
		{"signed, said to be unsigned", required, change(signed, typeBundle, typeInToto), app, target, "one layer"},
		{"of the present form, said to be of the first", Trust{}, wrap(t, typeFirst, []byte(statement), dig("c"), true), app, target, "different forms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.trust.Open(tt.raw, nil, tt.image, tt.target)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			absent := (*UntrustedError)(nil)
			if !errors.As(err, &absent) || !strings.Contains(absent.Reason, tt.want) {
				t.Fatalf("got %v, want an UntrustedError with %q", err, tt.want)
			}
			if absent.Digest != digestOf(tt.raw) {
				t.Error("the record is not named")
			}
		})
	}
}

func TestContentThatIsNotInline(t *testing.T) {
	content := []byte(first("rejected", "FAILED", string(dig("c"))))
	raw := wrap(t, typeFirst, content, dig("c"), false)
	d, err := Content(raw)
	if err != nil || d.Digest != digestOf(content) || d.Size != int64(len(content)) {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := (Trust{}).Open(raw, content, app, target); err != nil {
		t.Error(err)
	}
	if _, err := (Trust{}).Open(raw, append(content, ' '), app, target); err == nil {
		t.Error("another content is accepted")
	}
	if _, err := (Trust{}).Open(raw, nil, app, target); err == nil {
		t.Error("no content is accepted")
	}
}

// TestFirstFormNegativesAlwaysCount: they can only restrict.
func TestFirstFormNegativesAlwaysCount(t *testing.T) {
	_, keys := pair(t, "p256")
	for event, result := range map[string]string{"verified": "PASSED", "promoted": "PASSED", "rejected": "FAILED", "rolled-back": "FAILED"} {
		raw := wrap(t, typeFirst, []byte(first(event, result, string(dig("c")))), dig("c"), true)
		if _, err := (Trust{}).Open(raw, nil, app, target); err != nil {
			t.Errorf("%s: %v", event, err)
		}
		if _, err := (Trust{keys, true}).Open(raw, nil, app, target); (err == nil) != (result == "FAILED") {
			t.Errorf("%s, signatures required: %v", event, err)
		}
	}
}

func TestNegativesOfStrangers(t *testing.T) {
	foreign, _ := pair(t, "p256")
	r, ok := OpenNegative(seal(t, rollback(), foreign).Manifest, nil, app, target)
	if !ok || r.Digest != dig("c") || r.Kind != report.EventRolledBack {
		t.Errorf("%+v, %v", r, ok)
	}
	if _, ok := OpenNegative(seal(t, sample(), foreign).Manifest, nil, app, target); ok {
		t.Error("a positive record of a stranger is believed")
	}
}

func TestTrustThatIsRefused(t *testing.T) {
	mine, keys := pair(t, "p256")
	foreign, _ := pair(t, "ed25519")
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"required without keys":      {Trust{nil, true}.Check(), "TrustedKeys 0 true"},
		"required with keys":         {Trust{keys, true}.Check(), ""},
		"required without signer":    {Trust{keys, true}.CheckSigner(nil), "SigningKey 0 true"},
		"signer is not trusted":      {Trust{keys, true}.CheckSigner(foreign), "SigningKey 0 false its public key (sha256:"},
		"not trusted, not required":  {Trust{keys, false}.CheckSigner(foreign), "SigningKey 0 false"},
		"trusted":                    {Trust{keys, true}.CheckSigner(mine), ""},
		"neither keys nor a signer":  {Trust{}.CheckSigner(nil), ""},
		"a signer that nobody knows": {Trust{}.CheckSigner(foreign), ""},
	} {
		if got := strings.Join(invalid(t, tt.err), "\n"); !strings.HasPrefix(got, tt.want) || (tt.want == "") != (got == "") {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// TestRotation: while both keys are trusted, what either signed counts.
func TestRotation(t *testing.T) {
	oldKey, oldPEM := newKey(t, "p256")
	_, newPEM := newKey(t, "ed25519")
	both, err := ParseTrustedKeys(oldPEM + newPEM)
	if err != nil {
		t.Fatal(err)
	}
	onlyNew, err := ParseTrustedKeys(newPEM)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ParseSigner(oldKey, secret.Value{})
	if err != nil {
		t.Fatal(err)
	}
	raw := seal(t, sample(), signer).Manifest
	if _, err := (Trust{both, true}).Open(raw, nil, app, target); err != nil {
		t.Error(err)
	}
	if _, err := (Trust{onlyNew, true}).Open(raw, nil, app, target); err == nil {
		t.Error("a key that was removed still counts")
	}
}

func TestHeadTags(t *testing.T) {
	for kind, want := range map[Kind]string{GoHead: "canary-verify.latest.go", StopHead: "canary-verify.latest.stop"} {
		if got, err := HeadTag("latest", kind); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	for _, bad := range []string{"", "-x", "canary-verify.latest.go", "sha256-" + strings.Repeat("0", 64), strings.Repeat("x", 110), "a b"} {
		if got, err := HeadTag(bad, GoHead); err == nil {
			t.Errorf("%q has the head %q", bad, got)
		}
	}
	if long, err := HeadTag(strings.Repeat("x", 109), StopHead); err != nil || !tagForm.MatchString(long) {
		t.Errorf("the longest target: %q, %v", long, err)
	}
	for tag, want := range map[string]bool{"canary-verify.x": true, "sha256-00": true, "canary-verify": false, "latest": false, "staging-sha256-1": false} {
		if Reserved(tag) != want {
			t.Errorf("Reserved(%q) is %v", tag, !want)
		}
	}
}

func FuzzBundle(f *testing.F) {
	f.Add([]byte(read(f, "cosign-bundle.json")))
	f.Add([]byte(read(f, "cosign-ed25519-bundle.json")))
	keys, err := ParseTrustedKeys(read(f, "cosign.pub.pem"))
	if err != nil {
		f.Fatal(err)
	}
	good := read(f, "statement.json")
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := parseBundle(b)
		if err == nil && parsed.signedBy(keys) != "" && string(parsed.Envelope.Payload) != good {
			t.Errorf("verified, but never signed: %q", parsed.Envelope.Payload)
		}
	})
}

func FuzzManifest(f *testing.F) {
	s, keys := pair(f, "ed25519")
	f.Add(seal(f, sample(), s).Manifest)
	f.Add(seal(f, rollback(), nil).Manifest)
	f.Add(wrap(f, typeFirst, []byte(first("rejected", "FAILED", string(dig("c")))), dig("c"), true))
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := (Trust{}).Open(raw, nil, app, target)
		if err == nil && (h.Image != app || h.Target != target || h.Digest != digestOf(raw)) {
			t.Errorf("%+v", h)
		}
		if err != nil && !errors.As(err, new(*UntrustedError)) {
			t.Errorf("%T: %v", err, err)
		}
		if h, err := (Trust{keys, true}).Open(raw, nil, app, target); err == nil && h.SignedBy == "" && !negative(h.Event) {
			t.Errorf("unsigned, and counts: %+v", h)
		}
		_, _ = OpenNegative(raw, nil, app, target)
	})
}

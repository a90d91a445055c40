package ledger

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// raw is a manifest to be written as it is.
type raw struct{ *Artifact }

func (r raw) RawManifest() ([]byte, error)        { return r.Manifest, nil }
func (r raw) MediaType() (types.MediaType, error) { return typeManifest, nil }

// TestCosignVerifiesOurs has the cosign that COSIGN names verify records that we
// wrote into a registry, one for each kind of key.
func TestCosignVerifiesOurs(t *testing.T) {
	cosign := os.Getenv("COSIGN")
	if cosign == "" {
		t.Skip("COSIGN is not the path of a cosign")
	}
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	for key, public := range map[string]string{
		"openssl-sec1.pem": "openssl-sec1.pub.pem", "openssl-p256.pem": "openssl-p256.pub.pem",
		"openssl-ed25519.pem": "openssl-ed25519.pub.pem", "cosign.key": "cosign.pub.pem",
	} {
		t.Run(key, func(t *testing.T) {
			signer, err := ParseSigner(secret.New(read(t, key)), secret.New(password))
			if err != nil {
				t.Fatal(err)
			}
			repo, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/org/" + strings.TrimSuffix(key, ".pem"))
			if err != nil {
				t.Fatal(err)
			}
			image := push(t, repo, signer)
			verify := func(public string) error {
				cmd := exec.Command(cosign, "verify-attestation", "--key", "testdata/"+public, "--type", summaryType, "--insecure-ignore-tlog=true", image)
				cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
				out, err := cmd.CombinedOutput()
				t.Logf("%s", out)
				return err
			}
			if err := verify(public); err != nil {
				t.Error(err)
			}
			foreign := "openssl-p256.pub.pem"
			if public == foreign {
				foreign = "cosign.pub.pem"
			}
			if verify(foreign) == nil {
				t.Error("verified with a foreign key")
			}
		})
	}
}

// push writes an image and a green record of it, and returns its reference.
func push(t *testing.T, repo name.Repository, signer *Signer) string {
	t.Helper()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	size, err := image.Size()
	if err != nil {
		t.Fatal(err)
	}
	mediaType, err := image.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(repo.Digest(digest.String()), image); err != nil {
		t.Fatal(err)
	}
	r := sample()
	r.Image, r.Subject, r.Images = repo.Name(), report.Digest(digest.String()), nil
	r.Go.Live[0].Digest = r.Subject
	a, err := Seal(r, Descriptor{string(mediaType), r.Subject, size}, signer)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range a.Blobs {
		if err := remote.WriteLayer(repo, static.NewLayer(b, typeEmpty)); err != nil {
			t.Fatal(err)
		}
	}
	head, err := HeadTag(target, GoHead)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Put(repo.Tag(head), raw{a}); err != nil {
		t.Fatal(err)
	}
	return repo.Digest(digest.String()).Name()
}

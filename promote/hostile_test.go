package promote

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-containerregistry/pkg/authn"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// serveManifest has one tag of the first image answer with these bytes.
func (w *world) serveManifest(tag, mediaType string, raw []byte) {
	w.Inject(sim.Injection{Method: http.MethodGet, Path: "/platform/manifests/" + tag + "$", Do: sim.Give(sim.Answer{
		Status: http.StatusOK, Header: http.Header{"Content-Type": {mediaType}}, Body: raw,
	})})
}

const (
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
)

// TestHostileManifests are refused clearly, and in bounds.
func TestHostileManifests(t *testing.T) {
	child := `{"mediaType":"` + ociManifest + `","digest":"sha256:` + strings.Repeat("a", 64) + `","size":1}`
	for _, tt := range []struct {
		name, mediaType string
		raw             []byte
		want            string
	}{
		{"over 4 MiB", ociManifest, bytes.Repeat([]byte(" "), registry.MaxBody+1), "larger than 4 MiB"},
		{"a hundred thousand children", ociIndex, []byte(`{"schemaVersion":2,"manifests":[` + strings.Repeat(`{"size":1},`, 99999) + `{"size":1}]}`), "100000 manifests"},
		{"not JSON", ociManifest, []byte("<html>"), "is not valid"},
		{"schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", []byte(`{"schemaVersion":1,"fsLayers":[]}`), "schema version 1"},
		{"nothing", "text/html", []byte(`{"schemaVersion":2}`), "not a manifest's media type"},
		{"two types", ociManifest, []byte(`{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[` + child + `]}`), "calls itself"},
		{"index with a config", ociIndex, []byte(`{"schemaVersion":2,"config":{"mediaType":"x"},"manifests":[]}`), "does not fit"},
		{"child that is missing", ociIndex, []byte(`{"schemaVersion":2,"manifests":[` + child + `]}`), "the registry does not have it"},
		{"config that is huge", ociManifest, []byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + strings.Repeat("a", 64) + `","size":9999999999},"layers":[]}`), "at most"},
		{"config that is missing", ociManifest, []byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + strings.Repeat("a", 64) + `","size":2},"layers":[]}`), "404"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{})
			w.serveManifest("staging-4c1d56e", tt.mediaType, tt.raw)
			_, err := w.promoter().Resolve(t.Context(), newSHA, ForVerify)
			var refused *RefusedError
			if err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 2000 {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// TestIndexThatNamesItself can only come from a registry that lies about
// digests: it is not believed.
func TestIndexThatNamesItself(t *testing.T) { synctest.Test(t, testIndexThatNamesItself) }

func testIndexThatNamesItself(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	digest := "sha256:" + strings.Repeat("c", 64)
	raw := []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"` + ociIndex + `","digest":"` + digest + `","size":1}]}`)
	w.serveManifest("(staging-4c1d56e|"+digest+")", ociIndex, raw)
	_, err := w.promoter().Resolve(t.Context(), newSHA, ForVerify)
	if err == nil || !strings.Contains(err.Error(), "have the digest") {
		t.Errorf("%v", err)
	}
}

// TestDeepIndex is a chain of indexes that is longer than any real one.
func TestDeepIndex(t *testing.T) { synctest.Test(t, testDeepIndex) }

func testDeepIndex(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	r := w.repository(apps[0])
	m, err := r.Manifest(t.Context(), registry.ByTag("staging-4c1d56e"))
	if err != nil {
		t.Fatal(err)
	}
	for range maxDepth + 1 {
		raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ociIndex, m.MediaType, m.Digest, len(m.Raw))
		if m, err = registry.ParseManifest(ociIndex, raw); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Store(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.build(t.Context(), m); err == nil || !strings.Contains(err.Error(), "deep") {
		t.Errorf("build: %v", err)
	}
	if err := r.complete(t.Context(), m, 1); err == nil || !strings.Contains(err.Error(), "deep") {
		t.Errorf("complete: %v", err)
	}
}

// TestForeignTextIsSanitised lets a registry write commands into labels and
// errors.
func TestForeignTextIsSanitised(t *testing.T) { synctest.Test(t, testForeignTextIsSanitised) }

func testForeignTextIsSanitised(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{})
	w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e", Labels: map[string]string{sim.LabelRevision: "\n::error::\x1b[31mboom"}})
	plan, err := w.promoter().Resolve(t.Context(), newSHA, ForVerify)
	if err == nil || strings.ContainsAny(err.Error()+plan.Images[0].Revision, "\n\x1b") {
		t.Errorf("%q, %q", err, plan.Images[0].Revision)
	}
	w.Inject(sim.Injection{Path: "/manifests/latest", Do: sim.Give(sim.Answer{Status: 418, Body: []byte("\n::set-output name=verdict::green\n" + user.Password)})})
	_, err = w.promoter().Resolve(t.Context(), newSHA, ForVerify)
	if err == nil || strings.Contains(err.Error(), "\n::") || strings.Contains(err.Error(), user.Password) {
		t.Errorf("%q", err)
	}
}

// TestRefusedCredentials names the right that is missing, and never the secret.
func TestRefusedCredentials(t *testing.T) {
	reader := sim.Account{Username: "reader", Password: "only-reads-nothing-else", ReadOnly: true}
	for name, auth := range map[string]sim.AuthKind{"token": sim.TokenAuth, "basic": sim.BasicAuth} {
		bubble(t, name, func(t *testing.T) {
			w := newWorld(t, sim.RegistryConfig{Auth: auth, Accounts: []sim.Account{user, reader}, Referrers: true})
			check := func(err error, want ...string) {
				t.Helper()
				if err == nil {
					t.Fatal("no error")
				}
				for _, s := range want {
					if !strings.Contains(err.Error(), s) {
						t.Errorf("%q does not say %q", err, s)
					}
				}
				for _, hidden := range []string{reader.Password, user.Password, base64.StdEncoding.EncodeToString([]byte(reader.Username + ":" + reader.Password))} {
					if strings.Contains(err.Error(), hidden) {
						t.Errorf("%q shows a credential", err)
					}
				}
			}
			as := func(username, password string) func(*Config) {
				return func(c *Config) { c.Username, c.Password = username, secret.New(password) }
			}
			// A credential that may not push: everything but the move is possible.
			p := w.promoter(as(reader.Username, reader.Password))
			plan, err := p.Resolve(t.Context(), newSHA, ForVerify)
			if err != nil {
				t.Fatal(err)
			}
			err = plan.Candidate.Preflight(t.Context())
			check(err, "401", "packages: write", "package write", w.Host()+"/org/platform")
			var failed *MoveError
			if !errors.As(err, &failed) {
				t.Errorf("%T", err)
			}
			check(plan.Candidate.Promote(t.Context(), green), "401", "packages: write")
			w.same("latest", "staging-1f0c7be")
			// A wrong password, and none.
			_, err = w.promoter(as(user.Username, "wrong-wrong-wrong")).Resolve(t.Context(), newSHA, ForVerify)
			check(err, "401", "check username and password")
			_, err = w.promoter(as("", "")).Resolve(t.Context(), newSHA, ForVerify)
			check(err, "401", "no credential", "DOCKER_CONFIG")
		})
	}
}

// TestTokenAnswerIsNotShown is a token server whose answer holds a secret but no
// token.
func TestTokenAnswerIsNotShown(t *testing.T) { synctest.Test(t, testTokenAnswerIsNotShown) }

func testTokenAnswerIsNotShown(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Auth: sim.TokenAuth})
	w.Inject(sim.Injection{Path: "^/token", Do: sim.Give(sim.Answer{Status: 200, Body: []byte(`{"refresh_token":"top-secret-refresh"}`)})})
	_, err := w.promoter().Resolve(t.Context(), newSHA, ForVerify)
	if err == nil || strings.Contains(err.Error(), "top-secret-refresh") || !strings.Contains(err.Error(), "no token") {
		t.Errorf("%v", err)
	}
}

// TestTokenThatExpires is replaced on the way, also for a request with a body.
func TestTokenThatExpires(t *testing.T) { synctest.Test(t, testTokenThatExpires) }

func testTokenThatExpires(t *testing.T) {
	w := newWorld(t, sim.RegistryConfig{Auth: sim.TokenAuth, CheckBlobs: true})
	in := w.Inject(sim.Injection{Method: http.MethodPut, Path: "/platform/manifests/latest", Times: 1, Do: sim.Status(401,
		"WWW-Authenticate", `Bearer realm="`+w.URL()+`/token",service="simulated registry",scope="repository:org/platform:pull,push",error="invalid_token"`)})
	w.must(newSHA)
	if in.Hits() != 1 {
		t.Errorf("%d hits", in.Hits())
	}
	w.same("latest", "staging-4c1d56e")
}

// either is a network of several registries.
type either []*world

func (e either) RoundTrip(req *http.Request) (*http.Response, error) {
	for _, w := range e {
		if w.Host() == req.URL.Host {
			return w.transport.RoundTrip(req)
		}
	}
	return nil, errors.New("no such host")
}

// TestSeveralRegistries takes the credentials from a Docker config, one for each.
func TestSeveralRegistries(t *testing.T) { synctest.Test(t, testSeveralRegistries) }

func testSeveralRegistries(t *testing.T) {
	a, b := newWorld(t, sim.RegistryConfig{Auth: sim.TokenAuth}), newWorld(t, sim.RegistryConfig{
		Auth: sim.BasicAuth, Referrers: true, Accounts: []sim.Account{{Username: "other", Password: "another-password"}},
	})
	dir := t.TempDir()
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q},%q:{"auth":%q}}}`,
		a.Host(), base64.StdEncoding.EncodeToString([]byte(user.Username+":"+user.Password)),
		b.Host(), base64.StdEncoding.EncodeToString([]byte("other:another-password")))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	plan := a.must(newSHA, func(c *Config) {
		c.Transport = either{a, b}
		c.Images = []string{a.Host() + "/" + apps[0], b.Host() + "/" + apps[1]}
		c.Username, c.Password, c.Keychain = "", secret.Value{}, authn.DefaultKeychain
	})
	if got, want := a.digest(apps[0], "latest"), plan.Images[0].Digest; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := b.digest(apps[1], "latest"), plan.Images[1].Digest; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

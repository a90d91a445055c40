package promote

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// The commits of the tests' story, oldest first.
const (
	oldSHA = "1f0c7be24a6d93b85e17c04fa2d6b9038e5c71da"
	newSHA = "4c1d56e0b7a92f3844de61c05b9a7d20e8f31c6b"
	topSHA = "9e77a1024d5b86cf3920e8b4a71f6d35c08b92e1"
)

// built are the times at which the commits' images were built.
var built = map[string]time.Time{
	oldSHA: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC),
	newSHA: time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC),
	topSHA: time.Date(2026, 5, 3, 12, 0, 0, 0, time.UTC),
}

var apps = []string{"org/platform", "org/tenant"}

// user may push and pull, where a registry asks.
var user = sim.Account{Username: "robot", Password: "correct-horse-battery"}

// full is set where what is slow runs whole, instead of a sample.
var full = os.Getenv("CANARY_FULL") == "1"

// A world is one registry with two images of three commits; "latest" is at the
// first.
type world struct {
	*sim.Registry
	t         testing.TB
	transport http.RoundTripper
	remote    []remote.Option
}

// emptyWorld has no network, unless TLS is asked for.
func emptyWorld(t testing.TB, c sim.RegistryConfig) *world {
	t.Helper()
	if c.Auth != sim.NoAuth && c.Accounts == nil {
		c.Accounts = []sim.Account{user}
	}
	if !c.TLS {
		r := sim.NewRegistry(c)
		return &world{r, t, r.RoundTripper(), r.InMemory()}
	}
	r, err := sim.StartRegistry(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return &world{r, t, sim.Transport(), r.Remote()}
}

func newWorld(t testing.TB, c sim.RegistryConfig) *world {
	t.Helper()
	w := emptyWorld(t, c)
	w.publish(sim.Build{SHA: oldSHA, Tag: "staging-1f0c7be,latest"})
	w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e"})
	w.publish(sim.Build{SHA: topSHA, Tag: "staging-9e77a10"})
	w.ResetLog()
	return w
}

// publish pushes a build of both images, unless the build names others.
func (w *world) publish(b sim.Build) map[string]string {
	w.t.Helper()
	if b.Images == nil {
		b.Images = apps
	}
	if b.Created.IsZero() {
		b.Created = built[b.SHA]
	}
	digests, err := sim.Publish(w.t.Context(), w.Host(), b, w.remote...)
	if err != nil {
		w.t.Fatal(err)
	}
	return digests
}

// config is for both images, with the account's credential.
func (w *world) config() Config { return configAt(w.Host(), w.transport) }

func configAt(host string, transport http.RoundTripper) Config {
	c := Config{
		Username: user.Username, Password: secret.New(user.Password), Transport: transport,
		Origin: Origin{Tool: "canary-verify/test", RunURL: "https://forge.example/run/1", RunID: "1", Actor: "ada"},
	}
	for _, app := range apps {
		c.Images = append(c.Images, host+"/"+app)
	}
	return c
}

func (w *world) promoter(change ...func(*Config)) *Promoter {
	w.t.Helper()
	c := w.config()
	for _, f := range change {
		f(&c)
	}
	p, err := New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// digest is where a tag points.
func (w *world) digest(app, tag string) report.Digest { return report.Digest(w.Digest(app, tag)) }

// at returns the digest of a tag, by image.
func (w *world) at(tag string) []report.Digest {
	return []report.Digest{w.digest(apps[0], tag), w.digest(apps[1], tag)}
}

// same fails unless both tags point at the same digests.
func (w *world) same(tag, other string) {
	w.t.Helper()
	if a, b := w.at(tag), w.at(other); a[0] == "" || !slices.Equal(a, b) {
		w.t.Errorf("%s is at %v, %s at %v", tag, a, other, b)
	}
}

// A run is what became of one promotion.
type run struct {
	Images    []report.Image
	Canary    report.Canary
	Warnings  []string
	candidate *Candidate // nil: refused, or not known
	moved     bool       // an error is from the look afterwards
}

var green = Decision{Suite: "canary", Hash: "sha256:" + strings.Repeat("5", 64), Reason: "every check passed"}

// carry does what the gate does on a green verdict.
func carry(ctx context.Context, p *Promoter, sha string, policy Policy) (run, error) {
	found, err := p.Resolve(ctx, report.Commit(sha), policy)
	r := run{Images: found.Images, Warnings: found.Warnings, candidate: found.Candidate}
	c := found.Candidate
	if err != nil {
		return r, err
	}
	for _, step := range []func(context.Context) error{
		c.MoveCanary, c.Preflight, c.Confirm, func(ctx context.Context) error { return c.Promote(ctx, green) },
		func(ctx context.Context) error { r.moved = true; return c.Settle(ctx) },
	} {
		if err = step(ctx); err != nil {
			break
		}
	}
	r.Images, r.Canary, r.Warnings = c.Images(), c.Canary(), append(r.Warnings, c.Warnings()...)
	return r, err
}

func verify(ctx context.Context, p *Promoter, sha string) (run, error) {
	return carry(ctx, p, sha, ForVerify)
}

// must is verify for what has to succeed.
func (w *world) must(sha string, change ...func(*Config)) run {
	w.t.Helper()
	r, err := verify(w.t.Context(), w.promoter(change...), sha)
	if err != nil {
		w.t.Fatalf("verify %s: %v", sha, err)
	}
	return r
}

// resolved is a candidate ready to promote.
func resolved(t testing.TB, p *Promoter) *Candidate {
	t.Helper()
	found, err := p.Resolve(t.Context(), newSHA, ForVerify)
	if err == nil {
		err = found.Candidate.Preflight(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return found.Candidate
}

// reject writes a red record on both images of a commit.
func (w *world) reject(sha string) {
	w.t.Helper()
	p := w.promoter(func(c *Config) { c.Force = "it may be older than the target" })
	found, err := p.Resolve(w.t.Context(), report.Commit(sha), ForVerify)
	if err != nil {
		w.t.Fatal(err)
	}
	found.Candidate.Reject(w.t.Context(), Decision{Suite: "canary", Reason: "liveness failed"})
	if warnings := found.Candidate.Warnings(); len(warnings) > 0 {
		w.t.Fatal(warnings)
	}
}

// repository is a fresh promoter's view of an image.
func (w *world) repository(app string) *repository {
	w.t.Helper()
	return w.promoter().repos[slices.Index(apps, app)]
}

// records are those on a digest of an image.
func (w *world) records(app string, digest report.Digest) []*ledger.Head {
	w.t.Helper()
	p := w.promoter()
	heads, _, err := p.store.Records(w.t.Context(), p.store.Images[slices.Index(apps, app)], digest)
	if err != nil {
		w.t.Fatal(err)
	}
	return heads
}

// newest is the newest record on a digest of an image; nil: there is none.
func (w *world) newest(app string, digest report.Digest) *ledger.Head {
	w.t.Helper()
	return ledger.Newest(digest, w.records(app, digest))
}

// look reads the ledger.
func (w *world) look(change ...func(*Config)) *ledger.Reading {
	w.t.Helper()
	look, err := w.promoter(change...).store.Read(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return look
}

// bubble runs a test whose clock is not real: the ledger's waits cost nothing.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		fakeTime(t, f)
	})
}

// remove deletes a tag or manifest as a clean-up would, in a world without
// authentication.
func (w *world) remove(app, reference string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodDelete, "http://"+w.Host()+"/v2/"+app+"/manifests/"+reference, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := w.transport.RoundTrip(req)
	if err != nil || resp.StatusCode >= 300 {
		w.t.Fatal(resp, err)
	}
}

// list shows the log.
func (w *world) list() string {
	var b strings.Builder
	for _, q := range w.Requests() {
		fmt.Fprintf(&b, "%d %s (%d)\n", q.Status, q.Key, q.Nth)
	}
	return b.String()
}

// A testKey is a key pair that signs and is trusted.
type testKey struct {
	signer  *ledger.Signer
	trusted *ledger.TrustedKeys
	public  string
}

func newKey(t testing.TB) testKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	k := testKey{public: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}
	k.signer, err = ledger.ParseSigner(secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))), secret.Value{})
	if err != nil {
		t.Fatal(err)
	}
	k.trusted = trust(t, k)
	return k
}

// trust is the trust in these keys.
func trust(t testing.TB, keys ...testKey) *ledger.TrustedKeys {
	t.Helper()
	var all string
	for _, k := range keys {
		all += k.public
	}
	trusted, err := ledger.ParseTrustedKeys(all)
	if err != nil {
		t.Fatal(err)
	}
	return trusted
}

// signs makes a run sign, and require signatures.
func (k testKey) signs(c *Config) {
	c.Signer, c.Trust = k.signer, ledger.Trust{Keys: k.trusted, RequireSigned: true}
}

// force lifts refusals.
func force(reason string) func(*Config) { return func(c *Config) { c.Force = reason } }

// fakeTime runs a test in fake time, and waits until net/http's own timers are over:
// one of a request that was cut off outlives it.
func fakeTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t)
		time.Sleep(time.Hour)
	})
}

package promote

import (
	"context"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
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

// A world is one registry with two images of three commits; "latest" is at the
// first.
type world struct {
	*sim.Registry
	t testing.TB
}

func newWorld(t testing.TB, c sim.RegistryConfig) *world {
	t.Helper()
	if c.Auth != sim.NoAuth && c.Accounts == nil {
		c.Accounts = []sim.Account{user}
	}
	reg, err := sim.StartRegistry(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reg.Close)
	w := &world{reg, t}
	w.publish(sim.Build{SHA: oldSHA, Tag: "staging-1f0c7be,latest"})
	w.publish(sim.Build{SHA: newSHA, Tag: "staging-4c1d56e"})
	w.publish(sim.Build{SHA: topSHA, Tag: "staging-9e77a10"})
	reg.ResetLog()
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
	digests, err := sim.Publish(w.t.Context(), w.Host(), b, w.Remote()...)
	if err != nil {
		w.t.Fatal(err)
	}
	return digests
}

// config is for both images, with the account's credential.
func (w *world) config() Config { return w.configAt(w.Host()) }

func (w *world) configAt(host string) Config {
	c := Config{
		SourceTag: "staging-{sha}", TargetTag: "latest", Username: user.Username, Password: secret.New(user.Password),
		Origin: Origin{Tool: "canary-verify/test", RunURL: "https://forge.example/run/1", Actor: "ada"}, Transport: sim.Transport(),
	}
	for _, app := range apps {
		c.Images = append(c.Images, host+"/"+app)
	}
	return c
}

// promoter makes a Promoter with short bounds.
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
	p.t = calm
	return p
}

// calm are bounds for tests that go well: nothing waits for them, on however
// slow a machine.
var calm = func() timing {
	t := brisk
	t.try, t.write, t.record, t.lag = 20*time.Second, 20*time.Second, 20*time.Second, 20*time.Second
	t.backoffMax = time.Second
	return t
}()

// brisk are bounds for tests that wait for them.
var brisk = timing{
	try: 100 * time.Millisecond, write: 150 * time.Millisecond, record: 200 * time.Millisecond, answer: 50 * time.Millisecond,
	backoff: time.Millisecond, backoffMax: 5 * time.Millisecond, tries: 3,
	lag: 200 * time.Millisecond, poll: time.Millisecond, pollMax: 10 * time.Millisecond,
	cancel: 400 * time.Millisecond, overtime: time.Second, fresh: time.Minute, slack: time.Minute,
}

// at returns the digest of a tag, by image.
func (w *world) at(tag string) []string {
	var digests []string
	for _, app := range apps {
		digests = append(digests, w.Digest(app, tag))
	}
	return digests
}

// same fails unless both tags point at the same digests.
func (w *world) same(tag, other string) {
	w.t.Helper()
	a, b := w.at(tag), w.at(other)
	if a[0] == "" || strings.Join(a, " ") != strings.Join(b, " ") {
		w.t.Errorf("%s is at %v, %s at %v", tag, a, other, b)
	}
}

// verify does what the gate does on a green verdict.
func (w *world) verify(ctx context.Context, p *Promoter, sha string) (*Plan, error) {
	return w.carry(ctx, p, sha, ForVerify)
}

var green = Decision{Suite: "canary", Hash: "sha256:" + strings.Repeat("5", 64), Reason: "every check held"}

func (w *world) carry(ctx context.Context, p *Promoter, sha string, policy Policy) (*Plan, error) {
	plan, err := p.Resolve(ctx, sha, policy)
	if err != nil {
		return plan, err
	}
	if err := p.MoveCanary(ctx, plan); err != nil {
		return plan, err
	}
	if err := p.Preflight(ctx, plan); err != nil {
		return plan, err
	}
	if err := together(
		func() error { return p.Prepare(ctx, plan, green) },
		func() error { return p.Confirm(ctx, plan) },
	); err != nil {
		return plan, err
	}
	return plan, p.Promote(ctx, plan, green)
}

// must is verify for what has to succeed.
func (w *world) must(sha string, change ...func(*Config)) *Plan {
	w.t.Helper()
	plan, err := w.verify(w.t.Context(), w.promoter(change...), sha)
	if err != nil {
		w.t.Fatalf("verify %s: %v", short(sha), err)
	}
	return plan
}

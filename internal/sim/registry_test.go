package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	latest = "/v2/org/app/manifests/latest"
	staged = "/v2/org/app/manifests/staging"
)

// publish pushes a small image to org/app.
func publish(t *testing.T, r *Registry, sha, tag string) string {
	t.Helper()
	digests, err := Publish(deadline(t), r.Host(), Build{SHA: sha, Images: []string{"org/app"}, Tag: tag}, r.Remote()...)
	if err != nil {
		t.Fatal(err)
	}
	return digests["org/app"]
}

// ask makes one plain request to the registry.
func ask(t *testing.T, r *Registry, method, path string, body []byte) got {
	t.Helper()
	return askWithin(deadline(t), t, r, method, path, body)
}

func askWithin(ctx context.Context, t *testing.T, r *Registry, method, path string, body []byte) got {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, r.URL()+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", string(types.OCIManifestSchema1))
	// A client tries again by itself where a connection that it has used before is reset.
	fresh := Transport().Clone()
	fresh.DisableKeepAlives = true
	resp, err := fresh.RoundTrip(req)
	if err != nil {
		return got{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return got{status: resp.StatusCode, header: resp.Header, body: string(b), err: err}
}

// retag points latest at what staging has, as a promotion does.
func retag(t *testing.T, r *Registry) got {
	t.Helper()
	return ask(t, r, "PUT", latest, r.Manifest("org/app", "staging"))
}

func TestPublishedImages(t *testing.T) {
	created := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		build     Build
		mediaType types.MediaType
	}{
		{Build{}, types.OCIManifestSchema1},
		{Build{Index: true}, types.OCIImageIndex},
		{Build{Docker: true}, types.DockerManifestSchema2},
		{Build{Docker: true, Index: true}, types.DockerManifestList},
	} {
		r := startRegistry(t, RegistryConfig{CheckBlobs: true})
		b := c.build
		b.SHA, b.Tag, b.Created, b.Images = shaA, "staging,latest", created, []string{"org/app", "org/tenant"}
		b.Faults = []Fault{FailOpen, Slow}
		b.Labels = map[string]string{"a": "b"}
		first, err := Publish(deadline(t), r.Host(), b)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Publish(deadline(t), startRegistry(t, RegistryConfig{}).Host(), b)
		if err != nil || !maps.Equal(first, again) {
			t.Errorf("the same build has other bytes: %v, %v %v", first, again, err)
		}
		if first["org/app"] == first["org/tenant"] || r.Digest("org/app", "latest") != first["org/app"] || r.Digest("org/app", "staging") != first["org/app"] {
			t.Errorf("digests %v", first)
		}
		ref, _ := name.NewTag(r.Host() + "/org/app:latest")
		desc, err := remote.Get(ref)
		if err != nil || desc.MediaType != c.mediaType {
			t.Fatalf("media type %s %v, want %s", desc.MediaType, err, c.mediaType)
		}
		img, err := desc.Image()
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			LabelRevision: shaA, LabelCreated: "2026-04-01T12:00:00Z", LabelFaults: "fail-open,slow", "a": "b",
		}
		if !maps.Equal(cfg.Config.Labels, want) || !cfg.Created.Equal(created) || cfg.OS != "linux" {
			t.Errorf("config %+v", cfg)
		}
	}
}

func TestALabelCanBeLeftOut(t *testing.T) {
	if l := (Build{SHA: shaA, Labels: map[string]string{LabelRevision: ""}}).labels(); len(l) != 0 {
		t.Errorf("labels %v, want none", l)
	}
}

func TestTheRequestLog(t *testing.T) {
	r := startRegistry(t, RegistryConfig{})
	digest := publish(t, r, shaA, "staging")
	r.ResetLog()
	retag(t, r)
	ask(t, r, "GET", "/v2/org/app/manifests/"+digest+"?a=b", nil)
	ask(t, r, "HEAD", latest, nil)
	ask(t, r, "HEAD", latest, nil)
	var lines []string
	for _, q := range r.Requests() {
		lines = append(lines, strings.Join([]string{q.Key, q.Query, http.StatusText(q.Status), string(rune('0' + q.Nth))}, "|"))
	}
	want := []string{
		"PUT " + latest + "||Created|1", "GET /v2/org/app/manifests/*|a=b|OK|1",
		"HEAD " + latest + "||OK|1", "HEAD " + latest + "||OK|2",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("log %q, want %q", lines, want)
	}
	if r.Count("PUT", "DELETE") != 1 {
		t.Errorf("%d writes", r.Count("PUT", "DELETE"))
	}
}

// TestFaultsOfTheRegistry sees each action through a plain client, at a read and
// at a write; what is stored afterwards says what the action did.
func TestFaultsOfTheRegistry(t *testing.T) {
	for _, c := range []struct {
		name   string
		do     Action
		moved  bool // the write was done
		answer func(g got) bool
		read   func(g got) bool
	}{
		{"status", Status(429, "Retry-After", "7"), false,
			func(g got) bool { return g.status == 429 && g.header.Get("Retry-After") == "7" },
			func(g got) bool { return g.status == 429 && strings.Contains(g.body, `"errors":[{"code":"INJECTED"`) }},
		{"give", Give(Answer{Status: 418, Body: []byte("tea")}), false,
			func(g got) bool { return g.status == 418 }, func(g got) bool { return g.body == "tea" }},
		{"reset", Reset(), false, wasReset, wasReset},
		{"lose answer", LoseAnswer(), true, wasReset, wasReset},
		{"lose write", LoseWrite(), false, func(g got) bool { return g.status == 201 }, func(g got) bool { return g.status == 200 }},
		{"wrong digest", WrongDigest(), true,
			func(g got) bool { return strings.HasPrefix(g.header.Get("Docker-Content-Digest"), "sha256:bad0") },
			func(g got) bool { return strings.HasPrefix(g.header.Get("Docker-Content-Digest"), "sha256:bad0") }},
		{"truncate", Truncate(), true,
			func(g got) bool { return g.status == 201 },
			func(g got) bool {
				return g.status == 200 && errors.Is(g.err, io.ErrUnexpectedEOF) && len(g.body) > 10
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRegistry(t, RegistryConfig{})
			former, next := publish(t, r, shaA, "latest"), publish(t, r, shaB, "staging")
			in := r.Inject(Injection{Path: "manifests/(latest|staging)$", Do: c.do})
			if g := ask(t, r, "GET", staged, nil); !c.read(g) {
				t.Errorf("read: %+v", g)
			}
			if g := retag(t, r); !c.answer(g) {
				t.Errorf("write: %+v", g)
			}
			if in.Hits() != 2 {
				t.Errorf("%d hits, want 2", in.Hits())
			}
			want := former
			if c.moved {
				want = next
			}
			if now := r.Digest("org/app", "latest"); now != want {
				t.Errorf("latest is at %s, want %s", now, want)
			}
			r.Heal()
			if g := retag(t, r); g.status != 201 || r.Digest("org/app", "latest") != next {
				t.Errorf("healed: %+v", g)
			}
		})
	}
}

// wasReset reports whether the connection broke before an answer.
func wasReset(g got) bool {
	return g.status == 0 && (errors.Is(g.err, syscall.ECONNRESET) || errors.Is(g.err, io.EOF))
}

func TestStallingRequestsEndWithTheirClientOrTheRegistry(t *testing.T) {
	r := startRegistry(t, RegistryConfig{})
	arrived := make(chan struct{}, 2)
	r.Before(func(*http.Request) { arrived <- struct{}{} })
	r.Inject(Injection{Do: Stall()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- askWithin(ctx, t, r, "GET", "/v2/", nil).err }()
	<-arrived
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want cancelled", err)
	}
	go func() { ended <- askWithin(t.Context(), t, r, "GET", "/v2/", nil).err }()
	<-arrived
	r.Close()
	if err := <-ended; err == nil {
		t.Error("answered")
	}
}

func TestALaggingRegistry(t *testing.T) {
	r := startRegistry(t, RegistryConfig{})
	former, next := publish(t, r, shaA, "latest"), publish(t, r, shaB, "staging")
	r.Inject(Injection{Method: "PUT", Times: 1, Do: Lag(0, 2)})
	if g := retag(t, r); g.status != 201 {
		t.Fatalf("write: %+v", g)
	}
	for i, want := range []string{former, former, next, next} {
		method := []string{"GET", "HEAD"}[i%2]
		if g := ask(t, r, method, latest, nil); g.header.Get("Docker-Content-Digest") != want {
			t.Errorf("read %d: %s, want %s", i, g.header.Get("Docker-Content-Digest"), want)
		}
	}

	r.Inject(Injection{Method: "PUT", Do: Lag(time.Hour, 0)})
	ask(t, r, "PUT", "/v2/org/app/manifests/new", r.Manifest("org/app", "staging"))
	if g := ask(t, r, "GET", "/v2/org/app/manifests/new", nil); g.status != 404 {
		t.Errorf("read of a new tag: %d, want 404", g.status)
	}
	if g := ask(t, r, "GET", "/v2/org/app/manifests/"+next, nil); g.status != 200 {
		t.Errorf("read by digest: %d, want 200", g.status)
	}
	r.Heal()
	if g := ask(t, r, "GET", "/v2/org/app/manifests/new", nil); g.status != 200 {
		t.Errorf("healed: %d, want 200", g.status)
	}
}

// TestAFaultMatrixFromTheLog does what the tests of a promotion do: it takes the
// log of one run, and hits each of its requests once, and it alone.
func TestAFaultMatrixFromTheLog(t *testing.T) {
	r := startRegistry(t, RegistryConfig{})
	publish(t, r, shaA, "staging")
	work := func() {
		ask(t, r, "GET", staged, nil)
		retag(t, r)
		ask(t, r, "HEAD", latest, nil)
		ask(t, r, "HEAD", latest, nil)
	}
	r.ResetLog()
	work()
	log := r.Requests()
	for i, q := range log {
		r.ResetLog()
		r.Heal()
		r.Inject(Injection{Match: q.Again(), Do: Status(500)})
		work()
		for j, q := range r.Requests() {
			if (q.Status == 500) != (i == j) {
				t.Errorf("aimed at request %d, request %d (%s) has status %d", i, j, q.Key, q.Status)
			}
		}
	}
	if len(log) != 4 {
		t.Errorf("%d requests", len(log))
	}
}

func TestTimes(t *testing.T) {
	r := startRegistry(t, RegistryConfig{})
	r.Inject(Injection{Method: "GET", Path: "^/v2/$", Times: 2, Do: Status(500)})
	var statuses []int
	for range 3 {
		statuses = append(statuses, ask(t, r, "GET", "/v2/", nil).status)
	}
	if !slices.Equal(statuses, []int{500, 500, 200}) {
		t.Errorf("statuses %v", statuses)
	}
}

func TestBasicAuth(t *testing.T) {
	r := startRegistry(t, RegistryConfig{Auth: BasicAuth, Accounts: []Account{{"writer", "secret-w", false}, {"reader", "secret-r", true}}})
	publish(t, r, shaA, "latest")
	for _, c := range []struct {
		user, password, method string
		want                   int
	}{
		{"", "", "GET", 401}, {"writer", "wrong", "GET", 401}, {"reader", "secret-r", "GET", 200},
		{"reader", "secret-r", "PUT", 401}, {"writer", "secret-w", "PUT", 201},
	} {
		req, _ := http.NewRequestWithContext(deadline(t), c.method, r.URL()+latest, bytes.NewReader(r.Manifest("org/app", "latest")))
		req.Header.Set("Content-Type", string(types.OCIManifestSchema1))
		if c.user != "" {
			req.SetBasicAuth(c.user, c.password)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s %s: %d, want %d", c.user, c.method, resp.StatusCode, c.want)
		}
		if resp.StatusCode == 401 && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("challenge %q", resp.Header.Get("WWW-Authenticate"))
		}
	}
	if q := r.Requests()[len(r.Requests())-1]; q.User != "writer" {
		t.Errorf("noted user %q", q.User)
	}
}

func TestTokenAuth(t *testing.T) {
	for _, useTLS := range []bool{false, true} {
		r := startRegistry(t, RegistryConfig{TLS: useTLS, Auth: TokenAuth, Accounts: []Account{{"writer", "secret-w", false}, {"reader", "secret-r", true}}})
		publish(t, r, shaA, "latest")
		ref, _ := name.NewTag(r.Host() + "/org/app:latest")
		r.ResetLog()
		puller, err := remote.NewPuller(r.Remote()...)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := puller.Head(deadline(t), ref); err != nil {
				t.Fatal(err)
			}
		}
		if n := r.TokenHandshakes(); n != 1 {
			t.Errorf("%d handshakes, want 1", n)
		}
		reader := []remote.Option{remote.WithTransport(Transport()), remote.WithContext(deadline(t)), remote.WithAuth(&authn.Basic{Username: "reader", Password: "secret-r"})}
		desc, err := remote.Get(ref, reader...)
		if err != nil {
			t.Fatal(err)
		}
		var refused *transport.Error
		if err := remote.Tag(ref.Context().Tag("other"), desc, reader...); !errors.As(err, &refused) || refused.StatusCode != 401 {
			t.Errorf("a reader's write: %v, want 401", err)
		}
		if _, err := remote.Get(ref, remote.WithTransport(Transport())); err == nil {
			t.Error("a stranger may read")
		}
		if err := remote.Delete(ref, append(r.Remote(), remote.WithContext(deadline(t)))...); err != nil {
			t.Errorf("the writer's delete: %v", err)
		}
	}
}

func TestChecksOfRealRegistries(t *testing.T) {
	r := startRegistry(t, RegistryConfig{CheckBlobs: true, NoDelete: true, NoArtifacts: true})
	publish(t, r, shaA, "latest")
	manifest := r.Manifest("org/app", "latest")
	absent := bytes.Replace(manifest, []byte("sha256:"), []byte("sha256:0000"), 1)
	absent = bytes.Replace(absent, []byte("sha256:0000"+string(manifest[bytes.Index(manifest, []byte("sha256:"))+7:][:64])), []byte("sha256:"+strings.Repeat("0", 64)), 1)
	child := []byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`)
	for _, c := range []struct {
		what, method, path string
		body               []byte
		want               int
	}{
		{"a tag", "PUT", "/v2/org/app/manifests/tag", manifest, 201},
		{"another repository", "PUT", "/v2/org/other/manifests/tag", manifest, 400},
		{"an absent blob", "PUT", "/v2/org/app/manifests/tag", absent, 400},
		{"an absent child", "PUT", "/v2/org/app/manifests/tag", child, 400},
		{"another digest", "PUT", "/v2/org/app/manifests/sha256:" + strings.Repeat("0", 64), manifest, 400},
		{"no JSON", "PUT", "/v2/org/app/manifests/tag", []byte("{"), 400},
		{"an artifact", "PUT", "/v2/org/app/manifests/tag", artifact(t, manifest, "x/y"), 400},
		{"a deletion", "DELETE", latest, nil, 405},
	} {
		if g := ask(t, r, c.method, c.path, c.body); g.status != c.want {
			t.Errorf("%s: %d %s, want %d", c.what, g.status, g.body, c.want)
		}
	}
}

// artifact turns a manifest into one that is attached to it.
func artifact(t *testing.T, manifest []byte, artifactType string) []byte {
	t.Helper()
	m, err := v1.ParseManifest(bytes.NewReader(manifest))
	if err != nil {
		t.Fatal(err)
	}
	h, size, _ := v1.SHA256(bytes.NewReader(manifest))
	b := mustJSON(m)
	return append(b[:len(b)-1], `,"artifactType":"`+artifactType+`","subject":`+string(mustJSON(v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Digest: h, Size: size,
	}))+`}`...)
}

func TestReferrers(t *testing.T) {
	for _, supported := range []bool{true, false} {
		r := startRegistry(t, RegistryConfig{Referrers: supported})
		digest := publish(t, r, shaA, "latest")
		manifest := r.Manifest("org/app", "latest")
		for _, artifactType := range []string{"x/a", "x/b"} {
			b := artifact(t, manifest, artifactType)
			g := ask(t, r, "PUT", "/v2/org/app/manifests/"+digestOf(b), b)
			if subject := g.header.Get("OCI-Subject"); g.status != 201 || (subject == digest) != supported {
				t.Errorf("referrers %t: %d, OCI-Subject %q", supported, g.status, subject)
			}
		}
		g := ask(t, r, "GET", "/v2/org/app/referrers/"+digest, nil)
		if !supported {
			if g.status != 404 {
				t.Errorf("status %d, want 404", g.status)
			}
			continue
		}
		index, err := v1.ParseIndexManifest(strings.NewReader(g.body))
		if err != nil || len(index.Manifests) != 2 {
			t.Fatalf("%v %s", err, g.body)
		}
		g = ask(t, r, "GET", "/v2/org/app/referrers/"+digest+"?artifactType=x/b", nil)
		index, err = v1.ParseIndexManifest(strings.NewReader(g.body))
		if err != nil || len(index.Manifests) != 1 || index.Manifests[0].ArtifactType != "x/b" || g.header.Get("OCI-Filters-Applied") != "artifactType" {
			t.Errorf("filtered: %v %s", err, g.body)
		}
	}
}

package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

const (
	ociIndex     = "application/vnd.oci.image.index.v1+json"
	ociManifest  = "application/vnd.oci.image.manifest.v1+json"
	artifactType = "application/vnd.example.thing"
)

// start returns a registry and a repository at it, without a network.
func start(t *testing.T, c sim.RegistryConfig) (*sim.Registry, *Repository) {
	t.Helper()
	reg := sim.NewRegistry(c)
	n, err := ParseName(reg.Host() + "/org/app")
	if err != nil {
		t.Fatal(err)
	}
	return reg, Open(n, Options{Transport: reg.RoundTripper(), UserAgent: "test"})
}

// store stores a manifest that others can be attached to.
func store(t *testing.T, r *Repository) *Manifest {
	t.Helper()
	m, err := ParseManifest(ociIndex, []byte(`{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[]}`))
	if err == nil {
		_, err = r.Put(t.Context(), ByTag("latest"), m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// thing is an artifact on a subject.
func thing(t *testing.T, r *Repository, subject *Manifest, name string) *Manifest {
	t.Helper()
	for _, blob := range [][]byte{EmptyConfig, []byte(name)} {
		if err := r.PushBlob(t.Context(), blob); err != nil {
			t.Fatal(err)
		}
	}
	return NewArtifact(artifactType, subject.Descriptor(), map[string]string{"name": name}, Describe("text/plain", []byte(name)))
}

func names(list []v1.Descriptor) string {
	var out []string
	for _, d := range list {
		out = append(out, d.Annotations["name"])
	}
	return strings.Join(out, " ")
}

// TestRoundTrip writes and reads everything, with and without the referrers API.
func TestRoundTrip(t *testing.T) {
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers=%t", api), func(t *testing.T) {
			_, r := start(t, sim.RegistryConfig{Referrers: api, CheckBlobs: true})
			ctx := t.Context()
			if m, err := r.Manifest(ctx, ByTag("latest")); m != nil || err != nil {
				t.Errorf("an absent tag: %v, %v", m, err)
			}
			if d, err := r.Digest(ctx, ByTag("latest")); d != "" || err != nil {
				t.Errorf("an absent tag: %v, %v", d, err)
			}
			subject := store(t, r)
			for _, ref := range []Reference{ByTag("latest"), ByDigest(subject.Digest)} {
				if m, err := r.Manifest(ctx, ref); err != nil || string(m.Raw) != string(subject.Raw) || !m.IsIndex() {
					t.Errorf("%s: %+v, %v", ref, m, err)
				}
				if d, err := r.Digest(ctx, ref); d != subject.Digest || err != nil {
					t.Errorf("%s: %v, %v", ref, d, err)
				}
			}
			if list, err := r.Referrers(ctx, subject.Digest, artifactType); len(list) > 0 || err != nil {
				t.Errorf("%v, %v", list, err)
			}
			first := thing(t, r, subject, "first")
			if listed, err := r.Put(ctx, ByTag("head"), first); listed != api || err != nil {
				t.Errorf("listed is %t, %v", listed, err)
			}
			for _, m := range []*Manifest{first, thing(t, r, subject, "second"), first} {
				if err := r.Attach(ctx, m); err != nil {
					t.Fatal(err)
				}
			}
			list, err := r.Referrers(ctx, subject.Digest, artifactType)
			if err != nil || len(list) != 2 || list[0].ArtifactType != artifactType {
				t.Errorf("%+v, %v", list, err)
			}
			if got := names(list); !api && got != "first second" && got != "second first" {
				t.Errorf("%q", got)
			}
			if b, err := r.Blob(ctx, first.Content.Layers[0], 100); string(b) != "first" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			if _, err := r.Blob(ctx, first.Content.Layers[0], 4); err == nil {
				t.Error("a blob over the limit was read")
			}
			if err := errors.Join(r.Untag(ctx, "head"), r.Untag(ctx, "head")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPages follows a list over its pages, and no further than its host.
func TestPages(t *testing.T) {
	reg, r := start(t, sim.RegistryConfig{})
	page := func(n int, link string) sim.Action {
		return sim.Give(sim.Answer{Status: 200, Header: http.Header{"Content-Type": {ociIndex}, "Link": {link}}, Body: fmt.Appendf(nil,
			`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":"sha256:%064d","size":1,"annotations":{"name":"p%d"}}]}`, ociManifest, n, n)})
	}
	reg.Inject(sim.Injection{Path: "/referrers/", Times: 1, Do: page(1, `</v2/org/app/referrers/more?n=2>; rel="next"`)})
	reg.Inject(sim.Injection{Path: "/referrers/more", Do: page(2, `<https://elsewhere.example/more>; rel="next"`)})
	list, err := r.Referrers(t.Context(), DigestOf(nil), artifactType)
	if err != nil || names(list) != "p1 p2" {
		t.Errorf("%+v, %v", list, err)
	}
	reg.Heal()
	reg.Inject(sim.Injection{Path: "/referrers/", Do: page(1, `</v2/org/app/referrers/on>; rel="next"`)})
	if _, err := r.Referrers(t.Context(), DigestOf(nil), artifactType); err == nil || !strings.Contains(err.Error(), "pages") {
		t.Errorf("a list without end: %v", err)
	}
}

// TestNoReferrersAPI: what means that there is none, and what only failed.
func TestNoReferrersAPI(t *testing.T) {
	for status, none := range map[int]bool{400: true, 404: true, 405: true, 406: true, 501: true, 401: false, 403: false, 500: false, 502: false} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg, r := start(t, sim.RegistryConfig{})
				reg.Inject(sim.Injection{Path: "/referrers/", Do: sim.Status(status)})
				if _, err := r.Referrers(t.Context(), DigestOf(nil), artifactType); (err == nil) != none {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// TestRepetition: reads are repeated while their failure may pass, writes are
// not, and the waits end with the context.
func TestRepetition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, r := start(t, sim.RegistryConfig{})
		m := store(t, r)
		for name, do := range map[string]sim.Action{
			"503": sim.Status(503), "reset": sim.Reset(), "hang": sim.Stall(), "cut off": sim.Truncate(),
			"429, an hour": sim.Status(429, "Retry-After", "3600"),
		} {
			reg.Inject(sim.Injection{Method: http.MethodGet, Times: retries, Do: do})
			began := time.Now()
			if got, err := r.Manifest(t.Context(), ByTag("latest")); err != nil || got.Digest != m.Digest {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(began); took > retries*(readTimeout+highestWait) {
				t.Errorf("%s: it took %v", name, took)
			}
			reg.Heal()
		}
		in := reg.Inject(sim.Injection{Method: http.MethodPut, Do: sim.Status(503)})
		_, err := r.Put(t.Context(), ByTag("latest"), m)
		if in.Hits() != 1 || !Temporary(err) || Rejected(err) {
			t.Errorf("%d writes: %v", in.Hits(), err)
		}
		if _, err := r.Store(t.Context(), m); in.Hits() != 2+retries || err == nil {
			t.Errorf("%d writes: %v", in.Hits(), err)
		}
		reg.Heal()
		reg.Inject(sim.Injection{Method: http.MethodGet, Do: sim.Status(503)})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := r.Manifest(ctx, ByTag("latest")); err == nil || time.Since(began) > 100*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// TestWrongAnswers are not believed.
func TestWrongAnswers(t *testing.T) {
	reg, r := start(t, sim.RegistryConfig{})
	m := store(t, r)
	reg.Inject(sim.Injection{Do: sim.WrongDigest()})
	if _, err := r.Manifest(t.Context(), ByTag("latest")); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("%v", err)
	}
	reg.Heal()
	reg.Inject(sim.Injection{Do: sim.Give(sim.Answer{Status: 200, Header: http.Header{"Content-Type": {ociIndex}}, Body: append([]byte(" "), m.Raw...)})})
	if _, err := r.Manifest(t.Context(), ByDigest(m.Digest)); err == nil {
		t.Error("other bytes than asked for were taken")
	}
	for _, ref := range []Reference{ByTag("-x"), ByTag("a/../b"), ByDigest("sha256:1"), {}} {
		if _, err := r.Manifest(t.Context(), ref); err == nil {
			t.Errorf("%v was asked for", ref)
		}
	}
	if err := r.Untag(t.Context(), string(m.Digest)); err == nil {
		t.Error("a digest was deleted")
	}
}

func TestParseName(t *testing.T) {
	for in, want := range map[string]string{
		"ghcr.io/org/app": "ghcr.io/org/app", "GHCR.io/org/app": "ghcr.io/org/app", "nginx": "index.docker.io/library/nginx",
		"localhost:5000/a": "localhost:5000/a", "[::1]:5000/x": "[::1]:5000/x",
		"ghcr.io/org/app:tag": "", "ghcr.io/Org/app": "", "https://ghcr.io/a": "", "bob:pass@ghcr.io/a": "", "a//b": "", "": "",
	} {
		n, err := ParseName(in)
		if (err == nil) != (want != "") || err == nil && n.String() != want {
			t.Errorf("%q is %v, %v", in, n, err)
		}
		if err != nil && strings.Contains(err.Error(), "pass") {
			t.Errorf("a password is shown: %v", err)
		}
	}
}

// TestHints are about the registry at hand.
func TestHints(t *testing.T) {
	n, err := ParseName("ghcr.io/org/app")
	if err != nil {
		t.Fatal(err)
	}
	if hint := Open(n, Options{}).hint(403, true); !strings.Contains(hint, "packages: write") || strings.Contains(hint, "Gitea") {
		t.Error(hint)
	}
}

// TestRedirects are followed where blobs live, and not into the runner's network.
func TestRedirects(t *testing.T) {
	at := func(s string) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	for _, tt := range []struct {
		from, to string
		ok       bool
	}{
		{"https://ghcr.io/v2/", "https://blobs.example/x?signature=1", true},
		{"http://127.0.0.1:5000/v2/", "http://127.0.0.1:5000/x", true},
		{"https://ghcr.io/v2/", "http://ghcr.io/x", false},
		{"https://ghcr.io/v2/", "https://169.254.169.254/latest/meta-data", false},
		{"https://ghcr.io/v2/", "https://127.0.0.1/x", false},
		{"https://ghcr.io/v2/", "https://2130706433/x", false},
		{"https://ghcr.io/v2/", "https://0x7f000001/x", false},
		{"https://ghcr.io/v2/", "https://10.1.2.3/x", false},
		{"https://ghcr.io/v2/", "https://[::1]/x", false},
		{"https://ghcr.io/v2/", "https://[fe80::1%25eth0]/x", false},
		{"https://ghcr.io/v2/", "https://localhost/x", false},
		{"https://ghcr.io/v2/", "https://8.8.8.8/x", true},
	} {
		if err := checkRedirect(at(tt.to), []*http.Request{at(tt.from)}); (err == nil) != tt.ok {
			t.Errorf("%s → %s: %v", tt.from, tt.to, err)
		}
	}
	many := []*http.Request{}
	for range 6 {
		many = append(many, at("https://a.example/"))
	}
	if checkRedirect(at("https://a.example/"), many) == nil {
		t.Error("a sixth redirect is followed")
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"ghcr.io/org/app", "localhost:5000/a/b", "a", "A/b", "[::1]:5000/x", "a..b/c", "x@sha256:0", "host:99999999/x", "\x00/x", "é/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		again, err := ParseName(n.String())
		if err != nil || again.String() != n.String() {
			t.Errorf("%q is %q, which is %q (%v)", s, n, again, err)
		}
		if !repositoryForm.MatchString(n.Path()) || strings.ContainsAny(n.String(), "@ \n\t?#%") {
			t.Errorf("%q got through as %q", s, n)
		}
	})
}

func FuzzParseReferrers(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:` + strings.Repeat("a", 64) + `","artifactType":"x"}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseReferrers(b)
		if err != nil {
			return
		}
		for i, d := range list {
			if _, err := report.ParseDigest(d.Digest.String()); err != nil || i > 0 && list[i-1].Digest == d.Digest {
				t.Errorf("%+v", list)
			}
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add(ociIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Add("", []byte(`{"schemaVersion":2,"config":{"mediaType":"x"},"layers":[]}`))
	f.Add("text/plain", []byte(`{"schemaVersion":1}`))
	f.Fuzz(func(t *testing.T, contentType string, b []byte) {
		m, err := ParseManifest(contentType, b)
		if err != nil {
			return
		}
		if matches(m.Raw, string(m.Digest)) != nil || m.MediaType == "" || len(m.Content.Manifests) > maxChildren {
			t.Errorf("%+v", m)
		}
	})
}

//go:build e2e

package promote

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// The programs under test. They are named by the environment, so that nothing
// here depends on how they were installed.
var programs = map[string]string{
	"docker-registry": "CANARY_E2E_DOCKER_REGISTRY",
	"distribution":    "CANARY_E2E_DISTRIBUTION",
}

// htpasswd holds the bcrypt hash of the test account's password.
const htpasswd = "robot:$2y$04$0PkvszyC43bz/r4YaXqxIOAP6TrlDqZ9.IfILEe6zmMdf6kI0DVky\n"

// A realRegistry is a registry process behind a proxy that also is its token
// server: clients refuse a realm at another private address.
type realRegistry struct {
	host     string // of the proxy
	requests atomic.Int64
	tokens   atomic.Int64
	mu       sync.Mutex
	refuse   func(*http.Request) bool
	signer   *signer
}

// startReal starts the program with one kind of authentication.
func startReal(t *testing.T, program, auth string) *realRegistry {
	t.Helper()
	path := os.Getenv(programs[program])
	if path == "" {
		t.Fatalf("set %s to the path of the registry's program", programs[program])
	}
	r := &realRegistry{signer: newSigner(t)}
	dir := t.TempDir()
	// The proxy listens first, or it might be given the port that is free for
	// the registry.
	proxy := httptest.NewUnstartedServer(nil)
	inner := freeAddress(t)
	proxy.Config.Handler = r.handler(inner)
	proxy.Start()
	t.Cleanup(proxy.Close)
	r.host = proxy.Listener.Addr().String()
	write := func(file, content string) string {
		file = filepath.Join(dir, file)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	config := "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: " + filepath.Join(dir, "data") + "}, delete: {enabled: true}}\n" +
		"http: {addr: '" + inner + "', relativeurls: true}\n"
	switch auth {
	case "basic":
		config += "auth: {htpasswd: {realm: e2e, path: " + write("htpasswd", htpasswd) + "}}\n"
	case "token":
		config += "auth: {token: {realm: 'http://" + r.host + "/token', service: e2e, issuer: e2e, rootcertbundle: " + write("root.pem", r.signer.pem) + "}}\n"
	}
	cmd := exec.Command(path, "serve", write("config.yml", config))
	said, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = said.Close()
		if text, err := os.ReadFile(said.Name()); err == nil && t.Failed() {
			t.Logf("%s said at last:\n%s", program, text[max(0, len(text)-4000):])
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", inner)
		if err == nil {
			_ = conn.Close()
			return r
		}
		if web.Pause(ctx, 20*time.Millisecond) != nil {
			t.Fatalf("%s does not listen: %v", program, err)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// handler counts, refuses what the test wants refused, and passes on.
func (r *realRegistry) handler(inner string) http.Handler {
	proxy := &httputil.ReverseProxy{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: inner})
		p.Out.Host = p.In.Host
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		r.mu.Lock()
		refuse := r.refuse
		r.mu.Unlock()
		switch {
		case req.URL.Path == "/token":
			r.token(w, req)
		case refuse != nil && refuse(req):
			http.Error(w, "refused by the test", http.StatusForbidden)
		default:
			proxy.ServeHTTP(w, req)
		}
	})
}

// token is the token server: it gives the account what it asks for.
func (r *realRegistry) token(w http.ResponseWriter, req *http.Request) {
	username, password, _ := req.BasicAuth()
	if username != user.Username || password != user.Password {
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`, http.StatusUnauthorized)
		return
	}
	r.tokens.Add(1)
	var access []map[string]any
	for _, scope := range req.URL.Query()["scope"] {
		if parts := strings.Split(scope, ":"); len(parts) == 3 {
			access = append(access, map[string]any{"type": parts[0], "name": parts[1], "actions": strings.Split(parts[2], ",")})
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"token": r.signer.sign(map[string]any{
		"iss": "e2e", "sub": username, "aud": "e2e", "jti": fmt.Sprint(r.tokens.Load()), "access": access,
		"iat": time.Now().Unix(), "nbf": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
	})})
}

// A signer signs tokens with a key whose certificate is the registry's root.
type signer struct {
	key *ecdsa.PrivateKey
	der []byte
	pem string
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key, der, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// sign makes a JWT (ES256, the certificate in its head).
func (s *signer) sign(claims map[string]any) string {
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := encode(map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(s.der)}}) + "." + encode(claims)
	sum := sha256.Sum256([]byte(text))
	a, b, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		panic(err)
	}
	sig := make([]byte, 64)
	a.FillBytes(sig[:32])
	b.FillBytes(sig[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// remoteOptions are those of the other client, go-containerregistry.
func remoteOptions() remote.Option {
	return remote.WithAuth(&authn.Basic{Username: user.Username, Password: user.Password})
}

// digest asks the other client.
func (r *realRegistry) digest(t *testing.T, app, tag string) string {
	t.Helper()
	ref, err := name.NewTag(r.host + "/" + app + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(ref, remoteOptions())
	if err != nil {
		return ""
	}
	return d.Digest.String()
}

func (r *realRegistry) publish(t *testing.T, b sim.Build) map[string]string {
	t.Helper()
	b.Images, b.Created = apps, built[b.SHA]
	digests, err := sim.Publish(t.Context(), r.host, b, remoteOptions())
	if err != nil {
		t.Fatal(err)
	}
	return digests
}

// TestRealRegistries plays verify, history, rollback and a failed move on real
// registries.
func TestRealRegistries(t *testing.T) {
	for program := range programs {
		for _, auth := range []string{"none", "basic", "token"} {
			t.Run(program+"/"+auth, func(t *testing.T) { realStory(t, startReal(t, program, auth)) })
		}
	}
}

func realStory(t *testing.T, r *realRegistry) {
	old := r.publish(t, sim.Build{SHA: oldSHA, Tag: "staging-1f0c7be,latest", Docker: true})
	next := r.publish(t, sim.Build{SHA: newSHA, Tag: "staging-4c1d56e", Index: true})
	top := r.publish(t, sim.Build{SHA: topSHA, Tag: "staging-9e77a10", Index: true, Docker: true})
	shared := &http.Transport{MaxIdleConnsPerHost: 64}
	defer shared.CloseIdleConnections()
	promoter := func(change ...func(*Config)) *Promoter {
		c := configAt(r.host, shared)
		c.Lease = 500 * time.Millisecond // these registries answer at once
		for _, f := range change {
			f(&c)
		}
		p, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	at := func(want map[string]string) {
		t.Helper()
		for _, app := range apps {
			if got := r.digest(t, app, "latest"); got != want[app] {
				t.Errorf("%s is at %s, want %s", app, got, want[app])
			}
		}
	}
	at(old)
	for sha, want := range map[string]map[string]string{newSHA: next} {
		r.requests.Store(0)
		r.tokens.Store(0)
		plan, err := verify(t.Context(), promoter(), sha)
		if err != nil || len(plan.Warnings) > 0 {
			t.Fatalf("%v, %q", err, plan.Warnings)
		}
		t.Logf("verify: %d requests, %d tokens", r.requests.Load(), r.tokens.Load())
		if n := r.tokens.Load(); n > int64(len(apps)) {
			t.Errorf("%d token handshakes", n)
		}
		at(want)
	}
	if plan, err := verify(t.Context(), promoter(), topSHA); err != nil || len(plan.Warnings) > 0 {
		t.Fatalf("%v, %q", err, plan.Warnings)
	}
	at(top)
	result, err := promoter().Rollback(t.Context(), "", "invoices are wrong")
	if err != nil || len(result.Warnings) > 0 || result.Rollback.ToSHA != newSHA {
		t.Fatalf("%+v, %v", result, err)
	}
	at(next)
	_, err = promoter().Resolve(t.Context(), topSHA, ForVerify)
	expectRefusal(t, err, RuleRolledBack)
	history, err := promoter().History(t.Context())
	if err != nil || len(history) != 4 {
		t.Errorf("%d entries, %v: %+v", len(history), err, history)
	}
	if result, err = promoter().Rollback(t.Context(), oldSHA, ""); err != nil {
		t.Fatalf("%+v, %v", result, err)
	}
	at(old)
	absentTag(t, r, promoter(func(c *Config) { c.TargetTag, c.Force = "stable", "it has to fail halfway" }), next)
}

// absentTag has the move of a tag that did not exist fail for one image: the
// other's tag is deleted again, or the report says that it could not be.
func absentTag(t *testing.T, r *realRegistry, p *Promoter, candidate map[string]string) {
	t.Helper()
	r.mu.Lock()
	r.refuse = func(req *http.Request) bool {
		return req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, apps[1]+"/manifests/stable")
	}
	r.mu.Unlock()
	plan, err := verify(t.Context(), p, newSHA)
	var failed *MoveError
	if !errors.As(err, &failed) {
		t.Fatalf("%v", err)
	}
	moved := plan.Images[0]
	t.Logf("a tag that was absent: %v %q", moved.State, moved.Detail)
	if now := r.digest(t, apps[0], "stable"); now != string(moved.Now) || moved.State == report.Restored && now != "" || moved.State != report.Restored && moved.Detail == "" {
		t.Errorf("%+v, but it is at %q", moved, now)
	}
	if r.digest(t, apps[0], "staging-4c1d56e") != candidate[apps[0]] {
		t.Error("the image is gone with its tag")
	}
}

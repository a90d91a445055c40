//go:build e2e

package e2e

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// imagePaths are the two images of the product.
var imagePaths = []string{"shop/platform", "shop/platform-tenant"}

// A registry is a docker-registry process on a free port of loopback.
type registry struct {
	host     string // 127.0.0.1:port
	username string // empty: it asks for no credentials
	password string
	login    string // a folder with a Docker config.json that logs in to it
}

var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// startRegistry starts a registry that asks for a password, and stops it when
// the test ends.
func startRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{username: "robot", password: "registry-" + rand.Text()}
	users := filepath.Join(t.TempDir(), "htpasswd")
	check(t, os.WriteFile(users, []byte(run(t, "htpasswd", "-Bbn", r.username, r.password)), 0o600))
	r.start(t, "auth: {htpasswd: {realm: registry, path: "+users+"}}")
	r.login = t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte(r.username + ":" + r.password))
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, auth)
	check(t, os.WriteFile(filepath.Join(r.login, "config.json"), []byte(config), 0o600))
	return r
}

// startOpenRegistry starts a registry that asks for nothing.
func startOpenRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{login: t.TempDir()}
	r.start(t, "")
	return r
}

// start runs the process and waits until it reports its port.
func (r *registry) start(t *testing.T, more string) {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	check(t, os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: info, formatter: json}
storage: {filesystem: {rootdirectory: %s/data}, delete: {enabled: true}}
http: {addr: 127.0.0.1:0, secret: e2e}
%s
`, dir, more), 0o600))
	cmd := exec.Command("docker-registry", "serve", config)
	output, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = w.Close()
	})
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(output)
		for lines.Scan() {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				ready <- m[1]
			}
		}
	}()
	select {
	case r.host = <-ready:
	case <-time.After(30 * time.Second):
		t.Fatal("docker-registry did not start to listen")
	}
}

// repository is the name of an image repository in r.
func (r *registry) repository(path string) string { return r.host + "/" + path }

func (r *registry) auth() authn.Authenticator {
	if r.username == "" {
		return authn.Anonymous
	}
	return &authn.Basic{Username: r.username, Password: r.password}
}

// publish pushes a build's images under the source tag of its commit, and
// under more tags, and returns their digests by path.
func (r *registry) publish(t *testing.T, b sim.Build, tags ...string) map[string]string {
	t.Helper()
	b.Images = imagePaths
	b.Tag = strings.Join(append([]string{"staging-" + b.SHA[:7]}, tags...), ",")
	digests, err := sim.Publish(t.Context(), r.host, b, remote.WithAuth(r.auth()))
	check(t, err)
	return digests
}

// digest asks crane, the other client, what a tag points at; empty: nothing.
func (r *registry) digest(t *testing.T, path, tag string) string {
	t.Helper()
	got := try(t, []string{"DOCKER_CONFIG=" + r.login}, crane, "digest", r.repository(path)+":"+tag)
	if got.exit != 0 {
		if strings.Contains(got.stderr, "MANIFEST_UNKNOWN") || strings.Contains(got.stderr, "404") {
			return ""
		}
		t.Fatalf("crane digest %s:%s: %s", path, tag, got.stderr)
	}
	return strings.TrimSpace(got.stdout)
}

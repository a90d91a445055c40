//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// maxImage is the most that the image's files may take, uncompressed. .ci/run
// limits the binary alone to the same.
const maxImage = 14 << 20

// builder is one way to build the shipped Dockerfile.
type builder struct {
	name string
	env  []string
	path string // of the Docker client
}

// builders returns the classic builder and, where the client at hand can
// still speak to it, BuildKit.
func builders(t *testing.T) []builder {
	t.Helper()
	all := []builder{{name: "classic", env: []string{"DOCKER_BUILDKIT=0"}, path: "docker"}}
	for _, client := range []string{"docker", "/usr/bin/docker"} {
		b := builder{name: "buildkit", env: []string{"DOCKER_BUILDKIT=1"}, path: client}
		dir := t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nLABEL x=y\n"), 0o600))
		if try(t, b.env, client, "build", "-q", dir).exit == 0 {
			return append(all, b)
		}
	}
	t.Fatal("no Docker client at hand builds with BuildKit: install docker-buildx, or a client that has it built in")
	return nil
}

// build builds the project in dir and returns the image's id.
func (b builder) build(t *testing.T, dir string, args ...string) string {
	t.Helper()
	start := time.Now()
	args = append([]string{"build", "-q", "--network", network}, args...)
	id := runEnv(t, b.env, b.path, append(args, dir)...)
	t.Logf("%s build: %s", b.name, time.Since(start).Round(100*time.Millisecond))
	t.Cleanup(func() { try(t, nil, "docker", "rmi", "-f", id) })
	return id
}

// TestImageTimes builds the image as a runner does that has nothing, that has the
// modules' layer, and that has it all. With CANARY_E2E_TIMES=FILE the times are
// kept there, for docs/performance.md.
func TestImageTimes(t *testing.T) {
	if os.Getenv("CANARY_FULL") != "1" && os.Getenv("CANARY_E2E_TIMES") == "" {
		t.Skip("the base image has compiled dependencies; CANARY_FULL=1 takes one without them")
	}
	dir := t.TempDir()
	copyProject(t, dir)
	b := builder{name: "classic", env: []string{"DOCKER_BUILDKIT=0"}, path: "docker"}
	times := map[string]any{"engine": run(t, "docker", "version", "--format", "{{.Server.Version}}"), "date": time.Now().UTC().Format(time.DateOnly)}
	timed := func(name string, args ...string) (id string) {
		start := time.Now()
		id = b.build(t, dir, args...)
		times[name] = time.Since(start).Seconds()
		return id
	}
	first := timed("cold", "--no-cache")
	if again := timed("warm"); again != first {
		t.Errorf("nothing changed, and the image is %s after %s", again, first)
	}
	source, err := os.ReadFile(filepath.Join(dir, "main.go"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "main.go"), append(source, "\n// changed\n"...), 0o600))
	timed("changed")
	if file := os.Getenv("CANARY_E2E_TIMES"); file != "" {
		data, err := json.MarshalIndent(times, "", "  ")
		check(t, err)
		check(t, os.WriteFile(file, append(data, '\n'), 0o600))
	}
}

// files returns the content of an image's regular files by their path.
func files(t *testing.T, image string) map[string][]byte {
	t.Helper()
	container := run(t, "docker", "create", "--network", "none", image)
	defer run(t, "docker", "rm", "-f", container)
	all := map[string][]byte{}
	archive := tar.NewReader(strings.NewReader(try(t, nil, "docker", "export", container).stdout))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		check(t, err)
		if header.Typeflag == tar.TypeReg {
			data, err := io.ReadAll(archive)
			check(t, err)
			all[header.Name] = data
		}
	}
}

func TestImage(t *testing.T) {
	dir := t.TempDir()
	copyProject(t, dir)
	binaries := map[string]string{}
	for _, b := range builders(t) {
		t.Run(b.name, func(t *testing.T) {
			id := b.build(t, dir, "--build-arg", "VERSION=v9.8.7", "--build-arg", "REVISION=0123abc")
			content := files(t, id)
			checkContent(t, content)
			sum := sha256.Sum256(content["canary-verify"])
			binaries[b.name] = hex.EncodeToString(sum[:])
			checkConfig(t, id)
			got := run(t, "docker", "run", "--rm", "--network", "none", id, "--version")
			contains(t, "--version", got, "v9.8.7")
		})
	}
	t.Run("reproducible", func(t *testing.T) {
		// Another folder, nothing cached: the binary is the same to the bit.
		other := filepath.Join(t.TempDir(), "elsewhere")
		run(t, "cp", "-a", dir, other)
		check(t, os.WriteFile(filepath.Join(other, "README.md"), []byte("something else"), 0o600))
		id := builder{name: "uncached", env: []string{"DOCKER_BUILDKIT=0"}, path: "docker"}.
			build(t, other, "--no-cache", "--build-arg", "VERSION=v9.8.7", "--build-arg", "REVISION=0123abc")
		sum := sha256.Sum256(files(t, id)["canary-verify"])
		for name, want := range binaries {
			if got := hex.EncodeToString(sum[:]); got != want {
				t.Errorf("another build gave binary %s, %s gave %s", got, name, want)
			}
		}
	})
	t.Run("modules keep their layer", func(t *testing.T) {
		source, err := os.ReadFile(filepath.Join(dir, "main.go"))
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, "main.go"), append(source, "\n// Changed.\n"...), 0o600))
		r := try(t, []string{"DOCKER_BUILDKIT=0"}, "docker", "build", "--network", network, dir)
		before, after, _ := strings.Cut(r.all(), "COPY secret/")
		if r.exit != 0 || !strings.Contains(before, "Using cache") || strings.Contains(after, "go mod download") {
			t.Errorf("a change of source downloads the modules again:\n%s", r.all())
		}
	})
	for _, b := range builders(t) {
		t.Run(b.name+" for arm64", func(t *testing.T) {
			id := b.build(t, dir, "--build-arg", "TARGETOS=linux", "--build-arg", "TARGETARCH=arm64")
			checkBinary(t, files(t, id)["canary-verify"], elf.EM_AARCH64)
		})
	}
}

// checkContent checks that an image has the binary, the CA bundle and nothing
// else that could be run.
func checkContent(t *testing.T, content map[string][]byte) {
	t.Helper()
	size := 0
	var names []string
	for name, data := range content {
		size += len(data)
		// What the engine itself puts into every container.
		if !slices.Contains([]string{".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"}, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if want := []string{"canary-verify", "etc/ssl/certs/ca-certificates.crt"}; !slices.Equal(names, want) {
		t.Errorf("the image contains %v, want %v", names, want)
	}
	if size > maxImage {
		t.Errorf("the image takes %d bytes, more than %d", size, maxImage)
	}
	t.Logf("image: %d bytes, binary: %d bytes", size, len(content["canary-verify"]))
	if !bytes.Contains(content["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN CERTIFICATE")) {
		t.Error("the CA bundle has no certificate")
	}
	checkBinary(t, content["canary-verify"], elf.EM_X86_64)
}

// checkBinary checks that a binary is static and made for a machine.
func checkBinary(t *testing.T, binary []byte, machine elf.Machine) {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(binary))
	check(t, err)
	if file.Machine != machine {
		t.Errorf("the binary is for %s, want %s", file.Machine, machine)
	}
	if libraries, _ := file.ImportedLibraries(); len(libraries) > 0 {
		t.Errorf("the binary needs %v", libraries)
	}
}

// checkConfig checks that an image is labelled and starts as an action must.
func checkConfig(t *testing.T, image string) {
	t.Helper()
	var config struct {
		User       string
		Entrypoint []string
		Labels     map[string]string
	}
	check(t, json.Unmarshal([]byte(run(t, "docker", "inspect", "--format", "{{json .Config}}", image)), &config))
	if !slices.Equal(config.Entrypoint, []string{"/canary-verify"}) || config.User != "" {
		t.Errorf("entrypoint %q, user %q; want the binary itself, as root", config.Entrypoint, config.User)
	}
	for label, want := range map[string]string{
		"source":   "https://git.moleculesai.app/molecule-ai/canary-verify",
		"licenses": "MIT",
		"version":  "v9.8.7",
		"revision": "0123abc",
	} {
		if got := config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
}

// gateBinary builds the gate as a command line for this machine.
func gateBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "canary-verify")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, ".")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

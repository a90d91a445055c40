package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// TestDocumentsSayWhatWorks runs every command line of the documents that calls
// the program, fence by fence, against a world in which it can work.
func TestDocumentsSayWhatWorks(t *testing.T) {
	bin := t.TempDir()
	self, err := os.Executable() // which is the program under its name, see TestMain
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "canary-verify")); err != nil {
		t.Fatal(err)
	}
	for _, document := range []string{"README.md", "docs/adopt.md", "docs/operations.md", "docs/admission.md", "docs/suites.md"} {
		fences := shellFences(t, document)
		if len(fences) == 0 {
			t.Errorf("%s has no command that calls the program", document)
		}
		for i, fence := range fences {
			t.Run(document+"/"+string(rune('a'+i)), func(t *testing.T) {
				t.Parallel()
				runFence(t, bin, fence)
			})
		}
	}
}

// shellFences are the sh fences of a document that call the program, without
// the lines that call something else.
func shellFences(t *testing.T, document string) []string {
	t.Helper()
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var fences []string
	for _, match := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(data), -1) {
		var lines []string
		for line := range strings.Lines(match[1]) {
			line = strings.TrimLeft(line, " ") // within a list
			if ours := regexp.MustCompile(`^(export |images=|digest=\$\(canary-verify |[A-Z_]+=\S+ canary-verify |canary-verify |#|\s*$)`); ours.MatchString(line) {
				lines = append(lines, line)
			}
		}
		if fence := strings.Join(lines, ""); regexp.MustCompile(`(?m)^([A-Z_]+=\S+ |digest=\$\()?canary-verify `).MatchString(fence) {
			fences = append(fences, fence)
		}
	}
	return fences
}

// runFence runs one fence with the document's examples replaced by what is there.
func runFence(t *testing.T, bin, fence string) {
	registry, tenant := liveWorld(t, bin)
	fence = strings.NewReplacer(
		"registry.example.com", registry.Host(),
		"https://canary.example.com", tenant.URL(),
		"CANARY_ADMIN_TOKENS=…", "CANARY_ADMIN_TOKENS="+tenant.Token(),
		"CANARY_TENANT_URLS=…", "CANARY_TENANT_URLS="+tenant.URL(),
		"CANARY_REGISTRY_USERNAME=…", "CANARY_REGISTRY_USERNAME=pusher",
		"CANARY_REGISTRY_PASSWORD=…", "CANARY_REGISTRY_PASSWORD="+registryPassword,
	).Replace(fence)
	if out, err := shell(t, bin, tenant, fence); err != nil {
		t.Errorf("%v of\n%s\n%s", err, fence, out)
	}
}

// liveWorld is a registry in which an older commit was live before anybody used
// the gate, and 4c1d56e was promoted by it, with a tenant that runs it.
func liveWorld(t *testing.T, bin string) (*sim.Registry, *sim.Tenant) {
	t.Helper()
	const live = "4c1d56e0b7a92f3844de61c05b9a7d20e8f31c6b"
	registry, err := sim.StartRegistry(sim.RegistryConfig{
		Auth: sim.BasicAuth, Accounts: []sim.Account{{Username: "pusher", Password: registryPassword}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	tenant, err := sim.StartTenant(sim.TenantConfig{Name: "canary", SHA: live, NoOrg: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tenant.Close)
	for _, b := range []sim.Build{
		{SHA: "1f0c7be24a6d93b85e17c04fa2d6b9038e5c71da", Tag: "staging-1f0c7be,latest", Created: time.Unix(1_780_000_000, 0)},
		{SHA: live, Tag: "staging-4c1d56e", Created: time.Unix(1_780_100_000, 0)},
	} {
		b.Images = []string{"team/platform", "team/web"}
		if _, err := sim.Publish(context.Background(), registry.Host(), b, registry.Remote()...); err != nil {
			t.Fatal(err)
		}
	}
	promote := "canary-verify verify --sha 4c1d56e --signing-key-file signing-key.pem --images '" + registry.Host() + "/team/platform " + registry.Host() + "/team/web'"
	if out, err := shell(t, bin, tenant, promote); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return registry, tenant
}

// shell runs commands with the credentials in the environment.
func shell(t *testing.T, bin string, tenant *sim.Tenant, commands string) (string, error) {
	t.Helper()
	cmd := exec.Command("bash", "-euc", commands)
	cmd.Dir = t.TempDir()
	for name, made := range map[string]string{"signing-key.pem": "openssl-p256.pem", "keys.pem": "openssl-p256.pub.pem"} {
		key, err := os.ReadFile(filepath.Join("ledger/testdata", made))
		if err == nil {
			err = os.WriteFile(filepath.Join(cmd.Dir, name), key, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd.Env = []string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + cmd.Dir, "GORACE=atexit_sleep_ms=0",
		"CANARY_TENANT_URLS=" + tenant.URL(), "CANARY_ADMIN_TOKENS=" + tenant.Token(),
		"CANARY_REGISTRY_USERNAME=pusher", "CANARY_REGISTRY_PASSWORD=" + registryPassword,
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

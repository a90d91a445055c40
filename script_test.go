package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/forge/forgetest"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// lease is that of the stories, whose registry answers at once.
const lease = time.Second

func TestMain(m *testing.M) {
	// Stories wait for answers more than they compute.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"canary-verify": func() { run(lease) }})
}

// TestScripts plays the user stories of testdata/script: the real program, real
// HTTP, one story a file. After each story everything that was written is
// searched for the secrets that were used.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"world": startWorld, "publish": publish, "break": breakTenant, "roll": roll,
			"tag": tag, "requests": requests, "runner": runner, "output": output, "leftovers": leftovers,
			"registry-fault": registryFault, "await": await, "gate": runGate, "settled": settled, "structured": structured,
			"forge": startForge, "commit-status": commitStatus, "status-of": statusOf, "keys": makeKeys,
			"digest": digestOf,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// images are the product's repositories.
var images = []string{"acme/platform", "acme/web"}

// A stage is what one story plays on.
type stage struct {
	registry *sim.Registry
	tenants  []*sim.Tenant
	forge    *forgetest.Forge
	server   *httptest.Server
	keys     []string // lines of private keys
}

// secretWords never appear in anything that is written.
const (
	registryPassword = "registry-password-of-the-story"
	forgeToken       = "forge-token-of-the-story"
)

type stageKey struct{}

func setup(env *testscript.Env) error {
	s := &stage{}
	env.Values[stageKey{}] = s
	env.Setenv("NO_PROXY", "127.0.0.1")
	// Else the race detector sleeps for a second at the end of every process.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	env.Defer(func() {
		s.searchFiles(env)
		s.searchRecords(env)
		for _, t := range s.tenants {
			t.Close()
		}
		if s.registry != nil {
			s.registry.Close()
		}
		if s.server != nil {
			s.server.Close()
		}
	})
	return nil
}

// runGate runs the program and asserts its exit code: gate CODE [ARG...]. What it
// prints is searched for secrets.
func runGate(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec("canary-verify", args[1:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit %d, want %d", got, want)
	}
	s := theStage(ts)
	for _, stream := range []string{"stdout", "stderr"} {
		if found := s.secretIn(ts.ReadFile(stream)); found != "" {
			ts.Fatalf("a secret stands in %s: %s", stream, found)
		}
	}
}

// secretIn returns the line of text that holds a secret of the story; empty:
// none does. Masks are the one exception, and only before everything else.
func (s *stage) secretIn(text string) string {
	secrets := append([]string{registryPassword, forgeToken}, s.keys...)
	for _, t := range s.tenants {
		secrets = append(secrets, t.Token())
	}
	masks := true
	for line := range strings.Lines(text) {
		if masks && strings.HasPrefix(line, "::add-mask::") {
			continue
		}
		masks = false
		for _, secret := range secrets {
			if strings.Contains(line, secret) || strings.Contains(line, base64.StdEncoding.EncodeToString([]byte(secret))[:12]) {
				return line
			}
		}
	}
	return ""
}

// searchFiles searches every file that a story left behind.
func (s *stage) searchFiles(env *testscript.Env) {
	err := filepath.WalkDir(env.WorkDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(d.Name(), "secret") {
			return err
		}
		data, err := os.ReadFile(path)
		if found := s.secretIn(string(data)); found != "" {
			return fmt.Errorf("a secret stands in %s: %s", path, found)
		}
		return err
	})
	if err != nil {
		env.T().Fatal(err)
	}
}

// searchRecords searches everything that is attached to an image of the registry.
func (s *stage) searchRecords(env *testscript.Env) {
	if s.registry == nil {
		return
	}
	opts := append([]remote.Option{remote.WithTransport(sim.Transport())}, s.registry.Remote()...)
	for _, image := range images {
		repository, err := name.NewRepository(s.registry.Host() + "/" + image)
		if err != nil {
			env.T().Fatal(err)
		}
		tags, _ := remote.List(repository, opts...) // none where a story published nothing
		for _, tag := range tags {
			attached, err := remote.Referrers(repository.Digest(s.registry.Digest(image, tag)), opts...)
			if err != nil {
				env.T().Fatal(err)
			}
			manifest, err := attached.IndexManifest()
			if err != nil {
				env.T().Fatal(err)
			}
			for _, record := range manifest.Manifests {
				s.searchRecord(env, repository.Digest(record.Digest.String()), opts)
			}
		}
	}
}

// searchRecord searches one record, manifest and payload.
func (s *stage) searchRecord(env *testscript.Env, record name.Digest, opts []remote.Option) {
	image, err := remote.Image(record, opts...)
	if err != nil {
		env.T().Fatal(err)
	}
	manifest, err := image.RawManifest()
	if err != nil {
		env.T().Fatal(err)
	}
	texts := []string{string(manifest)}
	layers, err := image.Layers()
	if err != nil || len(layers) == 0 {
		env.T().Fatal("a record without a payload", err)
	}
	for _, layer := range layers {
		content, err := layer.Compressed()
		if err != nil {
			env.T().Fatal(err)
		}
		data, err := io.ReadAll(content)
		if err != nil {
			env.T().Fatal(err)
		}
		texts = append(texts, string(data))
	}
	for _, text := range texts {
		if found := s.secretIn(text); found != "" {
			env.T().Fatal("a secret stands in a record: " + found)
		}
	}
}

func theStage(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

// startWorld starts a registry and tenants: world [follow] N [SHA]. With follow the
// tenants update themselves from the tag canary; else they run SHA.
func startWorld(ts *testscript.TestScript, _ bool, args []string) {
	s := theStage(ts)
	follow := args[0] == "follow"
	if follow {
		args = args[1:]
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	sha := ""
	if len(args) > 1 {
		sha = args[1]
	}
	s.registry, err = sim.StartRegistry(sim.RegistryConfig{
		Referrers: true, CheckBlobs: true, Auth: sim.BasicAuth,
		Accounts: []sim.Account{{Username: "pusher", Password: registryPassword}, {Username: "reader", Password: registryPassword + "-ro", ReadOnly: true}},
	})
	ts.Check(err)
	var urls, tokens, orgs []string
	for i := range n {
		cfg := sim.TenantConfig{Name: fmt.Sprintf("canary-%c", 'a'+i), SHA: sha, Web: i%2 == 0}
		if follow {
			cfg.Follow = &sim.Follow{Image: s.registry.Host() + "/" + images[0], Tag: "canary", Remote: s.registry.Remote()}
		}
		t, err := sim.StartTenant(cfg)
		ts.Check(err)
		s.tenants = append(s.tenants, t)
		urls, tokens, orgs = append(urls, t.URL()), append(tokens, t.Token()), append(orgs, t.OrgID())
	}
	ts.Setenv("CANARY_TENANT_URLS", strings.Join(urls, "\n"))
	ts.Setenv("CANARY_ADMIN_TOKENS", strings.Join(tokens, ","))
	ts.Setenv("CANARY_ORG_IDS", strings.Join(orgs, " "))
	ts.Setenv("CANARY_IMAGES", s.registry.Host()+"/"+images[0]+" "+s.registry.Host()+"/"+images[1])
	ts.Setenv("CANARY_REGISTRY_USERNAME", "pusher")
	ts.Setenv("CANARY_REGISTRY_PASSWORD", registryPassword)
	ts.Setenv("CANARY_WAIT_INTERVAL", "50ms")
	ts.Setenv("REGISTRY", s.registry.Host())
}

// publish pushes both images: publish SHA TAG[,TAG] AGE [FAULT]. AGE is how long ago it
// was built.
func publish(ts *testscript.TestScript, _ bool, args []string) {
	s := theStage(ts)
	age, err := time.ParseDuration(args[2])
	ts.Check(err)
	b := sim.Build{SHA: args[0], Images: images, Tag: args[1], Created: time.Now().Add(-age).UTC().Truncate(time.Second)}
	for _, name := range args[3:] {
		fault, err := sim.ParseFault(name)
		ts.Check(err)
		b.Faults = append(b.Faults, fault)
	}
	_, err = sim.Publish(context.Background(), s.registry.Host(), b, s.registry.Remote()...)
	ts.Check(err)
}

// breakTenant switches a fault on: break INDEX FAULT.
func breakTenant(ts *testscript.TestScript, _ bool, args []string) {
	i, err := strconv.Atoi(args[0])
	ts.Check(err)
	fault, err := sim.ParseFault(args[1])
	ts.Check(err)
	theStage(ts).tenants[i].Break(fault)
}

// roll makes a tenant run another commit at once: roll INDEX SHA.
func roll(ts *testscript.TestScript, _ bool, args []string) {
	i, err := strconv.Atoi(args[0])
	ts.Check(err)
	theStage(ts).tenants[i].Roll(args[1])
}

// settled waits until every tenant has updated itself to a commit: settled SHA.
func settled(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, t := range theStage(ts).tenants {
		ts.Check(t.WaitFor(ctx, args[0]))
	}
}

// tag compares what two tags of every image point at: [!] tag TAG TAG. The word
// absent stands for no digest.
func tag(ts *testscript.TestScript, neg bool, args []string) {
	s := theStage(ts)
	for _, image := range images {
		a, b := s.registry.Digest(image, args[0]), s.registry.Digest(image, args[1])
		if same := a == b && a != "" || args[1] == "absent" && a == ""; same == neg {
			ts.Fatalf("%s: %s is %q, %s is %q", image, args[0], a, args[1], b)
		}
	}
}

// requests asserts how many requests tenants and registry got since the story
// began: requests NONE|SOME.
func requests(ts *testscript.TestScript, _ bool, args []string) {
	s := theStage(ts)
	n := 0
	for _, t := range s.tenants {
		n += len(t.Requests())
	}
	n += len(s.registry.Requests())
	if (args[0] == "none") != (n == 0) {
		ts.Fatalf("there were %d requests, want %s", n, args[0])
	}
}

// registryFault makes the registry fail: registry-fault METHOD PATH-REGEXP STATUS.
func registryFault(ts *testscript.TestScript, _ bool, args []string) {
	status, err := strconv.Atoi(args[2])
	ts.Check(err)
	theStage(ts).registry.Inject(sim.Injection{Method: args[0], Path: args[1], Do: sim.Status(status)})
}

// startForge starts a forge and points the story at it: forge github|gitea
// [no-rights] COMMIT... (each the child of the one before).
func startForge(ts *testscript.TestScript, _ bool, args []string) {
	s := theStage(ts)
	s.forge = &forgetest.Forge{
		Gitea: args[0] == "gitea", Repository: "acme/product", Token: forgeToken,
		Rights: []forgetest.Right{forgetest.ReadContents, forgetest.WriteStatuses},
	}
	commits := args[1:]
	if len(commits) > 0 && commits[0] == "no-rights" {
		s.forge.Rights, commits = []forgetest.Right{forgetest.ReadContents}, commits[1:]
	}
	var parents []string
	for _, sha := range commits {
		s.forge.Commit(sha, parents...)
		parents = []string{sha}
	}
	s.server = httptest.NewServer(s.forge)
	ts.Setenv("GITHUB_API_URL", s.server.URL+s.forge.Prefix())
	ts.Setenv("GITHUB_SERVER_URL", s.server.URL)
	ts.Setenv("GITHUB_REPOSITORY", "acme/product")
	ts.Setenv("GITHUB_RUN_ID", "77")
	ts.Setenv("CANARY_GITHUB_TOKEN", forgeToken)
	if s.forge.Gitea {
		ts.Setenv("GITEA_ACTIONS", "true")
	}
}

// commitStatus asserts the states that were set so far, and the last
// description: commit-status STATE,STATE PATTERN.
func commitStatus(ts *testscript.TestScript, _ bool, args []string) {
	var states []string
	var last forgetest.Status
	for _, last = range theStage(ts).forge.Statuses() {
		states = append(states, last.State)
	}
	if got := strings.Join(states, ","); got != args[0] {
		ts.Fatalf("the states were %q, want %q", got, args[0])
	}
	if !regexp.MustCompile(args[1]).MatchString(last.Description) || utf8.RuneCountInString(last.Description) > 140 || last.Context != "canary-verify/latest" || !strings.HasSuffix(last.TargetURL, "/acme/product/actions/runs/77") {
		ts.Fatalf("the last status is %+v, want a description like %q", last, args[1])
	}
}

// digestOf keeps the digest of the first image behind a tag: digest TAG VARIABLE.
func digestOf(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[1], theStage(ts).registry.Digest(images[0], args[0]))
}

// statusOf asserts the last status of one commit: status-of SHA STATE PATTERN.
func statusOf(ts *testscript.TestScript, _ bool, args []string) {
	var last forgetest.Status
	for _, s := range theStage(ts).forge.Statuses() {
		if s.SHA == args[0] {
			last = s
		}
	}
	if last.State != args[1] || !regexp.MustCompile(args[2]).MatchString(last.Description) {
		ts.Fatalf("the last status is %+v, want %s with a description like %q", last, args[1], args[2])
	}
}

// makeKeys makes a pair of keys: keys NAME writes secret-NAME.pem and NAME.pub.
func makeKeys(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	ts.Check(err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "-----") {
			theStage(ts).keys = append(theStage(ts).keys, strings.TrimSpace(line))
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs("secret-"+args[0]+".pem"), text, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600))
}

// structured writes the fleet as one YAML list: structured FILE.
func structured(ts *testscript.TestScript, _ bool, args []string) {
	var b strings.Builder
	for _, t := range theStage(ts).tenants {
		fmt.Fprintf(&b, "- {name: %s, url: '%s', token: '%s', org-id: '%s'}\n", t.Name(), t.URL(), t.Token(), t.OrgID())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}

// leftovers asserts that no tenant keeps anything that a suite made.
func leftovers(ts *testscript.TestScript, _ bool, args []string) {
	for _, t := range theStage(ts).tenants {
		if left := t.Left(); left != (sim.Counts{}) {
			ts.Fatalf("%s keeps %+v", t.Name(), left)
		}
	}
}

// await waits until the tenants got a request: await.
func await(ts *testscript.TestScript, _ bool, _ []string) {
	deadline := time.After(20 * time.Second)
	for len(theStage(ts).tenants[0].Requests()) == 0 {
		select {
		case <-deadline:
			ts.Fatalf("no tenant was asked anything")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// runner turns the story's environment into that of an action's step: every
// CANARY_* becomes an INPUT_*, and the runner's files are there.
func runner(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range []string{"tenant-urls", "admin-tokens", "org-ids", "images", "registry-username", "registry-password", "wait-interval"} {
		old := "CANARY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if value := ts.Getenv(old); value != "" { // a second call changes nothing
			ts.Setenv("INPUT_"+strings.ToUpper(name), value)
			ts.Setenv(old, "")
		}
	}
	for _, pair := range args {
		name, value, _ := strings.Cut(pair, "=")
		ts.Setenv("INPUT_"+strings.ToUpper(name), value)
	}
	ts.Setenv("GITHUB_ACTIONS", "true")
	ts.Setenv("GITHUB_WORKSPACE", ts.MkAbs("."))
	for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} {
		file := ts.MkAbs(strings.ToLower(name))
		ts.Check(os.WriteFile(file, nil, 0o600))
		ts.Setenv(name, file)
	}
}

// output compares an output of the action: output NAME VALUE.
func output(ts *testscript.TestScript, _ bool, args []string) {
	got, ok := parseOutputs(ts.ReadFile("github_output"))[args[0]]
	want := ""
	if len(args) > 1 {
		want = args[1]
	}
	if !ok || got != want {
		ts.Fatalf("output %s is %q (set: %v), want %q", args[0], got, ok, want)
	}
}

// parseOutputs reads the runner's output file as a runner does.
func parseOutputs(data string) map[string]string {
	outputs := map[string]string{}
	lines := strings.Split(data, "\n")
	for i := 0; i < len(lines); i++ {
		if name, delimiter, ok := strings.Cut(lines[i], "<<"); ok {
			var value []string
			for i++; i < len(lines) && lines[i] != delimiter; i++ {
				value = append(value, lines[i])
			}
			outputs[name] = strings.Join(value, "\n")
		} else if name, value, ok := strings.Cut(lines[i], "="); ok {
			outputs[name] = value
		}
	}
	return outputs
}

package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bars of size.
const (
	maxImage = 14 << 20
	maxStart = 15 * time.Millisecond
)

// measureSize is the fifth part.
func measureSize(ctx context.Context, b *bench) (*result, error) {
	r := &result{}
	if err := b.startTimes(ctx, r); err != nil {
		return nil, err
	}
	if err := b.imageSize(r); err != nil {
		return nil, err
	}
	if err := b.sizeByDependency(ctx, r); err != nil {
		return nil, err
	}
	if b.short {
		return r, nil
	}
	return r, b.buildTimes(ctx, r)
}

// startTimes measures from the start of the process to the arrival of its first
// request, for the gate and for curl.
func (b *bench) startTimes(ctx context.Context, r *result) error {
	type arrival struct {
		path string
		at   time.Time
	}
	arrived := make(chan arrival, 64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		select {
		case arrived <- arrival{q.URL.Path, time.Now()}:
		default:
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	file := filepath.Join(b.dir, "one.json")
	run := 0
	// first starts a program and waits for its first request; base is its own, so
	// that a straggler of the run before isn't taken for it.
	first := func(command func(base string) (*exec.Cmd, error)) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			run++
			base := fmt.Sprintf("/run-%d", run)
			cmd, err := command(server.URL + base)
			if err != nil {
				return 0, err
			}
			began := time.Now()
			if err := cmd.Start(); err != nil {
				return 0, err
			}
			a := <-arrived
			for !strings.HasPrefix(a.path, base+"/") {
				a = <-arrived
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return a.at.Sub(began), nil
		}
	}
	gate := first(func(base string) (*exec.Cmd, error) {
		tenant := fmt.Sprintf(`[{"url":%q,"token":"a-token-of-no-tenant"}]`, base)
		return exec.CommandContext(ctx, b.gate, "smoke", "--tenants-file", file, "--retries", "0"), os.WriteFile(file, []byte(tenant), 0o600)
	})
	curl := first(func(base string) (*exec.Cmd, error) {
		return exec.CommandContext(ctx, "curl", "-s", base+"/health"), nil
	})
	d, err := fight(b.rounds(41), gate, curl)
	if err != nil {
		return err
	}
	r.say("From process start to the arrival of its first request, with the inputs read and the suite compiled: %s; curl, which has nothing to read: %s.", d.ours, d.theirs)
	r.hold("process start to first request", "at most "+show(maxStart), show(d.ours.median()), d.ours.median() <= maxStart)
	return nil
}

// imageSize is the size of the image's two files.
func (b *bench) imageSize(r *result) error {
	binary, err := os.ReadFile(b.gate)
	if err != nil {
		return err
	}
	bundle, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		bundle = nil
		r.say("There is no CA bundle here; the image holds one of about 0.2 MiB.")
	}
	size, packed := int64(len(binary)+len(bundle)), int64(gzipped(binary)+gzipped(bundle))
	r.say("The image is the binary, %s bytes, and the CA bundle, %s bytes: %s, %s compressed (gzip).", thousands(len(binary)), thousands(len(bundle)), mib(size), mib(packed))
	r.hold("image, uncompressed", "at most "+mib(maxImage), fmt.Sprintf("%s (%s bytes)", mib(size), thousands(size)), size <= maxImage)
	return nil
}

func gzipped(data []byte) int {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Len()
}

// A dependency is a group of packages and what it earns.
type dependency struct {
	name    string
	match   *regexp.Regexp // of a symbol's name
	purpose string
}

// dependencies are the groups of the table; the first that matches counts.
var dependencies = []dependency{
	{"canary-verify", regexp.MustCompile(`^git\.moleculesai\.app/`), "the gate itself"},
	{"expr-lang/expr", regexp.MustCompile(`^github\.com/expr-lang/`), "parser and type checker of expectations"},
	{"go-containerregistry", regexp.MustCompile(`^github\.com/google/go-containerregistry`), "registries: names, authentication, manifests"},
	{"docker/cli, credential helpers, logrus", regexp.MustCompile(`^github\.com/(docker|sirupsen)/`), "the Docker config, of go-containerregistry"},
	{"go.yaml.in/yaml", regexp.MustCompile(`^go\.yaml\.in/`), "suites and tenants, with line and column"},
	{"go-githubactions", regexp.MustCompile(`^github\.com/sethvargo/`), "the runner's protocol; keeps html/template alive"},
	{"go-retryablehttp", regexp.MustCompile(`^github\.com/hashicorp/`), "retries"},
	{"go-junit-report", regexp.MustCompile(`^github\.com/jstemmer/`), "junit.xml"},
	{"pflag", regexp.MustCompile(`^github\.com/spf13/`), "flags"},
	{"uniseg", regexp.MustCompile(`^github\.com/rivo/`), "width of text on a terminal"},
	{"other modules", regexp.MustCompile(`^(github\.com|golang\.org|go\.)`), ""},
	{"crypto, with TLS and X.509", regexp.MustCompile(`^(crypto|vendor/golang\.org/x/crypto|math/big|encoding/(asn1|pem)|internal/chacha)`), "https"},
	{"net and net/http, with HTTP/2 and IDNA", regexp.MustCompile(`^(net[./]|vendor/golang\.org/x/|mime|internal/(nettrace|singleflight))`), "https"},
	{"html/template and text/template", regexp.MustCompile(`^(html|text)/template`), "report.html, escaped for each place"},
	{"encoding/xml", regexp.MustCompile(`^encoding/xml`), "junit.xml"},
	{"encoding/json", regexp.MustCompile(`^encoding/json`), "answers, reports, registries"},
	{"regexp", regexp.MustCompile(`^regexp`), "of several modules"},
	{"reflect", regexp.MustCompile(`^(reflect|internal/(reflectlite|abi))`), "of JSON, YAML and templates"},
	{"runtime", regexp.MustCompile(`^(runtime|internal/runtime|go:|sync|_rt0|memeqbody|cmpbody|aeshash)`), "Go"},
	{"rest of the standard library", regexp.MustCompile(`.`), ""},
}

// sizeByDependency shares the binary out among those whose symbols are in it.
func (b *bench) sizeByDependency(ctx context.Context, r *result) error {
	path := filepath.Join(b.dir, "with-symbols")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", path, ".")
	cmd.Dir, cmd.Env = b.root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, text)
	}
	symbols, err := output(ctx, "go", "tool", "nm", "-size", path)
	if err != nil {
		return err
	}
	sizes := make([]int64, len(dependencies))
	total := int64(0)
	for line := range strings.Lines(symbols) {
		if size, i := symbolOf(line); size > 0 {
			sizes[i] += size
			total += size
		}
	}
	info, err := os.Stat(b.gate)
	if err != nil {
		return err
	}
	rows := [][]string{{"part of the binary", "code and data", "with its share of the rest", "earns"}}
	order := make([]int, len(sizes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(sizes[j], sizes[i]) })
	for _, i := range order {
		d := dependencies[i]
		rows = append(rows, []string{d.name, kib(sizes[i]), kib(sizes[i] * info.Size() / total), d.purpose})
	}
	r.say("What the binary consists of, by the names of its symbols. The rest is what the linker adds for all code (tables of functions, lines and types); it is divided in proportion.")
	r.table(rows)
	return nil
}

// symbolOf returns the size of a line of `go tool nm -size` that takes room in
// the file, and its dependency.
func symbolOf(line string) (size int64, dependencyAt int) {
	fields := strings.Fields(line)
	if len(fields) < 4 || strings.ContainsAny(fields[2], "bBU") {
		return 0, 0
	}
	size, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || size > 1<<24 { // a reserve of zeros
		return 0, 0
	}
	name := strings.TrimLeft(strings.Join(fields[3:], " "), "*[]")
	for _, prefix := range []string{"type:.eq.", "type:.hash.", "go:itab.", "type:"} {
		name = strings.TrimLeft(strings.TrimPrefix(name, prefix), "*[]")
	}
	return size, slices.IndexFunc(dependencies, func(d dependency) bool { return d.match.MatchString(name) })
}

func kib(n int64) string { return thousands(n>>10) + " KiB" }

// buildTimes measures building the binary with an empty build cache and with a
// full one.
func (b *bench) buildTimes(ctx context.Context, r *result) error {
	b.log("cold and warm build")
	cacheDir, err := os.MkdirTemp(b.dir, "gocache-")
	if err != nil {
		return err
	}
	build := func() (time.Duration, error) {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(b.dir, "built"), ".")
		cmd.Dir, cmd.Env = b.root, append(os.Environ(), "CGO_ENABLED=0", "GOCACHE="+cacheDir)
		cmd.Stdout = io.Discard
		return timed(cmd)
	}
	cold, err := build()
	if err != nil {
		return err
	}
	warm, err := build()
	if err != nil {
		return err
	}
	r.say("Building the binary, with the modules downloaded: %s with an empty build cache, %s with a full one.", show(cold), show(warm))
	return b.imageTimes(r)
}

// imageTimes tells how long an engine takes for the image, as the end-to-end
// run measured it: there is not an engine on every machine that runs this.
func (b *bench) imageTimes(r *result) error {
	data, err := os.ReadFile(filepath.Join(b.root, "test", "bench", "image.json"))
	if err != nil {
		return err
	}
	var times struct {
		Cold, Changed, Warm float64 // seconds
		Engine, Date        string
	}
	if err := json.Unmarshal(data, &times); err != nil {
		return fmt.Errorf("test/bench/image.json: %w", err)
	}
	seconds := func(s float64) string { return show(time.Duration(s * float64(time.Second))) }
	r.say("Building the image from its Dockerfile with Docker's classic builder, as act does (engine %s, %s, modules from a proxy of files; `CANARY_E2E_TIMES=$PWD/test/bench/image.json test/e2e/run -run TestImageTimes`):", times.Engine, times.Date)
	r.table([][]string{
		{"build", "time"},
		{"cold: no layer at hand but the base image", seconds(times.Cold)},
		{"sources changed, the modules' layer at hand", seconds(times.Changed)},
		{"warm: nothing changed", seconds(times.Warm)},
	})
	r.say("An action with `image: Dockerfile` costs the first of these at every run of a runner without a cache, plus the download of the modules and the base image; one that names a released image costs the download of that image.")
	return nil
}

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// The registry's one account, and the tags of the story.
const (
	registryUser  = "robot"
	registryToken = "correct-horse-battery"
	sourceTag     = "staging-4c1d56e"
	targetTag     = "latest"
	formerCommit  = "1f0c7be24a6d93b85e17c04fa2d6b9038e5c71da"
)

// A registrySpec says what a simulated registry holds: as many images as said,
// each of two commits, the target at the older one.
type registrySpec struct {
	Images  int
	Records bool // it takes artifacts and has the referrers API
	Latency time.Duration
}

// A registryState is what a simulated registry reports.
type registryState struct {
	Host     string
	Requests []sim.Request
}

func (s registrySpec) names() []string {
	names := make([]string, s.Images)
	for i := range names {
		names[i] = fmt.Sprintf("org/image-%02d", i+1)
	}
	return names
}

// start starts the registry with its images, then makes it slow.
func (s registrySpec) start() (*sim.Registry, error) {
	reg, err := sim.StartRegistry(sim.RegistryConfig{
		Referrers: s.Records, NoArtifacts: !s.Records, CheckBlobs: true, Auth: sim.TokenAuth,
		Accounts: []sim.Account{{Username: registryUser, Password: registryToken}},
	})
	if err != nil {
		return nil, err
	}
	for _, build := range []sim.Build{
		{SHA: formerCommit, Tag: "staging-1f0c7be," + targetTag, Created: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)},
		{SHA: candidate, Tag: sourceTag, Created: time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC)},
	} {
		build.Images = s.names()
		if _, err := sim.Publish(context.Background(), reg.Host(), build, reg.Remote()...); err != nil {
			return nil, err
		}
	}
	reg.ResetLog()
	reg.SetLatency(s.Latency)
	return reg, nil
}

// serveRegistry is the child that simulates a registry.
func serveRegistry(args []string) error {
	var spec registrySpec
	if err := json.Unmarshal([]byte(args[0]), &spec); err != nil {
		return err
	}
	reg, err := spec.start()
	if err != nil {
		return err
	}
	return serve(func(string) any { return registryState{reg.Host(), reg.Requests()} })
}

// promoteWork is the child that does verify's registry work and nothing else.
func promoteWork(args []string) error { return promoteImages(context.Background(), args) }

// promoteImages does verify's registry work in the order of the gate: what that
// does beside the wait and the checks is done one after the other here.
func promoteImages(ctx context.Context, images []string) error {
	p, err := promote.New(promote.Config{
		Images: images, SourceTag: "staging-{sha}", TargetTag: targetTag,
		Username: registryUser, Password: secret.New(registryToken), Origin: promote.Origin{Tool: "bench"},
	})
	if err != nil {
		return err
	}
	resolved, err := p.Resolve(ctx, candidate, promote.ForVerify)
	if err != nil {
		return err
	}
	c := resolved.Candidate
	for _, step := range []func() error{
		func() error { return c.Preflight(ctx) },
		func() error { return c.Confirm(ctx) },
		func() error { return c.Promote(ctx, promote.Decision{Suite: "canary"}) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	for _, image := range c.Images() {
		if image.State != report.Promoted {
			return fmt.Errorf("%s is %s", image.Image, image.State)
		}
	}
	return nil
}

// A mover is a way to move the target tags of a registry.
type mover struct {
	name    string
	command func(ctx context.Context, dir, host string, images []string) *exec.Cmd
	records bool
	times   map[int]samples // by number of images
	counts  map[int]int     // requests
}

// measureRegistry is the third part.
func measureRegistry(ctx context.Context, b *bench) (*result, error) {
	movers, missing, err := b.movers(ctx)
	if err != nil {
		return nil, err
	}
	rounds, sizes := b.rounds(5), []int{2, 10}
	if b.short {
		sizes = sizes[:1]
	}
	for _, images := range sizes {
		for i := range rounds {
			order := slices.Clone(movers)
			if i%2 == 1 {
				slices.Reverse(order)
			}
			for _, m := range order {
				requests, err := b.move(ctx, m, images)
				if err != nil {
					return nil, err
				}
				m.counts[images] = len(requests)
			}
		}
		b.log("%d images moved by each of %d contenders", images, len(movers))
	}
	added := map[bool]map[int]duel{false: {}, true: {}}
	for _, records := range []bool{false, true} {
		for _, images := range sizes {
			d, err := b.inRun(ctx, registrySpec{Images: images, Records: records, Latency: answerTime}, rounds)
			if err != nil {
				return nil, err
			}
			added[records][images] = d
		}
	}
	r := &result{}
	b.registryTable(r, movers, added)
	for _, m := range missing {
		r.say("%s is not installed here and was left out.", m)
	}
	for _, m := range []*mover{movers[2], movers[1]} {
		requests, err := b.move(ctx, m, 2)
		if err != nil {
			return nil, err
		}
		explain(r, m.name, requests)
	}
	return r, nil
}

// inRun measures a whole run of the binary on one tenant, with and without the
// registry: modes verify and smoke. What verify takes longer is what the
// registry work costs a release.
func (b *bench) inRun(ctx context.Context, spec registrySpec, rounds int) (duel, error) {
	var d duel
	f, err := b.startFleet(ctx, fleetSpec{Tenants: 1, Latency: answerTime})
	if err != nil {
		return d, err
	}
	defer f.close()
	b.log("a whole run with %d images, records: %t", spec.Images, spec.Records)
	smoke := func() (time.Duration, error) {
		cmd := exec.CommandContext(ctx, b.gate, "smoke", "--sha", candidate, "--tenants-file", f.file)
		return timed(cmd)
	}
	return fight(rounds, func() (time.Duration, error) { return b.verify(ctx, f, spec) }, smoke)
}

// verify runs mode verify with a registry of its own.
func (b *bench) verify(ctx context.Context, f *simFleet, spec registrySpec) (time.Duration, error) {
	w, err := spawn(ctx, "serve-registry", spec)
	if err != nil {
		return 0, err
	}
	defer w.close()
	var state registryState
	if err := w.ask("state", &state); err != nil {
		return 0, err
	}
	names := spec.names()
	for i, name := range names {
		names[i] = state.Host + "/" + name
	}
	cmd := exec.CommandContext(ctx, b.gate, "verify", "--sha", candidate, "--tenants-file", f.file,
		"--images", strings.Join(names, ","), "--registry-username", registryUser)
	cmd.Env = append(os.Environ(), "CANARY_REGISTRY_PASSWORD="+registryToken)
	return timed(cmd)
}

// registryTable shows all movers; the first is the incumbent, the second ours
// without records, the third ours with them. added are whole runs with the
// registry and without, by records and number of images.
func (b *bench) registryTable(r *result, movers []*mover, added map[bool]map[int]duel) {
	r.say("A registry with token authentication that answers after %s; new tags for 2 and 10 images; process start is included. The incumbent's sequence is `test/bench/incumbent/promote.sh`: digest, digest, tag, digest for each image, one crane process for each. regctl and skopeo only copy. canary-verify does all its checks: revision, order, records, that the former digest still pulls, push rights, another read before the move and one after it. \"Alone\" is that work in a process that does nothing else, one step after the other. \"In a run\" is what it adds to a release: mode `verify` minus mode `smoke` on one tenant, where the former digest and the push rights are checked during the wait for the rollout, and the tags are read again while the tenants are asked. \"No records\" is a registry that refuses artifacts and has no referrers API, which takes a few requests to find out.", answerTime)
	rows := [][]string{{"", "2 images", "requests", "against the sequence", "10 images", "requests", "against the sequence"}}
	sequence := movers[0].times
	row := func(name string, times map[int]samples, counts map[int]int) {
		cells := []string{name}
		for _, images := range []int{2, 10} {
			ratio := duel{ours: times[images], theirs: sequence[images]}.ratio()
			cells = append(cells, times[images].String(), thousands(counts[images]), fmt.Sprintf("%.1f×", ratio))
		}
		rows = append(rows, cells)
	}
	for i, m := range movers {
		name := m.name
		if i == 1 || i == 2 {
			name += ", alone"
		}
		row(name, m.times, m.counts)
		if i != 1 && i != 2 {
			continue
		}
		inRun := map[int]samples{}
		for images, d := range added[m.records] {
			inRun[images] = samples{d.ours.median() - d.theirs.median()}
		}
		row(m.name+", in a run", inRun, m.counts)
		if !b.short {
			holdRegistry(r, m, inRun, sequence)
		}
	}
	r.table(rows)
	n := movers[2].counts[2]
	r.hold("requests for 2 images with records", "at most 40", fmt.Sprint(n), n <= 40)
}

// holdRegistry adds the bars of one of ours.
func holdRegistry(r *result, m *mover, inRun, sequence map[int]samples) {
	const limit = 3.5
	for _, images := range []int{2, 10} {
		alone := duel{ours: m.times[images], theirs: sequence[images]}.ratio()
		run := duel{ours: inRun[images], theirs: sequence[images]}.ratio()
		r.hold(fmt.Sprintf("%s, %d images, in a run, against the crane sequence", m.name, images),
			fmt.Sprintf("at least %g times faster", limit), fmt.Sprintf("%.1f times (alone %.1f)", run, alone), run >= limit)
	}
}

// move starts a registry, lets m move its tags and returns what was asked.
func (b *bench) move(ctx context.Context, m *mover, images int) ([]sim.Request, error) {
	spec := registrySpec{Images: images, Records: m.records, Latency: answerTime}
	w, err := spawn(ctx, "serve-registry", spec)
	if err != nil {
		return nil, err
	}
	defer w.close()
	var state registryState
	if err := w.ask("state", &state); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "docker-")
	if err != nil {
		return nil, err
	}
	login := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, state.Host, base64.StdEncoding.EncodeToString([]byte(registryUser+":"+registryToken)))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(login), 0o600); err != nil {
		return nil, err
	}
	names := spec.names()
	for i, name := range names {
		names[i] = state.Host + "/" + name
	}
	cmd := m.command(ctx, dir, state.Host, names)
	cmd.Env = append(append(os.Environ(), "DOCKER_CONFIG="+dir, "HOME="+dir), cmd.Env...)
	took, err := timed(cmd)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	m.times[images] = append(m.times[images], took)
	err = w.ask("state", &state)
	return state.Requests, err
}

// movers are all contenders: the sequence, ours without records, ours with
// them, and the programs that copy images. missing are those that aren't here.
func (b *bench) movers(ctx context.Context) (all []*mover, missing []string, err error) {
	crane, err := b.tool(ctx, "crane", "github.com/google/go-containerregistry/cmd/crane@v0.22.1")
	if err != nil {
		return nil, nil, err
	}
	regctl, err := b.tool(ctx, "regctl", "github.com/regclient/regclient/cmd/regctl@v0.11.7")
	if err != nil {
		return nil, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	add := func(name string, records bool, command func(ctx context.Context, dir, host string, images []string) *exec.Cmd) {
		all = append(all, &mover{name: name, command: command, records: records, times: map[int]samples{}, counts: map[int]int{}})
	}
	ours := func(ctx context.Context, _, _ string, images []string) *exec.Cmd {
		return exec.CommandContext(ctx, self, append([]string{"promote-work"}, images...)...)
	}
	add("crane v0.22.1, the sequence", true, func(ctx context.Context, _, _ string, images []string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "bash", filepath.Join(b.root, "test", "bench", "incumbent", "promote.sh"))
		cmd.Env = []string{"CRANE=" + crane, "IMAGES=" + strings.Join(images, " "), "SOURCE_TAG=" + sourceTag, "TARGET_TAG=" + targetTag}
		return cmd
	})
	add("canary-verify, no records", false, ours)
	add("canary-verify, with records", true, ours)
	add("regctl v0.11.7 image copy", true, func(ctx context.Context, _, host string, images []string) *exec.Cmd {
		return each(ctx, images, `"$0" --host "reg=`+host+`,tls=disabled" image copy "$image:`+sourceTag+`" "$image:`+targetTag+`"`, regctl)
	})
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		return all, []string{"skopeo"}, nil //nolint:nilerr // it is left out, and that is told
	}
	add(strings.Replace(version(ctx, skopeo, "--version"), "version ", "", 1)+" copy", true, func(ctx context.Context, dir, _ string, images []string) *exec.Cmd {
		return each(ctx, images, `"$0" copy --quiet --all --authfile '`+dir+`/config.json' --src-tls-verify=false --dest-tls-verify=false "docker://$image:`+sourceTag+`" "docker://$image:`+targetTag+`"`, skopeo)
	})
	return all, nil, nil
}

// each runs a program for every image, one after the other.
func each(ctx context.Context, images []string, line, program string) *exec.Cmd {
	return exec.CommandContext(ctx, "bash", append([]string{"-euc", `for image; do ` + line + `; done`, program}, images...)...)
}

// tool builds a program from the module proxy, once.
func (b *bench) tool(ctx context.Context, name, module string) (string, error) {
	_, tag, _ := strings.Cut(module, "@")
	dir := filepath.Join(b.cache, "canary-verify", "bench", name+"-"+tag)
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	b.log("building %s", module)
	cmd := exec.CommandContext(ctx, "go", "install", module)
	cmd.Dir, cmd.Env = b.dir, append(os.Environ(), "GOBIN="+dir)
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go install %s: %w\n%s", module, err, text)
	}
	return path, nil
}

// reasons say why each kind of request is made, in the order in which a run
// makes them; the first that fits counts.
var reasons = []struct{ key, why string }{
	{"GET /v2/", "how to authenticate to the registry"},
	{"GET /token", "one token for pull and push, for everything that follows"},
	{"GET */manifests/" + sourceTag, "the candidate: bytes and digest, fixed for the whole run"},
	{"GET */manifests/" + targetTag, "what the target points at: the bytes to restore"},
	{"GET */blobs/*", "revision and time of creation, of the candidate and of what it replaces"},
	{"GET */manifests/sha256-*", "the records' fallback tag, where there is no referrers API"},
	{"GET */referrers/*", "the candidate's records: was it rolled back, was it green"},
	{"GET */referrers/nothing", "whether there is a referrers API, asked once with a digest that does not exist; without one the fallback tag is read at the same time, not afterwards"},
	{"HEAD */manifests/" + sourceTag, "the source still is the digest that was tested"},
	{"HEAD */manifests/" + targetTag, "first: the target has not moved since; at the end: the move, read back"},
	{"HEAD */manifests/*", "the former digest still pulls, so it can be restored"},
	{"POST */blobs/uploads/", "first the push rights, tested with the records' empty config; then the record's payload"},
	{"PUT */manifests/" + targetTag, "the move"},
	{"PUT */manifests/*", "the record, written before the move"},
}

// explain adds the table of round trips: requests that arrive together are one.
func explain(r *result, name string, requests []sim.Request) {
	slices.SortFunc(requests, func(a, b sim.Request) int { return a.Time.Compare(b.Time) })
	var waves [][]sim.Request
	for i, q := range requests {
		if i == 0 || q.Time.Sub(requests[i-1].Time) > answerTime/2 {
			waves = append(waves, nil)
		}
		waves[len(waves)-1] = append(waves[len(waves)-1], q)
	}
	r.say("%s, alone: the %d requests for 2 images make %d round trips on the critical path; the requests in one row of the table run at the same time.", name, len(requests), len(waves))
	rows := [][]string{{"round trip", "requests", "why"}}
	for i, wave := range waves {
		var keys, whys []string
		counts := map[string]int{}
		for _, q := range wave {
			key := generalKey(q.Key)
			if strings.HasSuffix(q.Path, strings.Repeat("0", 64)) {
				key = "GET */referrers/nothing"
			}
			if counts[key]++; counts[key] == 1 {
				keys = append(keys, key)
			}
		}
		for j, key := range keys {
			if why := reasonOf(key); !slices.Contains(whys, why) {
				whys = append(whys, why)
			}
			keys[j] = fmt.Sprint(counts[key], " × `", key, "`")
		}
		rows = append(rows, []string{fmt.Sprint(i + 1), strings.Join(keys, "<br>"), strings.Join(whys, "; ")})
	}
	r.table(rows)
}

// generalKey is a request's key without the image's name.
func generalKey(key string) string {
	method, path, _ := strings.Cut(key, " ")
	if i := strings.Index(path, "/manifests/sha256-"); i >= 0 {
		return method + " */manifests/sha256-*"
	}
	for _, kind := range []string{"/manifests/", "/blobs/", "/referrers/"} {
		if i := strings.Index(path, kind); i >= 0 {
			return method + " *" + path[i:]
		}
	}
	return key
}

func reasonOf(key string) string {
	for _, reason := range reasons {
		if reason.key == key {
			return reason.why
		}
	}
	return "?"
}

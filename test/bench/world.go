package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// answerTime is how long a tenant or a registry takes for an answer (issue and
// design: 50 ms).
const answerTime = 50 * time.Millisecond

// candidate is the commit that the simulated tenants run.
const candidate = "4c1d56e0a3b1f2c4d5e6f708192a3b4c5d6e7f80"

// A fleetSpec says what a simulated fleet is.
type fleetSpec struct {
	Tenants int
	TLS     bool
	Latency time.Duration
}

// A fleetState is what a simulated fleet reports.
type fleetState struct {
	Members  []sim.Member
	CA       string // PEM
	Requests int    // so far
	Opened   int    // connections so far
	Left     int    // memories and workspaces in storage
}

// A world is a simulated fleet or registry in a process of its own.
type world struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// spawn starts this program as one of its children.
func spawn(ctx context.Context, child string, spec any) (*world, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	w := &world{cmd: exec.CommandContext(ctx, self, child, string(arg))}
	w.cmd.Stderr = os.Stderr
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.out = json.NewDecoder(bufio.NewReader(out))
	return w, w.cmd.Start()
}

// ask sends a command and reads the answer.
func (w *world) ask(command string, answer any) error {
	if _, err := fmt.Fprintln(w.in, command); err != nil {
		return err
	}
	return w.out.Decode(answer)
}

// close ends the world.
func (w *world) close() {
	_ = w.in.Close()
	_ = w.cmd.Wait()
}

// serve is the other end of ask.
func serve(answer func(command string) any) error {
	out := json.NewEncoder(os.Stdout)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if err := out.Encode(answer(in.Text())); err != nil {
			return err
		}
	}
	return in.Err()
}

// serveFleet is the child that simulates tenants, each at a port of its own:
// then each has its connections to itself, as on the hosts of a real fleet.
func serveFleet(args []string) error {
	var spec fleetSpec
	if err := json.Unmarshal([]byte(args[0]), &spec); err != nil {
		return err
	}
	tenants := make([]*sim.Tenant, spec.Tenants)
	state := fleetState{}
	var requests atomic.Int64
	for i := range tenants {
		t, err := sim.StartTenant(sim.TenantConfig{
			Name: fmt.Sprintf("canary-%05d", i+1), SHA: candidate, TLS: spec.TLS, Latency: spec.Latency, NoLog: true,
			Intercept: func(http.ResponseWriter, *http.Request) bool { requests.Add(1); return false },
		})
		if err != nil {
			return err
		}
		tenants[i] = t
		state.Members = append(state.Members, sim.Member{Name: t.Name(), URL: t.URL(), Token: t.Token(), OrgID: t.OrgID()})
	}
	if spec.TLS {
		state.CA = string(sim.CAPEM())
	}
	return serve(func(command string) any {
		if command == "members" {
			return state
		}
		now := fleetState{Requests: int(requests.Load())}
		for _, t := range tenants {
			now.Opened += t.Connections()
			left := t.Left()
			now.Left += left.Memories + left.Workspaces
		}
		return now
	})
}

// A simFleet is a simulated fleet as the bench sees it.
type simFleet struct {
	*world
	spec    fleetSpec
	members []sim.Member
	ca      string // path of the authority's certificate; empty without TLS
	file    string // the members as tenants-file
}

// startFleet starts a simulated fleet in a process of its own.
func (b *bench) startFleet(ctx context.Context, spec fleetSpec) (*simFleet, error) {
	w, err := spawn(ctx, "serve-fleet", spec)
	if err != nil {
		return nil, err
	}
	var state fleetState
	if err := w.ask("members", &state); err != nil {
		w.close()
		return nil, fmt.Errorf("the simulated fleet did not start: %w", err)
	}
	f := &simFleet{world: w, spec: spec, members: state.Members}
	if err := f.write(b.dir, state.CA); err != nil {
		w.close()
		return nil, err
	}
	return f, nil
}

// write keeps the files that programs are pointed at.
func (f *simFleet) write(dir, ca string) error {
	dir, err := os.MkdirTemp(dir, "fleet-")
	if err != nil {
		return err
	}
	list := make([]map[string]string, len(f.members))
	for i, m := range f.members {
		list[i] = map[string]string{"name": m.Name, "url": m.URL, "token": m.Token, "org-id": m.OrgID}
	}
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	f.file = filepath.Join(dir, "tenants.json")
	if err := os.WriteFile(f.file, data, 0o600); err != nil {
		return err
	}
	if ca == "" {
		return nil
	}
	f.ca = filepath.Join(dir, "ca.pem")
	return os.WriteFile(f.ca, []byte(ca), 0o600)
}

// state asks the fleet for its counters.
func (f *simFleet) state() (fleetState, error) {
	var s fleetState
	err := f.ask("state", &s)
	return s, err
}

// environ is the environment of a program that talks to the fleet.
func (f *simFleet) environ(more ...string) []string {
	env := append(os.Environ(), more...)
	if f.ca != "" {
		env = append(env, "SSL_CERT_FILE="+f.ca, "CURL_CA_BUNDLE="+f.ca)
	}
	return env
}

// tenants are the members as the gate takes them.
func (f *simFleet) tenants() []fleet.Tenant {
	tenants := make([]fleet.Tenant, len(f.members))
	for i, m := range f.members {
		tenants[i] = fleet.Tenant{Name: m.Name, URL: m.URL, Token: secret.New(m.Token), OrgID: m.OrgID}
	}
	return tenants
}

// kind names the fleet for a table.
func (f *simFleet) kind() string {
	if f.spec.TLS {
		return "TLS"
	}
	return "plain HTTP"
}

// timed runs a command to its end and returns how long it took. A failure
// quotes what the command said.
func timed(cmd *exec.Cmd) (time.Duration, error) {
	var said strings.Builder
	if cmd.Stdout == nil {
		cmd.Stdout = &said
	}
	cmd.Stderr = &said
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	if err != nil {
		text := said.String()
		err = errors.Join(fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err), errors.New(text[max(0, len(text)-2000):]))
	}
	return took, err
}

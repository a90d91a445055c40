package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/cli"
)

// Bars for 10,000 tenants.
const (
	maxScaleTime   = 30 * time.Second
	maxScaleMemory = 512 << 20
)

// A footprint is what one run of the gate's process took.
type footprint struct {
	wall       time.Duration
	cpu        time.Duration
	memory     int64 // most resident bytes at a time
	sockets    int   // most open at a time
	goroutines int   // most at a time, of an extra run
	requests   int   // that the fleet got
	opened     int   // connections
	left       int   // of what the checks stored
}

// measureScale is the second part: the whole of mode smoke with a commit (wait
// for the rollout, checks, identity again) on fleets of growing size.
func measureScale(ctx context.Context, b *bench) (*result, error) {
	r := &result{}
	r.say("The released binary in mode `smoke` with a commit: every tenant reports its commit, is checked with the built-in suite `canary`, and reports its commit again; default `concurrency`, tenants from `tenants-file`, answers after %s, the simulated fleet in another process on the same %d processors, where it uses about as much of them as the gate. Time, processor and memory are those of the gate's process; the number of goroutines is from an extra run that counts them.", answerTime, runtime.NumCPU())
	sizes := []struct{ tenants, rounds int }{{10, 5}, {100, 5}, {1000, 3}, {10000, 1}}
	if b.short {
		sizes = sizes[:1]
	}
	rows := [][]string{{"tenants", "", "time", "processor", "per tenant", "peak memory", "most open sockets", "connections in all", "most goroutines", "requests"}}
	for _, size := range sizes {
		for _, tls := range []bool{false, true} {
			spec := fleetSpec{Tenants: size.tenants, TLS: tls, Latency: answerTime}
			row, worst, err := b.scaleRow(ctx, spec, b.rounds(size.rounds))
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
			if size.tenants == 10000 {
				what := fmt.Sprintf("%s tenants, %s", row[0], row[1])
				r.hold(what+": verdict", "within "+show(maxScaleTime), show(worst.wall), worst.wall <= maxScaleTime)
				r.hold(what+": memory of the gate's process", "under "+mib(maxScaleMemory), mib(worst.memory), worst.memory < maxScaleMemory)
			}
		}
	}
	r.table(rows)
	return r, b.fewFiles(ctx, r)
}

// scaleRow measures one fleet.
func (b *bench) scaleRow(ctx context.Context, spec fleetSpec, rounds int) ([]string, footprint, error) {
	var worst footprint
	f, err := b.startFleet(ctx, spec)
	if err != nil {
		return nil, worst, err
	}
	defer f.close()
	b.log("%d tenants, %s", spec.Tenants, f.kind())
	var walls, cpus samples
	for range rounds {
		p, err := b.footprint(ctx, f, b.gate)
		if err != nil {
			return nil, worst, err
		}
		walls, cpus = append(walls, p.wall), append(cpus, p.cpu)
		p.memory, p.sockets = max(p.memory, worst.memory), max(p.sockets, worst.sockets)
		worst = p
	}
	worst.wall = walls.median()
	if worst.goroutines, err = b.goroutines(ctx, f); err != nil {
		return nil, worst, err
	}
	if worst.left > 0 {
		return nil, worst, fmt.Errorf("%d memories were left behind on the tenants", worst.left)
	}
	return []string{
		thousands(spec.Tenants), f.kind(), walls.String(), cpus.String(), show(cpus.median() / time.Duration(spec.Tenants)),
		mib(worst.memory), thousands(worst.sockets), thousands(worst.opened), thousands(worst.goroutines), thousands(worst.requests),
	}, worst, nil
}

// footprint runs the gate once, watched from outside.
func (b *bench) footprint(ctx context.Context, f *simFleet, command ...string) (footprint, error) {
	var p footprint
	before, err := f.state()
	if err != nil {
		return p, err
	}
	args := append(command[1:], "smoke", "--sha", candidate, "--tenants-file", f.file) //nolint:gocritic // a new slice is meant
	cmd := exec.CommandContext(ctx, command[0], args...)
	cmd.Env = f.environ()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return p, err
	}
	watched := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(watched)
		p.watch(cmd.Process.Pid, stop)
	}()
	err = cmd.Wait()
	p.wall = time.Since(began)
	close(stop)
	<-watched
	if err != nil {
		text := said.String()
		return p, errors.Join(fmt.Errorf("the gate: %w", err), errors.New(text[max(0, len(text)-2000):]))
	}
	p.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	after, err := f.state()
	p.requests, p.opened, p.left = after.Requests-before.Requests, after.Opened-before.Opened, after.Left
	return p, err
}

// watch notes the highest memory and the most sockets of a process as long as
// it runs. The kernel keeps the mark of the memory itself, so that only what is
// taken in the last moment can be missed.
func (p *footprint) watch(pid int, stop <-chan struct{}) {
	dir := "/proc/" + strconv.Itoa(pid)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		p.memory = max(p.memory, highWater(dir))
		if n%5 == 0 {
			p.sockets = max(p.sockets, sockets(dir))
		}
	}
}

// highWater returns the most resident memory that a process had, in bytes.
func highWater(dir string) int64 {
	data, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(data), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(after, &kib); err != nil {
		return 0
	}
	return kib << 10
}

// sockets returns how many sockets a process has open.
func sockets(dir string) int {
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return 0
	}
	n := 0
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// goroutines runs the gate in a process that counts its goroutines.
func (b *bench) goroutines(ctx context.Context, f *simFleet) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, "counted-gate", "smoke", "--sha", candidate, "--tenants-file", f.file)
	cmd.Env = f.environ()
	var out bytes.Buffer
	cmd.Stdout = &out
	if _, err := timed(cmd); err != nil {
		return 0, err
	}
	var most int
	err = json.Unmarshal(out.Bytes(), &most)
	return most, err
}

// countedGate is the child that is main.go with a counter of goroutines. It
// prints the highest count.
func countedGate(args []string) error {
	var most atomic.Int64
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				most.Store(max(most.Load(), int64(runtime.NumGoroutine()-1)))
			}
		}
	}()
	var said bytes.Buffer
	command := &cli.Command{Args: args, Environ: os.Environ(), Stdin: os.Stdin, Stdout: &said, Stderr: &said, Version: "bench"}
	code := command.Run(context.Background())
	close(done)
	if code != 0 {
		return fmt.Errorf("the gate ended with %d:\n%s", code, said.String())
	}
	_, err := fmt.Println(most.Load())
	return err
}

// fewFiles shows that a limit of open files far below the fleet's connections
// only makes it slower.
func (b *bench) fewFiles(ctx context.Context, r *result) error {
	tenants, files := 1000, 256
	if b.short {
		tenants, files = 300, 128
	}
	f, err := b.startFleet(ctx, fleetSpec{Tenants: tenants, TLS: true, Latency: answerTime})
	if err != nil {
		return err
	}
	defer f.close()
	b.log("%d tenants with %d open files", tenants, files)
	p, err := b.footprint(ctx, f, "bash", "-c", fmt.Sprintf(`ulimit -n %d && exec "$@"`, files), "bash", b.gate)
	what := fmt.Sprintf("%s tenants with `ulimit -n %d`", thousands(tenants), files)
	if err != nil {
		r.hold(what, "fewer at once, no error", "not green", false)
		r.say("With a limit of %d open files (`ulimit -n`), %s tenants are not green.", files, thousands(tenants))
		return nil
	}
	r.hold(what, "fewer at once, no error", fmt.Sprintf("green in %s, at most %d sockets", show(p.wall), p.sockets), true)
	r.say("With a limit of %d open files (`ulimit -n`), fewer requests run at once and nothing fails: %s tenants are green after %s, with at most %d sockets open.", files, thousands(tenants), show(p.wall), p.sockets)
	return nil
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

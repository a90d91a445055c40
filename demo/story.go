package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/cli"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// The commits of the story, oldest first.
var (
	first = commit{sha: "1f0c7be24a6d93b85e17c04fa2d6b9038e5c71da", title: "live before the gate was in use", age: 96 * 3600e9}
	good  = commit{sha: "4c1d56e0b7a92f3844de61c05b9a7d20e8f31c6b", title: "faster start page", age: 48 * 3600e9}
	bad   = commit{sha: "b0bad1e5c3f7d2981460ab9e75cc03d1f26e8a94", title: "tidy up the auth middleware", age: 24 * 3600e9, faults: []sim.Fault{sim.FailOpen}}
	later = commit{sha: "9e77a1024d5b86cf3920e8b4a71f6d35c08b92e1", title: "new invoice numbers", age: 1 * 3600e9}
)

// A story is one run of the demo.
type story struct {
	out   io.Writer
	world *world
}

// play runs the whole story and checks that every step goes as expected.
func play(ctx context.Context, out io.Writer, keep bool) error {
	s := &story{out: out}
	s.act("The world", "a registry, three canary tenants that follow the tag canary, two customers that follow latest")
	w, err := newWorld(ctx, first)
	s.world = w
	if w != nil {
		defer w.close()
	}
	if err != nil {
		return err
	}
	s.say("all tenants run %s (%s), promoted by hand long ago", first.short(), first.title)
	for _, act := range []func(context.Context) error{s.goodCommit, s.badCommit, s.laterCommit, s.rollBack, s.lookBack} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	s.say("")
	s.say("That was the whole loop. It took no shortcuts: the gate spoke HTTP to a registry and to tenants.")
	if keep {
		s.invite()
		<-ctx.Done()
	}
	return nil
}

func (s *story) goodCommit(ctx context.Context) error {
	s.act("A good commit", good.short()+", "+good.title)
	if err := s.world.publish(ctx, good, good.stagingTag()); err != nil {
		return err
	}
	s.say("CI has published both images as %s, and nothing else", good.stagingTag())
	if err := s.gate(ctx, report.ExitOK, "GREEN", s.verify(good)...); err != nil {
		return err
	}
	return s.customersRun(ctx, good)
}

func (s *story) badCommit(ctx context.Context) error {
	s.act("A bad commit", bad.short()+", "+bad.title+": it opens the admin routes to everybody")
	if err := s.world.publish(ctx, bad, bad.stagingTag()); err != nil {
		return err
	}
	if err := s.gate(ctx, report.ExitRed, "RED", s.verify(bad)...); err != nil {
		return err
	}
	if err := s.world.pointsAt("latest", good); err != nil {
		return err
	}
	if err := s.world.settled(ctx, s.world.canaries, good); err != nil {
		return err
	}
	s.say("latest still points at %s; the canary tag was put back, and the canaries followed it", good.short())
	return nil
}

func (s *story) laterCommit(ctx context.Context) error {
	s.act("A bad commit that no check catches", later.short()+", "+later.title)
	if err := s.world.publish(ctx, later, later.stagingTag()); err != nil {
		return err
	}
	if err := s.gate(ctx, report.ExitOK, "GREEN", s.verify(later)...); err != nil {
		return err
	}
	return s.customersRun(ctx, later)
}

func (s *story) rollBack(ctx context.Context) error {
	s.act("Three in the morning", "customers see wrong invoice numbers; roll back to the last good commit")
	args := []string{"rollback", "--images", s.imageList(), "--reason", "wrong invoice numbers since the release"}
	if err := s.gate(ctx, report.ExitOK, good.short(), args...); err != nil {
		return err
	}
	if err := s.customersRun(ctx, good); err != nil {
		return err
	}
	s.say("The gate remembers: it refuses to promote %s again", later.short())
	return s.gate(ctx, report.ExitRed, "REFUSED", s.verify(later)...)
}

func (s *story) lookBack(ctx context.Context) error {
	s.act("Looking back", "the registry keeps a record of who decided what")
	return s.gate(ctx, report.ExitOK, "rolled-back", "history", "--images", s.imageList())
}

// customersRun checks that latest points at the commit and that the customers run
// it.
func (s *story) customersRun(ctx context.Context, c commit) error {
	if err := s.world.pointsAt("latest", c); err != nil {
		return err
	}
	if err := s.world.settled(ctx, s.world.production, c); err != nil {
		return err
	}
	s.say("latest points at %s, and both customers run it", c.short())
	return nil
}

// lease is shorter than the default: this registry is never slow, and the look after
// each move waits for two of them.
const lease = 500 * time.Millisecond

// gate runs the real command line, shows what it prints, and checks its exit code
// and a word that its output must contain.
func (s *story) gate(ctx context.Context, code report.Exit, word string, args ...string) error {
	s.say("$ canary-verify %s", strings.Join(quoted(args), " "))
	var shown bytes.Buffer
	both := io.MultiWriter(s.out, &shown)
	command := &cli.Command{
		Args: args, Environ: s.secrets(), Lease: lease,
		Stdout: both, Stderr: both, Version: "demo", OnStdout: cli.Screen{Width: 100},
	}
	if got := command.Run(ctx); got != int(code) {
		return fmt.Errorf("canary-verify %s ended with exit code %d, expected %d", args[0], got, code)
	}
	if !strings.Contains(strings.ToUpper(shown.String()), strings.ToUpper(word)) {
		return fmt.Errorf("the output of canary-verify %s does not contain %q", args[0], word)
	}
	return nil
}

// verify is the command line of the main job.
func (s *story) verify(c commit) []string {
	return []string{
		"verify", "--sha", c.sha, "--images", s.imageList(), "--canary-tag", "canary",
		"--wait-interval", "200ms", "--wait-timeout", "15s",
	}
}

// secrets is the environment with what is never given on a command line: the
// fleet and its tokens.
func (s *story) secrets() []string {
	var fleet strings.Builder
	for _, t := range s.world.canaries {
		fmt.Fprintf(&fleet, "- {name: %s, url: %s, token: %s, org-id: %s}\n", t.Name(), t.URL(), t.Token(), t.OrgID())
	}
	return []string{"CANARY_TENANTS=" + fleet.String()}
}

func (s *story) imageList() string {
	var all []string
	for _, image := range images {
		all = append(all, s.world.registry.Host()+"/"+image)
	}
	return strings.Join(all, " ")
}

// act begins a part of the story.
func (s *story) act(title, about string) {
	fmt.Fprintf(s.out, "\n━━ %s: %s\n\n", title, about)
}

// say prints one line.
func (s *story) say(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\n", args...)
}

// invite prints commands to try while everything keeps running.
func (s *story) invite() {
	s.act("Your turn", "everything runs until you press Ctrl-C; try this in another terminal, from this folder:")
	for _, env := range s.secrets() {
		name, value, _ := strings.Cut(env, "=")
		s.say("export %s='%s'", name, value)
	}
	s.say("export CANARY_IMAGES='%s'\n", s.imageList())
	s.say("go run . status --sha %s", later.short())
	s.say("go run . smoke")
	s.say("go run . verify --sha %s --dry-run --force 'trying it out'", later.short())
	s.say("go run . history --output markdown")
	s.say("go run . rollback --sha %s --reason 'trying it out'", first.short())
}

// quoted quotes arguments for a shell.
func quoted(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a
		if strings.ContainsAny(a, " '\"$") {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return out
}

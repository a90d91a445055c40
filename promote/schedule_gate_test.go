package promote_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// An op is what a gate is asked to do.
type op struct {
	kind  string // verify, promote, reject, rollback, hold, release
	sha   report.Commit
	force bool
}

func (o op) String() string {
	text := o.kind
	if o.sha != "" {
		text += " " + commitNames[o.sha]
	}
	if o.force {
		text += " (force)"
	}
	return text
}

// moves reports whether the gate promotes where nothing forbids it.
func (o op) moves() bool { return o.kind == "verify" || o.kind == "promote" }

// stops reports whether the gate writes stop heads.
func (o op) stops() bool { return !o.moves() }

// The exit codes that schedules tell apart.
const (
	exitKilled     = -1
	exitOK         = 0
	exitRefused    = 1
	exitUnknown    = 3
	exitRegistry   = 4
	exitUnrecorded = 5 // done, and not all of it was written down
)

// A gate is one run of the real code.
type gate struct {
	op
	name         string
	line         *line
	exit         int
	err          error
	warnings     []string
	began, ended time.Time
	moved        time.Time     // when it last wrote a target before it settled
	from         report.Commit // that a rollback replaced
	changed      bool          // a hold or release was not so before; a rollback moved something
	held         bool          // it said that the target is on hold
}

func (g *gate) String() string { return fmt.Sprintf("%s %s: exit %d %v", g.name, g.op, g.exit, g.err) }

// run does what internal/cli and package gate do with package promote.
func (g *gate) run(ctx context.Context, c promote.Config, pause time.Duration) {
	g.began = time.Now()
	if g.force {
		c.Force = "for a test"
	}
	p, err := promote.New(c)
	if err == nil {
		err = g.carry(ctx, p, pause)
	}
	g.ended, g.err, g.exit = time.Now(), err, exitOf(err)
	if g.exit == exitOK && g.kind == "reject" && len(g.warnings) > 0 {
		g.exit = exitUnrecorded
	}
	if g.line.killed() {
		g.exit = exitKilled
	}
	g.line.trace("%s; %q", g, g.warnings)
}

func exitOf(err error) int {
	var refused *promote.RefusedError
	var failed *promote.MoveError
	var free *promote.NotHeldError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &refused):
		return exitRefused
	case errors.As(err, &free):
		return exitUnrecorded
	case errors.As(err, &failed):
		return exitRegistry
	}
	return exitUnknown
}

func (g *gate) carry(ctx context.Context, p *promote.Promoter, pause time.Duration) error {
	switch g.kind {
	case "hold", "release":
		f := p.Hold
		if g.kind == "release" {
			f = p.Release
		}
		result, err := f(ctx, "for a test")
		g.changed, g.held, g.warnings = result.Changed, result.Held != nil, result.Warnings
		return err
	case "rollback":
		result, err := p.Rollback(ctx, g.sha, "for a test")
		g.warnings, g.from, g.held = result.Warnings, result.Rollback.FromSHA, result.Held != nil
		for _, image := range result.Images {
			g.changed = g.changed || image.State == report.Promoted
		}
		return err
	}
	policy := promote.ForVerify
	if g.kind == "promote" {
		policy = promote.ForPromote
	}
	found, err := p.Resolve(ctx, g.sha, policy)
	g.warnings = found.Warnings
	if err != nil {
		return err
	}
	c := found.Candidate
	defer func() { g.warnings = append(g.warnings, c.Warnings()...) }()
	if err := c.Preflight(ctx); err != nil {
		return err
	}
	if err := nap(ctx, pause); err != nil {
		return err
	}
	if g.kind == "reject" {
		c.Reject(ctx, promote.Decision{Suite: "canary", Reason: "for a test"})
		return nil
	}
	if err := c.Confirm(ctx); err != nil {
		return err
	}
	if err := c.Promote(ctx, promote.Decision{Suite: "canary", Reason: "for a test"}); err != nil {
		return err
	}
	g.line.hub.mu.Lock()
	g.moved = g.line.putAt
	g.line.hub.mu.Unlock()
	return c.Settle(ctx)
}

// play runs gates side by side until all have ended and all writes show.
func (s *schedule) play(gates ...*gate) {
	var wg sync.WaitGroup
	for _, g := range gates {
		ctx, cancel := context.WithCancelCause(s.t.Context())
		g.line.cancel = cancel
		c := s.config()
		c.Transport, c.Witness = g.line, nil
		if s.witness != nil {
			c.Witness = &told{s.witness, g.line}
		}
		start, pause := s.dice.within(time.Second), s.dice.within(2*time.Second)
		wg.Go(func() {
			defer cancel(nil)
			_ = nap(ctx, start)
			g.run(ctx, c, pause)
		})
	}
	wg.Wait()
	time.Sleep(s.late + s.lag + time.Second)
}

// faulty returns a gate that may be killed, or sleep.
func (s *schedule) faulty(name string, o op) *gate {
	g := s.gate(name, o)
	g.line.sleeps = s.setting.sleeps
	if s.setting.slow > 0 && name == "b" {
		g.line.pace *= time.Duration(1 + s.dice.roll(s.setting.slow))
	}
	if s.dice.chance(s.setting.kills) {
		g.line.killAt = 1 + s.dice.roll(40*s.images)
	}
	return g
}

func (s *schedule) gate(name string, o op) *gate {
	return &gate{op: o, name: name, line: &line{
		hub: s.hub, name: name, nth: map[string]int{}, pace: 5*time.Millisecond + s.dice.within(20*time.Millisecond),
	}}
}

// config is that of every gate of the schedule.
func (s *schedule) config() promote.Config {
	c := promote.Config{Origin: promote.Origin{Tool: "canary-verify/test", Actor: "ada"}}
	for i := range s.images {
		c.Images = append(c.Images, hubHost+"/"+repoName(i))
	}
	if !s.dated {
		c.Ancestry = anyOrder{}
	}
	if s.signed {
		c.Signer, c.Trust = hubSigner, hubTrust
	}
	return c
}

// anyOrder lets every commit follow every other.
type anyOrder struct{}

// Compare implements [promote.Ancestry].
func (anyOrder) Compare(context.Context, report.Commit, report.Commit) (report.Relation, error) {
	return report.Ahead, nil
}

// hubSigner and hubTrust are the key of signed schedules. Its signatures are the
// same for the same bytes, as a seed must give the same run.
var hubSigner, hubTrust = func() (*ledger.Signer, ledger.Trust) {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	secretPart, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	publicPart, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		panic(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	signer, err := ledger.ParseSigner(secret.New(block("PRIVATE KEY", secretPart)), secret.Value{})
	if err != nil {
		panic(err)
	}
	keys, err := ledger.ParseTrustedKeys(block("PUBLIC KEY", publicPart))
	if err != nil {
		panic(err)
	}
	return signer, ledger.Trust{Keys: keys, RequireSigned: true}
}()

// A notebook is a witness outside the registry.
type notebook struct {
	mu   sync.Mutex
	seen map[string]ledger.Seen
}

// told is a gate's way to the notebook; a gate that was killed tells nothing.
type told struct {
	book *notebook
	line *line
}

// Read implements [ledger.Witness].
func (w *told) Read(ctx context.Context) (map[string]ledger.Seen, error) {
	if err := nap(ctx, w.line.pace); err != nil {
		return nil, err
	}
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	return maps.Clone(w.book.seen), nil
}

// Tell implements [ledger.Witness].
func (w *told) Tell(ctx context.Context, seen map[string]ledger.Seen) error {
	if err := nap(ctx, w.line.pace); err != nil {
		return err
	}
	if w.line.killed() {
		<-ctx.Done()
		return ctx.Err()
	}
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	for image, heads := range seen {
		now := w.book.seen[image]
		if heads.Go.Seq > now.Go.Seq {
			now.Go = heads.Go
		}
		if heads.Stop.Seq > now.Stop.Seq {
			now.Stop = heads.Stop
		}
		w.book.seen[image] = now
	}
	return nil
}

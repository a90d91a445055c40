package promote_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	_ "unsafe" // for the name of another package's variable

	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A setting is what can go wrong in a schedule.
type setting struct {
	name          string
	late, lag     time.Duration
	kills, sleeps int    // of a thousand gates; of a thousand requests
	attack        string // by somebody who may push and has no key: see attack
	witness       bool
	slow          int // how many times slower one gate's network is than the other's; 0: as fast
}

const late, lag = 300 * time.Millisecond, 150 * time.Millisecond

var settings = []setting{
	{name: "two gates"},
	{name: "late writes, lagging reads", late: late, lag: lag},
	{name: "kills", late: late, lag: lag, kills: 500},
	{name: "sleeps", late: late, lag: lag, kills: 100, sleeps: 150},
	{name: "sleeps, one slow gate", late: late, lag: lag, kills: 100, sleeps: 150, slow: 20},
	{name: "attacker", late: late, lag: lag, kills: 300, attack: "others"},
	{name: "attacker meanwhile", late: late, lag: lag, kills: 300, attack: "meanwhile"},
	{name: "one head replayed, witness", late: late, lag: lag, attack: "one head", witness: true},
	{name: "all heads replayed, witness", late: late, lag: lag, attack: "all heads", witness: true},
}

// A start is the hub that a schedule begins with.
type start struct {
	images int
	signed bool
	dated  bool // images have a time of creation; else every commit may follow every other
	listed bool // the registry has the referrers API
	state  string
}

// The states of a ledger at the start.
const (
	begun   = "begun"   // D0 was promoted, then D1
	unbegun = "unbegun" // D1 is live, and there is no record
	nothing = "nothing" // there is no target
	former  = "former"  // as begun, with records of the first form, by which C1 was rolled back
	full    = "full"    // as begun; C1 was rejected, and its revocation is the next to make room
)

// starts says how often each state is drawn.
var starts = []string{begun, begun, begun, begun, begun, begun, begun, begun, unbegun, unbegun, nothing, former, full}

// A base is a start that was made ready.
type base struct {
	hub     *hub
	seen    map[string]ledger.Seen
	commits map[report.Digest]report.Commit
}

// A schedule is one run of gates on one hub.
type schedule struct {
	*hub
	start
	setting setting
	t       *testing.T
	dice    dice
	witness *notebook
	commits map[report.Digest]report.Commit // that images were built from

	gates    []*gate // the two that run side by side
	revoked  map[report.Commit]bool
	held     bool // somebody was promised so
	released bool
	faults   []string
	stats    []string
}

// The commits of the schedules, oldest first.
var (
	commitD0 = report.Commit(strings.Repeat("d0", 20))
	commitD1 = report.Commit(strings.Repeat("d1", 20))
	commitC1 = report.Commit(strings.Repeat("c1", 20))
	commitC2 = report.Commit(strings.Repeat("c2", 20))
	commitC3 = report.Commit(strings.Repeat("c3", 20))

	commitOrder = []report.Commit{commitD0, commitD1, commitC1, commitC2, commitC3}
	commitNames = map[report.Commit]string{commitD0: "D0", commitD1: "D1", commitC1: "C1", commitC2: "C2", commitC3: "C3"}
)

func (s *schedule) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func (s *schedule) stat(format string, args ...any) {
	s.stats = append(s.stats, fmt.Sprintf(format, args...))
}

// ready makes a base, with the real code.
func ready(t *testing.T, st start) *base {
	b := &base{hub: newHub(st.images), commits: map[report.Digest]report.Commit{}}
	b.hub.referrers = st.listed
	for i, sha := range commitOrder {
		var created time.Time
		if st.dated {
			created = time.Date(2026, 5, 1+i, 0, 0, 0, 0, time.UTC)
		}
		tags := []string{"staging-" + sha.Short()}
		if (st.state == unbegun || st.state == former) && sha == commitD1 {
			tags = append(tags, hubTarget)
		}
		for _, d := range b.hub.build(sha, created, tags...) {
			b.commits[d] = sha
		}
	}
	s := &schedule{hub: b.hub, start: st, t: t, witness: &notebook{seen: map[string]ledger.Seen{}}}
	switch st.state {
	case begun, full:
		s.must(op{kind: "verify", sha: commitD0}, op{kind: "verify", sha: commitD1})
	case former:
		s.formerRecords(b)
	}
	if st.state == full {
		s.fill(b)
	}
	b.seen = s.witness.seen
	return b
}

// draw chooses what a gate is asked to do.
func (s *schedule) draw() op {
	o := op{kind: "verify", sha: commitC1}
	switch k := s.dice.roll(24); {
	case k < 7:
	case k < 11:
		o.sha = commitC2
	case k < 16:
		o = op{kind: "rollback"}
	case k < 17:
		o = op{kind: "rollback", sha: commitD0}
	case k < 19 || s.setting.attack != "":
		o = op{kind: "hold"}
	case k < 21:
		o = op{kind: "release"}
	case k < 22:
		o = op{kind: "promote", sha: commitOrder[s.dice.roll(4)]}
	case k < 23:
		o.kind = "reject"
	default:
		o.force, o.sha = true, commitOrder[2+s.dice.roll(2)]
	}
	if (s.state == unbegun || s.state == former) && o.moves() && s.setting.attack == "" {
		o.force = s.dice.roll(3) > 0
	}
	return o
}

// truth is what tags and heads show now.
func (s *schedule) truth() ledger.View {
	var v ledger.View
	for i := range s.images {
		state := ledger.State{Image: hubHost + "/" + repoName(i), Target: s.at(i, hubTarget)}
		for _, kind := range []ledger.Kind{ledger.GoHead, ledger.StopHead} {
			tag, err := ledger.HeadTag(hubTarget, kind)
			if err != nil {
				s.t.Fatal(err)
			}
			h, err := s.trust().OpenHead(s.repos[repoName(i)].manifests[s.at(i, tag)].raw, kind, state.Image, hubTarget)
			switch {
			case err != nil: // absent
			case kind == ledger.GoHead:
				state.Go = h
			default:
				state.Stop = h
			}
		}
		v = append(v, state)
	}
	return v
}

func (s *schedule) trust() ledger.Trust {
	if s.signed {
		return hubTrust
	}
	return ledger.Trust{}
}

// records are all that can be read of one image.
func (s *schedule) records(i int) []*ledger.Head {
	shelf := s.repos[repoName(i)]
	var heads []*ledger.Head
	for _, d := range shelf.order {
		if m, found := shelf.manifests[d]; found && m.subject != "" {
			if h, err := s.trust().Open(m.raw, nil, hubHost+"/"+repoName(i), hubTarget); err == nil {
				heads = append(heads, h)
			}
		}
	}
	return heads
}

// shown is the commit behind the target of an image.
func (s *schedule) shown(i int) report.Commit { return s.commits[s.at(i, hubTarget)] }

// agree reports whether all targets show one commit.
func (s *schedule) agree() bool {
	for i := range s.images {
		if s.shown(i) != s.shown(0) {
			return false
		}
	}
	return true
}

// goal is what the newest rollback restored.
func (s *schedule) goal() report.Commit {
	var newest ledger.Stop
	for _, state := range s.truth() {
		if state.Stop != nil && state.Stop.Stop.GoalSeq > newest.GoalSeq {
			newest = *state.Stop.Stop
		}
	}
	return s.commits[newest.Goal]
}

// promised notes what people were told by the two gates.
func (s *schedule) promised() {
	s.revoked = map[report.Commit]bool{}
	for _, g := range s.gates {
		s.stat("%s: exit %d", g.kind, g.exit)
		switch {
		case g.kind == "release":
			s.released = true
		case g.exit != exitOK:
		case g.kind == "hold" && !g.held:
			s.fault("hold: exit 0, and not held")
		case g.kind == "hold":
			s.held = true
		case g.kind == "rollback":
			s.held = s.held || g.held
			if g.changed && g.from != "" {
				s.revoked[g.from] = true
			}
		}
	}
	if len(s.revoked) > 0 { // what one rollback left and the other restored
		delete(s.revoked, s.goal())
	}
	if s.state == former && s.setting.attack == "" {
		s.revoked[commitC1] = true
	}
	for _, g := range s.gates {
		if g.force {
			delete(s.revoked, g.sha)
		}
	}
	if s.setting.sleeps > 0 && s.told() && s.gates[0].stops() && s.gates[1].stops() {
		// What can't be had: of two who write stop heads, one is suspended inside its
		// write, beyond its lease, and doesn't live to write again.
		s.stat("two stop writers, one of which slept and failed")
		s.revoked, s.held = map[report.Commit]bool{}, false
	}
}

// told reports whether a gate said that something was not as it should be.
func (s *schedule) told() bool {
	return slices.ContainsFunc(s.gates, func(g *gate) bool { return g.exit != exitOK })
}

// checkSilence looks for what went wrong though every gate ended with 0.
func (s *schedule) checkSilence() {
	if s.told() {
		return
	}
	if !s.agree() {
		s.fault("silent: images differ")
	}
	a, b := s.gates[0], s.gates[1]
	for _, g := range s.gates {
		if g.kind == "rollback" && !a.force && !b.force && s.shown(0) != s.goal() {
			s.fault("silent: rolled back, and the target is elsewhere")
		}
	}
	if a.kind != "verify" || b.kind != "verify" || a.sha == b.sha || a.began.After(b.ended) || b.began.After(a.ended) {
		return
	}
	winner, loser := a, b
	if s.shown(0) == b.sha {
		winner, loser = b, a
	}
	if s.dated && slices.Index(commitOrder, winner.sha) < slices.Index(commitOrder, loser.sha) && !winner.force {
		s.fault("silent: an older commit over a newer one")
	}
	if !slices.ContainsFunc(s.records(0), func(h *ledger.Head) bool {
		return h.Go != nil && s.commits[h.Subject] == winner.sha && s.commits[h.Go.From] == loser.sha
	}) {
		s.fault("silent: overtaken")
	}
}

// checkTargets compares the targets with what gates ended with and with what the
// ledger says.
func (s *schedule) checkTargets() {
	view := s.truth()
	for _, g := range s.gates {
		for _, h := range s.gates {
			if g.moves() && !g.force && g.exit == exitOK && (h.kind == "hold" || h.kind == "rollback") && h.exit == exitOK && h.changed && h.began.Before(g.ended) && h.ended.Before(g.moved) {
				s.fault("silent: moved after a hold had ended")
			}
		}
		if !g.moves() || g.exit != exitOK {
			continue
		}
		for i := range view {
			wanted := s.commits[view[i].Want()] == g.sha
			known := view[i].Go != nil && slices.ContainsFunc(view[i].Go.Go.Live, func(l ledger.Live) bool { return s.commits[l.Digest] == g.sha })
			if s.shown(i) != g.sha && !known {
				s.fault("exit 0, and neither shown nor succeeded by another")
			}
			// Who sleeps beyond its lease may write after others have settled, and says so.
			if s.shown(i) != g.sha && wanted && (s.setting.sleeps == 0 || !s.told()) {
				s.fault("exit 0, and the target does not show it")
			}
		}
	}
	if slices.ContainsFunc(s.gates, func(g *gate) bool { return g.exit == exitKilled }) {
		return
	}
	for i := range view {
		switch {
		case view[i].Go == nil || view[i].Stop == nil, view[i].Target == view[i].Want(): // not begun, or right
		case !s.told():
			s.fault("silent: a target is not where the ledger says")
		case s.setting.sleeps > 0:
			s.stat("a target is not where the ledger says, and a gate said so")
		default:
			s.fault("a target is not where the ledger says, and nobody slept")
		}
	}
}

// checkAdmission asks what may run, and whether what was rolled back may.
func (s *schedule) checkAdmission() {
	for i := range s.images {
		image := hubHost + "/" + repoName(i)
		if a := s.admit(image + ":" + hubTarget); a.Admitted && (s.revoked[s.commits[a.Digest]] || s.rejected(s.commits[a.Digest])) {
			s.fault("admits by tag what was revoked")
		}
		for d, sha := range s.commits {
			if (s.revoked[sha] || s.rejected(sha)) && s.repos[repoName(i)].manifests[d].raw != nil {
				if a := s.admit(image + "@" + string(d)); a.Admitted {
					s.fault("admits by digest what was revoked")
				}
			}
		}
	}
}

// rejected reports whether a commit was, and nobody found it good since.
func (s *schedule) rejected(sha report.Commit) bool {
	return s.state == full && sha == commitC1 && !slices.ContainsFunc(s.gates, func(g *gate) bool { return g.moves() && g.sha == sha })
}

// checkNext lets one more gate run, which must not forget what was promised.
func (s *schedule) checkNext() {
	kind := []string{"verify", "promote"}[s.dice.roll(2)]
	third := s.gate("c", op{kind: kind, sha: commitOrder[s.dice.roll(len(commitOrder))]})
	if s.state == full && s.dice.roll(2) == 0 {
		third.op = op{kind: "promote", sha: commitC1}
	}
	before := s.shown(0)
	s.play(third)
	if third.exit == exitOK {
		if s.held && !s.released && (before != third.sha || !third.moved.IsZero()) {
			s.fault("a hold is lost")
		}
		if s.revoked[third.sha] {
			s.fault("promoted again what was rolled back")
		}
		if third.kind == "promote" && s.rejected(third.sha) {
			s.fault("promoted what was rejected")
		}
	}
	if third.exit == exitRegistry {
		s.stat("third gate: exit 4")
	}
}

// checkWayOut releases the target and promotes a new commit, which must succeed
// whatever happened before.
func (s *schedule) checkWayOut() {
	release := s.gate("d", op{kind: "release"})
	fresh := op{kind: "verify", sha: commitC3, force: s.state != begun && s.state != full}
	if s.play(release); release.exit != exitOK && !fresh.force {
		s.fault("stuck: release: %v", release.err)
	}
	e := s.gate("e", fresh)
	if s.play(e); e.exit != exitOK { // it may say that it is to be run again
		s.stat("way out: run again after exit %d", e.exit)
		e = s.gate("f", fresh)
		s.play(e)
	}
	if e.exit != exitOK || !s.agree() || s.shown(0) != fresh.sha {
		s.fault("stuck: %v", e)
	}
}

// run is one schedule.
func (s *schedule) run() {
	for _, name := range []string{"a", "b"} {
		s.gates = append(s.gates, s.faulty(name, s.draw()))
	}
	done := make(chan struct{})
	if s.setting.attack == "meanwhile" {
		own := dice(s.dice.roll(1 << 30))
		go func() {
			defer close(done)
			for range 1 + own.roll(4) {
				time.Sleep(own.within(2 * time.Second))
				s.attack("others", &own)
			}
		}()
	} else {
		close(done)
	}
	s.play(s.gates...)
	<-done
	time.Sleep(s.late + s.lag)
	s.promised()
	if s.setting.attack == "" {
		s.checkSilence()
		s.checkTargets()
	} else {
		s.attack(s.setting.attack, &s.dice)
	}
	if s.held || len(s.revoked) > 0 || s.state == full {
		s.checkAdmission()
		s.checkNext()
	}
	if s.setting.attack == "" && s.dice.roll(4) == 0 {
		s.checkWayOut()
	}
}

// A tally counts what was found, with a seed for each.
type tally map[string][]uint64

func (c tally) add(seed uint64, found []string) {
	slices.Sort(found)
	for _, f := range slices.Compact(found) {
		c[f] = append(c[f], seed)
	}
}

func (c tally) String() string {
	var b strings.Builder
	for _, f := range slices.SortedFunc(maps.Keys(c), func(a, b string) int { return cmp.Or(len(c[b])-len(c[a]), strings.Compare(a, b)) }) {
		fmt.Fprintf(&b, "%8d  %s (seeds %d)\n", len(c[f]), f, c[f][:min(3, len(c[f]))])
	}
	return b.String()
}

// A lab runs schedules.
type lab struct {
	bases map[start]*base
}

// open lets f work on a copy of a base.
func (l *lab) open(t *testing.T, st start, c setting, seed uint64, f func(*schedule)) {
	synctest.Test(t, func(t *testing.T) {
		b := l.bases[st]
		if b == nil {
			b = ready(t, st)
			l.bases[st] = b
		}
		s := &schedule{hub: b.hub.clone(), start: st, setting: c, t: t, dice: dice(seed * 0x9e3779b97f4a7c15), commits: b.commits}
		s.seed, s.late, s.lag = seed, c.late, c.lag
		if c.witness {
			s.witness = &notebook{seen: maps.Clone(b.seen)}
		}
		f(s)
	})
}

// schedule runs one schedule.
func (l *lab) schedule(t *testing.T, seed uint64, trace bool) (c setting, faults, stats []string) {
	c = settings[seed%uint64(len(settings))]
	d := dice(seed)
	st := start{
		images: []int{1, 1, 1, 1, 2, 2, 2, 2, 2, 3}[d.roll(10)], signed: d.roll(5) == 0, dated: d.roll(2) == 0, listed: d.roll(4) > 0,
		state: starts[d.roll(len(starts))],
	}
	l.open(t, st, c, seed, func(s *schedule) {
		if trace {
			began := time.Now()
			s.trace = func(format string, args ...any) {
				s.t.Log(append([]any{time.Since(began).Round(time.Millisecond)}, fmt.Sprintf(format, args...))...)
			}
			s.trace("%+v, %+v", c, st)
		}
		s.run()
		faults, stats = s.faults, s.stats
	})
	return c, faults, stats
}

// TestSchedules runs two gates of the real code side by side, and more after them,
// over a registry that does what registries do: answers writes that show late, shows
// what was there before, and carries requests in any order; whose gates are killed
// or suspended; and where somebody moves, removes and replays what he may write.
//
// CANARY_SCHEDULE=seed runs one schedule and prints what happens in it.
func TestSchedules(t *testing.T) {
	withoutJitter(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // a bubble has many goroutines, of which one runs
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	l := &lab{map[start]*base{}}
	if text := os.Getenv("CANARY_SCHEDULE"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		_, found, _ := l.schedule(t, seed, true)
		t.Fatal(strings.Join(found, "; "))
	}
	faults, stats := map[string]tally{}, map[string]tally{}
	for seed := range schedules() {
		c, found, counted := l.schedule(t, seed, false)
		if faults[c.name] == nil {
			faults[c.name], stats[c.name] = tally{}, tally{}
		}
		faults[c.name].add(seed, found)
		if len(found) > 0 && os.Getenv("CANARY_FIRST_FAULT") != "" {
			break
		}
		stats[c.name].add(seed, counted)
	}
	for _, setting := range settings {
		if found := faults[setting.name]; len(found) > 0 {
			t.Errorf("%s:\n%v", setting.name, found)
		}
		t.Logf("%s:\n%v", setting.name, stats[setting.name])
	}
}

// spread is what internal/web draws jitter with.
//
//go:linkname spread git.moleculesai.app/molecule-ai/canary-verify/internal/web.spread
var spread func(time.Duration) time.Duration

// withoutJitter makes waits the same in every run.
func withoutJitter(t *testing.T) {
	before := spread
	spread = func(n time.Duration) time.Duration { return n / 2 }
	t.Cleanup(func() { spread = before })
}

// schedules is how many are run.
func schedules() uint64 {
	n := uint64(5000)
	switch {
	case raced():
		n = 15
	case os.Getenv("CANARY_FULL") == "1":
		n = 100_000
	}
	if text := os.Getenv("CANARY_SCHEDULES"); text != "" {
		n, _ = strconv.ParseUint(text, 10, 64)
	}
	return n
}

// raced reports whether the race detector is on, with which all is ten times slower.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

package ledger

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// goHead is a go head of app whose list is short names, newest first: each is the
// name of its digest and of its commit, with a seq that counts down.
func goHead(seq int64, from string, names ...string) *Head {
	h := &Head{Record: Record{Event: report.EventVerified, Image: app, Seq: seq, Go: &Go{}}, Digest: dig(fmt.Sprint("go", seq, names))}
	if from != "" {
		h.Go.From = dig(from)
	}
	for i, n := range names {
		h.Go.Live = append(h.Go.Live, Live{Digest: dig(n), SHA: sha(n), Seq: seq - int64(i)})
	}
	return h
}

// stopHead is a stop head of app.
func stopHead(seq int64, s Stop) *Head {
	return &Head{Record: Record{Event: report.EventHeld, Image: app, Seq: seq, Stop: &s}, Digest: dig(fmt.Sprint("stop", seq))}
}

func rolledBack(name string, seq int64) Revoked {
	return Revoked{dig(name), sha(name), report.EventRolledBack, seq}
}

func rejected(name string, seq int64) Revoked {
	return Revoked{dig(name), sha(name), report.EventRejected, seq}
}

// state is app with target c, promoted over b and a, and nothing stopped.
func state() State {
	return State{Image: app, Target: dig("c"), Go: goHead(12, "b", "c", "b", "a"), Stop: stopHead(9, Stop{})}
}

// names turns digests back into the short names of tests.
func nameOf(d report.Digest) string {
	for _, n := range strings.Fields("a b c d e a2 b2 c2 d2 z same") {
		if dig(n) == d {
			return n
		}
	}
	return string(d)
}

func TestWant(t *testing.T) {
	tests := []struct {
		name    string
		state   State
		want    string
		foreign bool
	}{
		{"the newest promotion", state(), "c", false},
		{"a rollback since", State{Target: dig("b"), Go: goHead(12, "b", "c", "b"), Stop: stopHead(13, Stop{Goal: dig("b"), GoalSeq: 13})}, "b", false},
		{"a rollback of the same seq", State{Target: dig("b"), Go: goHead(12, "b", "c", "b"), Stop: stopHead(12, Stop{Goal: dig("b"), GoalSeq: 12})}, "b", false},
		{"a promotion after the rollback", State{Target: dig("d"), Go: goHead(14, "b", "d", "c", "b"), Stop: stopHead(13, Stop{Goal: dig("b"), GoalSeq: 13})}, "d", false},
		{"a hold after the rollback keeps its goal", State{Target: dig("b"), Go: goHead(12, "b", "c", "b"), Stop: stopHead(15, Stop{Goal: dig("b"), GoalSeq: 13})}, "b", false},
		{"a promotion that has yet to move", State{Target: dig("b"), Go: goHead(12, "b", "c", "b"), Stop: stopHead(9, Stop{})}, "c", false},
		{"somebody else moved it", State{Target: dig("z"), Go: goHead(12, "b", "c", "b"), Stop: stopHead(9, Stop{})}, "c", true},
		{"begun where the target is absent", State{Go: goHead(1, ""), Stop: stopHead(1, Stop{})}, "", false},
		{"no heads", State{Target: dig("z")}, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := report.Digest("")
			if tt.want != "" {
				want = dig(tt.want)
			}
			if got := tt.state.Want(); got != want {
				t.Errorf("wants %s, want %q", nameOf(got), tt.want)
			}
			if got := tt.state.Foreign(); got != tt.foreign {
				t.Errorf("foreign: %v", got)
			}
		})
	}
}

// TestWhatLiftsARevocation: "a green verify clears a rejected entry, force a
// rolled-back one".
func TestWhatLiftsARevocation(t *testing.T) {
	for _, tt := range []struct {
		name   string
		entry  Revoked
		seq    int64 // of the promotion
		forced bool
		want   bool // still revoked
	}{
		{"rejected, verified after it", rejected("d", 13), 14, false, false},
		{"rejected, verified at the same time", rejected("d", 13), 13, false, true},
		{"rolled back, verified after it", rolledBack("d", 13), 14, false, true},
		{"rolled back, forced after it", rolledBack("d", 13), 14, true, false},
		{"rolled back, forced before it", rolledBack("d", 14), 13, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := state()
			s.Stop = stopHead(13, Stop{Revoked: []Revoked{tt.entry}})
			s.Go.Go = s.Promote(Live{Digest: dig("d"), SHA: sha("d")}, tt.seq, tt.forced)
			s.Go.Seq = tt.seq
			if _, got := s.Revoked(dig("d")); got != tt.want {
				t.Errorf("revoked: %v", got)
			}
			// A later promotion changes nothing of it.
			for i, name := range []string{"e", "d"} {
				s.Go.Go = s.Promote(Live{Digest: dig(name), SHA: sha(name)}, int64(15+i), false)
				if _, got := s.Revoked(dig("d")); got != tt.want && !(tt.want && tt.entry.Kind == report.EventRejected) {
					t.Errorf("after %s was promoted, revoked: %v", name, got)
				}
			}
		})
	}
}

func TestImagesThatDisagree(t *testing.T) {
	a, b := state(), state()
	b.Image = other
	b.Stop = stopHead(11, Stop{Held: &Hold{By: "ada"}, Revoked: []Revoked{rolledBack("d", 11)}, Floor: 3})
	v := View{a, b}
	if v.Held() == nil || v.Held().By != "ada" {
		t.Error("a target is held where one image is")
	}
	if _, revoked := v.Revoked(dig("d")); !revoked {
		t.Error("a digest is revoked where one image revokes it")
	}
	if v.floor() != 3 {
		t.Errorf("floor %d", v.floor())
	}
	if next, err := v.Next(); next != 13 || err != nil {
		t.Errorf("next %d, %v: 1 more than the highest of all heads", next, err)
	}
	v[1].Stop.Seq = maxSeq
	if _, err := v.Next(); err == nil {
		t.Error("a seq that JSON readers round is given")
	}
}

func TestPromote(t *testing.T) {
	s := state()
	g := s.Promote(Live{Digest: dig("d"), SHA: sha("d")}, 13, false)
	if g.From != dig("c") || len(g.Live) != 4 || g.Live[0].Digest != dig("d") || g.Live[0].Seq != 13 || g.Live[3].Digest != dig("a") {
		t.Errorf("%+v", g)
	}
	if g = s.Promote(Live{Digest: dig("b"), SHA: sha("b")}, 13, false); len(g.Live) != 3 || g.Live[0].Digest != dig("b") || g.Live[1].Digest != dig("c") {
		t.Errorf("a digest that was live before: %+v", g)
	}
	if g = s.Promote(Live{Digest: dig("c"), SHA: sha("d")}, 13, false); len(g.Live) != 4 {
		t.Errorf("two commits of one digest are two places to go back to: %+v", g)
	}
	for i := range 30 {
		s.Go.Go = s.Promote(Live{Digest: dig(fmt.Sprint(i))}, int64(13+i), false)
	}
	if got := len(s.Go.Go.Live); got != maxLive {
		t.Errorf("%d entries, want %d", got, maxLive)
	}
	before := state()
	undone := before.Undo(dig("d"))
	if undone.From != dig("d") || !reflect.DeepEqual(undone.Live, before.Go.Go.Live) {
		t.Errorf("undone: %+v", undone)
	}
	if confirmed := before.Confirm(); confirmed.From != dig("c") || !reflect.DeepEqual(confirmed.Live, before.Go.Go.Live) {
		t.Errorf("confirmed: %+v", confirmed)
	}
}

func TestHoldAndRelease(t *testing.T) {
	s := state()
	s.Stop = stopHead(9, Stop{Revoked: []Revoked{rolledBack("d", 9)}, Goal: dig("c"), GoalSeq: 9, Floor: 2})
	held := s.Hold(Hold{By: "ada", Reason: "incident"})
	if held.Held == nil || len(held.Revoked) != 1 || held.GoalSeq != 9 || held.Floor != 2 {
		t.Errorf("%+v", held)
	}
	s.Stop = stopHead(10, *held)
	if free := s.Release(); free.Held != nil || len(free.Revoked) != 1 || free.Goal != dig("c") || free.Floor != 2 {
		t.Errorf("a release lifts the hold alone: %+v", free)
	}
	if s.Stop.Stop.Held == nil {
		t.Error("what was read is changed")
	}
}

func TestRollBack(t *testing.T) {
	s := state()
	got := s.RollBack(Revoked{Digest: dig("c"), SHA: sha("c")}, dig("b"), 13, &Hold{By: "ada"})
	want := &Stop{Held: &Hold{By: "ada"}, Revoked: []Revoked{rolledBack("c", 13)}, Goal: dig("b"), GoalSeq: 13}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	s.Stop = stopHead(13, *got)
	if again := s.RollBack(Revoked{Digest: dig("c")}, dig("b"), 14, nil); again.Held == nil || len(again.Revoked) != 1 || again.Revoked[0].SHA != sha("c") || again.GoalSeq != 14 {
		t.Errorf("again: %+v", again)
	}
	if same := s.RollBack(Revoked{Digest: dig("b")}, dig("b"), 14, nil); same.find(dig("b")) >= 0 {
		t.Error("a digest that two commits share is revoked and restored at once")
	}
}

func TestReject(t *testing.T) {
	s := state()
	if got, ok := s.Reject(Revoked{Digest: dig("d")}, 13, true); !ok || got.find(dig("d")) < 0 || got.Revoked[0].Kind != report.EventRejected || got.Held != nil {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, ok := s.Reject(Revoked{Digest: dig("d")}, 13, false); ok {
		t.Error("a rejection of what was never good takes room in the head")
	}
	if _, ok := s.Reject(Revoked{Digest: dig("b")}, 13, true); ok {
		t.Error("a rejection revokes what is in production")
	}
}

// TestOverflow: "revoked keeps 50; on overflow floor is the dropped entry's seq".
func TestOverflow(t *testing.T) {
	s := state()
	stop := Stop{Revoked: []Revoked{rolledBack("b", 1)}} // b is live: the floor would not stop it
	for i := range 60 {
		stop.revoke(s.live(), rolledBack(fmt.Sprint(i), int64(2+i)))
	}
	if len(stop.Revoked) != maxRevoked || stop.find(dig("b")) < 0 {
		t.Errorf("%d entries, b among them: %v", len(stop.Revoked), stop.find(dig("b")) >= 0)
	}
	if stop.Floor != 12 || stop.find(dig("10")) >= 0 || stop.find(dig("11")) < 0 {
		t.Errorf("floor %d", stop.Floor)
	}
	one := Stop{Revoked: []Revoked{rolledBack("d", 5)}}
	one.revoke(nil, rejected("d", 7))
	if want := (Revoked{dig("d"), sha("d"), report.EventRolledBack, 7}); len(one.Revoked) != 1 || one.Revoked[0] != want {
		t.Errorf("%+v: a digest has one entry, the newest and the graver kind", one.Revoked)
	}
}

func TestMerge(t *testing.T) {
	s := state()
	s.Stop = stopHead(13, Stop{Revoked: []Revoked{rolledBack("c", 13)}, Goal: dig("b"), GoalSeq: 13, Floor: 1})
	got := s.Merge(
		stopHead(12, Stop{Held: &Hold{By: "ada"}, Revoked: []Revoked{rejected("d", 12)}, Floor: 4}),
		stopHead(14, Stop{Revoked: []Revoked{rolledBack("c", 13)}, Goal: dig("a"), GoalSeq: 14}),
		nil, goHead(15, "", "e"),
	)
	if got.Held == nil || len(got.Revoked) != 2 || got.Floor != 4 || got.Goal != dig("a") || got.GoalSeq != 14 {
		t.Errorf("%+v", got)
	}
}

func TestNewerHeadsThatOthersSaw(t *testing.T) {
	a, b := state(), state()
	b.Image = other
	if got := (View{a, b}).Newer(nil); got != nil {
		t.Errorf("%+v", got)
	}
	if got := (View{a, b}).Newer((View{a, b}).Saw()); got != nil {
		t.Errorf("a witness of the same: %+v", got)
	}
	b.Stop.Saw = map[string]Seen{app: {Go: Ref{12, dig("another of seq 12")}, Stop: Ref{10, dig("newer")}}}
	witness := map[string]Seen{app: {Stop: Ref{11, dig("newest")}}, other: {Stop: Ref{9, dig("another of seq 9")}}}
	want := []Newer{{app, StopHead, Ref{11, dig("newest")}, false}, {other, StopHead, Ref{9, dig("another of seq 9")}, true}}
	if got := (View{a, b}).Newer(witness); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	a.Stop = nil
	if got := (View{a, b}).Newer(nil); len(got) != 1 || got[0].Ref.Seq != 10 {
		t.Errorf("a head that was removed: %+v", got)
	}
}

// two is app and other, both promoted from b to c with digests of their own.
func two(targets ...string) View {
	one, more := state(), state()
	more.Image, more.Go = other, goHead(12, "b2", "c2", "b2", "a2")
	for i, n := range []string{"c", "b", "a"} {
		more.Go.Go.Live[i].SHA = sha(n)
	}
	more.Target = dig("c2")
	if len(targets) == 2 {
		one.Target, more.Target = dig(targets[0]), dig(targets[1])
	}
	return View{one, more}
}

func TestPreviousGoal(t *testing.T) {
	revoke := func(v View, i int, name string) View {
		v[i].Stop = stopHead(10, Stop{Revoked: []Revoked{rolledBack(name, 10)}})
		return v
	}
	undone := func(v View) View {
		for i := range v {
			v[i].Go.Event = report.EventUndone
			v[i].Go.Go.Live = v[i].Go.Go.Live[1:]
		}
		return v
	}
	shared := two("same", "c2") // c and b built the same digest of app
	shared[0].Go.Go.Live[0].Digest, shared[0].Go.Go.Live[1].Digest = dig("same"), dig("same")
	unknown := two()
	for i := range unknown {
		unknown[i].Go.Go.Live = unknown[i].Go.Go.Live[:2]
		unknown[i].Go.Go.Live[1].SHA = ""
	}
	lacking := two()
	lacking[1].Go.Go.Live = append(lacking[1].Go.Go.Live[:1:1], lacking[1].Go.Go.Live[2])
	alone := two()
	for i := range alone {
		alone[i].Go.Go.Live = alone[i].Go.Go.Live[:1]
	}
	for _, tt := range []struct {
		name string
		view View
		want string // digest names of both; empty: nowhere to go
	}{
		{"the one before", two(), "b b2"},
		{"it is revoked on one image", revoke(two(), 1, "b2"), "a a2"},
		{"one image never had it", lacking, "a a2"},
		{"a promotion that was half done", two("c", "b2"), "b b2"},
		{"the other half", two("b", "c2"), "b b2"},
		{"a promotion that moved nothing", two("b", "b2"), "a a2"},
		{"undone, and the targets still show it", undone(two("c", "c2")), "b b2"},
		{"undone, and one target still shows it", undone(two("b", "c2")), "b b2"},
		{"two commits of one digest", shared, "same b2"},
		{"from before records began", unknown, "b b2"},
		{"nothing else", alone, ""},
		{"no images", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.view.PreviousGoal()
			text := strings.TrimSpace(nameOf(got.Digests[app]) + " " + nameOf(got.Digests[other]))
			if text != tt.want || (tt.want == "") != errors.Is(err, ErrNoGoal) {
				t.Errorf("got %q, %v, want %q", text, err, tt.want)
			}
		})
	}
}

func TestCurrentGoal(t *testing.T) {
	if _, ok := two().CurrentGoal(); ok {
		t.Error("a goal without a rollback")
	}
	v := two()
	v[0].Stop = stopHead(13, Stop{Goal: dig("b"), GoalSeq: 13})
	v[0].Stop.Images = map[string]report.Digest{app: dig("b"), other: dig("b2")}
	g, ok := v.CurrentGoal()
	if !ok || g.SHA != sha("b") || g.Digests[app] != dig("b") || g.Digests[other] != dig("b2") {
		t.Errorf("a rollback that was killed after its first head: %+v, %v", g, ok)
	}
	if v.At(g) {
		t.Error("targets are not there yet")
	}
	v[0].Target, v[1].Target = dig("b"), dig("b2")
	if !v.At(g) {
		t.Error("targets are there")
	}
	for i := range v {
		v[i].Go.Seq = 14
	}
	if _, ok := v.CurrentGoal(); ok {
		t.Error("a promotion came after it")
	}
}

func TestBeginning(t *testing.T) {
	none := State{Image: app, Target: dig("c")}
	absent := State{Image: app}
	full := state()
	full.Image = other
	knows := state()
	knows.Image = other
	knows.Go.Saw = map[string]Seen{app: {Go: Ref{3, dig("x")}}}
	half := state()
	half.Stop = nil
	witness := map[string]Seen{app: {Go: Ref{3, dig("x")}}}
	for _, tt := range []struct {
		name    string
		view    View
		witness map[string]Seen
		want    Beginning
	}{
		{"both heads", View{state()}, nil, Begun},
		{"a target without heads", View{none}, nil, NeedsForce},
		{"an absent target", View{absent}, nil, MayBegin},
		{"only this image is new", View{none, full}, nil, MayBegin},
		{"no image has heads", View{none, {Image: other, Target: dig("c2")}}, nil, NeedsForce},
		{"another image's head knows one of it", View{none, knows}, nil, NeedsForce},
		{"absent, and another image's head knows one of it", View{absent, knows}, nil, NeedsForce},
		{"absent, and the witness knows one", View{absent}, witness, NeedsForce},
		{"one of two heads", View{half}, nil, NeedsForce},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.view.Beginning(app, tt.witness); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestBegin(t *testing.T) {
	s := State{Image: app, Target: dig("d")}
	found := []*Head{
		goHead(7, "a", "b", "a"), goHead(8, "b", "c", "b", "a"), nil,
		stopHead(5, Stop{Held: &Hold{By: "ada"}, Revoked: []Revoked{rolledBack("z", 5)}}),
		stopHead(9, Stop{Revoked: []Revoked{rejected("e", 9), rejected("d", 3)}, Floor: 2}),
	}
	seq, err := View{s}.Above(found)
	if err != nil || seq != 10 {
		t.Fatalf("seq %d, %v", seq, err)
	}
	g, stop := s.Begin(Live{Digest: dig("d"), SHA: sha("d")}, found, []Revoked{{Digest: dig("c"), Kind: report.EventRejected}}, seq)
	if g.From != dig("d") || len(g.Live) != 4 || g.Live[0].Digest != dig("d") || g.Live[1].Digest != dig("c") {
		t.Errorf("%+v", g)
	}
	if stop.Held == nil || stop.Floor != 2 || len(stop.Revoked) != 4 {
		t.Errorf("%+v", stop)
	}
	begun := State{Image: app, Target: dig("d"), Go: &Head{Record: Record{Seq: seq, Go: g}}, Stop: stopHead(seq, *stop)}
	for _, name := range []string{"z", "e", "c", "d"} {
		if _, revoked := begun.Revoked(dig(name)); !revoked {
			t.Errorf("%s: beginning lifts a revocation", name)
		}
	}
	if g, _ := (&State{Image: app}).Begin(Live{}, nil, nil, 1); len(g.Live) != 0 || g.Subject(dig("c")) != dig("c") {
		t.Errorf("an absent target: %+v", g)
	}
}

package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A State is what was read of one image: what its target shows and both heads.
type State struct {
	Image  string
	Target report.Digest // empty: the tag is absent
	Go     *Head         // nil: missing, or not trusted
	Stop   *Head         // nil: missing, or not trusted
}

// A View is what was read of all images of one target, in their order.
type View []State

// Want returns what the target shall show: the goal of the newest rollback, unless
// a promotion came after it, else the newest promotion. Empty: nothing, or no head
// says.
func (s *State) Want() report.Digest {
	if s.goalCurrent() {
		return s.Stop.Stop.Goal
	}
	if s.Go == nil || len(s.Go.Go.Live) == 0 {
		return ""
	}
	return s.Go.Go.Live[0].Digest
}

// goalCurrent reports whether no promotion came after the newest rollback.
func (s *State) goalCurrent() bool {
	return s.Stop != nil && s.Stop.Stop.Goal != "" && (s.Go == nil || s.Stop.Stop.GoalSeq >= s.Go.Seq)
}

// Foreign reports whether somebody else moved the target: it shows neither what it
// shall show, nor what the newest promotion found there and has yet to replace.
func (s *State) Foreign() bool {
	return s.Target != s.Want() && (s.Go == nil || s.Target != s.Go.Go.From)
}

// live are the digests that were in production, newest first.
func (s *State) live() []Live {
	if s.Go == nil {
		return nil
	}
	return s.Go.Go.Live
}

// stop is the state of the stop head; the zero Stop where it is missing.
func (s *State) stop() Stop {
	if s.Stop == nil {
		return Stop{}
	}
	return *s.Stop.Stop
}

// same reports whether two entries are the same digest of the same commit. Two
// commits can build one digest: each is a place to go back to.
func (l Live) same(other Live) bool { return l.Digest == other.Digest && l.SHA == other.SHA }

// find returns the place of a digest among the revoked ones; -1: it is not there.
func (s Stop) find(d report.Digest) int {
	return slices.IndexFunc(s.Revoked, func(r Revoked) bool { return r.Digest == d })
}

// Revoked returns the revocation of a digest that is in force. A promotion after it
// lifts it: a green verify a rejection, force any.
func (s *State) Revoked(d report.Digest) (Revoked, bool) {
	stop := s.stop()
	i := stop.find(d)
	if i < 0 {
		return Revoked{}, false
	}
	r := stop.Revoked[i]
	lifted := slices.ContainsFunc(s.live(), func(l Live) bool {
		return l.Digest == d && l.Seq > r.Seq && (l.Forced || r.Kind == report.EventRejected)
	})
	return r, !lifted
}

// isLive reports whether a digest is or was in production, as far as the list goes.
func (s *State) isLive(d report.Digest) bool {
	return slices.ContainsFunc(s.live(), func(l Live) bool { return l.Digest == d })
}

// Revoked returns the revocation of a digest that is in force on any image.
func (v View) Revoked(d report.Digest) (Revoked, bool) {
	for i := range v {
		if r, revoked := v[i].Revoked(d); revoked {
			return r, true
		}
	}
	return Revoked{}, false
}

// Held returns the hold of the first image that is held; nil: none is. Images that
// disagree are held.
func (v View) Held() *Hold {
	for i := range v {
		if held := v[i].stop().Held; held != nil {
			return held
		}
	}
	return nil
}

// floor is the highest floor of all images.
func (v View) floor() int64 {
	var floor int64
	for i := range v {
		floor = max(floor, v[i].stop().Floor)
	}
	return floor
}

// Next returns the seq of the next decision: 1 more than the highest of both heads
// of all images. It never depends on a clock.
func (v View) Next() (int64, error) {
	var top int64
	for i := range v {
		top = max(top, v[i].Go.ref().Seq, v[i].Stop.ref().Seq)
	}
	if top >= maxSeq {
		return 0, fmt.Errorf("the highest seq that is possible (%d) is taken: remove the heads and begin the ledger again", int64(maxSeq))
	}
	return top + 1, nil
}

// Saw returns the heads that were read, for the records that are written next.
func (v View) Saw() map[string]Seen {
	saw := make(map[string]Seen, len(v))
	for i := range v {
		saw[v[i].Image] = Seen{v[i].Go.ref(), v[i].Stop.ref()}
	}
	return saw
}

// Unchanged reports whether a later view shows the same targets and heads.
func (v View) Unchanged(later View) bool {
	return slices.EqualFunc(v, later, func(a, b State) bool {
		return a.Image == b.Image && a.Target == b.Target && a.Go.ref() == b.Go.ref() && a.Stop.ref() == b.Stop.ref()
	})
}

// A Newer is a record that somebody saw behind a head and that is not there now.
type Newer struct {
	Image string
	Kind  Kind
	Ref   Ref
	// Merge: it has the seq of the present head and another digest; both count.
	Merge bool
}

// Newer returns the records that replace the heads in v, because another head, or a
// witness outside the registry (nil: there is none), names a higher seq. Those
// must be read by digest, put in their place, and the view asked again; where one
// isn't there any more, the registry shows an older state and can't be used.
func (v View) Newer(witness map[string]Seen) []Newer {
	var found []Newer
	for i := range v {
		s := &v[i]
		for kind, head := range []*Head{s.Go, s.Stop} {
			best := head.ref()
			consider := func(seen map[string]Seen) {
				ref := seen[s.Image].of(Kind(kind))
				if ref.Seq > best.Seq {
					best = ref
				}
			}
			consider(witness)
			for j := range v {
				for _, h := range []*Head{v[j].Go, v[j].Stop} {
					if h != nil {
						consider(h.Saw)
					}
				}
			}
			witnessed := witness[s.Image].of(Kind(kind))
			switch {
			case best != head.ref():
				found = append(found, Newer{s.Image, Kind(kind), best, false})
			case Kind(kind) == StopHead && head != nil && witnessed.Seq == head.Seq && witnessed.Digest != head.Digest:
				found = append(found, Newer{s.Image, Kind(kind), witnessed, true})
			}
		}
	}
	return found
}

func (s Seen) of(kind Kind) Ref {
	if kind == StopHead {
		return s.Stop
	}
	return s.Go
}

// Promote returns the state that a promotion of the digest writes, with this seq.
// forced: by force, which lifts a revocation of the digest.
func (s *State) Promote(to Live, seq int64, forced bool) *Go {
	to.Seq, to.Forced = seq, forced
	live := []Live{to}
	_, revoked := s.Revoked(to.Digest)
	for _, l := range s.live() {
		switch {
		case l.same(to):
			// A revocation that force lifted before stays lifted.
			live[0].Forced = forced || l.Forced && !revoked
		case len(live) < maxLive:
			live = append(live, l)
		}
	}
	return &Go{From: s.Target, Live: live}
}

// Confirm returns the state that confirms the newest promotion: the same list.
func (s *State) Confirm() *Go { return s.Undo(s.Target) }

// Undo returns the state that takes a promotion back: that of before, its look. The
// target now shows what from says. The list starts with what the target was to show
// then: after a rollback that is not the newest promotion, which must not come back.
func (s *State) Undo(from report.Digest) *Go {
	live := slices.Clone(s.live())
	if i := slices.IndexFunc(live, func(l Live) bool { return l.Digest == s.Want() }); i > 0 {
		live = slices.Insert(slices.Delete(live, i, i+1), 0, s.live()[i])
	}
	return &Go{From: from, Live: live}
}

// Hold returns the state that a hold writes.
func (s *State) Hold(h Hold) *Stop {
	stop := s.stop().clone()
	stop.Held = &h
	return &stop
}

// Release returns the state that a release writes. Revocations stay.
func (s *State) Release() *Stop {
	stop := s.stop().clone()
	stop.Held = nil
	return &stop
}

// Reject returns the state that a rejection of a digest writes, with this seq.
// False: no head is to be written, the rejection stays on the digest alone. Heads
// have room only for those that could be promoted otherwise: digests that have a
// positive record, and that are not in production.
func (s *State) Reject(r Revoked, seq int64, hasPositive bool) (*Stop, bool) {
	if !hasPositive || s.isLive(r.Digest) {
		return nil, false
	}
	stop := s.stop().clone()
	r.Kind, r.Seq = report.EventRejected, seq
	stop.revoke(s.live(), r)
	return &stop, true
}

// RollBack returns the state that a rollback writes, with this seq: the digest that
// is replaced is revoked, and so are others that are left for the same reason; goal
// is what the target shall show, and the target is on hold. A nil hold leaves that as
// it is.
func (s *State) RollBack(left Revoked, goal report.Digest, seq int64, hold *Hold, also ...Revoked) *Stop {
	stop := s.stop().clone()
	for _, r := range append([]Revoked{left}, also...) {
		r.Kind, r.Seq = report.EventRolledBack, seq
		if r.Digest != goal { // one digest of two commits is not revoked and restored at once
			stop.revoke(s.live(), r)
		}
	}
	stop.Goal, stop.GoalSeq = goal, seq
	if hold != nil {
		stop.Held = hold
	}
	return &stop
}

func (s Stop) clone() Stop {
	s.Revoked = slices.Clone(s.Revoked)
	return s
}

// revoke adds revocations. A digest has one entry: the newest, and the graver kind.
// Where there is no room, the oldest entry makes place and raises the floor. Never
// one of live: the floor doesn't stop those.
func (s *Stop) revoke(live []Live, more ...Revoked) {
	for _, r := range more {
		i := s.find(r.Digest)
		if i < 0 {
			s.Revoked = append(s.Revoked, r)
			continue
		}
		old := &s.Revoked[i]
		old.Seq, old.SHA = max(old.Seq, r.Seq), cmp.Or(old.SHA, r.SHA)
		if r.Kind == report.EventRolledBack {
			old.Kind = r.Kind
		}
	}
	slices.SortStableFunc(s.Revoked, func(a, b Revoked) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Digest, b.Digest))
	})
	for len(s.Revoked) > maxRevoked {
		i := slices.IndexFunc(s.Revoked, func(r Revoked) bool {
			return !slices.ContainsFunc(live, func(l Live) bool { return l.Digest == r.Digest })
		})
		s.Floor = max(s.Floor, s.Revoked[i].Seq) // i >= 0: live is shorter than the list
		s.Revoked = slices.Delete(s.Revoked, i, i+1)
	}
}

// Merge adds to a stop head what other trusted stop records say that were written
// at the same time: revocations of both, on hold if any is, the newest goal. A nil
// Head or one without stop state adds nothing.
func (s *State) Merge(others ...*Head) *Stop {
	stop := s.stop().clone()
	for _, o := range others {
		if o == nil || o.Stop == nil {
			continue
		}
		stop.revoke(s.live(), o.Stop.Revoked...)
		stop.Floor = max(stop.Floor, o.Stop.Floor)
		if stop.Held == nil {
			stop.Held = o.Stop.Held
		}
		if o.Stop.GoalSeq > stop.GoalSeq {
			stop.Goal, stop.GoalSeq = o.Stop.Goal, o.Stop.GoalSeq
		}
	}
	return &stop
}

// ErrNoGoal is a rollback that has nowhere to go. It is wrapped.
var ErrNoGoal = errors.New("no earlier digests to restore")

// A Goal is what a rollback restores.
type Goal struct {
	SHA     report.Commit            // empty: from before records began
	Digests map[string]report.Digest // by image
}

// CurrentGoal returns the goal of the newest rollback, if no promotion came after
// it on some image: a rollback that is run again finishes it, or finds it done.
func (v View) CurrentGoal() (Goal, bool) {
	var lead *State
	for i := range v {
		if s := &v[i]; s.goalCurrent() && (lead == nil || s.Stop.Stop.GoalSeq > lead.Stop.Stop.GoalSeq) {
			lead = s
		}
	}
	if lead == nil {
		return Goal{}, false
	}
	goal := Goal{Digests: map[string]report.Digest{}}
	for _, l := range lead.live() {
		if l.Digest == lead.Stop.Stop.Goal {
			goal.SHA = l.SHA
			break
		}
	}
	for i := range v {
		s := &v[i]
		switch named := lead.Stop.Images[s.Image]; {
		case s == lead:
			goal.Digests[s.Image] = lead.Stop.Stop.Goal
		case named != "":
			goal.Digests[s.Image] = named
		case s.goalCurrent():
			goal.Digests[s.Image] = s.Stop.Stop.Goal
		default: // a hold or release came after the record that names it
			if d, known := s.Find(goal.SHA); known {
				goal.Digests[s.Image] = d
			}
		}
	}
	return goal, true
}

// Unfinished reports whether the rollback of this goal was left half done: an image's
// head doesn't know it, or a target still shows what it replaced.
func (v View) Unfinished(g Goal) bool {
	var newest int64
	for i := range v {
		if v[i].goalCurrent() {
			newest = max(newest, v[i].stop().GoalSeq)
		}
	}
	for i := range v {
		s := &v[i]
		goal := g.Digests[s.Image]
		if s.Go == nil || s.Stop == nil || goal == "" || s.Go.Seq > newest {
			continue // a promotion came after it
		}
		if s.stop().GoalSeq < newest {
			return true
		}
		_, revoked := s.Revoked(s.Target)
		if s.Target != goal && (revoked || len(s.live()) > 0 && s.Target == s.live()[0].Digest) {
			return true
		}
	}
	return false
}

// At reports whether every target shows the goal.
func (v View) At(g Goal) bool {
	for i := range v {
		if d := g.Digests[v[i].Image]; d == "" || v[i].Target != d {
			return false
		}
	}
	return len(v) > 0
}

// Left returns what a rollback replaces: the newest promotion, unless it was taken
// back and a target still shows something else.
func (v View) Left() Live {
	for i := range v {
		s := &v[i]
		if s.Go != nil && s.Go.Event == report.EventUndone && s.Target != "" && s.Target != s.Want() {
			return s.Entry(s.Target)
		}
	}
	for i := range v {
		if live := v[i].live(); len(live) > 0 && live[0].Digest == v[i].Target {
			return live[0]
		}
	}
	if len(v) == 0 {
		return Live{}
	}
	return v[0].Entry(v[0].Target)
}

// Entry returns what is known of a digest of the image.
func (s *State) Entry(d report.Digest) Live {
	for _, l := range s.live() {
		if l.Digest == d {
			return l
		}
	}
	return Live{Digest: d}
}

// Find returns the digest of a commit that was in production; false: it was not lately.
func (s *State) Find(sha report.Commit) (report.Digest, bool) {
	for _, l := range s.live() {
		if l.SHA.Same(sha) {
			return l.Digest, true
		}
	}
	return "", false
}

// Order says how a digest stands to the one that the target shows, by which replaced
// which: behind, if it was in production before, ahead, if after. Unknown: one of
// them was not in production lately.
func (s *State) Order(d report.Digest) report.Relation {
	of := func(d report.Digest) int {
		return slices.IndexFunc(s.live(), func(l Live) bool { return l.Digest == d })
	}
	mine, shown := of(d), of(s.Target)
	switch {
	case mine < 0 || shown < 0:
		return report.UnknownRelation
	case mine > shown:
		return report.Behind
	case mine < shown:
		return report.Ahead
	}
	return report.Identical
}

// Goals returns where a rollback without a named commit may go, the best first: the
// commits that were live on all images before the one that is replaced, and are
// revoked on none. Digests without a known commit go together if each image has one
// of them.
func (v View) Goals() []Goal {
	// Where a target is absent, a first promotion was left half done.
	if len(v) == 0 || slices.ContainsFunc(v, func(s State) bool { return s.Target == "" }) {
		return nil
	}
	left, live := v.Left(), v[0].live()
	// Never forward: a promotion that was killed before its move heads the list.
	after := slices.IndexFunc(live, func(l Live) bool { return l.same(left) || l.SHA.Same(left.SHA) }) + 1
	var goals []Goal
	for _, l := range live[after:] {
		if l.SHA.Same(left.SHA) {
			continue
		}
		if goal, ok := v.goalOf(l.SHA); ok {
			goals = append(goals, goal)
		}
	}
	return goals
}

// PreviousGoal is the best of [View.Goals]. The error wraps [ErrNoGoal].
func (v View) PreviousGoal() (Goal, error) {
	if goals := v.Goals(); len(goals) > 0 {
		return goals[0], nil
	}
	return Goal{}, fmt.Errorf("%w: no other commit was live on all images and is not revoked; name one with its sha", ErrNoGoal)
}

// goalOf finds a commit in every image's list.
func (v View) goalOf(sha report.Commit) (Goal, bool) {
	goal := Goal{SHA: sha, Digests: map[string]report.Digest{}}
	for i := range v {
		var found []report.Digest
		for _, l := range v[i].live() {
			if l.SHA == sha || sha.Same(l.SHA) {
				found = append(found, l.Digest)
			}
		}
		if len(found) == 0 || sha == "" && len(found) > 1 {
			return Goal{}, false
		}
		if _, revoked := v.Revoked(found[0]); revoked {
			return Goal{}, false
		}
		goal.Digests[v[i].Image] = found[0]
	}
	return goal, true
}

package promote_test

import (
	"slices"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// attack is what somebody does, at one moment, who may push and has no key: he can hide records
// and put them elsewhere, never alter them.
//
//   - "others": moves targets, removes records, lists and images that no head needs
//   - "one head": that, and puts an older record behind one head, or nothing
//   - "all heads": puts everything back to what it was at the start
func (s *schedule) attack(how string, dice *dice) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if how == "all heads" {
		s.replay()
		return
	}
	to := commitOrder[dice.roll(len(commitOrder))]
	for range 1 + dice.roll(8) {
		i := dice.roll(s.images)
		shelf := s.repos[repoName(i)]
		switch dice.roll(4) {
		case 0:
			for d, sha := range s.commits {
				if shelf.manifests[d].raw != nil && sha == to {
					s.trace("attacker moves the target of %s to %s", repoName(i), commitNames[to])
					shelf.point(hubTarget, time.Now(), d)
				}
			}
		case 1:
			for tag := range shelf.tags {
				if strings.HasPrefix(tag, "sha256-") {
					s.trace("attacker removes the list %s", tag)
					shelf.point(tag, time.Now(), "")
				}
			}
		default:
			s.erase(i, dice)
		}
	}
	if s.state == full {
		s.forget(commitC1)
	}
	if how == "one head" {
		s.rewind(dice.roll(s.images), ledger.Kind(dice.roll(2)), dice)
	}
}

// erase removes a record that is not behind a head.
func (s *schedule) erase(i int, dice *dice) {
	shelf := s.repos[repoName(i)]
	d := shelf.order[dice.roll(len(shelf.order))]
	if shelf.manifests[d].subject != "" && !s.behindTag(shelf, d) {
		s.trace("attacker removes %s from %s", s.short(string(d)), repoName(i))
		delete(shelf.manifests, d)
	}
}

// forget removes what speaks against a commit and is not behind a head.
func (s *schedule) forget(sha report.Commit) {
	for i := range s.images {
		shelf := s.repos[repoName(i)]
		for _, h := range s.records(i) {
			if s.commits[h.Subject] == sha && !h.Event.Positive() && !s.behindTag(shelf, h.Digest) {
				s.trace("attacker removes %s from %s", s.short(string(h.Digest)), repoName(i))
				delete(shelf.manifests, h.Digest)
			}
		}
	}
}

// behindTag reports whether a tag shows a manifest, showed it last, or will.
func (s *schedule) behindTag(shelf *shelf, d report.Digest) bool {
	for _, versions := range shelf.tags {
		for _, v := range versions[max(0, len(versions)-2):] {
			if v.digest == d {
				return true
			}
		}
	}
	return false
}

// rewind puts an older record behind a head, or removes the head.
func (s *schedule) rewind(i int, kind ledger.Kind, dice *dice) {
	tag, err := ledger.HeadTag(hubTarget, kind)
	if err != nil {
		s.t.Fatal(err)
	}
	shelf := s.repos[repoName(i)]
	now, _, _ := shelf.shows(tag, time.Now())
	older := slices.DeleteFunc(s.records(i), func(h *ledger.Head) bool {
		return kind == ledger.GoHead && h.Go == nil || kind == ledger.StopHead && h.Stop == nil || h.Digest == now
	})
	var d report.Digest
	if len(older) > 0 {
		d = older[dice.roll(len(older))].Digest
	}
	s.trace("attacker puts %s behind %s of %s", s.short(string(d)), tag, repoName(i))
	shelf.point(tag, time.Now(), d)
}

// replay puts everything back to what it was when the schedule began.
func (s *schedule) replay() {
	for _, shelf := range s.repos {
		for tag, versions := range shelf.tags {
			first := version{from: time.Now()}
			if versions[0].from.IsZero() {
				first.digest = versions[0].digest
			}
			shelf.tags[tag] = append(versions, first)
		}
	}
}

// admit asks whether an image may run.
func (s *schedule) admit(reference string) report.Admission {
	c := s.config()
	c.Transport, c.Images = s.gate("admit", op{}).line, nil
	c.Signer = nil
	if s.witness != nil {
		c.Witness = &told{s.witness, s.gate("admit", op{}).line}
	}
	a, err := promote.Admit(s.t.Context(), c, reference)
	s.trace("admit %s: %+v, %v", reference, a, err)
	if err != nil {
		a.Admitted = false
	}
	return a
}

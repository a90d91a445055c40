package ledger

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A simulation makes decisions one after the other, writes each as a record and
// goes on from what it reads back. It keeps apart what people were promised.
type simulation struct {
	t       *testing.T
	rand    *rand.Rand
	view    View
	seq     int64
	held    bool
	revoked map[report.Digest]string // image of each digest that was rolled back
	log     []string
}

func (m *simulation) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\nafter %v", fmt.Sprintf(format, args...), m.log)
}

// write puts a record behind a head of one image.
func (m *simulation) write(i int, event report.Event, subject report.Digest, g *Go, s *Stop, saw map[string]Seen) {
	m.t.Helper()
	state := &m.view[i]
	r := &Record{Event: event, Time: noon, Image: state.Image, Subject: subject, Target: target, Decision: id,
		Seq: m.seq, Saw: saw, Go: g, Stop: s}
	kind, to := GoHead, &state.Go
	if s != nil {
		kind, to = StopHead, &state.Stop
	}
	h, err := (Trust{}).OpenHead(seal(m.t, r, nil).Manifest, kind, state.Image, target)
	if err != nil {
		m.fail("%s is written and not read again: %v", event, err)
	}
	*to = h
}

// each writes one decision on both images, from one look.
func (m *simulation) each(event report.Event, f func(i int, s *State) (report.Digest, *Go, *Stop)) {
	m.t.Helper()
	look := append(View(nil), m.view...)
	next, err := look.Next()
	if err != nil || next <= m.seq {
		m.fail("seq %d after %d, %v", next, m.seq, err)
	}
	m.seq = next
	for i := range look {
		subject, g, s := f(i, &look[i])
		if g != nil || s != nil {
			m.write(i, event, subject, g, s, look.Saw())
		}
	}
}

func digestFor(image int, name string) report.Digest { return dig(fmt.Sprint(name, image)) }

func (m *simulation) promote(name string, force bool) {
	candidates := map[string]Candidate{}
	for i := range m.view {
		candidates[m.view[i].Image] = Candidate{Digest: digestFor(i, name)}
	}
	refusals := m.view.Refusals(report.ModeVerify, candidates)
	already := m.view[0].Target == digestFor(0, name)
	if len(refusals) == 0 && (m.held && !already || m.revoked[digestFor(0, name)] != "") {
		m.fail("%s may be promoted; held: %v", name, m.held)
	}
	if len(refusals) > 0 && !force {
		return
	}
	m.each(report.EventVerified, func(i int, s *State) (report.Digest, *Go, *Stop) {
		d := digestFor(i, name)
		delete(m.revoked, d)
		return d, s.Promote(Live{Digest: d, SHA: sha(name)}, m.seq, force), nil
	})
	for i := range m.view {
		m.view[i].Target = digestFor(i, name)
	}
}

func (m *simulation) rollback() {
	if _, current := m.view.CurrentGoal(); current {
		return
	}
	goal, err := m.view.PreviousGoal()
	if err != nil {
		return
	}
	m.each(report.EventRolledBack, func(_ int, s *State) (report.Digest, *Go, *Stop) {
		if m.revoked[goal.Digests[s.Image]] != "" {
			m.fail("restores %s, which is revoked", goal.SHA)
		}
		m.revoked[s.Target] = s.Image
		return s.Target, nil, s.RollBack(Revoked{Digest: s.Target}, goal.Digests[s.Image], m.seq, &Hold{At: noon})
	})
	m.held = true
	for i := range m.view {
		m.view[i].Target = goal.Digests[m.view[i].Image]
	}
	if again, current := m.view.CurrentGoal(); !current || !m.view.At(again) {
		m.fail("a rollback that is run again does not find itself done")
	}
}

func (m *simulation) step() {
	name := string(rune('a' + m.rand.IntN(14)))
	action := m.rand.IntN(10)
	m.log = append(m.log, fmt.Sprint(action, name))
	switch action {
	case 0, 1, 2, 3:
		m.promote(name, false)
	case 4:
		m.promote(name, true)
	case 5, 6:
		m.rollback()
	case 7:
		m.each(report.EventReleased, func(_ int, s *State) (report.Digest, *Go, *Stop) { return s.Target, nil, s.Release() })
		m.held = false
	case 8:
		m.each(report.EventHeld, func(_ int, s *State) (report.Digest, *Go, *Stop) { return s.Target, nil, s.Hold(Hold{At: noon}) })
		m.held = true
	default:
		for range 14 { // fills the lists
			m.each(report.EventRejected, func(i int, s *State) (report.Digest, *Go, *Stop) {
				d := digestFor(i, fmt.Sprint("red", m.rand.IntN(500)))
				if stop, ok := s.Reject(Revoked{Digest: d}, m.seq, true); ok {
					return d, nil, stop
				}
				return d, nil, nil
			})
		}
	}
}

// check compares what the heads say with what people were promised.
func (m *simulation) check() {
	if (m.view.Held() != nil) != m.held {
		m.fail("held: %v, people were promised %v", m.view.Held(), m.held)
	}
	for i := range m.view {
		s := &m.view[i]
		if s.Want() != s.Target || s.Foreign() {
			m.fail("wants %s, shows %s", s.Want(), s.Target)
		}
		for d, image := range m.revoked {
			old := &Head{Record: Record{Event: report.EventVerified, Subject: d, Seq: 1}}
			if image == s.Image && (s.Want() == d || s.AdmitDigest(d, []*Head{old}).Admitted) {
				m.fail("%s was rolled back, and may run", d)
			}
		}
	}
	if missing := m.view.Newer(nil); missing != nil {
		m.fail("heads name newer ones than are there: %+v", missing)
	}
}

// TestRandomDecisions: whatever is decided one after the other, a hold stays until
// it is released, what was rolled back stays so until it is forced, no goal is
// revoked, every record can be read, and the lists stay within their limits (which
// reading checks).
func TestRandomDecisions(t *testing.T) {
	for seed := range uint64(2) {
		m := &simulation{t: t, rand: rand.New(rand.NewPCG(seed, 7)), revoked: map[report.Digest]string{}}
		m.view = View{{Image: app}, {Image: other}}
		m.seq = 1
		for i := range m.view {
			m.view[i].Target = digestFor(i, "start")
			g, s := m.view[i].Begin(Live{Digest: m.view[i].Target, SHA: sha("start")}, nil, nil, 1)
			m.write(i, report.EventBegun, m.view[i].Target, g, nil, nil)
			m.write(i, report.EventBegun, m.view[i].Target, nil, s, nil)
		}
		for range 45 {
			m.step()
			m.check()
		}
	}
}

package ledger

import (
	"strings"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// on is a record of an event on a digest.
func on(name string, e report.Event, seq int64) *Head {
	return &Head{Record: Record{Event: e, Subject: dig(name), Seq: seq, Time: noon}}
}

func TestRefusals(t *testing.T) {
	with := func(s Stop) State { x := state(); x.Stop = stopHead(11, s); return x }
	headless := state()
	headless.Stop = nil
	hold := &Hold{By: "ada", At: noon, Reason: "incident"}
	tests := []struct {
		name      string
		state     State
		mode      report.Mode
		candidate string
		records   []*Head
		want      []Rule
	}{
		{"verify", state(), report.ModeVerify, "d", nil, nil},
		{"verify, rolled back", with(Stop{Revoked: []Revoked{rolledBack("d", 9)}}), report.ModeVerify, "d", nil, []Rule{RuleRevoked}},
		{"verify, rejected before", with(Stop{Revoked: []Revoked{rejected("d", 9)}}), report.ModeVerify, "d", nil, nil},
		{"verify, on hold", with(Stop{Held: hold}), report.ModeVerify, "d", nil, []Rule{RuleHeld}},
		{"verify, on hold, target shows it", with(Stop{Held: hold}), report.ModeVerify, "c", nil, nil},
		{"verify, no stop head", headless, report.ModeVerify, "d", nil, []Rule{RuleNoHead}},
		{"everything at once, in order", with(Stop{Held: hold, Revoked: []Revoked{rolledBack("d", 9)}}), report.ModePromote, "d", nil, []Rule{RuleRevoked, RuleHeld}},
		{"promote, no record", state(), report.ModePromote, "d", nil, []Rule{RuleRecord}},
		{"promote, verified", state(), report.ModePromote, "d", []*Head{on("d", report.EventVerified, 5)}, nil},
		{"promote, live", state(), report.ModePromote, "a", nil, nil},
		{"promote, record of another digest", state(), report.ModePromote, "d", []*Head{on("e", report.EventVerified, 5)}, []Rule{RuleRecord}},
		{"promote, red since", state(), report.ModePromote, "d", []*Head{on("d", report.EventVerified, 5), on("d", report.EventRejected, 6)}, []Rule{RuleRecord}},
		{"promote, red at the same time", state(), report.ModePromote, "d", []*Head{on("d", report.EventRejected, 5), on("d", report.EventVerified, 5)}, []Rule{RuleRecord}},
		{"promote, green since", state(), report.ModePromote, "d", []*Head{on("d", report.EventRejected, 5), on("d", report.EventVerified, 6)}, nil},
		{"promote, held while it was shown", state(), report.ModePromote, "d", []*Head{on("d", report.EventVerified, 5), on("d", report.EventHeld, 6)}, nil},
		{"promote, rejected by the head", with(Stop{Revoked: []Revoked{rejected("d", 9)}}), report.ModePromote, "d", []*Head{on("d", report.EventVerified, 5)}, []Rule{RuleRevoked}},
		{"promote, at the floor", with(Stop{Floor: 5}), report.ModePromote, "d", []*Head{on("d", report.EventVerified, 5)}, []Rule{RuleRecord}},
		{"promote, above the floor", with(Stop{Floor: 5}), report.ModePromote, "d", []*Head{on("d", report.EventVerified, 6)}, nil},
		{"promote, live, under the floor", with(Stop{Floor: 50}), report.ModePromote, "b", nil, nil},
		{"promote, first form", state(), report.ModePromote, "d", []*Head{on("d", report.EventVerified, 0)}, nil},
		{"promote, first form, under the floor", with(Stop{Floor: 5}), report.ModePromote, "d", []*Head{on("d", report.EventVerified, 0)}, []Rule{RuleRecord}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := View{tt.state}.Refusals(tt.mode, map[string]Candidate{app: {dig(tt.candidate), tt.records}})
			if len(got) != len(tt.want) {
				t.Fatalf("got %+v, want %v", got, tt.want)
			}
			for i, r := range got {
				if r.Rule != tt.want[i] || r.Reason == "" {
					t.Errorf("got %+v, want rule %d", r, tt.want[i])
				}
			}
		})
	}
}

func TestFirstFormIsOrderedByTime(t *testing.T) {
	older, newer := on("d", report.EventRejected, 0), on("d", report.EventVerified, 0)
	newer.Time = noon.Add(time.Hour)
	if got := Newest(dig("d"), []*Head{newer, older}); got != newer {
		t.Errorf("%+v", got)
	}
	if got := Newest(dig("d"), []*Head{newer, on("d", report.EventRejected, 1)}); got == newer {
		t.Error("a record without seq is newer than one with")
	}
}

func TestHoldSaysWhy(t *testing.T) {
	got := (&Hold{By: "ada", At: noon, Reason: "errors in production"}).String()
	if want := "the target is on hold since 2026-05-02 12:00 UTC, by ada: errors in production"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAdmission(t *testing.T) {
	with := func(s Stop) State { x := state(); x.Stop = stopHead(13, s); return x }
	headless := state()
	headless.Go = nil
	moved := state()
	moved.Target = dig("z")
	tests := []struct {
		name    string
		state   State
		digest  string // empty: by tag
		records []*Head
		want    string // digest that is admitted, or else a part of the reason
		ok      bool
	}{
		{"tag", state(), "", nil, "c", true},
		{"tag that an attacker moved", moved, "", nil, "c", true},
		{"tag, rolled back", with(Stop{Goal: dig("b"), GoalSeq: 13, Revoked: []Revoked{rolledBack("c", 13)}}), "", nil, "b", true},
		{"tag, revoked without a goal", with(Stop{Revoked: []Revoked{rolledBack("c", 13)}}), "", nil, "rolled-back", false},
		{"tag, no heads", headless, "", nil, "no trusted records", false},
		{"tag, nothing promoted", State{Go: goHead(1, ""), Stop: stopHead(1, Stop{})}, "", nil, "nothing was promoted", false},
		{"digest, wanted", state(), "c", nil, "c", true},
		{"digest, live before", state(), "a", nil, "a", true},
		{"digest, on hold", with(Stop{Held: &Hold{}}), "c", nil, "c", true},
		{"digest, rolled back", with(Stop{Revoked: []Revoked{rolledBack("b", 13)}}), "b", nil, "rolled-back", false},
		{"digest, verified but never promoted", state(), "d", []*Head{on("d", report.EventVerified, 5)}, "d", true},
		{"digest, verified under the floor", with(Stop{Floor: 5}), "d", []*Head{on("d", report.EventVerified, 5)}, "verify it again", false},
		{"digest, no records", state(), "d", nil, "no trusted record", false},
		{"digest, rejected", state(), "d", []*Head{on("d", report.EventRejected, 5)}, "rejected", false},
		{"digest, no heads", headless, "c", nil, "no trusted records", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.state.AdmitTag()
			if tt.digest != "" {
				got = tt.state.AdmitDigest(dig(tt.digest), tt.records)
			}
			if got.Admitted != tt.ok || tt.ok && got.Digest != dig(tt.want) || !tt.ok && !strings.Contains(got.Reason, tt.want) {
				t.Errorf("%v, %s, %q; want %v, %q", got.Admitted, nameOf(got.Digest), got.Reason, tt.ok, tt.want)
			}
		})
	}
}

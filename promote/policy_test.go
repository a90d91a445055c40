package promote

import (
	"errors"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"strings"
	"testing"
	"time"
)

func TestCheckRevision(t *testing.T) {
	for _, tt := range []struct {
		name, revision  string
		refused, warned bool
	}{
		{"the commit", newSHA, false, false},
		{"its beginning", newSHA[:7], false, false},
		{"in upper case", strings.ToUpper(newSHA), false, false},
		{"another commit", oldSHA, true, false},
		{"too short to tell", newSHA[:6], true, false},
		{"no commit at all", "main", true, false},
		{"none", "", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refusal, warning := checkRevision("host/app", "staging-4c1d56e", newSHA, tt.revision)
			if (refusal != "") != tt.refused || (warning != "") != tt.warned {
				t.Errorf("refusal %q, warning %q", refusal, warning)
			}
		})
	}
}

func TestCheckRecord(t *testing.T) {
	rec := func(e report.Event) *report.Record {
		return &report.Record{Event: e, Time: built[newSHA], Reason: "because"}
	}
	for _, tt := range []struct {
		name            string
		newest          *report.Record
		verify, promote Rule // the rule that refuses
	}{
		{"none", nil, "", RuleNotGreen},
		{"verified", rec(report.EventVerified), "", ""},
		{"promoted by hand", rec(report.EventPromoted), "", ""},
		{"rejected is judged again", rec(report.EventRejected), "", RuleNotGreen},
		{"rolled back", rec(report.EventRolledBack), RuleRolledBack, RuleRolledBack},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for policy, want := range map[Policy]Rule{ForVerify: tt.verify, ForPromote: tt.promote} {
				rule, refusal := checkRecord(policy, "host/app", report.Digest("sha256:"+strings.Repeat("a", 64)), tt.newest)
				if rule != want || (refusal != "") != (want != "") {
					t.Errorf("policy %d: rule %q, refusal %q; want %q", policy, rule, refusal, want)
				}
				if refusal != "" && tt.newest != nil && !strings.Contains(refusal, "because") {
					t.Errorf("the record's reason is not shown: %q", refusal)
				}
			}
		})
	}
}

func TestCheckOrder(t *testing.T) {
	early, later := built[oldSHA], built[newSHA]
	var unknown time.Time
	for _, tt := range []struct {
		name             string
		relation         report.Relation
		unanswered       string
		oldTime, newTime time.Time
		oldRev           string
		refused, warned  bool
	}{
		{"ahead, whatever the times", report.Ahead, "", later, early, oldSHA, false, false},
		{"the same commit built again", report.Identical, "", later, early, oldSHA, false, false},
		{"behind, whatever the times", report.Behind, "", early, later, oldSHA, true, false},
		{"diverged, created later", report.Diverged, "", early, later, oldSHA, false, true},
		{"diverged, created earlier", report.Diverged, "", later, early, oldSHA, true, false},
		{"diverged, times unknown", report.Diverged, "", unknown, later, oldSHA, false, true},
		{"not asked, created later", report.UnknownRelation, "", early, later, oldSHA, false, false},
		{"not asked, created earlier", report.UnknownRelation, "", later, early, oldSHA, true, false},
		{"not asked, the same time", report.UnknownRelation, "", later, later, oldSHA, false, true},
		{"not asked, old time unknown", report.UnknownRelation, "", unknown, later, oldSHA, false, true},
		{"not asked, new time unknown", report.UnknownRelation, "", later, unknown, oldSHA, false, true},
		{"not asked, the same commit", report.UnknownRelation, "", later, early, newSHA, false, false},
		{"the forge is down, created later", report.UnknownRelation, "no answer", early, later, oldSHA, false, true},
		{"the forge is down, created earlier", report.UnknownRelation, "no answer", later, early, oldSHA, true, false},
		{"nothing is known", report.UnknownRelation, "", unknown, unknown, "", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refusal, warning := checkOrder(succession{
				image: "host/app", target: "latest", oldRev: tt.oldRev, newSHA: newSHA,
				oldTime: tt.oldTime, newTime: tt.newTime, relation: tt.relation, unanswered: tt.unanswered,
			})
			if (refusal != "") != tt.refused || (warning != "") != tt.warned {
				t.Errorf("refusal %q, warning %q", refusal, warning)
			}
			if text := refusal + warning; tt.unanswered != "" && !strings.Contains(text, tt.unanswered) {
				t.Errorf("it does not say that the forge did not answer: %q", text)
			}
		})
	}
}

func TestPickARollback(t *testing.T) {
	var zero time.Time
	green := func(sha report.Commit) step {
		r := &report.Record{Event: report.EventVerified, SHA: sha, Time: zero.Add(time.Hour), Replaced: "sha256:r"}
		return step{digest: report.Digest("d-" + sha.Short()), shas: []report.Commit{sha}, newest: r, arrival: r}
	}
	bad := func(sha report.Commit, e report.Event) step {
		s := green(sha)
		s.newest = &report.Record{Event: e}
		return s
	}
	before := func(sha report.Commit) step {
		s := step{digest: report.Digest("d-" + sha.Short()), before: true}
		if sha.Whole() {
			s.shas = []report.Commit{sha}
		}
		return s
	}
	gone := step{digest: "d-gone", before: true, broken: "this digest is no longer in the registry"}
	for _, tt := range []struct {
		name   string
		chains [][]step
		want   string // digests
		why    string
	}{
		{"one back", [][]step{{green(topSHA), green(newSHA), green(oldSHA)}, {green(topSHA), green(newSHA), green(oldSHA)}}, "d-4c1d56e d-4c1d56e", ""},
		{"what is rolled back already is not a goal", [][]step{{bad(topSHA, report.EventRolledBack), green(newSHA)}, {bad(topSHA, report.EventRolledBack), green(newSHA)}}, "d-4c1d56e d-4c1d56e", ""},
		{"over a rejected one", [][]step{{green(topSHA), bad(newSHA, report.EventRejected), green(oldSHA)}, {green(topSHA), green(newSHA), green(oldSHA)}}, "d-1f0c7be d-1f0c7be", ""},
		{"over one that only one image had", [][]step{{green(topSHA), green(newSHA), green(oldSHA)}, {green(topSHA), green(oldSHA)}}, "d-1f0c7be d-1f0c7be", ""},
		{"split: the one that is restored already stays", [][]step{{green(topSHA), green(newSHA)}, {green(newSHA), green(oldSHA)}}, "d-4c1d56e d-4c1d56e", ""},
		{"split the other way", [][]step{{green(newSHA), green(oldSHA)}, {green(topSHA), green(newSHA)}}, "d-4c1d56e d-4c1d56e", ""},
		{"before records began", [][]step{{green(topSHA), before(oldSHA)}, {green(topSHA), before(oldSHA)}}, "d-1f0c7be d-1f0c7be", ""},
		{"before records began, no label", [][]step{{green(topSHA), before("a")}, {green(topSHA), before("b")}}, "d-a d-b", ""},
		{"before records began, different commits", [][]step{{green(topSHA), before(oldSHA)}, {green(topSHA), before(newSHA)}}, "d-1f0c7be d-4c1d56e", ""},
		{"before records began, but gone", [][]step{{green(topSHA), gone}, {green(topSHA), before("b")}}, "", "no longer in the registry"},
		{"nothing before", [][]step{{green(topSHA)}, {green(topSHA)}}, "", "no record says"},
		{"only bad ones", [][]step{{green(topSHA), bad(newSHA, report.EventRejected)}, {green(topSHA), bad(newSHA, report.EventRejected)}}, "", "rejected"},
		{"no target", [][]step{{}, {green(topSHA), green(newSHA)}}, "", "does not exist"},
		{"no records at all", [][]step{{{digest: "d"}}, {{digest: "d"}}}, "", "no record says"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, why := pick(tt.chains)
			var got string
			for _, d := range c.digests {
				got = strings.TrimSpace(got + " " + string(d))
			}
			if got != tt.want || !strings.Contains(why, tt.why) {
				t.Errorf("%q (%s), want %q (%s)", got, why, tt.want, tt.why)
			}
		})
	}
}

func TestRefusalsAreOneError(t *testing.T) {
	var r refusals
	if r.err() != nil {
		t.Error("nothing was refused")
	}
	r.add(RuleRolledBack, "one")
	r.add(RuleBackwards, "")
	r.add(RuleBackwards, "two")
	var refused *RefusedError
	if err := r.err(); !errors.As(err, &refused) || refused.Rule != RuleRolledBack || refused.Reason != "one; two" {
		t.Errorf("%+v", err)
	}
}

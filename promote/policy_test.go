package promote

import (
	"errors"
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
	rec := func(e Event) *Record { return &Record{Event: e, Time: built[newSHA], Reason: "because"} }
	for _, tt := range []struct {
		name            string
		newest          *Record
		verify, promote string // the rule that refuses
	}{
		{"none", nil, "", ruleGreen},
		{"verified", rec(Verified), "", ""},
		{"promoted by hand", rec(PromotedBy), "", ""},
		{"rejected is judged again", rec(Rejected), "", ruleGreen},
		{"rolled back", rec(RolledBack), ruleRolled, ruleRolled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for policy, want := range map[Policy]string{ForVerify: tt.verify, ForPromote: tt.promote} {
				rule, refusal := checkRecord(policy, "host/app", "sha256:"+strings.Repeat("a", 64), tt.newest)
				if rule != want || (refusal != "") != (want != "") {
					t.Errorf("policy %d: rule %q, refusal %q; want %q", policy, rule, refusal, want)
				}
				if refusal != "" && tt.newest != nil && !strings.Contains(refusal, "because") {
					t.Errorf("the record's reason is not told: %q", refusal)
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
		relation         Relation
		asked            string
		oldTime, newTime time.Time
		oldRev           string
		refused, warned  bool
	}{
		{"ahead, whatever the times", Ahead, "", later, early, oldSHA, false, false},
		{"the same commit built again", Same, "", later, early, oldSHA, false, false},
		{"behind, whatever the times", Behind, "", early, later, oldSHA, true, false},
		{"diverged, created later", Diverged, "", early, later, oldSHA, false, true},
		{"diverged, created earlier", Diverged, "", later, early, oldSHA, true, false},
		{"diverged, times unknown", Diverged, "", unknown, later, oldSHA, false, true},
		{"not asked, created later", UnknownRelation, "", early, later, oldSHA, false, false},
		{"not asked, created earlier", UnknownRelation, "", later, early, oldSHA, true, false},
		{"not asked, the same time", UnknownRelation, "", later, later, oldSHA, false, true},
		{"not asked, old time unknown", UnknownRelation, "", unknown, later, oldSHA, false, true},
		{"not asked, new time unknown", UnknownRelation, "", later, unknown, oldSHA, false, true},
		{"not asked, the same commit", UnknownRelation, "", later, early, newSHA, false, false},
		{"the forge is down, created later", UnknownRelation, "no answer", early, later, oldSHA, false, true},
		{"the forge is down, created earlier", UnknownRelation, "no answer", later, early, oldSHA, true, false},
		{"nothing is known", UnknownRelation, "", unknown, unknown, "", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refusal, warning := checkOrder(succession{
				image: "host/app", target: "latest", oldRev: tt.oldRev, newRev: newSHA,
				oldTime: tt.oldTime, newTime: tt.newTime, relation: tt.relation, asked: tt.asked,
			})
			if (refusal != "") != tt.refused || (warning != "") != tt.warned {
				t.Errorf("refusal %q, warning %q", refusal, warning)
			}
			if text := refusal + warning; tt.asked != "" && !strings.Contains(text, tt.asked) {
				t.Errorf("that the forge did not tell is not told: %q", text)
			}
		})
	}
}

func TestPickARollback(t *testing.T) {
	var zero time.Time
	green := func(sha string) step {
		r := &Record{Event: Verified, SHA: sha, Time: zero.Add(time.Hour), Replaced: "sha256:r"}
		return step{digest: "d-" + short(sha), shas: []string{sha}, newest: r, arrival: r}
	}
	bad := func(sha string, e Event) step {
		s := green(sha)
		s.newest = &Record{Event: e}
		return s
	}
	before := func(sha string) step {
		s := step{digest: "d-" + short(sha), before: true}
		if len(sha) == 40 {
			s.shas = []string{sha}
		}
		return s
	}
	gone := step{digest: "d-gone", before: true, broken: "this digest is not in the registry any more"}
	for _, tt := range []struct {
		name   string
		chains [][]step
		want   string // digests
		why    string
	}{
		{"one back", [][]step{{green(topSHA), green(newSHA), green(oldSHA)}, {green(topSHA), green(newSHA), green(oldSHA)}}, "d-4c1d56e d-4c1d56e", ""},
		{"what is rolled back already is no goal", [][]step{{bad(topSHA, RolledBack), green(newSHA)}, {bad(topSHA, RolledBack), green(newSHA)}}, "d-4c1d56e d-4c1d56e", ""},
		{"over a rejected one", [][]step{{green(topSHA), bad(newSHA, Rejected), green(oldSHA)}, {green(topSHA), green(newSHA), green(oldSHA)}}, "d-1f0c7be d-1f0c7be", ""},
		{"over one that only one image had", [][]step{{green(topSHA), green(newSHA), green(oldSHA)}, {green(topSHA), green(oldSHA)}}, "d-1f0c7be d-1f0c7be", ""},
		{"split: the one that is back already stays", [][]step{{green(topSHA), green(newSHA)}, {green(newSHA), green(oldSHA)}}, "d-4c1d56e d-4c1d56e", ""},
		{"split the other way", [][]step{{green(newSHA), green(oldSHA)}, {green(topSHA), green(newSHA)}}, "d-4c1d56e d-4c1d56e", ""},
		{"before records began", [][]step{{green(topSHA), before(oldSHA)}, {green(topSHA), before(oldSHA)}}, "d-1f0c7be d-1f0c7be", ""},
		{"before records began, no label", [][]step{{green(topSHA), before("a")}, {green(topSHA), before("b")}}, "d-a d-b", ""},
		{"before records began, different commits", [][]step{{green(topSHA), before(oldSHA)}, {green(topSHA), before(newSHA)}}, "d-1f0c7be d-4c1d56e", ""},
		{"before records began, but gone", [][]step{{green(topSHA), gone}, {green(topSHA), before("b")}}, "", "not in the registry"},
		{"nothing before", [][]step{{green(topSHA)}, {green(topSHA)}}, "", "no record tells"},
		{"only bad ones", [][]step{{green(topSHA), bad(newSHA, Rejected)}, {green(topSHA), bad(newSHA, Rejected)}}, "", "rejected"},
		{"no target", [][]step{{}, {green(topSHA), green(newSHA)}}, "", "does not exist"},
		{"no records at all", [][]step{{{digest: "d"}}, {{digest: "d"}}}, "", "no record tells"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, why := pick(tt.chains)
			if got := strings.Join(c.digests, " "); got != tt.want || !strings.Contains(why, tt.why) {
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
	r.add(ruleRolled, "one")
	r.add(ruleBackwards, "")
	r.add(ruleBackwards, "two")
	var refused *RefusedError
	if err := r.err(); !errors.As(err, &refused) || refused.Rule != ruleRolled || refused.Reason != "one; two" {
		t.Errorf("%+v", err)
	}
}

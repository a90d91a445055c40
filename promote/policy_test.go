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

func TestCheckOrder(t *testing.T) {
	early, later := built[oldSHA], built[newSHA]
	var unknown time.Time
	const notAsked = report.UnknownRelation
	for _, tt := range []struct {
		name             string
		relation         report.Relation
		unanswered       string
		recorded         report.Relation
		oldTime, newTime time.Time
		oldRev           string
		rule             Rule
		warned           bool
	}{
		{"ahead, whatever the times", report.Ahead, "", report.Behind, later, early, oldSHA, "", false},
		{"the same commit built again", report.Identical, "", notAsked, later, early, oldSHA, "", false},
		{"behind, whatever the times", report.Behind, "", report.Ahead, early, later, oldSHA, RuleBackwards, false},
		{"diverged, created later", report.Diverged, "", notAsked, early, later, oldSHA, RuleDiverged, false},
		{"replaced before, created later", notAsked, "", report.Behind, early, later, oldSHA, RuleBackwards, false},
		{"replaced it before, created earlier", notAsked, "", report.Ahead, later, early, oldSHA, "", false},
		{"the forge is down, replaced before", notAsked, "no answer", report.Behind, early, later, oldSHA, RuleBackwards, false},
		{"not asked, created later", notAsked, "", notAsked, early, later, oldSHA, "", false},
		{"not asked, created earlier", notAsked, "", notAsked, later, early, oldSHA, RuleBackwards, false},
		{"not asked, the same time", notAsked, "", notAsked, later, later, oldSHA, RuleOrderUnknown, false},
		{"not asked, old time unknown", notAsked, "", notAsked, unknown, later, oldSHA, RuleOrderUnknown, false},
		{"not asked, new time unknown", notAsked, "", notAsked, later, unknown, oldSHA, RuleOrderUnknown, false},
		{"not asked, the same commit", notAsked, "", notAsked, later, early, newSHA, "", false},
		{"the forge is down, created later", notAsked, "no answer", notAsked, early, later, oldSHA, "", true},
		{"the forge is down, created earlier", notAsked, "no answer", notAsked, later, early, oldSHA, RuleBackwards, false},
		{"nothing is known", notAsked, "", notAsked, unknown, unknown, "", RuleOrderUnknown, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rule, refusal, warning := checkOrder(succession{
				image: "host/app", target: "latest", oldRev: tt.oldRev, newSHA: newSHA,
				oldTime: tt.oldTime, newTime: tt.newTime, relation: tt.relation, unanswered: tt.unanswered, recorded: tt.recorded,
			})
			if rule != tt.rule || (refusal != "") != (tt.rule != "") || (warning != "") != tt.warned {
				t.Errorf("rule %q, refusal %q, warning %q", rule, refusal, warning)
			}
			if text := refusal + warning; tt.unanswered != "" && !strings.Contains(text, tt.unanswered) {
				t.Errorf("it does not say that the forge did not answer: %q", text)
			}
		})
	}
}

func TestRefusalsAreOneError(t *testing.T) {
	var r refusals
	if r.err() != nil {
		t.Error("nothing was refused")
	}
	r.add(RuleHeld, "three")
	r.add(RuleRolledBack, "one")
	r.add(RuleBackwards, "")
	r.add(RuleBackwards, "two")
	r.add(RuleBackwards, "two")
	var refused *RefusedError
	if err := r.err(); !errors.As(err, &refused) || refused.Rule != RuleRolledBack || refused.Reason != "one; two; three" {
		t.Errorf("%+v", err)
	}
}

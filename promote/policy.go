package promote

import (
	"fmt"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A Rule is what forbids a move.
type Rule string

// The rules.
const (
	RuleMissing       Rule = "source missing" // there is no image for the commit
	RuleRevision      Rule = "revision"       // the image was built from another commit
	RuleRolledBack    Rule = "rolled back"    // the image was rolled back before
	RuleBackwards     Rule = "backwards"      // the target is at a newer commit
	RuleNotGreen      Rule = "not green"      // the image has no positive record
	RuleUnknownCommit Rule = "unknown commit" // there is nothing to roll back to
	RuleHeld          Rule = "held"           // promotions of the target are on hold
	RuleNoHead        Rule = "no head"        // the ledger has no trusted head
)

// A RefusedError says that a rule forbids the move, whatever the tenants say.
type RefusedError struct {
	Rule   Rule
	Reason string // one sentence for each image: what was found, on what, what to do
}

// Error returns the reason.
func (e *RefusedError) Error() string { return e.Reason }

// The checks are pure: what they judge was read before. Each returns the reason
// for a refusal, or "", and what is worth a warning.

// checkRevision refuses a candidate whose label names another commit.
func checkRevision(image, source string, sha report.Commit, revision string) (refusal, warning string) {
	switch {
	case revision == "":
		return "", fmt.Sprintf("%s:%s has no label %s, so nothing shows that it was built from %s", image, source, revisionLabel, sha.Short())
	case !sha.Same(commitOf(revision)):
		return fmt.Sprintf("%s:%s was built from %s by its label, not from %s: find out what pushed that tag", image, source, revision, sha), ""
	}
	return "", ""
}

// checkRecord compares the newest record of a candidate with the policy.
func checkRecord(policy Policy, image string, digest report.Digest, newest *report.Record) (rule Rule, refusal string) {
	on := image + "@" + digest.Short()
	switch {
	case newest != nil && newest.Event == report.EventRolledBack:
		return RuleRolledBack, fmt.Sprintf("%s was rolled back %s: fix it in a new commit, or give force with a reason", on, when(newest))
	case policy != ForPromote || newest != nil && newest.Event.Positive():
		return "", ""
	case newest == nil:
		return RuleNotGreen, on + " has no record of a green run: verify it first, or give force with a reason"
	default:
		return RuleNotGreen, fmt.Sprintf("the newest record of %s is %s, %s: verify it again, or give force with a reason", on, newest.Event, when(newest))
	}
}

// when is a record's time and reason for a sentence.
func when(rec *report.Record) string {
	text := "at " + rec.Time.UTC().Format(time.RFC3339)
	if rec.Reason != "" {
		text += " (" + rec.Reason + ")"
	}
	return text
}

// A succession is what is known of the order of two digests of one image.
type succession struct {
	image, target    string
	oldRev           string // of the present image, by its label or record
	newSHA           report.Commit
	oldTime, newTime time.Time
	relation         report.Relation // unknown: nobody knew
	unanswered       string          // why nobody knew; "" where nobody was asked
}

// checkOrder refuses a move backwards. Ancestry decides where it is known, else
// the times of creation do; where neither shows the order, that is a warning.
func checkOrder(s succession) (refusal, warning string) {
	move := fmt.Sprintf("%s:%s would move from %s to %s", s.image, s.target, named(s.oldRev), named(string(s.newSHA)))
	basis := ""
	switch s.relation {
	case report.Identical, report.Ahead:
		return "", ""
	case report.Behind:
		return move + ", which is its ancestor: use rollback to restore it, or give force with a reason", ""
	case report.Diverged:
		basis = "neither commit descends from the other; "
	default:
		if s.newSHA.Same(commitOf(s.oldRev)) {
			return "", ""
		}
		if s.unanswered != "" {
			basis = "the forge did not report their order (" + s.unanswered + "); "
		}
	}
	switch {
	case s.oldTime.IsZero() || s.newTime.IsZero():
		return "", move + ": " + basis + "the images have no time of creation, so their order is unknown"
	case s.newTime.Before(s.oldTime):
		return fmt.Sprintf("%s, which was built earlier (%s, the present one %s): %suse rollback to restore it, or give force with a reason",
			move, s.newTime.Format(time.RFC3339), s.oldTime.Format(time.RFC3339), basis), ""
	case s.newTime.Equal(s.oldTime):
		return "", move + ": " + basis + "both were created at the same time, so their order is unknown"
	case basis != "":
		return "", move + ": " + basis + "by the times of creation, it moves forward"
	}
	return "", ""
}

// named is a revision for a sentence.
func named(revision string) string {
	switch sha := commitOf(revision); {
	case sha != "":
		return sha.Short()
	case revision != "":
		return revision
	default:
		return "an image of unknown commit"
	}
}

// refusals collects what the rules forbid, over all images.
type refusals struct {
	rules   []Rule
	reasons []string
}

func (r *refusals) add(rule Rule, reason string) {
	if reason != "" {
		r.rules = append(r.rules, rule)
		r.reasons = append(r.reasons, reason)
	}
}

// err returns one error for all refusals, with the first one's rule.
func (r *refusals) err() error {
	if len(r.reasons) == 0 {
		return nil
	}
	return &RefusedError{Rule: r.rules[0], Reason: strings.Join(r.reasons, "; ")}
}

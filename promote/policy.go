package promote

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A Rule is what forbids a move.
type Rule string

// The rules, in the order in which refusals are reported.
const (
	RuleMissing       Rule = "source missing"      // there is no image for the commit
	RuleRevision      Rule = "revision"            // the image was built from another commit
	RuleUnfinished    Rule = "unfinished rollback" // a rollback was met half done
	RuleRolledBack    Rule = "rolled back"         // the image was rolled back before
	RuleNoHead        Rule = "no head"             // the ledger has no trusted head
	RuleNotGreen      Rule = "not green"           // the image has no positive record
	RuleBackwards     Rule = "backwards"           // the target is at a newer commit
	RuleDiverged      Rule = "diverged"            // neither commit descends from the other
	RuleOrderUnknown  Rule = "order unknown"       // nothing shows which commit is newer
	RuleHeld          Rule = "held"                // promotions of the target are on hold
	RuleUnknownCommit Rule = "unknown commit"      // there is nothing to roll back to
	RuleNoTarget      Rule = "no target"           // the target tag is absent (hold, release)
)

var precedence = []Rule{
	RuleMissing, RuleRevision, RuleUnfinished, RuleRolledBack, RuleNoHead, RuleNotGreen,
	RuleBackwards, RuleDiverged, RuleOrderUnknown, RuleHeld, RuleUnknownCommit, RuleNoTarget,
}

// maxText is how much of a foreign text is kept, in characters.
const maxText = 500

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

// A succession is what is known of the order of two digests of one image.
type succession struct {
	image, target    string
	oldRev           string // of the present image, by its label or record
	newSHA           report.Commit
	oldTime, newTime time.Time
	relation         report.Relation // by the forge; unknown: it did not say
	unanswered       string          // why it did not say; "" where it was not asked
	recorded         report.Relation // by the ledger: what replaced what
}

// checkOrder refuses a move that is not known to go forward. The forge decides where
// it knows the commits, else the ledger where both were in production, else the
// times of creation.
func checkOrder(s succession) (rule Rule, refusal, warning string) {
	move := fmt.Sprintf("%s:%s would move from %s to %s", s.image, s.target, named(s.oldRev), named(string(s.newSHA)))
	basis := ""
	if s.unanswered != "" {
		basis = "the forge did not report their order (" + s.unanswered + "); "
	}
	const goBack = "use rollback to restore it, or give force with a reason"
	switch {
	case s.relation == report.Identical || s.relation == report.Ahead || s.newSHA.Same(commitOf(s.oldRev)):
		return "", "", ""
	case s.relation == report.Behind:
		return RuleBackwards, move + ", which is its ancestor: " + goBack, ""
	case s.relation == report.Diverged:
		return RuleDiverged, move + ", but neither commit descends from the other: promote one that has both, or give force with a reason", ""
	case s.recorded == report.Behind:
		return RuleBackwards, move + ", which it replaced by the records: " + basis + goBack, ""
	case s.recorded == report.Ahead:
		return "", "", ""
	case s.oldTime.IsZero() || s.newTime.IsZero():
		basis += "the images have no time of creation"
	case s.newTime.Before(s.oldTime):
		return RuleBackwards, fmt.Sprintf("%s, which was built earlier (%s, the present one %s): %s%s",
			move, s.newTime.Format(time.RFC3339), s.oldTime.Format(time.RFC3339), basis, goBack), ""
	case s.newTime.Equal(s.oldTime):
		basis += "both were created at the same time"
	case basis != "":
		return "", "", move + ": " + basis + "by the times of creation, it moves forward"
	default:
		return "", "", ""
	}
	return RuleOrderUnknown, move + ": " + basis + ", so nothing shows which is newer: give a token for the forge, which knows the order of commits, or force with a reason", ""
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
type refusals []RefusedError

func (r *refusals) add(rule Rule, reason string) {
	if reason != "" {
		*r = append(*r, RefusedError{rule, reason})
	}
}

// err returns one error for all refusals, in the order of the rules, with the first
// one's rule.
func (r refusals) err() error {
	if len(r) == 0 {
		return nil
	}
	slices.SortStableFunc(r, func(a, b RefusedError) int {
		return cmp.Compare(slices.Index(precedence, a.Rule), slices.Index(precedence, b.Rule))
	})
	var reasons []string
	for _, refusal := range r {
		if !slices.Contains(reasons, refusal.Reason) {
			reasons = append(reasons, refusal.Reason)
		}
	}
	return &RefusedError{Rule: r[0].Rule, Reason: strings.Join(reasons, "; ")}
}

package promote

import (
	"fmt"
	"strings"
	"time"
)

// The rules. They are pure: what they judge was read before. Each returns the
// reason for a refusal, or "", and what is worth a warning.

// The names of the rules, as [RefusedError.Rule] has them.
const (
	ruleMissing   = "source missing"
	ruleRevision  = "revision"
	ruleRolled    = "rolled back"
	ruleBackwards = "backwards"
	ruleGreen     = "not green"
	ruleUnknown   = "unknown sha"
)

// checkRevision refuses a candidate whose label names another commit.
func checkRevision(image, source, sha, revision string) (refusal, warning string) {
	switch {
	case revision == "":
		return "", fmt.Sprintf("%s:%s has no label %s, so nothing shows that it was built from %s", image, source, revisionLabel, short(sha))
	case !sameCommit(sha, revision):
		return fmt.Sprintf("%s:%s was built from %s by its label, not from %s: look at what pushed that tag", image, source, revision, sha), ""
	}
	return "", ""
}

// checkRecord holds the newest record of a candidate against the policy.
func checkRecord(policy Policy, image, digest string, newest *Record) (rule, refusal string) {
	on := image + "@" + short(digest)
	switch {
	case newest != nil && newest.Event == RolledBack:
		return ruleRolled, fmt.Sprintf("%s was rolled back %s%s: fix it in a new commit, or give force with a reason",
			on, newest.when(), newest.because())
	case policy != ForPromote || newest != nil && newest.Event.passed():
		return "", ""
	case newest == nil:
		return ruleGreen, on + " has no record of a green run: verify it first, or give force with a reason"
	default:
		return ruleGreen, fmt.Sprintf("the newest record of %s is %s, %s%s: verify it again, or give force with a reason",
			on, newest.Event, newest.when(), newest.because())
	}
}

// when tells a record's time for a sentence.
func (rec *Record) when() string { return "at " + rec.Time.UTC().Format(time.RFC3339) }

// because tells a record's reason for a sentence.
func (rec *Record) because() string {
	if rec.Reason == "" {
		return ""
	}
	return " (" + rec.Reason + ")"
}

// A succession is what is known of the order of two digests of one image.
type succession struct {
	image, target    string
	oldRev, newRev   string
	oldTime, newTime time.Time
	relation         Relation // UnknownRelation: nobody told
	asked            string   // why nobody told; "" where it wasn't asked
}

// checkOrder refuses a move backwards. Ancestry decides where it is known, else
// the times of creation do, and what neither tells is said.
func checkOrder(s succession) (refusal, warning string) {
	move := fmt.Sprintf("%s:%s would move from %s to %s", s.image, s.target, named(s.oldRev), named(s.newRev))
	basis := ""
	switch s.relation {
	case Same, Ahead:
		return "", ""
	case Behind:
		return move + ", which is its ancestor: use rollback to go back, or give force with a reason", ""
	case Diverged:
		basis = "neither commit descends from the other; "
	default:
		if sameCommit(s.oldRev, s.newRev) {
			return "", ""
		}
		if s.asked != "" {
			basis = "the forge did not tell their order (" + s.asked + "); "
		}
	}
	switch {
	case s.oldTime.IsZero() || s.newTime.IsZero():
		return "", move + ": " + basis + "the images tell no time of creation, so their order is unknown"
	case s.newTime.Before(s.oldTime):
		return fmt.Sprintf("%s, which was built earlier (%s, the present one %s): %suse rollback to go back, or give force with a reason",
			move, s.newTime.Format(time.RFC3339), s.oldTime.Format(time.RFC3339), basis), ""
	case s.newTime.Equal(s.oldTime):
		return "", move + ": " + basis + "both were created at the same time, so their order is unknown"
	case basis != "":
		return "", move + ": " + basis + "judged by the time of creation, it goes forward"
	}
	return "", ""
}

// named is a commit for a sentence.
func named(revision string) string {
	if revision == "" {
		return "an image of unknown commit"
	}
	return short(revision)
}

// refusals collects what the rules forbid, over all images.
type refusals struct {
	rules   []string
	reasons []string
}

func (r *refusals) add(rule, reason string) {
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

package ledger

import (
	"errors"
	"net/url"
	"strings"
)

// typeFirst is the artifact type of records of the first form. Those have no
// heads, no seq and no signature, and name no image outside their subject.
const typeFirst = "application/vnd.canary-verify.record.v1+json"

// firstForm finishes a record of the first form: a summary of one of four events,
// which always says what a promotion, a rejection or a rollback was about. Its seq
// is 0, so that every later record is newer.
func (s *statement) firstForm(r *Record) (*Record, error) {
	p, x := &s.Predicate, &s.Predicate.Extension
	result := failed
	if r.Event.Positive() {
		result = passed
	}
	r.Image, r.Time = s.Subject[0].Name, p.TimeVerified.UTC()
	switch {
	case !r.Event.Positive() && !negative(r.Event):
		return nil, errors.New("its event is unknown in a record of the first form")
	case s.PredicateType != summaryType || p.VerificationResult != result:
		return nil, errors.New("its predicate type or result does not fit its event")
	case x.Go != nil || x.Stop != nil || x.Seq != 0 || x.Saw != nil:
		return nil, errors.New("it is of the first form and has fields of a later one")
	case r.Time.IsZero():
		return nil, errors.New("it has no time")
	case !imageForm.MatchString(r.Image):
		return nil, errors.New("its subject is not a repository")
	case !tagForm.MatchString(r.Target):
		return nil, errors.New("its target is not a tag")
	}
	if err := errors.Join(checkDigest("subject", r.Subject, false), checkDigest("replaced digest", x.Replaced, true), checkSHA(r.SHA)); err != nil {
		return nil, err
	}
	r.Prev, r.Images, r.Decision, r.Fleet = "", nil, "", 0
	if p.Policy != nil {
		if suite, found := strings.CutPrefix(p.Policy.URI, suitePrefix); found {
			name, err := url.PathUnescape(suite)
			if err != nil {
				return nil, errors.New("the name of its suite is malformed")
			}
			r.Suite = text(name)
		}
	}
	r.Replaced = x.Replaced
	return r, nil
}

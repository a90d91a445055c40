package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// What a statement is made of: in-toto Statement v1 around a SLSA verification
// summary, or around a predicate of our own. Only what the gate tested itself is a
// summary: holding an unverified image must never sign a PASSED for it.
const (
	statementType = "https://in-toto.io/Statement/v1"
	summaryType   = "https://slsa.dev/verification_summary/v1"
	verifierID    = "https://git.moleculesai.app/molecule-ai/canary-verify"
	decisionType  = verifierID + "/decision/v1"
	suitePrefix   = "urn:canary-verify:suite:"
	byHand        = "urn:canary-verify:by-hand"
	passed        = "PASSED"
	failed        = "FAILED"
)

// Limits of what a record holds.
const (
	version    = 2
	maxText    = 500 // characters of a reason, a URL, an actor
	maxImages  = 64
	maxLive    = 10
	maxRevoked = 50
	// maxSeq is the largest integer that every reader of JSON keeps exactly.
	maxSeq = 1<<53 - 1
)

type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// A predicate is either of the two kinds. A decision has a verifier, a time and
// the extension; the rest is the summary's.
type predicate struct {
	Verifier           verifier   `json:"verifier"`
	TimeVerified       time.Time  `json:"timeVerified,omitzero"`
	TimeDecided        time.Time  `json:"timeDecided,omitzero"`
	ResourceURI        string     `json:"resourceUri,omitempty"`
	Policy             *policyRef `json:"policy,omitempty"`
	VerificationResult string     `json:"verificationResult,omitempty"`
	VerifiedLevels     []string   `json:"verifiedLevels,omitempty"`
	// Extension is named as SLSA asks of fields that it doesn't define.
	Extension extension `json:"canaryverify_record"`
}

type verifier struct {
	ID string `json:"id"`
}

type policyRef struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest,omitempty"`
}

// An extension is what the formats have no field for.
type extension struct {
	V        int                      `json:"v"`
	Event    report.Event             `json:"event"`
	Image    string                   `json:"image"`
	Target   string                   `json:"target"`
	Decision string                   `json:"decision"`
	Seq      int64                    `json:"seq"`
	Prev     report.Digest            `json:"prev,omitempty"`
	Saw      map[string]Seen          `json:"saw,omitempty"`
	SHA      report.Commit            `json:"sha,omitempty"`
	Images   map[string]report.Digest `json:"images,omitempty"`
	Fleet    int                      `json:"fleet,omitempty"`
	Suite    string                   `json:"suite,omitempty"`
	RunURL   string                   `json:"runUrl,omitempty"`
	RunID    string                   `json:"runId,omitempty"`
	Actor    string                   `json:"actor,omitempty"`
	Reason   string                   `json:"reason,omitempty"`
	Forced   string                   `json:"forced,omitempty"`
	Go       *Go                      `json:"go,omitempty"`
	Stop     *Stop                    `json:"stop,omitempty"`
	// Replaced was written by the first form alone.
	Replaced report.Digest `json:"replaced,omitempty"`
}

// resultOf is the result of a summary; empty: the event is a decision of another
// kind.
func resultOf(e report.Event) string {
	switch e {
	case report.EventVerified:
		return passed
	case report.EventRejected, report.EventRolledBack:
		return failed
	}
	return ""
}

// predicateTypeOf is the type of the predicate that carries an event.
func predicateTypeOf(e report.Event) string {
	if resultOf(e) != "" {
		return summaryType
	}
	return decisionType
}

// statementOf writes a record as a statement: the same bytes for the same record.
// A record that would not be read again is an error.
func statementOf(r *Record) ([]byte, error) {
	p := predicate{
		Verifier: verifier{verifierID},
		Extension: extension{
			V: version, Event: r.Event, Image: r.Image, Target: r.Target, Decision: r.Decision,
			Seq: r.Seq, Prev: r.Prev, Saw: r.Saw, SHA: r.SHA, Images: r.Images, Fleet: r.Fleet,
			Suite: text(r.Suite), RunURL: text(r.RunURL), RunID: text(r.RunID), Actor: text(r.Actor),
			Reason: text(r.Reason), Forced: text(r.Forced), Go: r.Go, Stop: r.Stop,
		},
	}
	if result := resultOf(r.Event); result != "" {
		level := failed
		if result == passed {
			level = "CANARY_VERIFIED"
		}
		p.TimeVerified, p.ResourceURI, p.Policy = r.Time.UTC(), purl(r.Image, r.Subject), policyOf(r)
		p.VerificationResult, p.VerifiedLevels = result, []string{level}
	} else {
		p.TimeDecided = r.Time.UTC()
	}
	algorithm, hex, _ := strings.Cut(string(r.Subject), ":")
	b, err := json.Marshal(statement{
		Type:          statementType,
		Subject:       []subject{{r.Image, map[string]string{algorithm: hex}}},
		PredicateType: predicateTypeOf(r.Event),
		Predicate:     p,
	})
	if err != nil {
		return nil, fmt.Errorf("write the record: %w", err)
	}
	if _, err := parseStatement(b); err != nil {
		return nil, fmt.Errorf("write the record: %w", err)
	}
	return b, nil
}

// policyOf names the suite that was run.
func policyOf(r *Record) *policyRef {
	p := &policyRef{URI: byHand}
	if r.Suite != "" {
		p.URI = suitePrefix + url.PathEscape(text(r.Suite))
	}
	if hex, found := strings.CutPrefix(r.SuiteHash, "sha256:"); found {
		p.Digest = map[string]string{"sha256": hex}
	}
	return p
}

// purl is the package URL of an image, which SLSA takes as its resource URI.
func purl(image string, digest report.Digest) string {
	base := image[strings.LastIndex(image, "/")+1:]
	return "pkg:oci/" + base + "@" + url.QueryEscape(string(digest)) + "?repository_url=" + url.QueryEscape(image)
}

// text makes a text fit to be kept and shown.
func text(s string) string { return untrusted.Line(s, maxText) }

// parseStatement reads a record, of either form. Texts are sanitised.
func parseStatement(b []byte) (*Record, error) {
	var s statement
	if err := decodeStrict(b, maxPayload, &s); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	r, err := s.record()
	if err == nil && r.Seq > 0 {
		err = r.check()
	}
	if err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	return r, nil
}

// record takes the record out of a statement whose kind and result agree.
func (s *statement) record() (*Record, error) {
	p, x := &s.Predicate, &s.Predicate.Extension
	switch {
	case s.Type != statementType:
		return nil, fmt.Errorf("its type is %q", untrusted.Line(s.Type, maxName))
	case len(s.Subject) != 1 || len(s.Subject[0].Digest) != 1:
		return nil, errors.New("it does not have one subject with one digest")
	case p.Verifier.ID != verifierID:
		return nil, fmt.Errorf("its verifier is %q", untrusted.Line(p.Verifier.ID, maxName))
	case s.PredicateType != summaryType && s.PredicateType != decisionType:
		return nil, fmt.Errorf("its predicate type is %q", untrusted.Line(s.PredicateType, maxName))
	}
	r := &Record{
		Event: x.Event, Image: x.Image, Target: x.Target, Decision: x.Decision, Seq: x.Seq, Prev: x.Prev, Saw: x.Saw,
		SHA: x.SHA, Images: x.Images, Fleet: x.Fleet, Suite: text(x.Suite), RunURL: text(x.RunURL), RunID: text(x.RunID),
		Actor: text(x.Actor), Reason: text(x.Reason), Forced: text(x.Forced), Go: x.Go, Stop: x.Stop,
	}
	for algorithm, hex := range s.Subject[0].Digest {
		r.Subject = report.Digest(algorithm + ":" + hex)
	}
	if p.Policy != nil {
		if hash := "sha256:" + p.Policy.Digest["sha256"]; hashForm.MatchString(hash) {
			r.SuiteHash = hash
		}
	}
	if x.V == 0 {
		return s.firstForm(r)
	}
	switch {
	case x.V != version:
		return nil, fmt.Errorf("its version is %d; this gate reads version %d", x.V, version)
	case s.PredicateType != predicateTypeOf(x.Event) || p.VerificationResult != resultOf(x.Event):
		return nil, errors.New("its predicate type or result does not fit its event")
	case x.Seq < 1 || x.Seq > maxSeq:
		return nil, errors.New("its seq is not a positive number")
	case s.Subject[0].Name != x.Image:
		return nil, errors.New("its subject is another image")
	}
	r.Time = p.TimeDecided.UTC()
	if s.PredicateType == summaryType {
		r.Time = p.TimeVerified.UTC()
	}
	return r, nil
}

// The forms of what a record names.
var (
	hashForm     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	decisionForm = regexp.MustCompile(`^[0-9a-f]{32}$`)
	tagForm      = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	imageForm    = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.:_/\[\]-]{0,299}$`)
)

// check finds what is wrong with a record of the present form.
func (r *Record) check() error {
	switch {
	case !imageForm.MatchString(r.Image):
		return errors.New("its image is not a repository")
	case !tagForm.MatchString(r.Target):
		return errors.New("its target is not a tag")
	case !decisionForm.MatchString(r.Decision):
		return errors.New("its decision is not an id of 32 hex digits")
	case r.Time.IsZero():
		return errors.New("it has no time")
	case r.Fleet < 0:
		return errors.New("its fleet is negative")
	case len(r.Saw) > maxImages || len(r.Images) > maxImages:
		return fmt.Errorf("it names more than %d images", maxImages)
	}
	if err := errors.Join(checkDigest("subject", r.Subject, false), checkDigest("prev", r.Prev, true), checkSHA(r.SHA)); err != nil {
		return err
	}
	for image, digest := range r.Images {
		if err := checkDigest("image", digest, false); err != nil || !imageForm.MatchString(image) {
			return errors.New("its list of images is malformed")
		}
	}
	for image, seen := range r.Saw {
		if !imageForm.MatchString(image) || !seen.Go.before(r.Seq) || !seen.Stop.before(r.Seq) {
			return errors.New("the heads that its writer saw are malformed or not older")
		}
	}
	return r.checkState()
}

// before reports whether a reference is absent, or well-formed and older than seq.
func (r Ref) before(seq int64) bool {
	if r == (Ref{}) {
		return true
	}
	return r.Seq >= 1 && r.Seq < seq && checkDigest("", r.Digest, false) == nil
}

// checkState finds whether a record carries the state that its event asks for.
func (r *Record) checkState() error {
	goes, stops := r.Go != nil, r.Stop != nil
	var fits bool
	switch r.Event {
	case report.EventVerified:
		fits = !stops // without either it stays on the digest: the target was on hold
	case report.EventPromoted, report.EventConfirmed, report.EventUndone:
		fits = goes && !stops
	case report.EventHeld, report.EventReleased, report.EventRolledBack:
		fits = stops && !goes
	case report.EventRejected:
		fits = !goes
	case report.EventBegun:
		fits = goes != stops
	default:
		return fmt.Errorf("its event %q is unknown", untrusted.Line(string(r.Event), maxName))
	}
	if !fits {
		return fmt.Errorf("the state that it carries does not fit the event %s", r.Event)
	}
	if goes {
		return r.Go.check(r)
	}
	if stops {
		return r.Stop.check(r)
	}
	return nil
}

// check finds what is wrong with the state of a promotion.
func (g *Go) check(r *Record) error {
	if len(g.Live) > maxLive {
		return fmt.Errorf("its live list has more than %d entries", maxLive)
	}
	if err := checkDigest("from", g.From, true); err != nil {
		return err
	}
	for i := range g.Live {
		l := &g.Live[i]
		if err := errors.Join(checkDigest("live", l.Digest, false), checkSHA(l.SHA)); err != nil {
			return err
		}
		if l.Seq < 0 || l.Seq > r.Seq {
			return errors.New("its live list has an entry that is newer than the record")
		}
		for _, other := range g.Live[:i] {
			if other.same(*l) {
				return errors.New("its live list has an entry twice")
			}
		}
		l.Suite = text(l.Suite)
	}
	if len(g.Live) == 0 {
		if r.Event != report.EventBegun && r.Event != report.EventUndone {
			return errors.New("its live list is empty")
		}
		return nil
	}
	if own, named := r.Images[r.Image]; g.Live[0].Digest != r.Subject || named && own != r.Subject {
		return errors.New("its live list does not start with its subject")
	}
	return nil
}

// check finds what is wrong with the state of a hold or rollback.
func (s *Stop) check(r *Record) error {
	switch {
	case len(s.Revoked) > maxRevoked:
		return fmt.Errorf("its list of revoked digests has more than %d entries", maxRevoked)
	case s.Floor < 0 || s.Floor > r.Seq:
		return errors.New("its floor is newer than the record")
	case (s.Goal == "") != (s.GoalSeq == 0) || s.GoalSeq < 0 || s.GoalSeq > r.Seq:
		return errors.New("its goal is malformed")
	case r.Event == report.EventHeld && s.Held == nil || r.Event == report.EventReleased && s.Held != nil:
		return errors.New("its event and its hold disagree")
	case r.Event == report.EventRolledBack && s.GoalSeq != r.Seq:
		return errors.New("it is a rollback without a goal of its own")
	}
	if err := checkDigest("goal", s.Goal, true); err != nil {
		return err
	}
	if own, named := r.Images[r.Image]; named && r.Event == report.EventRolledBack && own != s.Goal {
		return errors.New("its goal is not what it names for its image")
	}
	if err := s.checkRevoked(r.Seq); err != nil {
		return err
	}
	// A digest that two commits share can be both replaced and restored.
	if negative(r.Event) && r.Subject != s.Goal && s.find(r.Subject) < 0 {
		return errors.New("its subject is not among the revoked digests")
	}
	if s.Held != nil {
		s.Held.By, s.Held.Reason = text(s.Held.By), text(s.Held.Reason)
	}
	return nil
}

// checkRevoked finds what is wrong with the list of revoked digests.
func (s *Stop) checkRevoked(seq int64) error {
	for i, x := range s.Revoked {
		if err := errors.Join(checkDigest("revoked", x.Digest, false), checkSHA(x.SHA)); err != nil {
			return err
		}
		if !negative(x.Kind) || x.Seq < 1 || x.Seq > seq {
			return errors.New("its list of revoked digests is malformed")
		}
		for _, other := range s.Revoked[:i] {
			if other.Digest == x.Digest {
				return errors.New("its list of revoked digests has one twice")
			}
		}
	}
	return nil
}

// checkDigest accepts a digest, and where it may be absent the empty one.
func checkDigest(what string, d report.Digest, absent bool) error {
	if d == "" && absent {
		return nil
	}
	if _, err := report.ParseDigest(string(d)); err != nil {
		return fmt.Errorf("its %s is not a digest", what)
	}
	return nil
}

// checkSHA accepts a commit in its one form, or none.
func checkSHA(c report.Commit) error {
	if c == "" {
		return nil
	}
	if parsed, err := report.ParseCommit(string(c)); err != nil || parsed != c {
		return errors.New("its sha is not a commit")
	}
	return nil
}

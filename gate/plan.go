package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// The defaults of a [Plan], stated here and nowhere else. Those of its parts are
// in packages fleet and promote.
const (
	DefaultMode     = report.ModeVerify
	DefaultSuite    = "canary" // of the built-in ones
	DefaultSettle   = 6 * time.Minute
	DefaultDeadline = 30 * time.Minute
)

// A Plan is the wish of a user. The zero value of a field means its default;
// [New] checks the whole.
type Plan struct {
	Mode report.Mode // zero: [DefaultMode]
	// SHA is the commit. It may be empty for rollback, history and smoke.
	SHA     report.Commit
	Tenants []fleet.Tenant
	Fleet   fleet.Config
	// VersionPath is where a tenant reports its commit, and VersionField where in
	// that JSON answer. Zero: [fleet.DefaultVersionPath], [fleet.DefaultVersionField].
	VersionPath  string
	VersionField string
	// NoVersionEndpoint says that the fleet can't report its commit: the gate
	// waits for Settle instead, and everything says that identity is unproven.
	NoVersionEndpoint bool
	Settle            time.Duration // zero: [DefaultSettle]; negative: none
	// VersionStartedField is where in the version answer a tenant reports when its
	// process started; empty: it doesn't.
	VersionStartedField string
	// IdentityReads is how often each tenant's commit is read in total, before,
	// beside and after the checks; zero: [DefaultIdentityReads] of the fleet.
	IdentityReads int
	WaitTimeout   time.Duration // zero: [fleet.DefaultWaitTimeout]
	WaitInterval  time.Duration // zero: [fleet.DefaultWaitInterval]
	Suite         *smoke.Suite  // nil: [DefaultSuite]
	Soak          time.Duration // how long the suite is repeated; zero: one round
	SoakInterval  time.Duration // between two rounds; zero: [smoke.DefaultSoakInterval]
	// FlakyInconclusive makes a check that passed only after a retry too little for
	// a green verdict.
	FlakyInconclusive bool
	Promote           promote.Config
	// Reference is the image that mode admit is asked about: "image:tag" or
	// "image@digest". It stands in place of Promote.Images.
	Reference string
	// Reason stands in the record of what is done by hand. Modes hold and release
	// need one.
	Reason   string
	Deadline time.Duration // of the whole run; zero: [DefaultDeadline]
	// EventRefusal says why what started the run is not to be trusted: then it is
	// refused before any request. Empty: nothing speaks against it.
	EventRefusal string
	// Cancelled asks the forge, right before a move, whether this run was cancelled
	// there; nil: nobody can say. The text says that it was; an error is a warning.
	Cancelled func(context.Context) (string, error)
	// SkipEmpty turns an empty fleet into the verdict skipped.
	SkipEmpty bool
	// Secrets are those that no other field holds, such as the token of an
	// Ancestry or the private key of a Signer: no text of the run shows them.
	Secrets  []secret.Value
	Origin   report.Run
	Tool     string // version of canary-verify
	Observer Observer
}

// AllSecrets are the secrets of every field of the plan.
func (p *Plan) AllSecrets() []secret.Value {
	all := append([]secret.Value{p.Promote.Password}, p.Secrets...)
	for _, t := range p.Tenants {
		all = append(all, t.Token)
	}
	return append(all, p.Fleet.Secrets...)
}

// Redactor removes every secret of the plan from text.
func (p *Plan) Redactor() *secret.Redactor { return secret.NewRedactor(p.AllSecrets()...) }

// withDefaults fills in what was left out.
func (p Plan) withDefaults() (Plan, error) {
	fill(&p.Mode, DefaultMode)
	fill(&p.VersionPath, fleet.DefaultVersionPath)
	fill(&p.VersionField, fleet.DefaultVersionField)
	fill(&p.Settle, DefaultSettle)
	fill(&p.WaitTimeout, fleet.DefaultWaitTimeout)
	fill(&p.WaitInterval, fleet.DefaultWaitInterval)
	fill(&p.SoakInterval, smoke.DefaultSoakInterval)
	fill(&p.IdentityReads, DefaultIdentityReads(len(p.Tenants)))
	fill(&p.Deadline, DefaultDeadline)
	fill(&p.Promote.TargetTag, promote.DefaultTargetTag)
	if p.Observer == nil {
		p.Observer = Silent{}
	}
	p.Fleet.Secrets = append(append([]secret.Value{}, p.Fleet.Secrets...), append(p.Secrets, p.Promote.Password)...)
	if p.Suite != nil || !p.Mode.RunsChecks() {
		return p, nil
	}
	source, _ := smoke.Builtin(DefaultSuite)
	var err error
	p.Suite, err = smoke.Load(DefaultSuite, source)
	return p, err
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A Gate is a checked [Plan], ready to run once.
type Gate struct {
	plan     Plan
	redact   *secret.Redactor
	fleet    *fleet.Fleet      // nil where the mode needs none
	promoter *promote.Promoter // nil where the mode needs none
}

// New checks the plan whole and makes no request. The error joins one
// [*report.InvalidError] for each thing that is wrong.
func New(plan Plan) (*Gate, error) {
	plan, err := plan.withDefaults()
	g := &Gate{plan: plan, redact: plan.Redactor()}
	invalid := []error{err, g.invalidFields(), g.trusted(), g.referenced()}
	if !g.skips() {
		invalid = append(invalid, g.missingFields())
	}
	if plan.Mode.NeedsFleet() && !g.skips() {
		g.fleet, err = fleet.New(plan.Tenants, plan.Fleet)
		invalid = append(invalid, err)
	}
	reads := plan.Mode.NeedsRegistry() || plan.Mode == report.ModeStatus // which shows a hold where it can
	if reads && len(g.plan.Promote.Images) > 0 {
		g.promoter, err = promote.New(g.plan.Promote)
		invalid = append(invalid, err)
	}
	return g, errors.Join(invalid...)
}

// Target returns the tag that the run is about.
func (g *Gate) Target() string { return g.plan.Promote.TargetTag }

// trusted finds why what the run writes would not count, or what it reads could
// not.
func (g *Gate) trusted() error {
	p := g.plan
	if !p.Mode.NeedsRegistry() {
		return nil
	}
	// In an emergency a rollback with force moves tags even where it can't sign.
	unsigned := p.Promote.DryRun || p.Mode == report.ModeRollback && p.Promote.Force != ""
	if !p.Mode.Records() || unsigned {
		return p.Promote.Trust.Check()
	}
	return errors.Join(p.Promote.Trust.Check(), p.Promote.Trust.CheckSigner(p.Promote.Signer))
}

// referenced takes image and tag from the reference of mode admit. One with a tag
// and a digest asks for that digest behind that tag.
func (g *Gate) referenced() error {
	p := &g.plan
	if p.Mode != report.ModeAdmit || p.Reference == "" {
		return nil
	}
	image, digest, byDigest := strings.Cut(p.Reference, "@")
	if _, err := report.ParseDigest(digest); byDigest && err != nil { // not shown: it may hold credentials
		return &report.InvalidError{Field: "Images", Problem: "what stands behind @ is not a digest: write sha256: and 64 hex digits"}
	}
	if colon := strings.LastIndex(image, ":"); colon > strings.LastIndex(image, "/") {
		image, p.Promote.TargetTag = image[:colon], image[colon+1:]
	} else if !byDigest {
		return &report.InvalidError{Field: "Images", Problem: fmt.Sprintf("%q has neither a tag nor a digest", clip(image))}
	}
	p.Promote.Images = []string{image}
	if byDigest {
		p.Reference = image + "@" + digest
	}
	return nil
}

// skips reports whether nothing is configured and that is allowed.
func (g *Gate) skips() bool {
	return g.plan.Mode.NeedsFleet() && len(g.plan.Tenants) == 0 && g.plan.SkipEmpty
}

// invalidFields finds what is wrong whatever the fleet.
func (g *Gate) invalidFields() error {
	p := g.plan
	var invalid []error
	add := func(field, format string, args ...any) {
		invalid = append(invalid, &report.InvalidError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	if !p.Mode.Known() {
		add("Mode", "%q is not one of %s", clip(string(p.Mode)), modeList())
	}
	if p.SHA != "" {
		if _, err := report.ParseCommit(string(p.SHA)); err != nil {
			add("SHA", "%v", err)
		} else if p.Mode.NeedsRegistry() {
			invalid = append(invalid, p.Promote.CheckCommit(p.SHA))
		}
	}
	if err := fleet.CheckPath(p.VersionPath); err != nil {
		add("VersionPath", "%q: %v", clip(p.VersionPath), err)
	}
	if p.IdentityReads < minIdentityReads || p.IdentityReads > maxIdentityReads {
		add("IdentityReads", "%d is not between %d and %d", p.IdentityReads, minIdentityReads, maxIdentityReads)
	}
	for field, d := range map[string]time.Duration{
		"WaitTimeout": p.WaitTimeout, "WaitInterval": p.WaitInterval, "Deadline": p.Deadline,
		"Soak": p.Soak, "SoakInterval": p.SoakInterval,
	} {
		if d < 0 {
			add(field, "%v is not a time to wait; write for example 30s or 7m", d)
		}
	}
	return errors.Join(invalid...)
}

// missingFields finds what the mode can't do without.
func (g *Gate) missingFields() error {
	p := g.plan
	var invalid []error
	add := func(field, problem string) {
		invalid = append(invalid, &report.InvalidError{Field: field, Missing: true, Problem: problem})
	}
	if p.Mode.NeedsFleet() && len(p.Tenants) == 0 {
		add("Tenants", "no tenant is given")
	}
	switch {
	case !p.Mode.NeedsRegistry() || len(p.Promote.Images) > 0:
	case p.Mode == report.ModeAdmit && p.Reference != "": // it is malformed, and reported as that
	case p.Mode == report.ModeAdmit:
		add("Images", "no image is given; name one with its tag or digest, for example registry.example.com/team/app:latest")
	default:
		add("Images", "no image is given; list the repositories without a tag, for example registry.example.com/team/app")
	}
	if p.SHA == "" && p.Mode.NeedsCommit() {
		add("SHA", "no commit is given")
	}
	if p.Reason == "" && p.Mode.NeedsReason() {
		add("Reason", "no reason is given; say in words why, for those who meet the hold")
	}
	return errors.Join(invalid...)
}

func modeList() string {
	words := make([]string, 0, len(report.Modes()))
	for _, m := range report.Modes() {
		words = append(words, string(m))
	}
	return strings.Join(words, ", ")
}

// clip makes an invalid value fit to be named in an error.
func clip(s string) string { return untrusted.Line(s, 80) }

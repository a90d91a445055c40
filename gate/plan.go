package gate

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// A Mode is what a run is asked to do.
type Mode string

// The modes of the contract.
const (
	ModeVerify   Mode = "verify"
	ModeSmoke    Mode = "smoke"
	ModePromote  Mode = "promote"
	ModeRollback Mode = "rollback"
	ModeStatus   Mode = "status"
	ModeHistory  Mode = "history"
)

// Modes lists every mode, in the order in which help shows them.
func Modes() []Mode {
	return []Mode{ModeVerify, ModeSmoke, ModePromote, ModeRollback, ModeStatus, ModeHistory}
}

// NeedsFleet reports whether the mode asks tenants.
func (m Mode) NeedsFleet() bool { return m == ModeVerify || m == ModeSmoke || m == ModeStatus }

// NeedsRegistry reports whether the mode reads or writes a registry.
func (m Mode) NeedsRegistry() bool {
	return m == ModeVerify || m == ModePromote || m == ModeRollback || m == ModeHistory
}

// Judges reports whether the mode runs checks and gives a verdict on them.
func (m Mode) Judges() bool { return m == ModeVerify || m == ModeSmoke }

// A Plan is the wish of a user. [New] validates it.
type Plan struct {
	Mode Mode
	// SHA is the commit: 7 to 40 hex digits. It may be empty for rollback,
	// history and smoke.
	SHA     string
	Tenants []fleet.Tenant
	Fleet   fleet.Config
	// VersionPath is where a tenant tells its commit.
	VersionPath string
	// Untold says that the fleet can't tell its commit: the gate waits for
	// Settle instead, and everything says that identity is unproven. It has to
	// be said; a VersionPath that was forgotten is a fault.
	Untold       bool
	VersionField string
	Settle       time.Duration
	WaitTimeout  time.Duration
	WaitInterval time.Duration
	Suite        *smoke.Suite // for verify and smoke
	Soak         time.Duration
	Promote      promote.Config
	// Reason stands in the record of a promotion or a rollback by hand.
	Reason   string
	Deadline time.Duration // the whole run
	// SkipEmpty turns an empty fleet into the verdict skipped.
	SkipEmpty bool
	Redact    *secret.Redactor // of every secret of the run
	Origin    Run
	Tool      string // version of canary-verify
	Observer  Observer
}

// shaForm is what the contract takes for a commit.
var shaForm = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// A Gate is a validated [Plan], ready to run once.
type Gate struct {
	plan     Plan
	fleet    *fleet.Fleet      // nil where the mode needs none
	promoter *promote.Promoter // nil where the mode needs none
}

// New checks the plan whole and makes no request. The error joins one error for
// each fault; each names the input it is about.
func New(plan Plan) (*Gate, error) {
	plan.SHA = strings.ToLower(plan.SHA)
	if plan.Observer == nil {
		plan.Observer = Silent{}
	}
	g := &Gate{plan: plan}
	faults := []error{g.malformed()}
	if !g.skips() {
		faults = append(faults, g.missing())
	}
	if plan.Mode.NeedsFleet() && !g.skips() {
		var err error
		g.fleet, err = fleet.New(plan.Tenants, plan.Fleet)
		faults = append(faults, err)
	}
	if plan.Mode.NeedsRegistry() && len(plan.Promote.Images) > 0 {
		var err error
		g.promoter, err = promote.New(plan.Promote)
		faults = append(faults, err)
	}
	return g, errors.Join(faults...)
}

// skips reports whether nothing is configured and that is allowed.
func (g *Gate) skips() bool {
	return g.plan.Mode.NeedsFleet() && len(g.plan.Tenants) == 0 && g.plan.SkipEmpty
}

// malformed finds what is wrong whatever the fleet.
func (g *Gate) malformed() error {
	p := g.plan
	var faults []error
	if !validMode(p.Mode) {
		faults = append(faults, fmt.Errorf("mode: %q is none of %s", p.Mode, modeList()))
	}
	if p.SHA != "" && !shaForm.MatchString(p.SHA) {
		faults = append(faults, fmt.Errorf("sha: %q is not 7 to 40 hex digits", clip(p.SHA)))
	}
	if len(p.SHA) < 40 && p.SHA != "" && p.Mode.NeedsRegistry() && strings.Contains(p.Promote.SourceTag, "{full-sha}") {
		faults = append(faults, fmt.Errorf("sha: source-tag %q asks for all 40 digits, this has %d", clip(p.Promote.SourceTag), len(p.SHA)))
	}
	for _, d := range []struct {
		input string
		value time.Duration
		zero  bool // allowed
	}{
		{"wait-timeout", p.WaitTimeout, false}, {"wait-interval", p.WaitInterval, false},
		{"settle", p.Settle, true}, {"soak", p.Soak, true}, {"deadline", p.Deadline, false},
	} {
		if d.value < 0 || d.value == 0 && !d.zero {
			faults = append(faults, fmt.Errorf("%s: %v is not a time to wait; write for example 30s or 7m", d.input, d.value))
		}
	}
	return errors.Join(faults...)
}

// A MissingError says that the mode can't do without an input.
type MissingError struct{ Input, Advice string }

// Error names the input and what to do.
func (e *MissingError) Error() string { return e.Input + ": " + e.Advice }

// missing finds what the mode can't do without.
func (g *Gate) missing() error {
	p := g.plan
	var faults []error
	add := func(input, advice string) { faults = append(faults, &MissingError{input, advice}) }
	if p.Mode.NeedsFleet() && len(p.Tenants) == 0 {
		add("tenant-urls", "no tenant is given; set tenant-urls and admin-tokens, tenants, or tenants-file (unconfigured: skip makes this a warning)")
	}
	if p.Mode.NeedsRegistry() && len(p.Promote.Images) == 0 {
		add("images", "no image is given; list the repositories without a tag, for example registry.example.com/team/app")
	}
	if p.SHA == "" && (p.Mode == ModeVerify || p.Mode == ModePromote || p.Mode == ModeStatus) {
		add("sha", "no commit is given, and no event tells one")
	}
	if p.Mode.NeedsFleet() && p.VersionPath == "" && !p.Untold {
		add("version-path", "no path is given where a tenant tells its commit")
	}
	if p.Mode.Judges() && p.Suite == nil {
		add("checks", "no suite is given")
	}
	return errors.Join(faults...)
}

func validMode(m Mode) bool {
	for _, known := range Modes() {
		if m == known {
			return true
		}
	}
	return false
}

func modeList() string {
	words := make([]string, 0, len(Modes()))
	for _, m := range Modes() {
		words = append(words, string(m))
	}
	return strings.Join(words, ", ")
}

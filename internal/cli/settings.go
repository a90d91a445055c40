package cli

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/forge"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// A session is one run as a front end sees it: what was asked for, by whom, and
// what must not be shown.
type session struct {
	gate      *gate.Gate
	plan      gate.Plan
	forge     *forge.Client // nil: there is none
	reportDir string
	redact    *secret.Redactor
	warnings  []string
}

// prepare turns values into a gate that is ready to run. It makes no request.
// The error joins everything that is invalid.
func (c *Command) prepare(mode report.Mode, v *values) (*session, error) {
	s := &session{plan: gate.Plan{
		Mode: mode, Tool: c.Version, Origin: c.origin(), Observer: c.frontend,
		SHA:          c.commit(mode, v),
		VersionField: v.text("version-field"),
		Settle:       orNone(v.duration("settle")),
		WaitTimeout:  v.positive("wait-timeout"),
		WaitInterval: v.positive("wait-interval"),
		Soak:         v.duration("soak"),
		SoakInterval: v.positive("soak-interval"),

		VersionStartedField: v.text("version-started-field"),
		IdentityReads:       v.optional("identity-reads", 3, 1000),
		FlakyInconclusive:   v.oneOf("flaky", "allow", "inconclusive") == "inconclusive",
		Reason:              v.text("reason"),
		EventRefusal:        c.eventRefusal(mode, fleet.SplitList(v.text("branches"))),
		Deadline:            v.positive("deadline"),
		SkipEmpty:           v.oneOf("unconfigured", "fail", "skip") == "skip",
		Fleet:               c.fleetConfig(v),
		Promote:             c.promoteConfig(v),
	}}
	if s.plan.VersionPath = v.text("version-path"); s.plan.VersionPath == "none" {
		s.plan.VersionPath, s.plan.NoVersionEndpoint = "", true
	}
	if mode.NeedsFleet() {
		s.plan.Tenants = c.tenants(v)
	}
	if mode.RunsChecks() {
		s.plan.Suite = c.suite(v)
	}
	s.refer(v)
	s.plan.Secrets = otherSecrets(v)
	s.redact = s.plan.Redactor()
	s.reportDir = c.reportDir(v)
	c.connectForge(s, v)
	if s.forge != nil {
		s.plan.Promote.Ancestry = s.forge
		s.plan.Cancelled = c.cancelled(s.forge)
	}
	state := &stateFile{path: c.stateFile}
	if c.stateFile != "" {
		s.plan.Promote.Witness = state
	}
	s.plan.Origin.CommitURL = c.commitURL(s.plan.SHA)
	var err error
	s.gate, err = gate.New(s.plan)
	state.target = s.gate.Target()
	v.invalidPlan(err)
	return s, errors.Join(v.invalid...)
}

// refer takes the image that mode admit is asked about from the list of images.
func (s *session) refer(v *values) {
	if s.plan.Mode != report.ModeAdmit {
		return
	}
	switch images := s.plan.Promote.Images; len(images) {
	case 0:
	case 1:
		s.plan.Reference, s.plan.Promote.Images = images[0], nil
	default:
		s.plan.Promote.Images = nil
		v.reject("images", "admit takes one image with its tag or digest, %d were given", len(images))
	}
}

// orNone turns no time into the libraries' word for none, whose zero value is the
// default.
func orNone[T time.Duration | int](n T) T {
	if n == 0 {
		return -1
	}
	return n
}

// invalidPlan takes over what the libraries find wrong with the plan, under the
// names of the inputs. What is missing only because it was given and is invalid
// stands in the list already.
func (v *values) invalidPlan(err error) {
	for _, e := range flat(err) {
		var field *report.InvalidError
		if !errors.As(e, &field) {
			v.invalid = append(v.invalid, e)
			continue
		}
		name := inputOf(field.Field)
		if field.Missing && v.givenAnyhow(name) {
			continue
		}
		problem := field.Where() + field.Problem
		if field.Missing {
			problem += missingAdvice[name]
		}
		v.reject(name, "%s", problem)
	}
}

// missingAdvice says how to give what is missing.
var missingAdvice = map[string]string{
	"tenant-urls": "; set tenant-urls and admin-tokens, tenants, or tenants-file (unconfigured: skip makes this a warning)",
	"sha":         ", and no event has one",
}

// givenAnyhow reports whether something was given for an input, in whichever of
// its forms.
func (v *values) givenAnyhow(name string) bool {
	if name == "tenant-urls" {
		return v.given("tenant-urls") || v.given("admin-tokens") || v.given("org-ids") || v.given("tenants") || v.given("tenants-file")
	}
	return v.given(name) || v.rejected[name]
}

// fleetConfig reads the limits of the requests to tenants.
func (c *Command) fleetConfig(v *values) fleet.Config {
	return fleet.Config{
		RequestTimeout: v.positive("request-timeout"),
		Retries:        orNone(v.number("retries", 0, 20)),
		Concurrency:    v.number("concurrency", 1, 1_000_000),
		MaxBody:        v.bytes("max-body"),
		AllowHTTP:      v.boolean("allow-http"),
		UserAgent:      c.tool(),
		Proxy:          http.ProxyFromEnvironment,
	}
}

// tenants reads the fleet in whichever of its three forms it was given.
func (c *Command) tenants(v *values) []fleet.Tenant {
	allowHTTP := strings.EqualFold(v.text("allow-http"), "true")
	forms := v.fleetForms()
	if len(forms) > 1 {
		v.reject("tenants", "give the fleet once: as tenant-urls with admin-tokens, as tenants, or as tenants-file")
		return nil
	}
	if len(forms) == 0 {
		return nil
	}
	var tenants []fleet.Tenant
	var err error
	switch form := forms[0]; form {
	case "tenant-urls":
		tenants, err = fleet.ParseLists(v.text("tenant-urls"), v.secret("admin-tokens").Reveal(), v.text("org-ids"), allowHTTP)
	case "tenants":
		tenants, err = fleet.ParseTenants([]byte(v.secret("tenants").Reveal()), allowHTTP)
	default:
		var data []byte
		if data, err = c.readFile(v.text(form), maxTenantsFile); err != nil {
			v.reject(form, "the file %q can't be read: %v", shown(v.text(form)), err)
			return nil
		}
		tenants, err = fleet.ParseTenants(data, allowHTTP)
	}
	for _, e := range flat(err) {
		name, text := forms[0], e.Error()
		if field := (*report.InvalidError)(nil); errors.As(e, &field) {
			text = field.Where() + field.Problem
			if list := inputOf(field.Field); forms[0] == "tenant-urls" && list != "tenants" {
				name = list
			}
		}
		v.reject(name, "%s", text)
	}
	return tenants
}

// fleetForms are the forms in which the fleet was given, by the input that stands
// for each.
func (v *values) fleetForms() []string {
	var forms []string
	if v.given("tenant-urls") || v.given("admin-tokens") || v.given("org-ids") {
		forms = append(forms, "tenant-urls")
	}
	for _, name := range []string{"tenants", "tenants-file"} {
		if v.given(name) {
			forms = append(forms, name)
		}
	}
	return forms
}

// suite loads the built-in suite or the file that checks names.
func (c *Command) suite(v *values) *smoke.Suite {
	name := v.text("checks")
	src, builtin := smoke.Builtin(name)
	if !builtin {
		var err error
		if src, err = c.readFile(name, maxSuiteFile); err != nil {
			v.reject("checks", "%q is not a built-in suite (%s), and as a file: %v; is the repository checked out before this step?",
				shown(name), strings.Join(smoke.BuiltinNames(), ", "), err)
			return nil
		}
	}
	suite, err := smoke.Load(name, src)
	v.invalid = append(v.invalid, flat(err)...)
	return suite
}

// promoteConfig reads what is about images, tags and registries.
func (c *Command) promoteConfig(v *values) promote.Config {
	origin := c.origin()
	config := promote.Config{
		Images:    fleet.SplitList(v.text("images")),
		SourceTag: v.text("source-tag"),
		TargetTag: v.text("target-tag"),
		CanaryTag: v.text("canary-tag"),
		Username:  v.text("registry-username"),
		Password:  v.secret("registry-password"),
		Keychain:  authn.DefaultKeychain,
		Proxy:     http.ProxyFromEnvironment,
		Force:     v.text("force"),
		DryRun:    v.boolean("dry-run"),
		Origin:    promote.Origin{Tool: c.tool(), RunURL: origin.URL, RunID: untrusted.Line(c.env("GITHUB_RUN_ID"), 30), Actor: origin.Actor},
		As:        c.mirrorOf,
		Lease:     c.Lease,
		NoHold:    v.oneOf("hold", "true", "none") == "none",
		Signer:    v.signer(),
		Trust:     c.trust(v),
	}
	switch strings.ToLower(config.Force) {
	case "true", "false", "yes", "no", "on", "off", "1", "0":
		v.reject("force", "it takes a reason in words, not a switch; the reason is kept in the record")
	}
	return config
}

// minSecret is the length under which a token is invalid. Such a one is not
// hidden either: blotting out a common word would make the error unreadable.
const minSecret = 8

// otherSecrets are those that no field of the plan holds; of an invalid list of
// tokens, all that could be one.
func otherSecrets(v *values) []secret.Value {
	secrets := []secret.Value{v.secret("github-token"), v.secret("registry-password"), v.secret("signing-key-password")}
	secrets = append(secrets, keyLines(v.secret("signing-key"))...)
	for _, token := range fleet.SplitList(v.secret("admin-tokens").Reveal()) {
		if len(token) >= minSecret {
			secrets = append(secrets, secret.New(token))
		}
	}
	return secrets
}

// connectForge makes the client for commit status and ancestry. What it lacks
// costs a warning, never the run.
func (c *Command) connectForge(s *session, v *values) {
	token := v.secret("github-token")
	if token.IsZero() {
		return
	}
	client, err := forge.New(forge.Config{
		API: c.env("GITHUB_API_URL"), Repository: c.env("GITHUB_REPOSITORY"), Token: token,
		Gitea: c.env("GITEA_ACTIONS") == "true", UserAgent: c.tool(), Proxy: http.ProxyFromEnvironment,
	})
	if err != nil {
		s.warnings = append(s.warnings, fmt.Sprintf("github-token is set, but there is no forge to use it on, so there is neither commit status nor ancestry: %v", err))
		return
	}
	s.forge = client
}

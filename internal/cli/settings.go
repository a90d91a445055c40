package cli

import (
	"errors"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/forge"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
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
	secrets   []secret.Value
	warnings  []string
}

// prepare turns values into a gate that is ready to run. It makes no request.
// The error joins every fault that there is.
func (c *Command) prepare(mode gate.Mode, v *values) (*session, error) {
	s := &session{}
	s.plan = gate.Plan{
		Mode: mode, Tool: c.Version, Origin: c.origin(),
		SHA:          c.commit(mode, v),
		VersionPath:  versionPath(v),
		VersionField: v.text("version-field"),
		Settle:       v.duration("settle"),
		WaitTimeout:  v.duration("wait-timeout"),
		WaitInterval: v.duration("wait-interval"),
		Soak:         v.duration("soak"),
		Reason:       v.text("reason"),
		Deadline:     v.duration("deadline"),
		SkipEmpty:    v.oneOf("unconfigured", "fail", "skip") == "skip",
		Fleet:        c.fleetConfig(v),
	}
	s.plan.Untold = s.plan.VersionPath == "" // as none asks for
	if mode.NeedsFleet() {
		s.plan.Tenants = c.tenants(v)
	}
	if mode.Judges() {
		s.plan.Suite = c.suite(v)
	}
	s.collectSecrets(v)
	s.plan.Promote = c.promoteConfig(v)
	s.reportDir = c.reportDir(v)
	c.connectForge(s, v)
	if s.forge != nil {
		s.plan.Promote.Ancestry = s.forge
	}
	s.plan.Redact = s.redact
	s.plan.Origin.CommitURL = c.commitURL(s.plan.SHA)
	s.plan.Observer = c.observer()
	var err error
	s.gate, err = gate.New(s.plan)
	return s, errors.Join(append(v.faults, v.unspoken(err)...)...)
}

// unspoken leaves out what is missing only because it was given and is
// malformed: that fault stands in the list already.
func (v *values) unspoken(err error) []error {
	var faults []error
	for _, fault := range flat(err) {
		var missing *gate.MissingError
		if errors.As(fault, &missing) && v.spoiled(missing.Input) {
			continue
		}
		faults = append(faults, fault)
	}
	return faults
}

// spoiled reports whether something was given for an input that is missing now.
func (v *values) spoiled(name string) bool {
	if name == "tenant-urls" {
		return v.given("tenant-urls") || v.given("admin-tokens") || v.given("org-ids") || v.given("tenants") || v.given("tenants-file")
	}
	return name == "checks" || v.given(name)
}

// versionPath reads the path; "none" switches the proof of identity off.
func versionPath(v *values) string {
	path := v.text("version-path")
	if path == "none" {
		return ""
	}
	if err := fleet.CheckPath(path); err != nil {
		v.fault("version-path", "%q: %v (none switches the proof of identity off)", shown(path), err)
	}
	return path
}

// fleetConfig reads the bounds of the requests to tenants.
func (c *Command) fleetConfig(v *values) fleet.Config {
	retries := v.number("retries", 0, 20)
	if retries == 0 {
		retries = -1 // fleet's word for none; its zero value is the default
	}
	timeout := v.duration("request-timeout")
	if timeout <= 0 {
		v.fault("request-timeout", "%v is not a time to wait; write for example 10s", timeout)
	}
	return fleet.Config{
		RequestTimeout: timeout,
		Retries:        retries,
		Concurrency:    v.number("concurrency", 1, 1_000_000),
		AllowHTTP:      v.boolean("allow-http"),
		UserAgent:      c.tool(),
		Proxy:          http.ProxyFromEnvironment,
	}
}

// tenants reads the fleet in whichever of its three forms it was given.
func (c *Command) tenants(v *values) []fleet.Tenant {
	allowHTTP := strings.EqualFold(v.text("allow-http"), "true")
	lists := v.given("tenant-urls") || v.given("admin-tokens") || v.given("org-ids")
	forms := 0
	for _, given := range []bool{lists, v.given("tenants"), v.given("tenants-file")} {
		if given {
			forms++
		}
	}
	if forms > 1 {
		v.fault("tenants", "give the fleet once: as tenant-urls with admin-tokens, as tenants, or as tenants-file")
		return nil
	}
	var tenants []fleet.Tenant
	var err error
	switch {
	case lists:
		tenants, err = fleet.ParseLists(v.text("tenant-urls"), v.secret("admin-tokens").Reveal(), v.text("org-ids"), allowHTTP)
	case v.given("tenants"):
		tenants, err = fleet.ParseTenants("tenants", []byte(v.secret("tenants").Reveal()), allowHTTP)
	case v.given("tenants-file"):
		var data []byte
		if data, err = c.readFile(v.text("tenants-file"), maxTenantsFile); err == nil {
			tenants, err = fleet.ParseTenants("tenants-file", data, allowHTTP)
		} else {
			err = errors.New("tenants-file: " + err.Error())
		}
	}
	if err != nil {
		v.faults = append(v.faults, err)
	}
	return tenants
}

// suite loads the built-in suite or the file that checks names.
func (c *Command) suite(v *values) *smoke.Suite {
	name := v.text("checks")
	src, builtin := smoke.Builtin(name)
	if !builtin {
		var err error
		if src, err = c.readFile(name, maxSuiteFile); err != nil {
			v.fault("checks", "%q is no built-in suite (%s), and as a file: %v; is the repository checked out before this step?",
				shown(name), strings.Join(smoke.BuiltinNames(), ", "), err)
			return nil
		}
	}
	suite, err := smoke.Load(name, src)
	if err != nil {
		v.faults = append(v.faults, err)
		return nil
	}
	return suite
}

// promoteConfig reads what is about images, tags and registries.
func (c *Command) promoteConfig(v *values) promote.Config {
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
	}
	origin := c.origin()
	config.Origin = promote.Origin{Tool: c.tool(), RunURL: origin.URL, Actor: origin.Actor}
	switch strings.ToLower(config.Force) {
	case "true", "false", "yes", "no", "on", "off", "1", "0":
		v.fault("force", "it takes a reason in words, not a switch; the reason is kept in the record")
	}
	return config
}

// minSecret is the length under which a token is malformed. Such a one is not
// hidden either: blotting out a common word would make the fault unreadable.
const minSecret = 8

// collectSecrets gathers everything that must not be shown.
func (s *session) collectSecrets(v *values) {
	for _, name := range []string{"registry-password", "github-token"} {
		s.secrets = append(s.secrets, v.secret(name))
	}
	for _, t := range s.plan.Tenants {
		s.secrets = append(s.secrets, t.Token)
	}
	for _, token := range fleet.SplitList(v.secret("admin-tokens").Reveal()) {
		if len(token) >= minSecret {
			s.secrets = append(s.secrets, secret.New(token))
		}
	}
	s.redact = secret.NewRedactor(s.secrets...)
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
		s.warnings = append(s.warnings, "github-token is set, but there is no forge to use it on, so there is neither commit status nor ancestry: "+err.Error())
		return
	}
	s.forge = client
}

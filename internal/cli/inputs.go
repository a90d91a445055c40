package cli

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/molecule"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// A kind says what form an input has, for help and for flags.
type kind int

const (
	text kind = iota
	list
	duration
	number
	boolean
	file
)

// placeholder is what help shows in place of a value of each kind.
func (k kind) placeholder() string {
	return [...]string{"TEXT", "LIST", "DURATION", "NUMBER", "", "PATH"}[k]
}

// An input is one row of the table that feeds the action's inputs, the flags,
// action.yml and the README.
type input struct {
	name   string
	def    string // what an empty value means
	kind   kind
	secret bool          // comes from the environment or a file, never from a flag's value
	modes  []report.Mode // that read it; nil: all
	help   string        // one line
	note   string        // what the README says in place of an empty default
	field  string        // of the libraries that it sets, where they find it invalid
}

var (
	eventModes    = []report.Mode{report.ModeVerify, report.ModeSmoke, report.ModePromote}
	fleetModes    = []report.Mode{report.ModeVerify, report.ModeSmoke, report.ModeStatus}
	judgeModes    = []report.Mode{report.ModeVerify, report.ModeSmoke}
	registryModes = []report.Mode{report.ModeVerify, report.ModePromote, report.ModeRollback, report.ModeHold, report.ModeRelease, report.ModeAdmit, report.ModeStatus, report.ModeHistory}
	recordModes   = []report.Mode{report.ModeVerify, report.ModePromote, report.ModeRollback, report.ModeHold, report.ModeRelease}
	shaModes      = []report.Mode{report.ModeVerify, report.ModeSmoke, report.ModePromote, report.ModeRollback, report.ModeStatus, report.ModeHistory}
	movingModes   = []report.Mode{report.ModeVerify, report.ModePromote, report.ModeRollback}
	forgeModes    = []report.Mode{report.ModeVerify, report.ModeSmoke, report.ModePromote, report.ModeRollback}
)

// inputs is the one table. Defaults are stated by the libraries.
var inputs = []input{
	{name: "mode", field: "Mode", def: string(gate.DefaultMode), help: "What to do: " + modeWords(" or ") + "."},
	{name: "sha", field: "SHA", note: "from the event", modes: shaModes, help: "Commit, 7 to 40 hex digits. Empty: the event's commit (head_sha under workflow_run, else GITHUB_SHA); for rollback the newest earlier good one."},
	{name: "branches", kind: list, note: "the default branch", modes: eventModes, help: "Under workflow_run: branches whose builds may be promoted; any lifts this rule alone."},
	{name: "tenant-urls", field: "URLs", kind: list, modes: fleetModes, help: "Base URLs of the canary tenants."},
	{name: "admin-tokens", field: "Tokens", kind: list, secret: true, modes: fleetModes, help: "Admin tokens, in the order of tenant-urls."},
	{name: "org-ids", field: "OrgIDs", kind: list, modes: fleetModes, help: "Org ids, in the order of tenant-urls, or leave empty; sent as " + molecule.OrgHeader + "."},
	{name: "tenants", secret: true, modes: fleetModes, help: "Instead of the three lists: a YAML or JSON list of {name, url, token, org-id}."},
	{name: "tenants-file", kind: file, modes: fleetModes, help: "The same list in a file of the workspace, for fleets that don't fit into one variable."},
	{name: "images", field: "Images", kind: list, modes: registryModes, help: "Image repositories, without a tag; for admit one image with its tag or digest; for status, to show a hold."},
	{name: "source-tag", field: "SourceTag", def: promote.DefaultSourceTag, modes: movingModes, help: "Tag of the candidate; {sha} is the commit's first 7 digits, {full-sha} all of them."},
	{name: "target-tag", field: "TargetTag", def: promote.DefaultTargetTag, modes: registryModes, help: "Tag that production follows."},
	{name: "canary-tag", field: "CanaryTag", modes: []report.Mode{report.ModeVerify}, help: "Tag that the canary tenants follow: moved to the candidate before the wait, put back unless the verdict is green."},
	{name: "registry-username", field: "Username", modes: registryModes, help: "User for the one registry that all images share; empty: the Docker configuration."},
	{name: "registry-password", field: "Password", secret: true, modes: registryModes, help: "Password or token that may write packages; for admit and history one that may read them."},
	{name: "version-path", field: "VersionPath", def: fleet.DefaultVersionPath, modes: fleetModes, help: "Path where a tenant reports its commit; none: there is no such endpoint, so wait settle and mark identity as unproven."},
	{name: "version-field", field: "VersionField", def: fleet.DefaultVersionField, modes: fleetModes, help: "Dotted path of the commit in that JSON answer."},
	{name: "version-started-field", field: "StartedField", modes: fleetModes, help: "Dotted path, in the same answer, of the time when the tenant's process started; a change is a restart."},
	{name: "identity-reads", field: "IdentityReads", kind: number, note: "`7`, or `3` above 200 tenants", modes: judgeModes, help: "How often each tenant's commit is read in total, on separate connections: before, beside and after the checks."},
	{name: "settle", field: "Settle", def: short(gate.DefaultSettle), kind: duration, modes: judgeModes, help: "Fixed wait with version-path: none."},
	{name: "wait-timeout", field: "WaitTimeout", def: short(fleet.DefaultWaitTimeout), kind: duration, modes: judgeModes, help: "How long tenants may take to run the commit."},
	{name: "wait-interval", field: "WaitInterval", def: short(fleet.DefaultWaitInterval), kind: duration, modes: judgeModes, help: "Polling interval per tenant, jittered."},
	{name: "checks", field: "Suite", def: gate.DefaultSuite, modes: judgeModes, help: "Suite: canary, workspace-server, or the path of a suite file in the workspace."},
	{name: "request-timeout", field: "RequestTimeout", def: short(fleet.DefaultRequestTimeout), kind: duration, modes: fleetModes, help: "Timeout per attempt of a request to a tenant."},
	{name: "retries", field: "Retries", def: strconv.Itoa(fleet.DefaultRetries), kind: number, modes: fleetModes, help: "Retries after a transport error, 429, 502, 503 or 504."},
	{name: "max-body", field: "MaxBody", def: "8MiB", modes: fleetModes, help: "How much of an answer is read; more is an error, not a failure."},
	{name: "soak", field: "Soak", def: "0s", kind: duration, modes: judgeModes, help: "Repeat the suite for this long; every round must pass."},
	{name: "soak-interval", field: "SoakInterval", def: short(smoke.DefaultSoakInterval), kind: duration, modes: judgeModes, help: "Pause between two rounds; longer where a tenant's rate-limit headers ask for it."},
	{name: "flaky", def: "allow", modes: judgeModes, help: "allow, or inconclusive: a check that passed only after a retry makes the run inconclusive."},
	{name: "concurrency", field: "Concurrency", def: strconv.Itoa(fleet.DefaultConcurrency), kind: number, modes: fleetModes, help: "Tenants checked at the same time."},
	{name: "deadline", field: "Deadline", def: short(gate.DefaultDeadline), kind: duration, help: "Overall timeout; the report is still written."},
	{name: "dry-run", def: "false", kind: boolean, modes: recordModes, help: "Decide and report, move nothing and record nothing."},
	{name: "force", modes: movingModes, help: "A reason in words: lifts the refusals of order, of a hold and of missing, red or rolled-back records, and is recorded."},
	{name: "reason", field: "Reason", modes: recordModes, help: "Why, in words; kept in the record of what is done by hand. hold and release need one."},
	{name: "hold", def: "true", modes: []report.Mode{report.ModeRollback}, help: "true, or none: a rollback puts the target on hold, so that nothing is promoted until it is released."},
	{name: "signing-key", field: "SigningKey", secret: true, modes: recordModes, help: "Private key in PEM that signs each record: ECDSA P-256 or Ed25519, made by openssl or by cosign generate-key-pair. Empty: records are unsigned."},
	{name: "signing-key-password", field: "SigningKeyPassword", secret: true, modes: recordModes, help: "Password of a signing key that cosign made."},
	{name: "trusted-keys", field: "TrustedKeys", modes: registryModes, help: "Public keys whose records count: PEM, one after the other, or the path of such a file in the workspace. Empty: every record counts."},
	{name: "require-signed", note: "`true` with `trusted-keys`", kind: boolean, modes: registryModes, help: "Records without a trusted signature count as absent."},
	{name: "unconfigured", def: "fail", modes: fleetModes, help: "fail, or skip: an empty fleet is a warning and exit 0. It never promotes."},
	{name: "allow-http", def: "false", kind: boolean, modes: fleetModes, help: "Permit plain http to a host that is not loopback."},
	{name: "github-token", secret: true, modes: forgeModes, help: "Token for commit status and ancestry on GitHub or Gitea."},
	{name: "report-dir", kind: file, help: "Folder in the workspace for report.json, summary.md, junit.xml and report.html."},
}

// modeWords lists the modes for a sentence.
func modeWords(last string) string {
	words := make([]string, 0, len(report.Modes()))
	for _, m := range report.Modes() {
		words = append(words, string(m))
	}
	return strings.Join(words[:len(words)-1], ", ") + last + words[len(words)-1]
}

// short writes a duration as people do: 7m, not 7m0s.
func short(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if stem, found := strings.CutSuffix(text, zero); found {
			text = stem + zero[:1]
		}
	}
	return text
}

// inputOf is the input that sets a field of the libraries. A fleet that is missing
// has three forms, of which the lists are the first.
func inputOf(field string) string {
	if field == "Tenants" {
		return "tenant-urls"
	}
	for _, in := range inputs {
		if in.field == field {
			return in.name
		}
	}
	return field
}

// An output is one row of the table of the action's outputs.
type output struct{ name, help string }

// outputs is that table.
var outputs = []output{
	{"verdict", "green, red, inconclusive, refused, skipped, or none where nothing was judged."},
	{"ran", "true where checks ran."},
	{"promoted", "true when every target points at the candidate, moved now or before (verify and promote)."},
	{"sha", "The commit that the run was about."},
	{"rejected-sha", "The commit, only when the verdict is red."},
	{"digests", "JSON object: image as written to the candidate's digest; for admit to the digest that may run."},
	{"previous-digests", "JSON object: image as written to the digest that the target had before."},
	{"held", "true where the target is on hold at the end."},
	{"report", "Path of report.json relative to the workspace, when it was written."},
}

// inputVariable is the environment variable in which a runner passes an input.
func inputVariable(name string) string { return "INPUT_" + strings.ToUpper(name) }

// flagVariable is the environment variable from which the command line takes
// an input.
func flagVariable(name string) string {
	return "CANARY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// secretFlag is the flag that names a file with the value of a secret input.
func secretFlag(name string) string { return name + "-file" }

// serves reports whether a mode reads the input.
func (in input) serves(m report.Mode) bool {
	return in.modes == nil || slices.Contains(in.modes, m)
}

// lookup finds an input by its name.
func lookup(name string) (input, bool) {
	i := slices.IndexFunc(inputs, func(in input) bool { return in.name == name })
	if i < 0 {
		return input{}, false
	}
	return inputs[i], true
}

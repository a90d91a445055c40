package cli

import (
	"slices"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
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
	secret bool        // comes from the environment or a file, never from a flag's value
	modes  []gate.Mode // that read it; nil: all
	help   string      // one line
	note   string      // what the README says in place of an empty default
}

var (
	fleetModes    = []gate.Mode{gate.ModeVerify, gate.ModeSmoke, gate.ModeStatus}
	judgeModes    = []gate.Mode{gate.ModeVerify, gate.ModeSmoke}
	registryModes = []gate.Mode{gate.ModeVerify, gate.ModePromote, gate.ModeRollback, gate.ModeHistory}
	movingModes   = []gate.Mode{gate.ModeVerify, gate.ModePromote, gate.ModeRollback}
	forgeModes    = []gate.Mode{gate.ModeVerify, gate.ModeSmoke, gate.ModePromote, gate.ModeRollback}
)

// inputs is the one table. Names and defaults are the contract's.
var inputs = []input{
	{name: "mode", def: "verify", help: "What to do: verify, smoke, promote, rollback, status or history."},
	{name: "sha", note: "from the event", help: "Commit, 7 to 40 hex digits. Empty: the event's commit (head_sha under workflow_run, else GITHUB_SHA); for rollback the newest earlier good one."},
	{name: "tenant-urls", kind: list, modes: fleetModes, help: "Base URLs of the canary tenants."},
	{name: "admin-tokens", kind: list, secret: true, modes: fleetModes, help: "Admin tokens, in the order of tenant-urls."},
	{name: "org-ids", kind: list, modes: fleetModes, help: "Org ids, in the order of tenant-urls, or none at all; sent as X-Molecule-Org-Id."},
	{name: "tenants", secret: true, modes: fleetModes, help: "Instead of the three lists: a YAML or JSON list of {name, url, token, org-id}."},
	{name: "tenants-file", kind: file, modes: fleetModes, help: "The same list in a file of the workspace, for fleets that don't fit into one variable."},
	{name: "images", kind: list, modes: registryModes, help: "Image repositories, without a tag."},
	{name: "source-tag", def: "staging-{sha}", modes: registryModes, help: "Tag of the candidate; {sha} is the commit's first 7 digits, {full-sha} all 40."},
	{name: "target-tag", def: "latest", modes: registryModes, help: "Tag that production follows."},
	{name: "canary-tag", modes: []gate.Mode{gate.ModeVerify}, help: "Tag that the canary tenants follow: moved to the candidate before the wait, put back unless the verdict is green."},
	{name: "registry-username", modes: registryModes, help: "User for the one registry that all images share; empty: the Docker configuration."},
	{name: "registry-password", secret: true, modes: registryModes, help: "Password or token that may write packages."},
	{name: "version-path", def: "/buildinfo", modes: fleetModes, help: "Path where a tenant tells its commit; none: it can't, so wait settle and say that identity is unproven."},
	{name: "version-field", def: "git_sha", modes: fleetModes, help: "Dotted path of the commit in that JSON answer."},
	{name: "settle", def: "6m", kind: duration, modes: judgeModes, help: "The fixed wait with version-path: none."},
	{name: "wait-timeout", def: "7m", kind: duration, modes: judgeModes, help: "How long tenants may take to run the commit."},
	{name: "wait-interval", def: "2s", kind: duration, modes: judgeModes, help: "Time between two questions to one tenant, jittered."},
	{name: "checks", def: "canary", modes: judgeModes, help: "Suite: canary, workspace-server, or the path of a suite file in the workspace."},
	{name: "request-timeout", def: "10s", kind: duration, modes: fleetModes, help: "Bound of each try of a request to a tenant."},
	{name: "retries", def: "3", kind: number, modes: fleetModes, help: "Further tries after a transport error, 429, 502, 503 or 504."},
	{name: "soak", def: "0s", kind: duration, modes: judgeModes, help: "Keep repeating the suite for so long; every round must hold."},
	{name: "concurrency", def: "256", kind: number, modes: fleetModes, help: "Tenants checked at the same time."},
	{name: "deadline", def: "30m", kind: duration, help: "Bound of the whole run; the report is written all the same."},
	{name: "dry-run", def: "false", kind: boolean, modes: movingModes, help: "Decide and report, move nothing."},
	{name: "force", modes: movingModes, help: "A reason in words: lifts the refusals of order and of missing, red or rolled-back records, and is recorded."},
	{name: "reason", modes: movingModes, help: "Why, in words; kept in the record of a promotion or rollback by hand."},
	{name: "unconfigured", def: "fail", modes: fleetModes, help: "fail, or skip: an empty fleet is a warning and exit 0. It never promotes."},
	{name: "allow-http", def: "false", kind: boolean, modes: fleetModes, help: "Permit plain http to a host that is not loopback."},
	{name: "github-token", secret: true, modes: forgeModes, help: "Token for commit status and ancestry on GitHub or Gitea."},
	{name: "report-dir", kind: file, help: "Folder in the workspace for report.json, summary.md, junit.xml and report.html."},
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
	{"digests", "JSON object: image as written to the candidate's digest."},
	{"previous-digests", "JSON object: image as written to the digest that the target had before."},
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
func (in input) serves(m gate.Mode) bool {
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

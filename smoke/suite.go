package smoke

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
)

// Limits of a suite file. The built-in suites are a hundredth of each.
const (
	maxSuite  = 256 << 10        // bytes
	maxChecks = 1000             // of a suite
	maxSteps  = 50               // of a check
	maxName   = 100              // characters of a check's name
	maxWithin = 10 * time.Minute // of one step
	maxLoad   = 10 * time.Second // for trying all expectations on negative controls
)

// A Suite is a compiled suite file: every expectation is type-checked and has
// been tried on answers that must not pass. It never changes and may be run by
// several goroutines at once.
type Suite struct {
	Name string
	// Hash is "sha256:" and the digest of the file, in hex.
	Hash string
	// Warnings are the expectations that can't tell a dead tenant from a live
	// one, each with its place in the file. A strict suite has none.
	Warnings []string
	strict   bool
	product  bool // built in: hints may speak of the product that it is for
	checks   []check
	confirm  *confirmation // nil: nothing tells whether a tenant's dependencies are up
	sweep    *sweep        // nil: what a killed run left stays
}

// A check is one promise of a tenant.
type check struct {
	name    string
	steps   []step
	finally []step
	usesSHA bool // a step is about the candidate
	asksOrg bool // a step is sent without the tenant's org id, or with a wrong one
}

// A step is one request and what its answer must be.
type step struct {
	method      string
	path        template
	header      []headerField
	body        template // nil: none
	contentType string   // of the body, when header doesn't say
	auth        fleet.Auth
	org         fleet.Org
	idempotent  bool
	expect      *expr.Expr // nil: none, in finally only
	weak        bool       // expect can't tell a dead tenant from a live one
	within      time.Duration
	save        []saved
}

type headerField struct {
	name  string
	value template
}

// A saved is a value that a step keeps for those after it.
type saved struct {
	name  string
	value *expr.Expr
}

// Load compiles a suite file. Name stands for the file in errors and reports; that
// of a built-in suite makes hints speak of the product that it is for.
//
// The error joins one [*FileError] for each error in the file, in its order. In
// a suite with "strict: true" an expectation that also passes on an answer of a
// dead tenant is an error; otherwise it is one of the suite's Warnings, unless no
// check of the suite can tell the two apart. Errors quote a file only where it is a
// suite: a path may lead to anything.
func Load(name string, src []byte) (*Suite, error) {
	file := newSuiteFile(name, src)
	suite := &Suite{Name: name, Hash: hash(src), product: slices.Contains(BuiltinNames(), name)}
	if len(src) > maxSuite {
		file.invalid(position{}, "the suite has %d bytes; at most %d are allowed", len(src), maxSuite)
		return nil, file.err()
	}
	if root := file.parse(src); root != nil {
		d := &decoder{suiteFile: file, suite: suite, deadline: time.Now().Add(maxLoad)}
		d.decode(root)
	}
	if err := file.err(); err != nil {
		return nil, err
	}
	return suite, nil
}

func hash(src []byte) string {
	sum := sha256.Sum256(src)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// CheckNames returns the names of all checks, in the suite's order.
func (s *Suite) CheckNames() []string {
	names := make([]string, len(s.checks))
	for i, c := range s.checks {
		names[i] = c.name
	}
	return names
}

//go:embed suites/*.yml
var suites embed.FS

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema of suite files, for editors. It covers the
// shape of a suite; [Load] finds more errors than that.
func Schema() []byte { return slices.Clone(schema) }

// BuiltinNames returns the names of the built-in suites, in order.
func BuiltinNames() []string {
	entries, err := suites.ReadDir("suites")
	if err != nil {
		panic(fmt.Sprintf("the built-in suites are missing: %v", err)) // embedded: can't be
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".yml")
	}
	return names
}

// Builtin returns the text of a built-in suite, and whether there is one of
// that name.
func Builtin(name string) ([]byte, bool) {
	if !slices.Contains(BuiltinNames(), name) {
		return nil, false
	}
	text, err := suites.ReadFile("suites/" + name + ".yml")
	return text, err == nil
}

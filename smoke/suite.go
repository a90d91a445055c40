package smoke

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"go.yaml.in/yaml/v3"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
)

// Bounds of a suite file. The built-in suites are a hundredth of each.
const (
	maxSuite     = 256 << 10        // bytes
	maxChecks    = 500              // of a suite
	maxStepCount = 50               // of a check
	maxName      = 100              // characters of a check's name
	maxWithin    = 10 * time.Minute // of one step
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
	checks   []check
}

// A check is one promise of a tenant.
type check struct {
	name    string
	steps   []step
	finally []step
}

// A step is one request and what its answer must be.
type step struct {
	method      string
	path        template
	header      []headerField
	body        template // nil: none
	contentType string   // of the body, when header doesn't say
	auth        fleet.Auth
	idempotent  bool
	expect      *expectation // nil: none, in finally only
	within      time.Duration
	save        []saving
}

type headerField struct {
	name  string
	value template
}

// A saving is a value that a step keeps for those after it.
type saving struct {
	name  string
	value ast.Node
	text  string
}

// An expectation is what must be true of an answer, clause by clause.
type expectation struct {
	text    string
	root    ast.Node
	clauses []ast.Node
}

// Load compiles a suite file. Name stands for the file in errors and reports.
//
// The error joins one [*FileError] for each fault of the file, in its order. In
// a suite with "strict: true" an expectation that an answer of a dead tenant
// would satisfy is a fault; otherwise it is one of the suite's Warnings.
func Load(name string, src []byte) (*Suite, error) {
	file := newSource(name, src)
	suite := &Suite{Name: name, Hash: hash(src)}
	if len(src) > maxSuite {
		file.fault(position{}, "the suite has %d bytes; at most %d are allowed", len(src), maxSuite)
		return nil, file.err()
	}
	root := file.parse(src)
	if root != nil {
		d := &decoder{source: file}
		d.suite(suite, root)
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

// Schema returns the JSON Schema of suite files, for editors. It says what
// shape a suite has; [Load] says more.
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

// parse reads the file as one YAML document. It returns nil, and has recorded a
// fault, when that can't be done.
func (s *source) parse(src []byte) (root *yaml.Node) {
	defer func() {
		if p := recover(); p != nil {
			root = nil
			s.fault(position{}, "the file can't be read as YAML")
		}
	}()
	reader := yaml.NewDecoder(strings.NewReader(string(src)))
	var document yaml.Node
	if err := reader.Decode(&document); err != nil {
		s.yamlFault(err)
		return nil
	}
	if len(document.Content) != 1 {
		s.fault(position{}, "the suite is empty; it needs checks")
		return nil
	}
	var second yaml.Node
	if err := reader.Decode(&second); err == nil {
		s.fault(position{second.Line, second.Column}, "a suite is one YAML document; a second one begins here")
	}
	return document.Content[0]
}

// yamlFault records an error of the YAML parser, which tells its line only.
func (s *source) yamlFault(err error) {
	if err.Error() == "EOF" {
		s.fault(position{}, "the suite is empty; it needs checks")
		return
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
	}
	// The library counts lines from 1 for its scanner and from 0 for its parser,
	// whose messages all begin like this.
	if strings.HasPrefix(text, "did not find expected") {
		line++
	}
	s.fault(position{line, 1}, "not valid YAML: %s", text)
}

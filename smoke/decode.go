package smoke

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// The keys of a suite file. A test keeps schema.json equal to these.
var (
	suiteKeys   = []string{"checks", "strict", "confirm", "sweep"}
	confirmKeys = []string{"get", "headers", "auth", "down"}
	sweepKeys   = []string{"list", "where", "age", "delete"}
	checkKeys   = []string{"name", "steps", "finally"}
	stepKeys    = slices.Concat(methodKeys, []string{"headers", "body", "auth", "org", "idempotent", "expect", "within", "save"})
	// A clean-up request is sent once: it waits for nothing and keeps nothing.
	finallyKeys = slices.Concat(methodKeys, []string{"headers", "body", "auth", "idempotent", "expect"})
	methodKeys  = []string{"get", "head", "post", "put", "patch", "delete"}
)

// savedName is the form of the name of a saved value: that of a name in an expression.
var savedName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,39}$`)

// durationForm is how a duration is written, of those that time.ParseDuration
// takes.
var durationForm = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m))+$`)

// A decoder makes a suite of a YAML tree, and errors of what is wrong with it.
type decoder struct {
	*suiteFile
	suite      *Suite
	deadline   time.Time
	check      string      // the name of the present check, for errors
	saved      []string    // the names that the steps before this one save
	objections []objection // to expectations that a dead tenant meets
}

// An objection is to something that a suite may say and should not.
type objection struct {
	position
	message string
}

// decode decodes the whole file.
func (d *decoder) decode(root *yaml.Node) {
	if root.Kind == yaml.MappingNode && !isSuite(root) {
		d.invalid(at(root), "the suite has no checks; it would pass on anything%s", misspelt(root))
		return
	}
	m, ok := d.mapping(root, "a suite", suiteKeys)
	if !ok {
		return
	}
	d.suite.strict = d.boolean(m.values["strict"], "strict")
	if n := m.values["confirm"]; n != nil {
		d.suite.confirm = d.confirmation(n)
	}
	if n := m.values["sweep"]; n != nil {
		d.suite.sweep = d.sweep(n)
	}
	list := m.values["checks"]
	if list == nil {
		return // its key is no text, which was said
	}
	seen := make(map[string]bool)
	for _, item := range d.sequence(list, "checks", "check", maxChecks) {
		if time.Now().After(d.deadline) {
			d.invalid(at(item), "the suite takes longer than %s to load; make it smaller", maxLoad)
			return
		}
		c, ok := d.decodeCheck(item)
		if ok && seen[c.name] {
			d.invalid(at(item), "a second check is named %q", c.name)
		}
		seen[c.name] = true
		d.suite.checks = append(d.suite.checks, c)
	}
	d.judge(list)
}

// judge makes errors or warnings of what a dead tenant meets. A suite none of whose
// checks notices one proves nothing.
func (d *decoder) judge(list *yaml.Node) {
	strict := d.suite.strict
	if !strict && len(d.errs) == 0 && !slices.ContainsFunc(d.suite.checks, check.notices) {
		d.invalid(at(list), "no check of this suite can tell a dead tenant from a live one: it proves nothing")
		strict = true
	}
	for _, o := range d.objections {
		if strict {
			d.invalid(o.position, "%s", o.message)
		} else {
			d.suite.Warnings = append(d.suite.Warnings, d.errorAt(o.position, o.message).Error())
		}
	}
}

// notices reports whether a dead tenant can't meet all expectations of a check: a
// value that must be there to be saved is one, too.
func (c check) notices() bool {
	return slices.ContainsFunc(c.steps, func(st step) bool { return !st.weak || len(st.save) > 0 })
}

// confirmation decodes the request that tells whether a tenant's dependencies are
// up. A condition that is true of an answer of a failing service would make an
// outage of every failure.
func (d *decoder) confirmation(n *yaml.Node) *confirmation {
	m, ok := d.mapping(n, "confirm", confirmKeys)
	if !ok {
		return nil
	}
	c := &confirmation{request: d.request(m)}
	down := m.values["down"]
	if down == nil {
		d.invalid(at(n), "confirm has no down; write what is true of the answer while the tenant's dependencies are down")
		return nil
	}
	if c.down = d.expectation(down, "down"); c.down == nil || len(c.request.path) == 0 {
		return nil
	}
	if passing := d.passing(&c.request, c.down); len(passing) > 0 {
		d.object(d.inScalar(down, 0), "down is also true of "+passing[0].name+", which is what "+passing[0].who+
			" sends: a failing build would be taken for an outage. Name the code with which the tenant reports one")
	}
	return c
}

// sweep decodes what earlier runs may have left. What it deletes must bear a name
// that begins with the checks' own prefix: a mistake here would delete what users
// made.
func (d *decoder) sweep(n *yaml.Node) *sweep {
	m, ok := d.mapping(n, "sweep", sweepKeys)
	if !ok {
		return nil
	}
	for _, key := range sweepKeys {
		if m.values[key] == nil {
			d.invalid(at(n), "sweep has no %s; it needs %s", key, strings.Join(sweepKeys, ", "))
			return nil
		}
	}
	s := &sweep{list: step{method: http.MethodGet, path: d.path(m.values["list"])}}
	s.where = d.element(m.values["where"], "where", true)
	s.age = d.element(m.values["age"], "age", false)
	if s.where != nil && utf8.RuneCountInString(s.where.Prefix()) < minPrefix {
		d.invalid(d.inScalar(m.values["where"], 0), `where must demand that a field begins with the checks' own prefix, of at least %d characters; for example .name startsWith "canary-smoke-"`, minPrefix)
	}
	s.delete = d.pathOfElement(m.values["delete"])
	return s
}

// element decodes an expression about an element of a list.
func (d *decoder) element(n *yaml.Node, key string, condition bool) *expr.Expr {
	text, ok := d.text(n, key)
	if !ok {
		return nil
	}
	x, errs := expr.CompileElement(text, condition)
	d.compileErrors(n, errs)
	return x
}

// pathOfElement decodes a path whose placeholders are fields of an element.
func (d *decoder) pathOfElement(n *yaml.Node) template {
	t, err := parseTemplate(n.Value, inPath)
	fields := slices.DeleteFunc(t.names(), func(name string) bool { return !savedName.MatchString(name) })
	if err == nil && len(fields) == 0 {
		d.invalid(at(n), "delete must name a field of the element, for example /things/${id}")
		return nil
	}
	d.saved = fields
	defer func() { d.saved = nil }()
	return d.path(n)
}

// decodeCheck decodes one check: a step with a name, or a name with steps.
func (d *decoder) decodeCheck(n *yaml.Node) (check, bool) {
	d.check, d.saved = "", nil
	m, ok := d.mapping(n, "a check", slices.Concat(checkKeys, stepKeys))
	if !ok {
		return check{}, false
	}
	c := check{name: d.name(m)}
	d.check = c.name
	c.steps = d.steps(m)
	c.usesSHA = slices.ContainsFunc(c.steps, step.usesSHA)
	c.asksOrg = slices.ContainsFunc(c.steps, func(st step) bool { return st.org != fleet.OrgOwn })
	if list := m.values["finally"]; list != nil {
		for _, item := range d.sequence(list, "finally", "step", 0) {
			if m, ok := d.mapping(item, "a step of finally", finallyKeys); ok {
				c.finally = append(c.finally, d.step(m, false))
			}
		}
	}
	return c, true
}

// name decodes the name of a check.
func (d *decoder) name(m mapping) string {
	n := m.values["name"]
	if n == nil {
		d.invalid(at(m.node), "the check has no name")
		return ""
	}
	name, ok := d.text(n, "name")
	switch {
	case !ok:
	case strings.TrimSpace(name) == "":
		d.invalid(at(n), "the name is empty")
	case utf8.RuneCountInString(name) > maxName:
		d.invalid(at(n), "the name has more than %d characters", maxName)
	case untrusted.Line(name, 0) != name:
		d.invalid(at(n), "the name has a line break or a character that can't be shown")
	}
	return name
}

// steps decodes the requests of a check.
func (d *decoder) steps(m mapping) []step {
	list := m.values["steps"]
	if list == nil {
		return []step{d.step(m, true)}
	}
	for _, key := range stepKeys {
		if n := m.keys[key]; n != nil {
			d.invalid(at(n), "%s can't stand beside steps; move it into one of them", key)
		}
	}
	var steps []step
	for _, item := range d.sequence(list, "steps", "step", maxSteps) {
		if m, ok := d.mapping(item, "a step", stepKeys); ok {
			steps = append(steps, d.step(m, true))
		}
	}
	return steps
}

// step decodes one request. Where an expectation is required, its absence is an
// error.
func (d *decoder) step(m mapping, required bool) step {
	st := d.request(m)
	if n := m.values["within"]; n != nil {
		st.within = d.within(&st, n)
	}
	switch n := m.values["expect"]; {
	case n != nil:
		st.expect = d.expectation(n, "expect")
		if st.expect != nil && len(st.path) > 0 {
			d.tryControls(&st, n)
		}
	case required:
		d.invalid(at(m.node), "the step has no expect; it would pass on anything")
	}
	if n := m.values["save"]; n != nil {
		st.save = d.save(n)
	}
	return st
}

// within decodes for how long a step is repeated.
func (d *decoder) within(st *step, n *yaml.Node) time.Duration {
	if !d.plain(n) {
		return 0
	}
	limit, err := time.ParseDuration(n.Value)
	switch {
	case err != nil || n.Kind != yaml.ScalarNode || !durationForm.MatchString(n.Value):
		d.invalid(at(n), "within must be a duration, for example 5s, but this is %s", d.kind(n))
	case limit <= 0 || limit > maxWithin:
		d.invalid(at(n), "within is %s; it must be more than 0 and at most %s", n.Value, maxWithin)
	case !st.idempotent && (st.method == http.MethodPost || st.method == http.MethodPatch):
		d.invalid(at(n), "within repeats the request; a %s must be marked idempotent: true for that", strings.ToLower(st.method))
	}
	return limit
}

// expectation decodes what must be true of the answer, the value of a key.
func (d *decoder) expectation(n *yaml.Node, key string) *expr.Expr {
	text, ok := d.text(n, key)
	if !ok {
		return nil
	}
	x, errs := expr.CompileCondition(text, d.saved...)
	d.compileErrors(n, errs)
	return x
}

// compileErrors records the errors of an expression at their places in the file.
func (d *decoder) compileErrors(n *yaml.Node, errs []*expr.CompileError) {
	for _, err := range errs {
		message := err.Message
		if strings.Contains(n.Value, "${") {
			message += "; in an expression a value is named without ${ }"
		}
		if n.LineComment != "" {
			message += "; in YAML a # after a space begins a comment, so put the expression into quotes"
		}
		d.invalid(d.inScalar(n, err.Offset), "%s", message)
	}
}

// save decodes the values that a step keeps.
func (d *decoder) save(n *yaml.Node) []saved {
	m, ok := d.mapping(n, "save", nil)
	if !ok {
		return nil
	}
	if len(n.Content) == 0 {
		d.invalid(at(n), "save names no value")
	}
	before := d.saved
	var all []saved
	m.entries(func(key, value *yaml.Node) {
		if why := d.invalidName(key.Value); why != "" {
			d.invalid(at(key), "%q can't be the name of a saved value: %s", key.Value, why)
			return
		}
		text, ok := d.text(value, "a saved value")
		if !ok {
			return
		}
		x, errs := expr.CompileValue(text, before...)
		d.compileErrors(value, errs)
		all = append(all, saved{name: key.Value, value: x})
		d.saved = append(slices.Clip(d.saved), key.Value)
	})
	return all
}

// invalidName says why a name can't be that of a saved value, or "".
func (d *decoder) invalidName(name string) string {
	switch {
	case !savedName.MatchString(name):
		return "it must be letters, digits and underscores, and begin with a letter"
	case expr.Reserved(name):
		return "it has a meaning of its own"
	case slices.Contains(d.saved, name):
		return "it is saved already"
	default:
		return ""
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

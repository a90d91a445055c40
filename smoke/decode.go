package smoke

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// The keys of a suite file. schema.json is held equal to these by a test.
var (
	suiteKeys = []string{"checks", "strict"}
	checkKeys = []string{"name", "steps", "finally"}
	stepKeys  = slices.Concat(methodKeys, []string{"headers", "body", "auth", "idempotent", "expect", "within", "save"})
	// A clean-up is tried once: it waits for nothing and keeps nothing.
	finallyKeys = slices.Concat(methodKeys, []string{"headers", "body", "auth", "idempotent", "expect"})
	methodKeys  = []string{"get", "head", "post", "put", "patch", "delete"}
)

// auths are the values of auth.
var auths = map[string]fleet.Auth{"admin": fleet.AuthAdmin, "none": fleet.AuthNone, "wrong": fleet.AuthWrong}

// savedName is the form of the name of a saved value: that of a name in an expression.
var savedName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,39}$`)

// durationForm is how a duration is written, of those that time.ParseDuration
// takes.
var durationForm = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m))+$`)

// A decoder makes a suite of a YAML tree, and faults of what is wrong with it.
type decoder struct {
	*source
	check string   // the name of the check at hand, for faults
	saved []string // what the steps before this one save
}

// A fields is a YAML mapping with its keys looked at.
type fields struct {
	node   *yaml.Node
	keys   map[string]*yaml.Node
	values map[string]*yaml.Node
}

func at(n *yaml.Node) position { return position{n.Line, n.Column} }

// suite decodes the whole file.
func (d *decoder) suite(s *Suite, root *yaml.Node) {
	f, ok := d.mapping(root, "a suite", suiteKeys)
	if !ok {
		return
	}
	if n := f.values["strict"]; n != nil {
		s.strict = d.boolean(n, "strict")
	}
	list := f.values["checks"]
	if list == nil {
		d.fault(at(root), "the suite has no checks; it would pass on anything")
		return
	}
	items, ok := d.sequence(list, "checks")
	switch {
	case !ok:
		return
	case len(items) == 0:
		d.fault(at(list), "the suite has no check; it would pass on anything")
	case len(items) > maxChecks:
		d.fault(at(list), "the suite has %d checks; at most %d are allowed", len(items), maxChecks)
		return
	}
	seen := make(map[string]bool)
	for _, item := range items {
		c, ok := d.checkOf(s, item)
		if ok && seen[c.name] {
			d.fault(at(item), "a second check is named %q", c.name)
		}
		seen[c.name] = true
		s.checks = append(s.checks, c)
	}
}

// checkOf decodes one check: a step with a name, or a name with steps.
func (d *decoder) checkOf(s *Suite, n *yaml.Node) (check, bool) {
	d.check, d.saved = "", nil
	f, ok := d.mapping(n, "a check", slices.Concat(checkKeys, stepKeys))
	if !ok {
		return check{}, false
	}
	c := check{name: d.name(f)}
	d.check = c.name
	c.steps = d.steps(s, f)
	if list := f.values["finally"]; list != nil {
		items, ok := d.sequence(list, "finally")
		if ok && len(items) == 0 {
			d.fault(at(list), "finally has no step")
		}
		for _, item := range items {
			if f, ok := d.mapping(item, "a step of finally", finallyKeys); ok {
				c.finally = append(c.finally, d.step(s, f, false))
			}
		}
	}
	return c, true
}

// name decodes the name of a check.
func (d *decoder) name(f fields) string {
	n := f.values["name"]
	if n == nil {
		d.fault(at(f.node), "the check has no name")
		return ""
	}
	name, ok := d.text(n, "name")
	switch {
	case !ok:
	case strings.TrimSpace(name) == "":
		d.fault(at(n), "the name is empty")
	case utf8.RuneCountInString(name) > maxName:
		d.fault(at(n), "the name has more than %d characters", maxName)
	case untrusted.Line(name, 0) != name:
		d.fault(at(n), "the name holds a line break or a character that can't be shown")
	}
	return name
}

// steps decodes the requests of a check.
func (d *decoder) steps(s *Suite, f fields) []step {
	list := f.values["steps"]
	if list == nil {
		return []step{d.step(s, f, true)}
	}
	for _, key := range stepKeys {
		if n := f.keys[key]; n != nil {
			d.fault(at(n), "%s stands beside steps; it belongs into one of them", key)
		}
	}
	items, ok := d.sequence(list, "steps")
	switch {
	case !ok:
		return nil
	case len(items) == 0:
		d.fault(at(list), "the check has no step; it would pass on anything")
	case len(items) > maxStepCount:
		d.fault(at(list), "the check has %d steps; at most %d are allowed", len(items), maxStepCount)
		return nil
	}
	var steps []step
	for _, item := range items {
		if f, ok := d.mapping(item, "a step", stepKeys); ok {
			steps = append(steps, d.step(s, f, true))
		}
	}
	return steps
}

// step decodes one request. Where an expectation is demanded, its absence is a
// fault.
func (d *decoder) step(s *Suite, f fields, demanded bool) step {
	st := step{}
	d.request(&st, f)
	if n := f.values["idempotent"]; n != nil {
		st.idempotent = d.boolean(n, "idempotent")
	}
	if n := f.values["within"]; n != nil {
		d.within(&st, n)
	}
	switch n := f.values["expect"]; {
	case n != nil:
		st.expect = d.expectation(n)
		if st.expect != nil && len(st.path) > 0 {
			d.control(s, &st, n)
		}
	case demanded:
		d.fault(at(f.node), "the step has no expect; it would pass on anything")
	}
	if n := f.values["save"]; n != nil {
		d.save(&st, n)
	}
	return st
}

// request decodes what is sent.
func (d *decoder) request(st *step, f fields) {
	for _, key := range methodKeys {
		n := f.values[key]
		switch {
		case n == nil:
		case st.method != "":
			d.fault(at(f.keys[key]), "a step is one request; this is its second")
		default:
			st.method = strings.ToUpper(key)
			st.path = d.path(n)
		}
	}
	if st.method == "" {
		d.fault(at(f.node), "the step has no request; write for example get: /health")
	}
	if n := f.values["headers"]; n != nil {
		d.headers(st, n)
	}
	if n := f.values["body"]; n != nil {
		if st.method == http.MethodGet || st.method == http.MethodHead {
			d.fault(at(f.keys["body"]), "%s has no body", strings.ToLower(st.method))
		}
		d.body(st, n)
	}
	if n := f.values["auth"]; n != nil {
		name, ok := d.text(n, "auth")
		auth, known := auths[name]
		if ok && !known {
			d.fault(at(n), "auth is %q; it must be one of %s", name, strings.Join(sortedKeys(auths), ", "))
		}
		st.auth = auth
	}
}

// path decodes the path and query of a request.
func (d *decoder) path(n *yaml.Node) template {
	text, ok := d.text(n, "the path")
	if !ok {
		return nil
	}
	path, query, hasQuery := strings.Cut(text, "?")
	t := d.template(n, path, inPath)
	if hasQuery {
		t = append(append(t, part{literal: "?"}), d.template(n, query, inQuery)...)
	}
	if t == nil {
		return nil
	}
	if strings.HasPrefix(text, "//") || strings.Contains(text, "://") && !strings.HasPrefix(text, "/") {
		d.fault(at(n), "the path names a host; requests go to the tenant alone, so write the path below its URL")
		return nil
	}
	sample, err := t.expand(sampleValues(d.saved))
	if err == nil {
		err = fleet.CheckPath(sample)
	}
	if err != nil {
		d.fault(at(n), "%v", err)
		return nil
	}
	return t
}

// template decodes text with placeholders, all of which must be known.
func (d *decoder) template(n *yaml.Node, text string, where place) template {
	t, err := parseTemplate(text, where)
	if err != nil {
		d.fault(at(n), "%v", err)
		return nil
	}
	for _, name := range t.names() {
		if isPlaceholder(name) || slices.Contains(d.saved, name) {
			continue
		}
		names := slices.Concat([]string{"probe", "sha", "tenant"}, d.saved)
		offset := utf8.RuneCountInString(n.Value[:max(0, strings.Index(n.Value, "${"+name+"}"))])
		d.fault(d.inScalar(n, offset), "unknown placeholder ${%s}%s; here there are ${%s}", name, didYouMean(name, names), strings.Join(names, "}, ${"))
		return nil
	}
	return t
}

// ownHeaders are set by the session, or are the connection's business.
var ownHeaders = map[string]string{
	"authorization":     "write auth: admin, none or wrong",
	"x-molecule-org-id": "it is part of the tenant",
	"host":              "requests go to the tenant alone",
	"content-length":    "it follows from the body",
	"connection":        "it is the connection's business",
	"expect":            "it is the connection's business",
	"keep-alive":        "it is the connection's business",
	"te":                "it is the connection's business",
	"trailer":           "it is the connection's business",
	"transfer-encoding": "it is the connection's business",
	"upgrade":           "it is the connection's business",
}

// headers decodes the header fields of a request.
func (d *decoder) headers(st *step, n *yaml.Node) {
	f, ok := d.mapping(n, "headers", nil)
	if !ok {
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := strings.ToLower(key.Value)
		if f.keys[key.Value] != key {
			continue // a fault already
		}
		if why, own := ownHeaders[name]; own || strings.HasPrefix(name, "proxy-") {
			d.fault(at(key), "the header %s can't be set%s", name, strings.TrimSuffix(": "+why, ": "))
			continue
		}
		if !isToken(name) {
			d.fault(at(key), "%q is no name of a header", key.Value)
			continue
		}
		text, ok := d.text(value, "the header "+name)
		if !ok {
			continue
		}
		t := d.template(value, text, inHeader)
		if _, err := escape(text, inHeader); err != nil {
			d.fault(at(value), "the header %s %v", name, err)
			continue
		}
		st.header = append(st.header, headerField{name, t})
	}
}

// isToken reports whether s is a token of HTTP (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for _, r := range s {
		if !strings.ContainsRune("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", r) {
			return false
		}
	}
	return s != ""
}

// body decodes a body: text is sent as it is, a mapping or a list as JSON.
func (d *decoder) body(st *step, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		text, ok := d.text(n, "body")
		if ok {
			st.body = d.template(n, text, inText)
			st.contentType = "text/plain; charset=utf-8"
		}
		return
	}
	if n.Kind == yaml.ScalarNode {
		d.fault(at(n), "body must be a mapping or a list, which are sent as JSON, or text")
		return
	}
	st.body = d.json(n)
	st.contentType = "application/json"
}

// json makes a template of JSON text of a YAML node. The order of keys and the
// digits of numbers stay as they are written.
func (d *decoder) json(n *yaml.Node) template {
	if !d.plain(n) {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		if _, ok := d.mapping(n, "an object", nil); !ok {
			return nil
		}
		t := template{{literal: "{"}}
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				t = append(t, part{literal: ","})
			}
			if strings.Contains(n.Content[i].Value, "${") {
				d.fault(at(n.Content[i]), "a key can't hold a placeholder")
			}
			t = append(t, part{literal: `"` + jsonText(n.Content[i].Value) + `":`})
			t = append(t, d.json(n.Content[i+1])...)
		}
		return append(t, part{literal: "}"})
	case yaml.SequenceNode:
		t := template{{literal: "["}}
		for i, item := range n.Content {
			if i > 0 {
				t = append(t, part{literal: ","})
			}
			t = append(t, d.json(item)...)
		}
		return append(t, part{literal: "]"})
	default:
		return d.jsonScalar(n)
	}
}

// jsonScalar is json of a scalar. A text that is one placeholder and nothing
// else becomes the value itself: a saved number stays a number.
func (d *decoder) jsonScalar(n *yaml.Node) template {
	switch n.ShortTag() {
	case "!!null":
		return template{{literal: "null"}}
	case "!!bool":
		return template{{literal: strings.ToLower(n.Value)}}
	case "!!int", "!!float":
		if !json.Valid([]byte(n.Value)) {
			d.fault(at(n), "%s is no number of JSON; put it into quotes if it is text", n.Value)
		}
		return template{{literal: n.Value}}
	}
	t := d.template(n, n.Value, inJSONText)
	if len(t) == 3 && t[0].literal == "" && t[2].literal == "" {
		t[1].place = inJSON
		return t[1:2:2]
	}
	for i := range t {
		t[i].literal = jsonText(t[i].literal)
	}
	return append(append(template{{literal: `"`}}, t...), part{literal: `"`})
}

// within decodes how long a step polls.
func (d *decoder) within(st *step, n *yaml.Node) {
	if !d.plain(n) {
		return
	}
	text := n.Value
	bound, err := time.ParseDuration(text)
	switch {
	case err != nil || n.Kind != yaml.ScalarNode || !durationForm.MatchString(text):
		d.fault(at(n), "within must be a duration, for example 5s, but this is %s", yamlKind(n))
	case bound <= 0 || bound > maxWithin:
		d.fault(at(n), "within is %s; it must be more than 0 and at most %s", text, maxWithin)
	case !st.idempotent && (st.method == http.MethodPost || st.method == http.MethodPatch):
		d.fault(at(n), "within repeats the request; a %s must be marked idempotent: true for that", strings.ToLower(st.method))
	}
	st.within = bound
}

// expectation decodes what must be true of the answer.
func (d *decoder) expectation(n *yaml.Node) *expectation {
	text, ok := d.text(n, "expect")
	if !ok {
		return nil
	}
	root, faults := compile(text, d.saved, true)
	if !d.exprFaults(n, text, faults) {
		return nil
	}
	return &expectation{text: strings.TrimSpace(text), root: root, clauses: clauses(root)}
}

// exprFaults records the faults of an expression at their places in the file,
// and reports whether there were none.
func (d *decoder) exprFaults(n *yaml.Node, text string, faults []exprFault) bool {
	for _, f := range faults {
		message := f.message
		if strings.Contains(text, "${") {
			message += "; in an expression a value is named without ${ }"
		}
		if n.LineComment != "" {
			message += "; in YAML a # after a blank begins a comment, so put the expression into quotes"
		}
		d.fault(d.inScalar(n, f.offset), "%s", message)
	}
	return len(faults) == 0
}

// save decodes the values that a step keeps.
func (d *decoder) save(st *step, n *yaml.Node) {
	f, ok := d.mapping(n, "save", nil)
	if !ok {
		return
	}
	if len(n.Content) == 0 {
		d.fault(at(n), "save names no value")
	}
	before := d.saved
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if f.keys[key.Value] != key {
			continue
		}
		if why := d.unfitName(key.Value); why != "" {
			d.fault(at(key), "%q can't be the name of a saved value: %s", key.Value, why)
			continue
		}
		text, ok := d.text(value, "a saved value")
		if !ok {
			continue
		}
		root, faults := compile(text, before, false)
		d.exprFaults(value, text, faults)
		st.save = append(st.save, saving{name: key.Value, value: root, text: strings.TrimSpace(text)})
		d.saved = append(slices.Clip(d.saved), key.Value)
	}
}

// unfitName says why a name can't be that of a saved value, or "".
func (d *decoder) unfitName(name string) string {
	_, isAnswer := answerNames[name]
	_, isFunction := functions[name]
	switch {
	case !savedName.MatchString(name):
		return "it must be letters, digits and underscores, and begin with a letter"
	case isAnswer, isFunction, slices.Contains(listBuiltins, name), slices.Contains(reserved, name):
		return "it has a meaning of its own"
	case slices.Contains(d.saved, name):
		return "it is saved already"
	default:
		return ""
	}
}

// mapping looks at a mapping's keys: each must be text, be known where keys are
// given, and stand once.
func (d *decoder) mapping(n *yaml.Node, what string, known []string) (fields, bool) {
	f := fields{node: n, keys: map[string]*yaml.Node{}, values: map[string]*yaml.Node{}}
	if !d.plain(n) {
		return f, false
	}
	if n.Kind != yaml.MappingNode {
		d.fault(at(n), "%s must be a mapping, but this is %s", what, yamlKind(n))
		return f, false
	}
	ok := true
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case !d.plain(key):
			ok = false
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
			d.fault(at(key), "a key must be text, but this is %s", yamlKind(key))
			ok = false
		case known != nil && !slices.Contains(known, key.Value):
			d.fault(at(key), "%s has no key %q%s; its keys are %s", what, key.Value, didYouMean(key.Value, known), strings.Join(known, ", "))
		case f.keys[key.Value] != nil:
			d.fault(at(key), "the key %q is there a second time", key.Value)
		default:
			f.keys[key.Value], f.values[key.Value] = key, n.Content[i+1]
		}
	}
	return f, ok
}

// sequence returns the items of a list.
func (d *decoder) sequence(n *yaml.Node, what string) ([]*yaml.Node, bool) {
	if !d.plain(n) {
		return nil, false
	}
	if n.Kind != yaml.SequenceNode {
		d.fault(at(n), "%s must be a list, but this is %s", what, yamlKind(n))
		return nil, false
	}
	return n.Content, true
}

// text returns the text of a scalar.
func (d *decoder) text(n *yaml.Node, what string) (string, bool) {
	if !d.plain(n) {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!timestamp" {
		d.fault(at(n), "%s must be text, but this is %s", what, yamlKind(n))
		return "", false
	}
	return n.Value, true
}

// boolean returns the value of a boolean scalar.
func (d *decoder) boolean(n *yaml.Node, what string) bool {
	if !d.plain(n) {
		return false
	}
	var v bool
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&v) != nil {
		d.fault(at(n), "%s must be true or false, but this is %s", what, yamlKind(n))
	}
	return v
}

// plain refuses what makes a file mean something else than it shows: anchors,
// aliases and tags.
func (d *decoder) plain(n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode, n.Anchor != "":
		d.fault(at(n), "anchors and aliases are not part of the suite language")
	case n.Style&yaml.TaggedStyle != 0, n.ShortTag() == "!!merge":
		d.fault(at(n), "tags and merge keys are not part of the suite language")
	default:
		return true
	}
	return false
}

// yamlKind names what a node is, for people.
func yamlKind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!str":
		return "text"
	default:
		return fmt.Sprintf("%.40s (%s)", n.Value, strings.TrimPrefix(n.ShortTag(), "!!"))
	}
}

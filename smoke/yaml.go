package smoke

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
)

// parse reads the file as one YAML document. It returns nil, and has recorded an
// error, when that can't be done.
func (f *suiteFile) parse(src []byte) *yaml.Node {
	var document, second yaml.Node
	reader := yaml.NewDecoder(bytes.NewReader(src))
	// The library panics on some malformed files.
	err := parallel.Guard(func() error { return reader.Decode(&document) })
	switch p := new(parallel.PanicError); {
	case errors.As(err, &p):
		f.invalid(position{}, "the file can't be read as YAML")
		return nil
	case errors.Is(err, io.EOF), err == nil && len(document.Content) != 1:
		f.invalid(position{}, "the suite is empty; it needs checks")
		return nil
	case err != nil:
		f.invalidYAML(err)
		return nil
	}
	f.quotes = isSuite(document.Content[0])
	if parallel.Guard(func() error { return reader.Decode(&second) }) == nil {
		f.invalid(at(&second), "a suite is one YAML document; a second one begins here")
	}
	return document.Content[0]
}

// isSuite reports whether a file is meant as a suite, whatever is wrong with it.
func isSuite(root *yaml.Node) bool {
	return root.Kind == yaml.MappingNode && slices.ContainsFunc(keysOf(root), func(key string) bool { return key == "checks" })
}

// keysOf returns the keys of a mapping, in the file's order.
func keysOf(n *yaml.Node) []string {
	var keys []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		keys = append(keys, n.Content[i].Value)
	}
	return keys
}

// misspelt names the key that is probably meant to be checks.
func misspelt(root *yaml.Node) string {
	for _, key := range keysOf(root) {
		if expr.DidYouMean(key, []string{"checks"}) != "" {
			return fmt.Sprintf("; is %q a misspelling of it?", key)
		}
	}
	return ""
}

// constant are the beginnings of the parser's messages that quote nothing.
var constant = []string{
	"did not find ", "found ", "could not find ", "mapping values are not allowed", "block sequence entries are not allowed",
	"control characters are not allowed", "exceeded max depth",
}

// invalidYAML records an error of the YAML parser, which gives its line only. Some
// of its messages quote the file, which may be anything: those are left out.
func (f *suiteFile) invalidYAML(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
	}
	// The library counts lines from 1 in its scanner and from 0 in its parser,
	// whose messages all begin like this.
	if strings.HasPrefix(text, "did not find expected") {
		line++
	}
	if !slices.ContainsFunc(constant, func(c string) bool { return strings.HasPrefix(text, c) }) {
		text = "it can't be parsed"
	}
	f.invalid(position{line, 1}, "not valid YAML: %s", text)
}

// A mapping is a YAML mapping whose keys were looked at.
type mapping struct {
	node         *yaml.Node
	keys, values map[string]*yaml.Node
}

// mapping looks at a mapping's keys: each must be text, be known where keys are
// given, and stand once.
func (f *suiteFile) mapping(n *yaml.Node, what string, known []string) (mapping, bool) {
	m := mapping{node: n, keys: map[string]*yaml.Node{}, values: map[string]*yaml.Node{}}
	if !f.plain(n) {
		return m, false
	}
	if n.Kind != yaml.MappingNode {
		f.invalid(at(n), "%s must be a mapping, but this is %s", what, f.kind(n))
		return m, false
	}
	ok := true
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case !f.plain(key):
			ok = false
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
			f.invalid(at(key), "a key must be text, but this is %s", f.kind(key))
			ok = false
		case known != nil && !slices.Contains(known, key.Value):
			f.invalid(at(key), "%s has no key %q%s; its keys are %s", what, key.Value, expr.DidYouMean(key.Value, known), strings.Join(known, ", "))
		case m.keys[key.Value] != nil:
			f.invalid(at(key), "the key %q is a duplicate", key.Value)
		default:
			m.keys[key.Value], m.values[key.Value] = key, n.Content[i+1]
		}
	}
	return m, ok
}

// entries calls do for each valid key and its value, in the file's order.
func (m mapping) entries(do func(key, value *yaml.Node)) {
	for i := 0; i+1 < len(m.node.Content); i += 2 {
		if key := m.node.Content[i]; m.keys[key.Value] == key {
			do(key, m.node.Content[i+1])
		}
	}
}

// sequence returns the items of a list of at least one and at most limit things;
// 0: any number.
func (f *suiteFile) sequence(n *yaml.Node, what, item string, limit int) []*yaml.Node {
	switch {
	case !f.plain(n):
	case n.Kind != yaml.SequenceNode:
		f.invalid(at(n), "%s must be a list, but this is %s", what, f.kind(n))
	case len(n.Content) == 0:
		f.invalid(at(n), "%s is empty; it needs at least 1 %s", what, item)
	case limit > 0 && len(n.Content) > limit:
		f.invalid(at(n), "%s has %d entries; at most %d are allowed", what, len(n.Content), limit)
	default:
		return n.Content
	}
	return nil
}

// text returns the text of a scalar.
func (f *suiteFile) text(n *yaml.Node, what string) (string, bool) {
	if !f.plain(n) {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!timestamp" {
		f.invalid(at(n), "%s must be text, but this is %s", what, f.kind(n))
		return "", false
	}
	return n.Value, true
}

// boolean returns the value of a boolean scalar; no node is false.
func (f *suiteFile) boolean(n *yaml.Node, what string) bool {
	if n == nil || !f.plain(n) {
		return false
	}
	var v bool
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&v) != nil {
		f.invalid(at(n), "%s must be true or false, but this is %s", what, f.kind(n))
	}
	return v
}

// plain refuses what makes a file mean something else than it shows: anchors,
// aliases and tags.
func (f *suiteFile) plain(n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode, n.Anchor != "":
		f.invalid(at(n), "anchors and aliases are not part of the suite language")
	case n.Style&yaml.TaggedStyle != 0, n.ShortTag() == "!!merge":
		f.invalid(at(n), "tags and merge keys are not part of the suite language")
	default:
		return true
	}
	return false
}

// kind names what a node is, for people; of a file that is a suite with its value.
func (f *suiteFile) kind(n *yaml.Node) string {
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
		if !f.quotes {
			return "of type " + strings.TrimPrefix(n.ShortTag(), "!!")
		}
		return fmt.Sprintf("%.40s (%s)", n.Value, strings.TrimPrefix(n.ShortTag(), "!!"))
	}
}

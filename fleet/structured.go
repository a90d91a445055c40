package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"

	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// ParseTenants reads the structured form of a fleet: a YAML or JSON list of
//
//	{name: …, url: …, token: …, org-id: …}
//
// in which name and org-id may be left out. input is the name of the input that
// data came from, "tenants" or "tenants-file". Unknown and duplicate keys,
// anchors and aliases are faults. allowHTTP is as in [ParseLists].
//
// The error joins one [*InputError] a fault, all faults at once, each with the
// position and nothing of the text. An empty document and an empty list are an
// empty fleet, which is no fault here.
func ParseTenants(input string, data []byte, allowHTTP bool) ([]Tenant, error) {
	list, err := parseDocument(input, data)
	if err != nil {
		return nil, err
	}
	if list == nil {
		return nil, nil
	}
	p := &structured{input: input}
	tenants := make([]Tenant, len(list.Content))
	fields := make([]map[part]*yaml.Node, len(list.Content))
	for i, n := range list.Content {
		fields[i] = p.entry(i, n)
		tenants[i] = Tenant{
			Name:  p.scalar(i, partName, fields[i]),
			URL:   p.scalar(i, partURL, fields[i]),
			Token: secret.New(p.scalar(i, partToken, fields[i])),
			OrgID: p.scalar(i, partOrg, fields[i]),
		}
	}
	complete(tenants, allowHTTP, func(i int, f part, problem string) {
		if fields[i] == nil {
			return // it is no mapping, and that was said
		}
		at := fields[i][f]
		if at == nil {
			at = list.Content[i]
		} else if !isPlainScalar(at) && at.ShortTag() != "!!null" {
			return // its kind was complained of already
		}
		p.fault(i, at, string(f)+": "+problem)
	})
	if len(p.faults) > 0 {
		return nil, errors.Join(p.faults...)
	}
	return tenants, nil
}

// lineOf finds the one thing in a YAML error that is not a part of the text.
var lineOf = regexp.MustCompile(`\bline (\d+)\b`)

// parseDocument returns the list in data, nil when data holds nothing.
func parseDocument(input string, data []byte) (list *yaml.Node, err error) {
	malformed := func(err error) error {
		e := &InputError{Input: input, Problem: "is not well-formed YAML or JSON"}
		if m := lineOf.FindStringSubmatch(err.Error()); m != nil {
			e.Line, _ = strconv.Atoi(m[1])
		}
		return e
	}
	// The parser is fed with anything; whatever it panics with may quote the text.
	defer func() {
		if recover() != nil {
			list, err = nil, malformed(errors.New(""))
		}
	}()
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var root *yaml.Node
	if json.Valid(data) {
		root, err = newJSONReader(data).node()
	} else {
		root, err = yamlRoot(data)
	}
	switch {
	case errors.Is(err, errSecondDocument):
		return nil, &InputError{Input: input, Problem: "has a second document (---); give one list"}
	case err != nil:
		return nil, malformed(err)
	case root == nil:
		return nil, nil
	}
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.SequenceNode || root.Anchor != "" {
		return nil, &InputError{Input: input, Line: root.Line, Column: root.Column, Problem: "is not a list of {name, url, token, org-id}"}
	}
	return root, nil
}

var errSecondDocument = errors.New("a second document")

// yamlRoot returns the node that data consists of, nil when there is none.
func yamlRoot(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(new(yaml.Node)); err == nil {
		return nil, errSecondDocument
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// structured collects the faults of one document.
type structured struct {
	input  string
	faults []error
}

func (p *structured) fault(i int, at *yaml.Node, problem string) {
	p.faults = append(p.faults, &InputError{Input: p.input, Entry: i + 1, Line: at.Line, Column: at.Column, Problem: problem})
}

// entry returns the values of one tenant by key, nil when it is no mapping.
func (p *structured) entry(i int, n *yaml.Node) map[part]*yaml.Node {
	if n.Kind != yaml.MappingNode || n.Anchor != "" {
		p.fault(i, n, "is not a plain mapping of name, url, token and org-id")
		return nil
	}
	fields := make(map[part]*yaml.Node, 4)
	for k := 0; k+1 < len(n.Content); k += 2 {
		key, value := n.Content[k], n.Content[k+1]
		name := part(key.Value)
		switch {
		case !isPlainScalar(key) || !isField(name):
			p.fault(i, key, "unknown key; a tenant has name, url, token and org-id")
		case fields[name] != nil:
			p.fault(i, key, fmt.Sprintf("%s: given twice", name))
		default:
			fields[name] = value
		}
	}
	return fields
}

func isField(f part) bool {
	return f == partName || f == partURL || f == partToken || f == partOrg
}

// scalar returns the text of field f as it was written: a token of digits stays
// what it is. Absent and null fields are "".
func (p *structured) scalar(i int, f part, fields map[part]*yaml.Node) string {
	n := fields[f]
	switch {
	case n == nil || n.Kind == yaml.ScalarNode && n.Anchor == "" && n.ShortTag() == "!!null":
		return ""
	case !isPlainScalar(n):
		p.fault(i, n, fmt.Sprintf("%s: is not plain text", f))
		return ""
	default:
		return n.Value
	}
}

// isPlainScalar reports whether n is text, or something written like a number
// or a boolean, without anchor, alias or a tag of its own.
func isPlainScalar(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Anchor != "" {
		return false
	}
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
		return true
	default:
		return false
	}
}

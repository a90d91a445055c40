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

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// ParseTenants reads the structured form of a fleet: a YAML or JSON list of
//
//	{name: …, url: …, token: …, org-id: …}
//
// in which name and org-id may be left out. Unknown and duplicate keys, anchors
// and aliases are refused. allowHTTP is as in [ParseLists].
//
// The error joins one [*report.InvalidError] of the field "Tenants" for each
// problem, with its position; none quotes the text, which may hold a token
// anywhere. An empty document and an empty list are an empty fleet, which is no
// error here.
func ParseTenants(data []byte, allowHTTP bool) ([]Tenant, error) {
	d := &document{}
	list, err := d.parse(bytes.TrimPrefix(data, []byte("\ufeff")))
	if err != nil || list == nil {
		return nil, err
	}
	tenants := make([]Tenant, len(list.Content))
	values := make([]map[field]*yaml.Node, len(list.Content))
	for i, n := range list.Content {
		values[i] = d.mapping(i, n)
		tenants[i] = Tenant{
			Name:  d.text(i, fieldName, values[i]),
			URL:   d.text(i, fieldURL, values[i]),
			Token: secret.New(d.text(i, fieldToken, values[i])),
			OrgID: d.text(i, fieldOrg, values[i]),
		}
	}
	complete(tenants, allowHTTP, func(i int, f field, problem string) {
		if values[i] == nil {
			return // it is not a mapping, and that was reported
		}
		at := values[i][f]
		if at == nil {
			at = list.Content[i]
		} else if !isPlainText(at) && !isNull(at) {
			return // its kind was reported already
		}
		d.invalid(i, at, string(f)+": "+problem)
	})
	if len(d.errs) > 0 {
		return nil, errors.Join(d.errs...)
	}
	return tenants, nil
}

// A document collects what is wrong with one.
type document struct {
	errs []error
	// rewritten means that columns are not those of the text as given.
	rewritten bool
}

func (d *document) newError(entry int, at *yaml.Node, problem string) *report.InvalidError {
	e := &report.InvalidError{Field: "Tenants", Entry: entry, Line: at.Line, Column: at.Column, Problem: problem}
	if d.rewritten {
		e.Column = 0
	}
	return e
}

func (d *document) invalid(i int, at *yaml.Node, problem string) {
	d.errs = append(d.errs, d.newError(i+1, at, problem))
}

// errorLine finds the one thing in a YAML error that is not a part of the text.
var errorLine = regexp.MustCompile(`\bline (\d+)\b`)

// parse returns the list in data, nil when data holds nothing.
func (d *document) parse(data []byte) (*yaml.Node, error) {
	if json.Valid(data) {
		plain := yamlOf(data)
		d.rewritten = len(plain) != len(data)
		data = plain
	}
	var root, second yaml.Node
	var secondErr error
	// The parser is given anything; the value of its panic may quote the text.
	err := parallel.Guard(func() error {
		dec := yaml.NewDecoder(bytes.NewReader(data))
		if err := dec.Decode(&root); err != nil {
			return err
		}
		secondErr = dec.Decode(&second)
		return nil
	})
	if err == nil && secondErr == nil {
		return nil, d.newError(0, &yaml.Node{}, "has a second document (---); give one list")
	}
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err == nil && !errors.Is(secondErr, io.EOF) {
		err = secondErr
	}
	if err != nil {
		e := d.newError(0, &yaml.Node{}, "is not well-formed YAML or JSON")
		if m := errorLine.FindStringSubmatch(err.Error()); m != nil {
			e.Line, _ = strconv.Atoi(m[1])
		}
		return nil, e
	}
	if len(root.Content) == 0 || isNull(root.Content[0]) {
		return nil, nil
	}
	list := root.Content[0]
	if list.Kind != yaml.SequenceNode || list.Anchor != "" {
		return nil, d.newError(0, list, "is not a list of {name, url, token, org-id}")
	}
	return list, nil
}

// jsonEscape finds the escapes of valid JSON: those of one character, and runs
// of surrogates. (A backslash stands in strings alone.)
var jsonEscape = regexp.MustCompile(`\\[^u]|(?:\\u[dD][89a-fA-F][0-9a-fA-F]{2})+`)

// yamlOf makes valid JSON readable to the YAML parser, which knows
// neither `\/`, with which PHP writes every URL, nor the surrogate pairs of
// Python and Java, nor tabs before the list. (Valid JSON has no tabs in strings.)
func yamlOf(valid []byte) []byte {
	valid = bytes.ReplaceAll(valid, []byte("\t"), []byte(" "))
	return jsonEscape.ReplaceAllFunc(valid, func(escape []byte) []byte {
		var text string
		switch {
		case escape[1] == '/':
			return escape[1:]
		case escape[1] == 'u' && json.Unmarshal([]byte(`"`+string(escape)+`"`), &text) == nil:
			return []byte(text)
		default:
			return escape
		}
	})
}

// mapping returns the values of one tenant by key, nil when it is no mapping.
func (d *document) mapping(i int, n *yaml.Node) map[field]*yaml.Node {
	if n.Kind != yaml.MappingNode || n.Anchor != "" {
		d.invalid(i, n, "is not a plain mapping of name, url, token and org-id")
		return nil
	}
	values := make(map[field]*yaml.Node, 4)
	for k := 0; k+1 < len(n.Content); k += 2 {
		key := n.Content[k]
		name := field(key.Value)
		switch {
		case !isPlainText(key) || !name.known():
			d.invalid(i, key, "unknown key; a tenant has name, url, token and org-id")
		case values[name] != nil:
			d.invalid(i, key, fmt.Sprintf("%s: given twice", name))
		default:
			values[name] = n.Content[k+1]
		}
	}
	return values
}

func (f field) known() bool {
	return f == fieldName || f == fieldURL || f == fieldToken || f == fieldOrg
}

// text returns the text of field f as it was written: a token of digits stays
// what it is. Absent and null fields are "".
func (d *document) text(i int, f field, values map[field]*yaml.Node) string {
	n := values[f]
	switch {
	case n == nil || isNull(n):
		return ""
	case !isPlainText(n):
		d.invalid(i, n, fmt.Sprintf("%s: is not plain text", f))
		return ""
	default:
		return n.Value
	}
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Anchor == "" && n.ShortTag() == "!!null"
}

// isPlainText reports whether n is text, or something written like a number or a
// boolean, without anchor, alias or a tag of its own.
func isPlainText(n *yaml.Node) bool {
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

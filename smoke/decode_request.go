package smoke

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/net/http/httpguts"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/molecule"
)

// auths are the values of auth, and orgs those of org.
var (
	auths = map[string]fleet.Auth{"admin": fleet.AuthAdmin, "none": fleet.AuthNone, "wrong": fleet.AuthWrong}
	orgs  = map[string]fleet.Org{"own": fleet.OrgOwn, "none": fleet.OrgNone, "wrong": fleet.OrgWrong}
)

// request decodes what a step sends.
func (d *decoder) request(m mapping) step {
	st := step{idempotent: d.boolean(m.values["idempotent"], "idempotent")}
	for _, key := range methodKeys {
		n := m.values[key]
		switch {
		case n == nil:
		case st.method != "":
			d.invalid(at(m.keys[key]), "a step is one request; this is its second")
		default:
			st.method = strings.ToUpper(key)
			st.path = d.path(n)
		}
	}
	if st.method == "" {
		d.invalid(at(m.node), "the step has no request; write for example get: /health")
	}
	if n := m.values["headers"]; n != nil {
		st.header = d.headers(n)
	}
	if n := m.values["body"]; n != nil {
		if st.method == http.MethodGet || st.method == http.MethodHead {
			d.invalid(at(m.keys["body"]), "%s has no body", strings.ToLower(st.method))
		}
		st.body, st.contentType = d.body(n)
	}
	st.auth = oneOf(d, m, "auth", auths)
	st.org = oneOf(d, m, "org", orgs)
	return st
}

// oneOf decodes a key whose value is one of a few words; an absent one is the zero
// value.
func oneOf[T any](d *decoder, m mapping, key string, values map[string]T) (value T) {
	n := m.values[key]
	if n == nil {
		return value
	}
	word, ok := d.text(n, key)
	value, known := values[word]
	if ok && !known {
		d.invalid(at(n), "%s is %q; it must be one of %s", key, word, strings.Join(sortedKeys(values), ", "))
	}
	return value
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
		d.invalid(at(n), "the path names a host; requests go to the tenant alone, so write the path below its URL")
		return nil
	}
	sample, err := t.expand(sampleValues(d.saved))
	if err == nil {
		err = fleet.CheckPath(sample)
	}
	if err != nil {
		d.invalid(at(n), "%v", err)
		return nil
	}
	return t
}

// template decodes text with placeholders, all of which must be known.
func (d *decoder) template(n *yaml.Node, text string, e encoding) template {
	t, err := parseTemplate(text, e)
	if err != nil {
		d.invalid(at(n), "%v", err)
		return nil
	}
	known := slices.Concat(placeholders, d.saved)
	for _, name := range t.names() {
		if slices.Contains(known, name) {
			continue
		}
		offset := utf8.RuneCountInString(n.Value[:max(0, strings.Index(n.Value, "${"+name+"}"))])
		d.invalid(d.inScalar(n, offset), "unknown placeholder ${%s}%s; here there are ${%s}", name, expr.DidYouMean(name, known), strings.Join(known, "}, ${"))
		return nil
	}
	return t
}

// ownHeaders can't be set in a suite, for these reasons. The session sets them,
// or the connection needs them.
var ownHeaders = map[string]string{
	"authorization":                     "write auth: admin, none or wrong",
	strings.ToLower(molecule.OrgHeader): "write org: own, none or wrong",
	"host":                              "requests go to the tenant alone",
	"content-length":                    "it follows from the body",
	"connection":                        "it belongs to the connection",
	"expect":                            "it belongs to the connection",
	"keep-alive":                        "it belongs to the connection",
	"te":                                "it belongs to the connection",
	"trailer":                           "it belongs to the connection",
	"transfer-encoding":                 "it belongs to the connection",
	"upgrade":                           "it belongs to the connection",
}

// headers decodes the header fields of a request.
func (d *decoder) headers(n *yaml.Node) []headerField {
	m, ok := d.mapping(n, "headers", nil)
	if !ok {
		return nil
	}
	var fields []headerField
	m.entries(func(key, value *yaml.Node) {
		name := strings.ToLower(key.Value)
		if why, own := ownHeaders[name]; own || strings.HasPrefix(name, "proxy-") {
			d.invalid(at(key), "the header %s can't be set%s", name, strings.TrimSuffix(": "+why, ": "))
			return
		}
		if !httpguts.ValidHeaderFieldName(name) {
			d.invalid(at(key), "%q is not a header name", key.Value)
			return
		}
		text, ok := d.text(value, "the header "+name)
		if !ok {
			return
		}
		t := d.template(value, text, inHeader)
		if _, err := escape(text, inHeader); err != nil {
			d.invalid(at(value), "the header %s %v", name, err)
			return
		}
		fields = append(fields, headerField{name, t})
	})
	return fields
}

// body decodes a body and its content type: text is sent as it is, a mapping or
// a list as JSON.
func (d *decoder) body(n *yaml.Node) (template, string) {
	switch {
	case n.Kind != yaml.ScalarNode:
		return d.json(n), "application/json"
	case n.ShortTag() != "!!str":
		d.invalid(at(n), "body must be a mapping or a list, which are sent as JSON, or text")
	default:
		if text, ok := d.text(n, "body"); ok {
			return d.template(n, text, inText), "text/plain; charset=utf-8"
		}
	}
	return nil, ""
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
				d.invalid(at(n.Content[i]), "a key can't contain a placeholder")
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
			d.invalid(at(n), "%s is not a number of JSON; put it into quotes if it is text", n.Value)
		}
		return template{{literal: n.Value}}
	}
	t := d.template(n, n.Value, inJSONText)
	if len(t) == 3 && t[0].literal == "" && t[2].literal == "" {
		t[1].encoding = inJSON
		return t[1:2:2]
	}
	for i := range t {
		t[i].literal = jsonText(t[i].literal)
	}
	return append(append(template{{literal: `"`}}, t...), part{literal: `"`})
}

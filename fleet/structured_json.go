package fleet

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A jsonReader turns valid JSON into the nodes that the YAML parser would make
// of it. YAML is nearly a superset of JSON, but the parser knows neither `\/`,
// with which PHP writes every URL, nor the surrogate pairs of Python and Java.
type jsonReader struct {
	data         []byte
	dec          *json.Decoder
	offset       int // where line and column are
	line, column int
}

func newJSONReader(data []byte) *jsonReader {
	r := &jsonReader{data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1, column: 1}
	r.dec.UseNumber() // numbers keep their digits
	return r
}

// node reads one value, nil at the end of a list or an object.
func (r *jsonReader) node() (*yaml.Node, error) {
	r.skip()
	n := &yaml.Node{Line: r.line, Column: r.column}
	token, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		switch v {
		case '[':
			n.Kind = yaml.SequenceNode
		case '{':
			n.Kind = yaml.MappingNode
		default:
			return nil, nil
		}
		for {
			child, err := r.node()
			if err != nil || child == nil {
				return n, err
			}
			n.Content = append(n.Content, child)
		}
	case string:
		n.SetString(v)
	case json.Number:
		n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!float", v.String()
	case bool:
		n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!bool", map[bool]string{true: "true", false: "false"}[v]
	case nil:
		n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!null", "null"
	}
	return n, nil
}

// skip moves line and column to where the next token begins.
func (r *jsonReader) skip() {
	end := int(r.dec.InputOffset())
	for r.offset < len(r.data) && (r.offset < end || bytes.IndexByte([]byte(" \t\r\n,:"), r.data[r.offset]) >= 0) {
		switch b := r.data[r.offset]; {
		case b == '\n':
			r.line++
			r.column = 1
		case utf8.RuneStart(b):
			r.column++
		}
		r.offset++
	}
}

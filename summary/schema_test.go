package summary

import (
	"bytes"
	"encoding"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

const schemaPath = "../docs/report.schema.json"

// schemaNode is what the tests read of a JSON Schema.
type schemaNode struct {
	Ref         string                 `json:"$ref"`
	Type        string                 `json:"type"`
	Format      string                 `json:"format"`
	Description string                 `json:"description"`
	Enum        []string               `json:"enum"`
	Required    []string               `json:"required"`
	Properties  map[string]*schemaNode `json:"properties"`
	Items       *schemaNode            `json:"items"`
	Defs        map[string]*schemaNode `json:"$defs"`
}

func readSchema(t *testing.T) *schemaNode {
	t.Helper()
	raw, err := os.ReadFile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	var root schemaNode
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	return &root
}

// A schemaCheck holds a schema against Go types.
type schemaCheck struct {
	t    *testing.T
	root *schemaNode
	used map[string]bool // definitions
}

// The schema and the Go types name the same fields, of the same types, with the
// same ones always there.
func TestSchemaEqualsTypes(t *testing.T) {
	c := schemaCheck{t, readSchema(t), map[string]bool{}}
	c.compare("report", reflect.TypeFor[report.Report](), c.root)
	for name := range c.root.Defs {
		if !c.used[name] {
			t.Errorf("the definition %s is used nowhere", name)
		}
	}
	modes := []string{""}
	for _, m := range report.Modes() {
		modes = append(modes, string(m))
	}
	c.words("mode", c.root.Properties["mode"], modes)
	c.words("verdict", c.root.Properties["verdict"], wordsUpTo(report.None))
	c.words("image state", c.root.Defs["image"].Properties["state"], wordsUpTo(report.UnknownState))
	c.words("canary state", c.root.Defs["canary"].Properties["state"], wordsUpTo(report.CanaryUnknown))
	c.words("rollout state", c.root.Defs["rollout"].Properties["state"], wordsUpTo(report.Mixed))
	c.words("check result", c.root.Defs["check"].Properties["result"], wordsUpTo(report.NotRun))
}

// wordsUpTo are the words of an enum up to its last value.
func wordsUpTo[E interface {
	~int
	String() string
}](last E) []string {
	var words []string
	for e := E(0); e <= last; e++ {
		words = append(words, e.String())
	}
	return words
}

// words compares the words that a field may have.
func (c *schemaCheck) words(field string, node *schemaNode, want []string) {
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(node.Enum)); !slices.Equal(got, want) {
		c.t.Errorf("%s may be %q, want %q", field, got, want)
	}
}

// compare holds one type against its node.
func (c *schemaCheck) compare(where string, typ reflect.Type, node *schemaNode) {
	if node.Ref != "" {
		name := strings.TrimPrefix(node.Ref, "#/$defs/")
		if node = c.root.Defs[name]; node == nil {
			c.t.Fatalf("%s: no definition %s", where, name)
		}
		c.used[name] = true
	} else if node.Description == "" && !strings.HasSuffix(where, "[]") {
		c.t.Errorf("%s has no description", where)
	}
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	kind, format := "", ""
	switch {
	case typ == reflect.TypeFor[time.Time]():
		kind, format = "string", "date-time"
	case typ.Implements(reflect.TypeFor[encoding.TextMarshaler]()), typ.Kind() == reflect.String:
		kind = "string"
	case typ.Kind() == reflect.Bool:
		kind = "boolean"
	case typ.Kind() == reflect.Int, typ.Kind() == reflect.Int64:
		kind = "integer"
	case typ.Kind() == reflect.Slice:
		kind = "array"
		c.compare(where+"[]", typ.Elem(), node.Items)
	case typ.Kind() == reflect.Struct:
		kind = "object"
		c.fields(where, typ, node)
	}
	if node.Type != kind || node.Format != format {
		c.t.Errorf("%s is %q %q, want %q %q", where, node.Type, node.Format, kind, format)
	}
}

// fields holds the fields of a struct against the properties of an object.
func (c *schemaCheck) fields(where string, typ reflect.Type, node *schemaNode) {
	always := map[string]bool{}
	for _, field := range reflect.VisibleFields(typ) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" || field.Anonymous || !field.IsExported() {
			continue
		}
		always[name] = !strings.Contains(options, "omit")
		if node.Properties[name] == nil {
			c.t.Errorf("%s.%s is not in the schema", where, name)
			continue
		}
		c.compare(where+"."+name, field.Type, node.Properties[name])
	}
	for name := range node.Properties {
		want, found := always[name]
		if !found {
			c.t.Errorf("%s.%s is in the schema alone", where, name)
		}
		if want != slices.Contains(node.Required, name) {
			c.t.Errorf("%s.%s: required is %v, want %v", where, name, !want, want)
		}
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestReportsFitSchema(t *testing.T) {
	schema := compileSchema(t)
	for name, r := range situations() {
		if name == "zero" || name == "hostile" { // no schema's name, no state's word
			continue
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(written(t, JSON, r)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := compileSchema(t)
	for name, change := range map[string]func(doc map[string]any){
		"another schema":     func(doc map[string]any) { doc["schema"] = "canary-verify/report/v2" },
		"an unknown verdict": func(doc map[string]any) { doc["verdict"] = "greenish" },
		"no images":          func(doc map[string]any) { delete(doc, "images") },
		"null for a list":    func(doc map[string]any) { doc["warnings"] = nil },
		"a text for a count": func(doc map[string]any) { doc["exit"] = "1" },
		"no time":            func(doc map[string]any) { doc["started"] = "yesterday" },
	} {
		var doc map[string]any
		if err := json.Unmarshal(written(t, JSON, red()), &doc); err != nil {
			t.Fatal(err)
		}
		doc["a field of the future"] = true
		doc["exit"] = json.Number("1")
		good := maps.Clone(doc)
		if err := schema.Validate(good); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		change(doc)
		if schema.Validate(doc) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

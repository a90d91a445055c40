package smoke

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
)

var update = flag.Bool("update", false, "rewrite golden files and schema.json")

type object = map[string]any

// schemaOfKeys is what the schema says of each key of the decoder's tables.
var schemaOfKeys = object{
	"checks": object{
		"description": "The promises of a tenant that are checked.",
		"type":        "array", "minItems": 1, "maxItems": maxChecks, "items": object{"$ref": "#/$defs/check"},
	},
	"strict": object{
		"description": "Make it an error when an expectation also passes on an answer of a dead tenant; otherwise it is a warning.",
		"type":        "boolean",
	},
	"confirm": object{"$ref": "#/$defs/confirm"},
	"down": object{
		"description": "What is true of the answer while the tenant's dependencies are down.",
		"type":        "string", "minLength": 1, "maxLength": expr.MaxLength,
	},
	"sweep": object{"$ref": "#/$defs/sweep"},
	"list":  object{"description": "Path of a JSON array, below the tenant's URL.", "type": "string", "pattern": "^/"},
	"where": object{
		"description": "Which elements of the array checks of this suite made: an expression with .field startsWith \"…\" about an element.",
		"type":        "string", "minLength": 1, "maxLength": expr.MaxLength,
	},
	"age": object{
		"description": "When an element was made, as an expression about it: a time as in RFC 3339, or seconds since 1970.",
		"type":        "string", "minLength": 1, "maxLength": expr.MaxLength,
	},
	"name": object{
		"description": "What reports call the check; unique in the suite.",
		"type":        "string", "minLength": 1, "maxLength": maxName,
	},
	"steps": object{
		"description": "The requests of the check, in order.",
		"type":        "array", "minItems": 1, "maxItems": maxSteps, "items": object{"$ref": "#/$defs/step"},
	},
	"finally": object{
		"description": "Requests that clean up: always sent, whatever happened before. Without expect, a request that fails is noted and does not make the check fail.",
		"type":        "array", "minItems": 1, "items": object{"$ref": "#/$defs/finally"},
	},
	"headers": object{
		"description": "Header fields to send.",
		"type":        "object", "additionalProperties": object{"type": "string"},
	},
	"body": object{
		"description": "A mapping or a list is sent as JSON, text as it is.",
		"type":        []any{"object", "array", "string"},
	},
	"auth": object{
		"description": "The bearer token to send: the tenant's own (the default), none, or one that the tenant can't know.",
		"enum":        toAny(sortedKeys(auths)),
	},
	"org": object{
		"description": "The org id to send: the tenant's own (the default), none, or one that the tenant can't know. Without an org id of the tenant's own, the check is skipped.",
		"enum":        toAny(sortedKeys(orgs)),
	},
	"idempotent": object{
		"description": "Sending this request twice does no harm, so that it may be retried.",
		"type":        "boolean",
	},
	"expect": object{
		"description": "What must be true of the answer: an expression over status, header, body, json, elapsed (ms), probe, sha, tenant and saved values.",
		"type":        "string", "minLength": 1, "maxLength": expr.MaxLength,
	},
	"within": object{
		"description": "Repeat the request until the expectation is met, for this long at most; for example 5s.",
		"type":        "string", "pattern": durationForm.String(),
	},
	"save": object{
		"description": "Values to keep for later steps, as expressions over the answer.",
		"type":        "object", "minProperties": 1,
		"propertyNames":        object{"pattern": savedName.String()},
		"additionalProperties": object{"type": "string", "minLength": 1, "maxLength": expr.MaxLength},
	},
}

func toAny(list []string) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}

// schemaObject is the schema of a mapping with the given keys.
func schemaObject(keys []string) object {
	properties := object{}
	for _, key := range keys {
		properties[key] = schemaOfKeys[key]
		if key == "delete" && slices.Contains(keys, "list") {
			properties[key] = object{"description": "Path that deletes an element; ${field} is a field of it.", "type": "string", "pattern": "^/"}
			continue
		}
		if slices.Contains(methodKeys, key) {
			properties[key] = object{
				"description": "Send a " + strings.ToUpper(key) + " request to this path below the tenant's URL.",
				"type":        "string", "pattern": "^/",
			}
		}
	}
	return object{"type": "object", "additionalProperties": false, "properties": properties}
}

// with adds keywords to a schema.
func with(schema object, more object) object {
	for key, value := range more {
		schema[key] = value
	}
	return schema
}

// wantSchema is the schema that the decoder's tables make.
func wantSchema(t *testing.T) []byte {
	t.Helper()
	var methods []any
	for _, m := range methodKeys {
		methods = append(methods, object{"required": []any{m}})
	}
	request := object{"$ref": "#/$defs/oneMethod"}
	doc := with(schemaObject(suiteKeys), object{
		"$schema":  "https://json-schema.org/draft/2020-12/schema",
		"title":    "A suite of checks of canary-verify",
		"required": []any{"checks"},
		"$defs": object{
			"check": with(schemaObject(slices.Concat(checkKeys, stepKeys)), object{
				"required": []any{"name"},
				"if":       object{"required": []any{"steps"}},
				"then":     object{"propertyNames": object{"enum": toAny(checkKeys)}},
				"else":     with(object{"required": []any{"expect"}}, request),
			}),
			"step": with(schemaObject(stepKeys), with(object{"required": []any{"expect"}}, request)),
			"confirm": with(schemaObject(confirmKeys), object{
				"description": "The request that tells whether a tenant's own dependencies are up: asked beside a request that was answered with a 5xx. While they are down, its 5xx answers are errors and not failures.",
				"required":    []any{"get", "down"},
			}),
			"sweep": with(schemaObject(sweepKeys), object{
				"description": "What checks of an earlier run, which was killed, may have left: at most 50 that are older than an hour are deleted beside the checks.",
				"required":    toAny(sweepKeys),
			}),
			"finally":   with(schemaObject(finallyKeys), request),
			"oneMethod": object{"oneOf": methods},
		},
	})
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSchemaIsTheDecoders(t *testing.T) {
	used := slices.Concat(suiteKeys, confirmKeys, sweepKeys, checkKeys, stepKeys, finallyKeys)
	for key := range schemaOfKeys {
		if !slices.Contains(used, key) {
			t.Errorf("the schema has a key that the decoder does not know: %s", key)
		}
	}
	for _, key := range used {
		if schemaOfKeys[key] == nil && !slices.Contains(methodKeys, key) {
			t.Errorf("the schema says nothing of %s", key)
		}
	}
	want := wantSchema(t)
	if *update {
		if err := os.WriteFile("schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(want, Schema()) {
		t.Error("schema.json is not what the decoder's tables make; run go test ./smoke -run Schema -update")
	}
}

// compiledSchema is what an editor makes of the schema.
func compiledSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("suite.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("suite.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// schemaError is what the schema says of a suite file.
func schemaError(t testing.TB, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return err
	}
	// Through JSON, as an editor would see it.
	j, err := json.Marshal(v)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

func TestSchemaAcceptsWhatLoads(t *testing.T) {
	s := compiledSchema(t)
	files := map[string][]byte{}
	for _, name := range BuiltinNames() {
		files[name], _ = Builtin(name)
	}
	valid, _ := filepath.Glob("testdata/valid-*.yml")
	for _, path := range valid {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = text
	}
	if len(files) < 4 {
		t.Fatalf("only %d suites to try", len(files))
	}
	for name, text := range files {
		if _, err := Load(name, text); err != nil {
			t.Errorf("%v", err)
		}
		if err := schemaError(t, s, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSchemaAndDecoderAgreeOnShape tries one suite for each way in which a shape
// can be wrong, and demands the same answer of both.
func TestSchemaAndDecoderAgreeOnShape(t *testing.T) {
	s := compiledSchema(t)
	const one = "name: a, get: /x, expect: 'status == 200 && is_array(json)'"
	const step = "get: /x, expect: 'status == 200 && is_array(json)'"
	for text, valid := range map[string]bool{
		"checks: [{" + one + "}]":                                                                                       true,
		"{strict: true, checks: [{" + one + "}]}":                                                                       true,
		"checks: [{name: a, steps: [{" + step + "}]}]":                                                                  true,
		"checks: [{" + one + ", finally: [{delete: /x}]}]":                                                              true,
		"checks: [{" + one + ", save: {id: status}, within: 5s}]":                                                       true,
		"checks: [{name: a, post: /x, body: [1], expect: 'json.a == 1'}]":                                               true,
		"{confirm: {get: /x, down: 'json.a == 1'}, checks: [{" + one + "}]}":                                            true,
		"{confirm: {get: /x, auth: none, down: 'json.a == 1'}, checks: [{" + one + "}]}":                                true,
		"{confirm: {get: /x}, checks: [{" + one + "}]}":                                                                 false,
		"{confirm: {down: 'json.a == 1'}, checks: [{" + one + "}]}":                                                     false,
		"{confirm: {post: /x, down: 'json.a == 1'}, checks: [{" + one + "}]}":                                           false,
		"{sweep: {list: /x, where: '.n startsWith \"canary-\"', age: .t, delete: '/x/${id}'}, checks: [{" + one + "}]}": true,
		"{sweep: {list: /x, where: '.n startsWith \"canary-\"', delete: '/x/${id}'}, checks: [{" + one + "}]}":          false,
		"{sweep: [], checks: [{" + one + "}]}":                                                                          false,
		"checks: []":                                                                                                    false,
		"{}":                                                                                                            false,
		"[]":                                                                                                            false,
		"{strict: 1, checks: [{" + one + "}]}":                                                                          false,
		"{extra: 1, checks: [{" + one + "}]}":                                                                           false,
		"checks: [{" + one + ", extra: 1}]":                                                                             false,
		"checks: [{" + one + ", post: /y}]":                                                                             false,
		"checks: [{" + one + ", steps: [{" + step + "}]}]":                                                              false,
		"checks: [{name: a, expect: 'status == 200'}]":                                                                  false,
		"checks: [{name: a, get: /x}]":                                                                                  false,
		"checks: [{" + step + "}]":                                                                                      false,
		"checks: [{name: '', " + step + "}]":                                                                            false,
		"checks: [{name: a, steps: []}]":                                                                                false,
		"checks: [{name: a, steps: [{get: /x}]}]":                                                                       false,
		"checks: [{name: a, steps: [{name: b, " + step + "}]}]":                                                         false,
		"checks: [{" + one + ", finally: []}]":                                                                          false,
		"checks: [{" + one + ", finally: [{delete: /x, within: 5s}]}]":                                                  false,
		"checks: [{" + one + ", auth: other}]":                                                                          false,
		"checks: [{" + one + ", within: 5}]":                                                                            false,
		"checks: [{" + one + ", save: {}}]":                                                                             false,
		"checks: [{" + one + ", save: {1a: status}}]":                                                                   false,
		"checks: [{" + one + ", headers: {a: 1}}]":                                                                      false,
		"checks: [{name: a, post: /x, body: 1, expect: 'json.a == 1'}]":                                                 false,
		"checks: [{name: a, get: x, expect: 'status == 200 && is_array(json)'}]":                                        false,
	} {
		_, err := Load("suite.yml", []byte(text))
		if (err == nil) != valid {
			t.Errorf("%s: Load says %v", text, err)
		}
		if err := schemaError(t, s, []byte(text)); (err == nil) != valid {
			t.Errorf("%s: the schema says %v", text, err)
		}
	}
}

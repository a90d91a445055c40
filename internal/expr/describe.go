package expr

import (
	"encoding/json"
	"fmt"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Describe names a value for people: its kind, and the value itself where that
// is short. It is neither redacted nor sanitised.
func Describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool, int, float64:
		return fmt.Sprint(v)
	case json.Number:
		return string(v)
	case string:
		return fmt.Sprintf("%q", v)
	case []any:
		if len(v) == 0 {
			return "an empty array"
		}
		return "an array of " + report.Count(len(v), "element")
	case map[string]any:
		if len(v) == 0 {
			return "an empty object"
		}
		return "an object with " + report.Count(len(v), "key")
	case map[string]string:
		return "the header"
	default:
		return fmt.Sprintf("a %T", v)
	}
}

package summary

import (
	"encoding/json"
	"io"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// JSON writes the report as report.json, which docs/report.schema.json
// describes. Lists are never null.
func JSON(w io.Writer, r *report.Report) error {
	whole := *r
	whole.Images, whole.Phases, whole.Warnings = list(r.Images), list(r.Phases), list(r.Warnings)
	whole.Tenants = append([]report.Tenant{}, r.Tenants...)
	for i := range whole.Tenants {
		whole.Tenants[i].Checks = list(whole.Tenants[i].Checks)
	}
	whole.Causes = append([]report.Cause{}, r.Causes...)
	for i := range whole.Causes {
		whole.Causes[i].Tenants = list(whole.Causes[i].Tenants)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(&whole)
}

// list makes a missing list an empty one.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

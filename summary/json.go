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
	if r.History != nil {
		whole.History = decisions(r.History)
	}
	return encode(w, &whole)
}

// list makes a missing list an empty one.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// HistorySchema names the format of [HistoryJSON]. Fields are only ever added to it.
const HistorySchema = "canary-verify/history/v1"

// HistoryJSON writes the decisions about a target for other programs, newest first:
// an object with the fields schema, target, held (null: the target is not on hold)
// and decisions, which are as in report.json.
func HistoryJSON(w io.Writer, r *report.Report, target string) error {
	history := struct {
		Schema    string            `json:"schema"`
		Target    string            `json:"target"`
		Held      *report.Hold      `json:"held"`
		Decisions []report.Decision `json:"decisions"`
	}{HistorySchema, target, r.Held, decisions(r.History)}
	return encode(w, &history)
}

// decisions are the same with lists that are never null.
func decisions(history []report.Decision) []report.Decision {
	whole := append([]report.Decision{}, history...)
	for i := range whole {
		whole[i].Images = list(whole[i].Images)
	}
	return whole
}

func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(v)
}

package summary

import (
	"encoding/json"
	"io"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

// JSON writes the report as report.json: the fields of the contract and those
// added to it since, as docs/report.schema.json says. Lists are never null.
func JSON(w io.Writer, r *gate.Report) error {
	whole := *r
	whole.Images = list(r.Images)
	whole.Phases = list(r.Phases)
	whole.Warnings = list(r.Warnings)
	whole.Tenants = list(r.Tenants)
	for i, t := range r.Tenants {
		if t.Checks == nil {
			whole.Tenants = append([]gate.Tenant{}, r.Tenants...)
			fillChecks(whole.Tenants[i:])
			break
		}
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

func fillChecks(tenants []gate.Tenant) {
	for i := range tenants {
		tenants[i].Checks = list(tenants[i].Checks)
	}
}

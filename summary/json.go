package summary

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
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
	whole.Tenants = []gate.Tenant{}
	// The encoder keeps all that it writes in memory, twice. A large fleet is
	// therefore written one tenant at a time, into the place of an empty list:
	// only a field of the report itself stands behind one blank.
	var frame bytes.Buffer
	if err := encoder(&frame, "").Encode(&whole); err != nil {
		return err
	}
	before, after, found := bytes.Cut(frame.Bytes(), []byte("\n \"tenants\": [],\n"))
	if !found {
		return errors.New("report.json: the list of tenants has no place")
	}
	out := bufio.NewWriter(w)
	_, _ = out.Write(before) // a bufio.Writer keeps its error until Flush
	if err := writeTenants(out, r.Tenants); err != nil {
		return err
	}
	_, _ = out.Write(after)
	return out.Flush()
}

// writeTenants writes the line of the report that holds the tenants.
func writeTenants(out *bufio.Writer, tenants []gate.Tenant) error {
	var one bytes.Buffer
	enc := encoder(&one, "  ")
	_, _ = out.WriteString("\n \"tenants\": [")
	for i, t := range tenants {
		t.Checks = list(t.Checks)
		one.Reset()
		if err := enc.Encode(&t); err != nil {
			return err
		}
		if i > 0 {
			_ = out.WriteByte(',')
		}
		_, _ = out.WriteString("\n  ")
		_, _ = out.Write(bytes.TrimSuffix(one.Bytes(), []byte("\n")))
	}
	if len(tenants) > 0 {
		_, _ = out.WriteString("\n ")
	}
	_, _ = out.WriteString("],\n")
	return nil
}

// encoder writes indented JSON with < and > as they are.
func encoder(w io.Writer, prefix string) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, " ")
	return enc
}

// list makes a missing list an empty one.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

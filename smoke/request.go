package smoke

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
)

// line names a step for people, without values.
func (st *step) line() string {
	var b strings.Builder
	for _, p := range st.path {
		if p.name != "" {
			b.WriteString("${" + p.name + "}")
		}
		b.WriteString(p.literal)
	}
	return st.method + " " + b.String()
}

// usesSHA reports whether the step sends the candidate's commit or expects it.
func (st step) usesSHA() bool {
	return st.path.uses("sha") || st.body.uses("sha") || st.expect != nil && st.expect.Mentions("sha") ||
		slices.ContainsFunc(st.header, func(h headerField) bool { return h.value.uses("sha") })
}

// request builds what the session sends.
func (st *step) request(values map[string]any) (fleet.Request, error) {
	r := fleet.Request{Method: st.method, Auth: st.auth, Org: st.org, Idempotent: st.idempotent, Header: http.Header{}}
	var err error
	if r.Path, err = st.path.expand(values); err != nil {
		return r, err
	}
	if err := fleet.CheckPath(r.Path); err != nil {
		return r, fmt.Errorf("with the saved values, %w", err)
	}
	if st.body != nil {
		body, err := st.body.expand(values)
		if err != nil {
			return r, err
		}
		r.Body = []byte(body)
		r.Header.Set("Content-Type", st.contentType)
	}
	for _, h := range st.header {
		value, err := h.value.expand(values)
		if err != nil {
			return r, err
		}
		r.Header.Set(h.name, value)
	}
	return r, nil
}

package smoke

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
)

// A negativeControl is an answer of a tenant that does not work. An expectation
// that holds on it can't tell a dead tenant from a live one.
type negativeControl struct {
	name   string // "an HTML page …", after "holds for"
	who    string // who answers like that, and so which false green it prevents
	status int
	kind   string // content type
	body   func(echo string) string
}

// negativeControls are the answers of design.md, in the order in which they are
// told. The first two passed two of the six checks of the script that this
// program replaces.
var negativeControls = []negativeControl{
	{
		"an HTML page with status 200 that repeats the request", "a web front end, a login page or a proxy before a dead service",
		http.StatusOK, "text/html; charset=utf-8", htmlPage("Welcome"),
	},
	{
		"an HTML page with status 404", "a server that lost the route, or another server",
		http.StatusNotFound, "text/html; charset=utf-8", htmlPage("404 page not found"),
	},
	{
		"{}", "a stub, or a service whose data is gone",
		http.StatusOK, "application/json", fixed("{}"),
	},
	{
		"[]", "a service that lost the shape that it promised",
		http.StatusOK, "application/json", fixed("[]"),
	},
	{
		"null", "a service that found nothing and says so politely",
		http.StatusOK, "application/json", fixed("null"),
	},
	{
		"a JSON error with status 200", "a gateway that reports failures as successes",
		http.StatusOK, "application/json", jsonError,
	},
	{
		"a JSON error with status 500", "a service that breaks on this request",
		http.StatusInternalServerError, "application/json", jsonError,
	},
	{
		"an empty body with status 200", "a proxy that answers for a dead service",
		http.StatusOK, "", fixed(""),
	},
}

func fixed(text string) func(string) string { return func(string) string { return text } }

func htmlPage(title string) func(string) string {
	return func(echo string) string {
		return "<!DOCTYPE html><html><head><title>" + title + "</title></head><body><h1>" + title + "</h1><pre>" + echo + "</pre></body></html>"
	}
}

func jsonError(echo string) string {
	return `{"error":"upstream unavailable","code":"error","message":"` + jsonText(echo) + `"}`
}

// applies reports whether a control is one for an expectation. The empty array
// is none for an expectation that wants an array, and a status is none for one
// that pins exactly that status (design).
func (c negativeControl) applies(x *expectation) bool {
	switch {
	case c.name == "[]":
		return !wantsArray(x.root)
	case c.status != http.StatusOK:
		return !pinsStatus(x.root, c.status)
	default:
		return true
	}
}

// control tries a step's expectation on all negative controls. Those that
// satisfy it make one fault in a strict suite, else one warning.
func (d *decoder) control(s *Suite, st *step, n *yaml.Node) {
	values := sampleValues(d.saved)
	echo := st.echo(values)
	var slipped []negativeControl
	for _, c := range negativeControls {
		if c.applies(st.expect) && c.satisfies(st.expect, echo, values) {
			slipped = append(slipped, c)
		}
	}
	if len(slipped) == 0 {
		return
	}
	message := d.slipMessage(st.expect, slipped)
	if s.strict {
		d.fault(d.inScalar(n, 0), "%s", message)
		return
	}
	s.Warnings = append(s.Warnings, d.errorAt(d.inScalar(n, 0), message).Error())
}

// satisfies reports whether an expectation holds on the control.
func (c negativeControl) satisfies(x *expectation, echo string, values map[string]any) bool {
	header := http.Header{"Date": {"Thu, 01 Jan 2026 00:00:00 GMT"}}
	if c.kind != "" {
		header.Set("Content-Type", c.kind)
	}
	response := &fleet.Response{
		Status: c.status, Header: header, Body: []byte(c.body(echo)), Complete: true, Elapsed: time.Millisecond, Attempts: 1,
	}
	e := &evaluation{ctx: context.Background(), answer: &answer{response: response}, vars: values}
	holds, err := e.truth(x.root)
	return err == nil && holds
}

// echo is the whole request as text, as a server may repeat it.
func (st *step) echo(values map[string]any) string {
	var b strings.Builder
	path, _ := st.path.expand(values)
	fmt.Fprintf(&b, "%s %s HTTP/1.1\n", st.method, path)
	for _, h := range st.header {
		value, _ := h.value.expand(values)
		fmt.Fprintf(&b, "%s: %s\n", h.name, value)
	}
	body, _ := st.body.expand(values)
	b.WriteString("\n" + body)
	return b.String()
}

// slipMessage says what happened, what it would have cost, and what to add.
func (d *decoder) slipMessage(x *expectation, slipped []negativeControl) string {
	names := make([]string, len(slipped))
	for i, c := range slipped {
		names[i] = c.name
	}
	first := slipped[0]
	return fmt.Sprintf("check %q can't fail when it should: its expectation also holds for %s. %s answers like that (%s), and this check would call it healthy. %s",
		d.check, strings.Join(names, "; for "), upper(first.who), first.name, advice(x, slipped))
}

// advice says what to add to an expectation.
func advice(x *expectation, slipped []negativeControl) string {
	pinned := false
	for _, clause := range x.clauses {
		pinned = pinned || strings.Contains(clause.String(), "status")
	}
	switch {
	case !pinned:
		return "Pin the status and say something of the answer that only a working tenant can give, for example: status == 200 && is_map(json.subsystems) && len(json.subsystems) > 0"
	case slipped[0].kind == "application/json":
		return "Name a field that only a working tenant fills, for example: len(json.id) > 0, or is_map(json.subsystems) && len(json.subsystems) > 0"
	default:
		return "Say something of the JSON that must come, for example: is_array(json), or len(json.id) > 0"
	}
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

package smoke

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
)

// A negativeControl is an answer of a tenant that does not work. An expectation
// that passes on it can't tell a dead tenant from a live one.
type negativeControl struct {
	name   string // "an HTML page …", after "it also passes on"
	who    string // who answers like that, and would be taken for a live tenant
	status int
	kind   string // content type
	body   func(echo string) string
}

// negativeControls are in the order in which they are reported. Two of the six
// checks of the script that this program replaces passed on the first two.
var negativeControls = []negativeControl{
	{
		"an HTML page with status 200 that repeats the request", "a web front end, a login page or a proxy in front of a dead service",
		http.StatusOK, "text/html; charset=utf-8", htmlPage("Welcome"),
	},
	{
		"an HTML page with status 404", "a server without that route",
		http.StatusNotFound, "text/html; charset=utf-8", htmlPage("404 page not found"),
	},
	{
		"{}", "a stub, or a service whose data is gone",
		http.StatusOK, "application/json", fixed("{}"),
	},
	{
		"[]", "a service whose answer lost its shape",
		http.StatusOK, "application/json", fixed("[]"),
	},
	{
		"null", "a service that found nothing",
		http.StatusOK, "application/json", fixed("null"),
	},
	{
		"a JSON error with status 200", "a gateway that reports failures as successes",
		http.StatusOK, "application/json", jsonError,
	},
	{
		"a JSON error with status 500", "a service that fails on this request",
		http.StatusInternalServerError, "application/json", jsonError,
	},
	{
		"an empty body with status 200", "a proxy that answers for a dead service",
		http.StatusOK, "", fixed(""),
	},
}

func fixed(text string) func(string) string { return func(string) string { return text } }

// htmlPage is a page as web front ends send it: with the script that puts
// brackets and words of JSON into every page.
func htmlPage(title string) func(string) string {
	return func(echo string) string {
		return `<!DOCTYPE html><html><head><title>` + title + `</title></head><body class="status ok"><h1>` + title + `</h1>` +
			`<script>self.__next_f=[];self.__next_f.push([1,{"status":"ok","id":"1","error":null,"data":{}}])</script>` +
			`<pre>` + echo + `</pre></body></html>`
	}
}

func jsonError(echo string) string {
	return `{"error":"upstream unavailable","code":"error","message":"` + jsonText(echo) + `"}`
}

// applies reports whether a control is one for an expectation. The empty array
// is none for an expectation that wants an array, and a status is none for one
// that pins exactly that status.
func (c negativeControl) applies(x *expr.Expr) bool {
	switch {
	case c.body("") == "[]":
		return !x.WantsArray()
	case c.status != http.StatusOK:
		return !x.PinsStatus(c.status)
	default:
		return true
	}
}

// tryControls tries a step's expectation on all negative controls. Those on which
// it passes make one objection.
func (d *decoder) tryControls(st *step, n *yaml.Node) {
	if passing := d.passing(st, st.expect); len(passing) > 0 {
		st.weak = true
		d.object(d.inScalar(n, 0), d.controlMessage(passing))
	}
}

// passing returns the negative controls on which a condition is true.
func (d *decoder) passing(st *step, x *expr.Expr) []negativeControl {
	values := sampleValues(d.saved)
	echo := st.echo(values)
	var passing []negativeControl
	for _, c := range negativeControls {
		if c.applies(x) && c.passes(x, echo, values) {
			passing = append(passing, c)
		}
	}
	return passing
}

// object records an objection.
func (d *decoder) object(p position, message string) {
	d.objections = append(d.objections, objection{p, message})
}

// passes reports whether an expectation passes on the control.
func (c negativeControl) passes(x *expr.Expr, echo string, values map[string]any) bool {
	header := http.Header{"Date": {"Thu, 01 Jan 2026 00:00:00 GMT"}}
	if c.kind != "" {
		header.Set("Content-Type", c.kind)
	}
	response := &fleet.Response{
		Status: c.status, Header: header, Body: []byte(c.body(echo)), Complete: true, Elapsed: time.Millisecond, Attempts: 1,
	}
	ok, err := expr.NewEvaluation(&answer{response: response, values: values}).True(x)
	return err == nil && ok
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

// controlMessage says what happened, what it would have cost, and what to add.
func (d *decoder) controlMessage(passing []negativeControl) string {
	names := make([]string, len(passing))
	for i, c := range passing {
		names[i] = c.name
	}
	which := "That"
	if len(passing) > 1 {
		which = "The first"
	}
	return fmt.Sprintf("check %q can't tell a dead tenant from a live one: it also passes on %s. %s is what %s sends; the check would pass, and the build would be promoted. %s",
		d.check, strings.Join(names, "; on "), which, passing[0].who, advice(passing))
}

// advice says what to add to an expectation.
func advice(passing []negativeControl) string {
	const field = "len(json.id) > 0, or is_map(json.subsystems) && len(json.subsystems) > 0"
	anyStatus := slices.ContainsFunc(passing, func(c negativeControl) bool { return c.status != http.StatusOK })
	switch {
	case anyStatus:
		return "Pin the status, and name something that only a working tenant can answer, for example: status == 200 && " + field
	case passing[0].kind == "application/json":
		return "Name a field that only a working tenant fills, for example: " + field
	default:
		return "Require something of the JSON, for example: is_array(json), or " + field
	}
}

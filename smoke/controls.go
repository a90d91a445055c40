package smoke

import (
	"context"
	"fmt"
	"net/http"
	"slices"
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
		"a JSON error with status 500", "a service that breaks on this request",
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
	message := d.slipMessage(slipped)
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
func (d *decoder) slipMessage(slipped []negativeControl) string {
	names := make([]string, len(slipped))
	for i, c := range slipped {
		names[i] = c.name
	}
	which := "That"
	if len(slipped) > 1 {
		which = "The first"
	}
	return fmt.Sprintf("check %q can't tell a dead tenant from a live one: it also passes on %s. %s is what %s sends; the check would be green, and the build promoted. %s",
		d.check, strings.Join(names, "; on "), which, slipped[0].who, advice(slipped))
}

// advice says what to add to an expectation.
func advice(slipped []negativeControl) string {
	const field = "len(json.id) > 0, or is_map(json.subsystems) && len(json.subsystems) > 0"
	anyStatus := slices.ContainsFunc(slipped, func(c negativeControl) bool { return c.status != http.StatusOK })
	switch {
	case anyStatus:
		return "Pin the status, and name something that only a working tenant can answer, for example: status == 200 && " + field
	case isJSON(slipped[0].kind):
		return "Name a field that only a working tenant fills, for example: " + field
	default:
		return "Say something of the JSON that must come, for example: is_array(json), or " + field
	}
}

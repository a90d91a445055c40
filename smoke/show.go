package smoke

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/expr"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/molecule"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// Limits of what a report shows, in characters.
const (
	maxBodyShown  = 300
	maxTypeShown  = 80
	maxValueShown = 120
	maxText       = 1000
	maxCurl       = 4000
	maxValues     = 6 // named values of one clause
)

// A cleaner makes text fit to be shown: without secrets, then without anything
// that a terminal or a runner would act on. Rendering may change a secret so that
// it is not found any more (quotes, lower case): so what is foreign is redacted
// before it is rendered, and the whole text after that.
type cleaner struct{ redact *secret.Redactor }

// line returns text as one line of at most limit characters. Text that is far
// longer is cut before it is redacted, with room for a secret at the cut, and
// what could be half a secret there is dropped.
func (c cleaner) line(text string, limit int) string {
	longest := c.redact.Longest()
	keep := 4*limit + 2*longest
	if len(text) <= keep {
		return untrusted.Line(c.redact.Redact(text), limit)
	}
	shown := c.redact.Redact(text[:keep])
	shown = shown[:max(0, len(shown)-longest)]
	return untrusted.Line(shown+untrusted.Ellipsis, limit)
}

// values shows the values behind a clause, besides those that are shown anyway.
func (c cleaner) values(clause *expr.Expr, a *answer) []string {
	// The budget is a new one: the clause may have used up the other.
	e := expr.NewEvaluation(a)
	var shown []string
	for _, part := range clause.Values() {
		if v, err := e.Value(part); err == nil && len(shown) < maxValues {
			if text, ok := v.(string); ok {
				v = c.redact.Redact(text)
			}
			shown = append(shown, c.line(fmt.Sprintf("%s = %s", part, expr.Describe(v)), maxValueShown))
		}
	}
	return shown
}

// got describes an answer: status, content type, named values, beginning of the
// body.
func (c cleaner) got(a *answer, values []string) string {
	parts := []string{fmt.Sprintf("status %d", a.response.Status), c.line(a.contentType(), maxTypeShown)}
	parts = append(parts, values...)
	if !a.response.Complete {
		parts = append(parts, a.tooLarge().Error())
	}
	text := strings.Join(parts, ", ")
	if len(a.response.Body) == 0 {
		return text + ", empty body"
	}
	return text + ", body: " + c.line(string(a.response.Body), maxBodyShown)
}

// reproduce returns a command that shows again what came to a step. What a later
// step asks about is deleted once the check ends, so that its request alone would
// show something else: then the command runs the checks again.
func (x *execution) reproduce(st *step, r fleet.Request) string {
	if st == &x.check.steps[0] {
		return x.cleaner().curl(x.tenant, r)
	}
	var b strings.Builder
	b.WriteString(`CANARY_ADMIN_TOKENS="$TOKEN" canary-verify smoke`)
	add := func(flag, value string) {
		if value != "" {
			b.WriteString(" --" + flag + " " + quote(x.cleaner().redact.Redact(value)))
		}
	}
	add("checks", x.suite.Name)
	if x.check.usesSHA {
		add("sha", string(x.options.SHA))
	}
	add("org-ids", x.tenant.OrgID)
	if u, err := url.Parse(x.tenant.URL); err == nil && u.Scheme == "http" && !web.IsLoopback(u.Hostname()) {
		b.WriteString(" --allow-http")
	}
	add("tenant-urls", x.tenant.URL) // last: log pages make a link of it
	return x.cleaner().line(b.String(), maxCurl)
}

// curl returns a command that sends a request again. The token stands as $TOKEN,
// in the only double quotes of the command, so that the shell puts it in.
func (c cleaner) curl(tenant fleet.Tenant, r fleet.Request) string {
	var b strings.Builder
	b.WriteString("curl -sS -i")
	switch r.Method {
	case http.MethodGet:
	case http.MethodHead:
		b.WriteString(" --head")
	default:
		b.WriteString(" -X " + r.Method)
	}
	quote := func(s string) string { return quote(c.redact.Redact(s)) }
	b.WriteString(" " + quote(tenant.URL+r.Path))
	switch r.Auth {
	case fleet.AuthAdmin:
		b.WriteString(` -H "Authorization: Bearer $TOKEN"`)
	case fleet.AuthWrong:
		b.WriteString(` -H 'Authorization: Bearer wrong'`)
	}
	switch {
	case r.Org == fleet.OrgWrong:
		b.WriteString(" -H " + quote(molecule.OrgHeader+": wrong"))
	case r.Org == fleet.OrgOwn && tenant.OrgID != "":
		b.WriteString(" -H " + quote(molecule.OrgHeader+": "+tenant.OrgID))
	}
	for _, name := range sortedKeys(r.Header) {
		for _, value := range r.Header[name] {
			b.WriteString(" -H " + quote(name+": "+value))
		}
	}
	if len(r.Body) > 0 {
		b.WriteString(" --data-raw " + quote(string(r.Body)))
	}
	return c.line(b.String(), maxCurl)
}

// quote returns s as one word of a POSIX shell.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

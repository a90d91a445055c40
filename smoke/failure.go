package smoke

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/expr-lang/expr/ast"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// Bounds of what a report shows, in characters.
const (
	maxBodyShown  = 300 // design
	maxValueShown = 120
	maxText       = 1000
	maxCurl       = 4000
	maxValues     = 6 // named values of one clause
)

// A cleaner makes text fit to be shown: without secrets, then without anything
// that a terminal or a runner would act on.
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

// A finding is how an expectation broke on an answer.
type finding struct {
	clause ast.Node
	reason string      // why it can't be true; empty when it is plainly false
	limit  *limitError // it could not be evaluated
	save   string      // the name under which its value should have been saved; empty in an expectation
}

// test evaluates an expectation clause by clause. It returns nil when all hold.
func (x *expectation) test(e *evaluation) *finding {
	for _, clause := range x.clauses {
		holds, err := e.truth(clause)
		if err == nil && holds {
			continue
		}
		f := &finding{clause: clause}
		_ = errors.As(err, &f.limit)
		if err != nil {
			f.reason = err.Error()
		}
		return f
	}
	return nil
}

// values shows the values that a clause names, besides status, body and json,
// which are shown anyway.
func (f *finding) values(e *evaluation, c cleaner) []string {
	var shown []string
	seen := make(map[string]bool)
	var look func(n ast.Node)
	look = func(n ast.Node) {
		switch n := n.(type) {
		case *ast.IdentifierNode:
			if n.Value == "status" || n.Value == "body" || n.Value == "json" || n.Value == "header" {
				return
			}
		case *ast.MemberNode, *ast.ChainNode:
			if holdsPointer(n) {
				return
			}
		default:
			for _, child := range children(n) {
				look(child)
			}
			return
		}
		name := n.String()
		if seen[name] || len(shown) == maxValues {
			return
		}
		seen[name] = true
		if v, err := e.value(n); err == nil {
			shown = append(shown, c.line(name+" = "+describe(v), maxValueShown))
		}
	}
	look(f.clause)
	return shown
}

// holdsPointer reports whether n means the element of a list, which is another
// one each time.
func holdsPointer(n ast.Node) bool {
	found := false
	visit(n, func(n ast.Node) {
		_, is := n.(*ast.PointerNode)
		found = found || is
	})
	return found
}

// got describes an answer: status, content type, named values, beginning of the
// body.
func (c cleaner) got(a *answer, values []string) string {
	parts := []string{fmt.Sprintf("status %d", a.response.Status), c.line(a.contentType(), 80)}
	parts = append(parts, values...)
	if !a.response.Complete {
		parts = append(parts, a.incomplete().Error())
	}
	text := strings.Join(parts, ", ")
	if len(a.response.Body) == 0 {
		return text + ", empty body"
	}
	return text + ", body: " + c.line(string(a.response.Body), maxBodyShown)
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
	b.WriteString(" " + quote(tenant.URL+r.Path))
	switch r.Auth {
	case fleet.AuthAdmin:
		b.WriteString(` -H "Authorization: Bearer $TOKEN"`)
	case fleet.AuthWrong:
		b.WriteString(` -H 'Authorization: Bearer wrong'`)
	}
	if tenant.OrgID != "" {
		b.WriteString(" -H " + quote("X-Molecule-Org-Id: "+tenant.OrgID))
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

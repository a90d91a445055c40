package fleet

import (
	"fmt"
	"net/url"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// A Tenant is one deployment of the product.
type Tenant struct {
	// Name is how people call it: the given name, else the URL's host with port.
	Name string
	// URL is the base URL, absolute, without user, query, fragment or trailing slash.
	URL string
	// Token is the admin bearer token, at least 8 characters.
	Token secret.Value
	// OrgID is sent in the product's org header with every request; empty: the
	// header is not sent.
	OrgID string
}

// minToken is the least length of a token in bytes. Redaction of anything
// shorter would remove plain words from messages.
const minToken = 8

// maxName bounds a tenant's name in characters: it stands in every table row.
const maxName = 100

// A field is a field of a tenant that can be invalid, by its key in a document.
type field string

const (
	fieldName  field = "name"
	fieldURL   field = "url"
	fieldToken field = "token"
	fieldOrg   field = "org-id"
)

// complete validates tenants as they were written and brings them to their
// final form: URLs normalised, names sanitised and filled in. It reports each
// invalid field with the tenant's index, and returns the parsed URLs. It is the
// one place that knows what a valid tenant is.
func complete(tenants []Tenant, allowHTTP bool, report func(i int, f field, problem string)) []*url.URL {
	bases := make([]*url.URL, len(tenants))
	byURL := make(map[string]int, len(tenants))
	byName := make(map[string]int, len(tenants))
	for i := range tenants {
		t := &tenants[i]
		u, problem := parseBase(t.URL, allowHTTP)
		if problem == "" {
			bases[i], t.URL = u, u.String()
			problem = claim(byURL, originKey(u), i, "the same URL as entry %d")
		}
		if problem != "" {
			report(i, fieldURL, problem)
		}
		if p := tokenProblem(t.Token.Reveal()); p != "" {
			report(i, fieldToken, p)
		}
		if p := headerProblem(t.OrgID); p != "" {
			report(i, fieldOrg, p)
		}
		if problem != "" && t.Name == "" {
			continue // a name made of an invalid URL would be the same problem again
		}
		t.Name = tenantName(t.Name, u)
		if p := claim(byName, t.Name, i, "the same name as entry %d; give each tenant a name of its own"); p != "" {
			report(i, fieldName, p)
		}
	}
	return bases
}

// claim notes that entry i has key, or says which entry has it already.
func claim(taken map[string]int, key string, i int, problem string) string {
	if first, ok := taken[key]; ok {
		return fmt.Sprintf(problem, first+1)
	}
	taken[key] = i
	return ""
}

// tenantName returns the name that people see: the given one, sanitised, else
// the URL's host with port, and its path, so that tenants behind one host stay
// apart.
func tenantName(given string, u *url.URL) string {
	if name := strings.TrimSpace(untrusted.Line(strings.TrimSpace(given), maxName)); name != "" {
		return name
	}
	if u == nil {
		return "unnamed" // the name was blank and the URL is invalid
	}
	return untrusted.Line(u.Host+u.EscapedPath(), maxName)
}

// tokenProblem says what keeps a token from being sent as a bearer token, or "".
func tokenProblem(token string) string {
	if token == "" {
		return "missing"
	}
	if p := headerProblem(token); p != "" {
		return p
	}
	if len(token) < minToken {
		return fmt.Sprintf("shorter than %d characters", minToken)
	}
	return ""
}

// headerProblem says what keeps a value from being sent in a header, or "".
func headerProblem(value string) string {
	if !isVisible(value) {
		return "contains a space, a control or a non-ASCII character, which cannot be sent in a header"
	}
	return ""
}

// isVisible reports whether s is visible ASCII: what is valid in a header value
// in every version of HTTP and splits into no further words.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// Package molecule holds what is true of one product, the Molecule platform: the
// header of its org guard, the routes that the guard lets through, and the code
// with which a tenant reports an outage of its own dependencies.
//
// Everything else in this repository holds for any product. What a tenant of this
// one really answers was measured on its own server, with Postgres and Redis.
package molecule

import (
	"encoding/json"
	"net/http"
	"strings"
)

// OrgHeader carries the org id that the org guard of a tenant wants.
const OrgHeader = "X-Molecule-Org-Id"

// Public reports whether a route answers everybody, without org header and token,
// so that its answer says nothing about either.
func Public(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	switch path {
	case "/health", "/metrics", "/buildinfo":
		return true
	default:
		return strings.HasPrefix(path, "/registry/")
	}
}

// OtherSuite says which built-in suite fits a server that does not have a route of
// another one; request is its method and path. Empty: nothing is known.
func OtherSuite(request string) string {
	_, path, _ := strings.Cut(request, " ")
	path, _, _ = strings.Cut(path, "?")
	switch {
	case strings.HasPrefix(path, "/memories/"):
		return "this server has no " + path + "; the suite workspace-server fits servers whose memories belong to workspaces (checks: workspace-server)"
	case strings.HasPrefix(path, "/workspaces/") && strings.HasSuffix(path, "/memories"):
		return "this server's workspaces have no memories; the suite canary fits servers with /memories/commit (checks: canary)"
	default:
		return ""
	}
}

// Guarded reports whether an answer is that of the org guard: 404 with an empty
// body, also to a valid token.
func Guarded(status int, body []byte) bool {
	return status == http.StatusNotFound && len(body) == 0
}

// Outage reports whether the body of an error answer says that the tenant can't
// reach its own database. /health answers 200 all the while.
func Outage(body []byte) bool {
	var answer struct {
		Code string `json:"code"`
	}
	return json.Unmarshal(body, &answer) == nil && answer.Code == "platform_unavailable"
}

// OutageHint says what an [Outage] means. It names no cache: without Redis these
// routes answer as ever.
const OutageHint = "the tenant can't reach its Postgres database: its platform is down, which says nothing about the build"

// MaybeOutageHint says what it means that a tenant failed on a request, and could
// not say at once whether its database is up.
const MaybeOutageHint = "the service failed on this request, and it could not be learned whether its Postgres database was up at that moment; run again"

// GuardHint says what the org guard's answer to a guarded route means, and what
// to do. Others reports whether other guarded routes of the tenant answered,
// hasOrg whether an org id was sent.
func GuardHint(others, hasOrg bool) string {
	switch {
	case others:
		return "other guarded routes of this tenant answer, so the org id is right: this build lost the route, or hides it"
	case hasOrg:
		return "every guarded route answers 404 with an empty body, as the org guard does to a wrong org id: check this tenant's org id, not the build"
	default:
		return "every guarded route answers 404 with an empty body, as the org guard does to requests without an org id: this tenant has none; give it its org id"
	}
}

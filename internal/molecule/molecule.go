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

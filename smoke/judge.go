package smoke

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
)

// A cause is why a check did not pass. What it makes of the check is said in
// this file alone (contract, "Situations" and "Own credentials").
type cause int

const (
	contradiction cause = iota // the answer is not what was promised
	ownToken                   // our own token was refused
	orgGuard                   // the answer is that of the org guard: 404 without a body
	unavailable                // 429, 502, 503 or 504, after retries
	noAnswer                   // transport error or time-out, after retries
	beyondLimits               // the expectation could not be evaluated on this answer
	withoutSHA                 // the step needs ${sha}, and the run has none
	stopped                    // the run ended
	internal                   // a fault of this program
)

// causeOfAnswer says why an answer that does not satisfy its step does not.
func causeOfAnswer(auth fleet.Auth, r *fleet.Response) cause {
	switch r.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return unavailable
	case http.StatusUnauthorized, http.StatusForbidden:
		if auth == fleet.AuthAdmin {
			return ownToken
		}
	case http.StatusNotFound:
		if hidden(r) {
			return orgGuard
		}
	}
	return contradiction
}

// hidden reports whether an answer is that of the org guard (tenant-contract.md).
func hidden(r *fleet.Response) bool {
	return r.Status == http.StatusNotFound && r.Complete && len(r.Body) == 0
}

// public reports whether a route answers everybody, without org header and
// token: what it answers says nothing of either (tenant-contract.md).
func public(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	switch path {
	case "/health", "/metrics", "/buildinfo":
		return true
	default:
		return strings.HasPrefix(path, "/registry/")
	}
}

// A ledger is what the answers of one tenant showed of our credentials, over
// all checks and rounds. Its methods may be called by several goroutines at once.
type ledger struct {
	mu      sync.Mutex
	took    string // an admin route that took our token
	guarded bool   // a guarded route answered
	passed  bool   // and one of them not as the org guard does
}

// note enters one answer.
func (l *ledger) note(method, path string, auth fleet.Auth, r *fleet.Response) {
	if public(path) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guarded = true
	l.passed = l.passed || !hidden(r)
	// A page is no sign: the web front end answers everybody.
	if auth == fleet.AuthAdmin && r.Status >= 200 && r.Status < 300 && !isHTML(r.Header) && l.took == "" {
		path, _, _ = strings.Cut(path, "?")
		l.took = method + " " + path
	}
}

// result says what a cause makes of a check, once all answers are in.
func (l *ledger) result(c cause) Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch c {
	case contradiction:
		return Failed
	case ownToken:
		if l.took != "" {
			return Failed
		}
	case orgGuard:
		if l.passed || !l.guarded {
			return Failed
		}
	}
	return Errored
}

// waits reports whether the result of a cause depends on other answers.
func (c cause) waits() bool { return c == ownToken || c == orgGuard }

// hint is the likely reason of an answer, and what to do.
func (l *ledger) hint(c cause, auth fleet.Auth, r *fleet.Response, hasOrg bool) string {
	refuted := l.result(c) == Failed
	switch c {
	case ownToken:
		if refuted {
			return fmt.Sprintf("the token is right: %s took it. This build refuses it on this route", l.tookBy())
		}
		return "every admin route refuses our token: check this tenant's entry in admin-tokens (its place in the list, a rotated token), not the build"
	case orgGuard:
		if refuted {
			return "other guarded routes do answer, so the org id is right: this build lost the route, or hides it"
		}
		if !hasOrg {
			return "every guarded route answers 404 without a body, as the org guard does to requests without an org id: this tenant has none; give it one in org-ids"
		}
		return "every guarded route answers 404 without a body, as the org guard does: check this tenant's entry in org-ids, not the build"
	case unavailable:
		return unavailableHint(r)
	case contradiction:
		return contradictionHint(auth, r)
	default:
		return ""
	}
}

func (l *ledger) tookBy() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.took
}

func unavailableHint(r *fleet.Response) string {
	var body struct {
		Code string `json:"code"`
	}
	switch {
	case json.Unmarshal(r.Body, &body) == nil && body.Code == "platform_unavailable":
		return "the tenant can't reach its database or cache (Postgres, Redis): its platform is down, which says nothing of the build"
	case r.Status == http.StatusTooManyRequests:
		return "the tenant limits requests; run again later, or lower concurrency"
	default:
		return "a proxy before the tenant can't reach it: it may be restarting or overloaded"
	}
}

func contradictionHint(auth fleet.Auth, r *fleet.Response) string {
	switch {
	case r.Status >= 500:
		return "the service broke on this request; the tenant's log of this moment says why"
	case isHTML(r.Header):
		return "a web page came: the web front end or a proxy answers in place of this route"
	case r.Status == http.StatusNotFound && bytes.HasPrefix(r.Body, []byte("404 page not found")):
		return "this build has no such route"
	case r.Status >= 300 && r.Status < 400:
		return "redirects are not followed; check the scheme and the host of the tenant's URL"
	case auth != fleet.AuthAdmin && (r.Status < 300 || r.Status == http.StatusBadRequest || r.Status == http.StatusUnprocessableEntity):
		return "a request without a valid token was let in: the build may be open to everybody"
	default:
		return ""
	}
}

// causeOfError says why there is no answer, and what to do.
func causeOfError(err error) (cause, string) {
	var transport *fleet.TransportError
	if !errors.As(err, &transport) {
		return noAnswer, ""
	}
	if transport.Kind == fleet.FailureStopped {
		return stopped, "the run ended before this check did; see deadline"
	}
	return noAnswer, transport.Hint
}

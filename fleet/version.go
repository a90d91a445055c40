package fleet

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// Lengths of a commit in hex digits: shorter ones are ambiguous (contract:
// "7 to 40 hex digits"), the longest are those of SHA-256 repositories.
const (
	minCommit = 7
	maxCommit = 64
)

// SameCommit reports whether a and b name the same commit: hex digits, at least
// 7 of each, one the beginning of the other, in any case.
func SameCommit(a, b string) bool {
	if !isCommit(a) || !isCommit(b) {
		return false
	}
	n := min(len(a), len(b))
	return strings.EqualFold(a[:n], b[:n])
}

// isCommit reports whether s looks like a commit, whole or abbreviated.
func isCommit(s string) bool {
	if len(s) < minCommit || len(s) > maxCommit {
		return false
	}
	for i := range len(s) {
		if !('0' <= s[i] && s[i] <= '9' || 'a' <= s[i]|0x20 && s[i]|0x20 <= 'f') {
			return false
		}
	}
	return true
}

// judge says where a tenant stands that gave this answer. It fills State,
// Version and Detail.
func (s *Session) judge(resp *Response, o WaitOptions) Rollout {
	if resp.Status >= 500 || resp.Status == http.StatusTooManyRequests {
		return Rollout{State: Unreachable, Detail: fmt.Sprintf("GET %s answered %d; the tenant may be restarting", o.VersionPath, resp.Status)}
	}
	told, problem := s.commitIn(resp, o)
	switch {
	case problem != "":
		return Rollout{State: Unknown, Detail: problem}
	case SameCommit(told, o.SHA):
		return Rollout{State: Current, Version: told}
	default:
		return Rollout{State: Stale, Version: told, Detail: fmt.Sprintf("runs %s, not %s", told, o.SHA)}
	}
}

// commitIn returns the commit that an answer tells, or why it tells none.
func (s *Session) commitIn(resp *Response, o WaitOptions) (told, problem string) {
	switch {
	case resp.Status == http.StatusNotFound:
		return "", fmt.Sprintf("GET %s answered 404: a build from before it could tell its commit, or another route; set version-path (or version-path: none, and its identity stays unproven)", o.VersionPath)
	case resp.Status >= 300 && resp.Status < 400:
		return "", fmt.Sprintf("GET %s answered %d, a redirect, which is not followed; check the tenant's URL", o.VersionPath, resp.Status)
	case resp.Status != http.StatusOK:
		return "", fmt.Sprintf("GET %s answered %d, not 200", o.VersionPath, resp.Status)
	case !resp.Complete:
		return "", fmt.Sprintf("GET %s answered more than %d KiB", o.VersionPath, MaxBody>>10)
	}
	told, err := fieldOf(resp.Body, o.Field)
	if err != nil {
		return "", fmt.Sprintf("GET %s: %s (the answer is %s)", o.VersionPath, err, s.mediaType(resp))
	}
	if told = strings.TrimSpace(told); isCommit(told) {
		return told, ""
	}
	shown := untrusted.Line(s.redactor().Redact(told), 60)
	return "", fmt.Sprintf("GET %s: %s is %q, no commit; the build was not stamped with one", o.VersionPath, o.Field, shown)
}

// mediaType returns an answer's media type for people.
func (s *Session) mediaType(resp *Response) string {
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || t == "" {
		return "of no known type"
	}
	return untrusted.Line(s.redactor().Redact(t), 60)
}

// fieldOf returns the text at a dotted path of nested JSON objects. The error
// quotes nothing of the body.
func fieldOf(body []byte, path string) (string, error) {
	var at string
	for name := range strings.SplitSeq(path, ".") {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(body, &object); err != nil || object == nil {
			if at == "" {
				return "", fmt.Errorf("the body is no JSON object")
			}
			return "", fmt.Errorf("%s is no JSON object", at)
		}
		at = strings.TrimPrefix(at+"."+name, ".")
		value, ok := object[name]
		if !ok {
			return "", fmt.Errorf("there is no field %s", at)
		}
		body = value
	}
	var text *string
	if err := json.Unmarshal(body, &text); err != nil || text == nil {
		return "", fmt.Errorf("%s is no text", at)
	}
	return *text, nil
}

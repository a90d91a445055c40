package fleet

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// maxVersionBody is how much of a version answer is read, in bytes: whole fleets
// are asked at once.
const maxVersionBody = 1 << 20

// rolloutOf says where a tenant stands that gave this answer. It fills State,
// Version and Detail.
func (s *Session) rolloutOf(resp *Response, o WaitOptions) report.Rollout {
	if resp.Status >= 500 || resp.Status == http.StatusTooManyRequests {
		return report.Rollout{State: report.Unreachable, Detail: fmt.Sprintf("GET %s answered %d; the tenant may be restarting", o.VersionPath, resp.Status)}
	}
	version, err := s.commitIn(resp, o)
	switch {
	case err != nil:
		return report.Rollout{State: report.UnknownCommit, Detail: fmt.Sprintf("GET %s %s", o.VersionPath, err)}
	case version.Same(o.Commit):
		return report.Rollout{State: report.Current, Version: version}
	default:
		return report.Rollout{State: report.Stale, Version: version, Detail: fmt.Sprintf("runs %s, not %s", version, o.Commit)}
	}
}

// commitIn returns the commit that an answer reports, or why it reports none. The
// error is clean.
func (s *Session) commitIn(resp *Response, o WaitOptions) (report.Commit, error) {
	switch {
	case resp.Status == http.StatusNotFound:
		return "", errors.New("answered 404: the build is too old to report its commit, or it does so at another path; correct the version path (or set it to none, and identity stays unproven)")
	case resp.Status >= 300 && resp.Status < 400:
		return "", fmt.Errorf("answered %d, a redirect, which is not followed; check the tenant's URL", resp.Status)
	case resp.Status != http.StatusOK:
		return "", fmt.Errorf("answered %d, expected 200", resp.Status)
	case !resp.Complete:
		return "", fmt.Errorf("answered more than %d KiB", maxVersionBody>>10)
	}
	text, err := fieldOf(resp.Body, o.VersionField)
	if err != nil {
		return "", fmt.Errorf("answered %s: %w", s.mediaType(resp), err)
	}
	text = strings.TrimSpace(text)
	commit, err := report.ParseCommit(text)
	// The expected commit is no secret; for any other, look.
	if err == nil && (commit.Same(o.Commit) || s.clean(text, 0) == text) {
		return commit, nil
	}
	return "", fmt.Errorf("answered %s %q, which is not a commit; the build was not stamped with one", o.VersionField, s.clean(text, 60))
}

// mediaType returns an answer's media type for people.
func (s *Session) mediaType(resp *Response) string {
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || t == "" {
		return "without a media type"
	}
	return s.clean(t, 60)
}

// fieldOf returns the text at a dotted path of nested JSON objects. The error
// quotes nothing of the body.
func fieldOf(body []byte, path string) (string, error) {
	at := ""
	for name := range strings.SplitSeq(path, ".") {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(body, &object); err != nil || object == nil {
			return "", fmt.Errorf("%s is not a JSON object", cmp.Or(at, "the body"))
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
		return "", fmt.Errorf("%s is not text", at)
	}
	return *text, nil
}

package fleet

import (
	"bytes"
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
	if resp.Status == http.StatusTooManyRequests {
		return report.Rollout{State: report.Unreachable, Detail: fmt.Sprintf("GET %s answered 429; %s", o.VersionPath, resp.RateLimitHint())}
	}
	if resp.Status >= 500 {
		return report.Rollout{State: report.Unreachable, Detail: fmt.Sprintf("GET %s answered %d; the tenant may be restarting", o.VersionPath, resp.Status)}
	}
	version, err := s.commitIn(resp, o)
	switch {
	case err != nil:
		return report.Rollout{State: report.UnknownCommit, Detail: fmt.Sprintf("GET %s %s", o.VersionPath, err)}
	case matches(version, o.Commit):
		s.starts.note(resp.Body, o.StartedField)
		return report.Rollout{State: report.Current, Version: version}
	default:
		return report.Rollout{State: report.Stale, Version: version, Detail: fmt.Sprintf("runs %s, not %s", version, o.Commit)}
	}
}

// matches reports whether a tenant's version is the expected commit. One of them
// may be abbreviated, but two whole ones of different length are two commits,
// although the longer may begin with the shorter.
func matches(version, expected report.Commit) bool {
	return version.Same(expected) && !(version.Whole() && expected.Whole() && len(version) != len(expected))
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
	if !isJSON(resp.Header) {
		return "", fmt.Errorf("answered %s, expected JSON (application/json)", s.mediaType(resp))
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

// isJSON reports whether an answer says that it is JSON.
func isJSON(h http.Header) bool {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (t == "application/json" || strings.HasSuffix(t, "+json"))
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
	value, err := valueOf(body, path)
	if err != nil {
		return "", err
	}
	var text *string
	if err := json.Unmarshal(value, &text); err != nil || text == nil {
		return "", fmt.Errorf("%s is not text", path)
	}
	return *text, nil
}

// valueOf returns the value at a dotted path of nested JSON objects. The error
// quotes nothing of the body.
func valueOf(body []byte, path string) (json.RawMessage, error) {
	// What follows reads only as far as it must: a second document behind the first
	// makes it unclear which one counts.
	if !json.Valid(body) {
		return nil, errors.New("the body is not a JSON object, or something follows it")
	}
	at := ""
	for name := range strings.SplitSeq(path, ".") {
		object, err := objectIn(body)
		if err != nil {
			return nil, fmt.Errorf("%s %w", cmp.Or(at, "the body"), err)
		}
		at = strings.TrimPrefix(at+"."+name, ".")
		value, ok := object[name]
		if !ok {
			return nil, fmt.Errorf("there is no field %s", at)
		}
		body = value
	}
	return body, nil
}

// objectIn returns the fields of a valid JSON value that is an object. Keys that
// come twice make it unclear which one counts.
func objectIn(body []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.New("is not a JSON object")
	}
	object := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, errors.New("is not a JSON object")
		}
		name, _ := key.(string)
		if _, again := object[name]; again {
			return nil, errors.New("has a key twice, so it is unclear which one counts")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("is not a JSON object")
		}
		object[name] = value
	}
	return object, nil
}

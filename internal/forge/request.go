package forge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
)

// Limits of one operation. A forge is asked beside the real work and must not
// delay it.
const (
	operationTimeout = 20 * time.Second // a whole operation
	attemptTimeout   = 8 * time.Second
	retries          = 3
	backoffMin       = 250 * time.Millisecond
	backoffMax       = 4 * time.Second
	maxAnswer        = 1 << 20 // bytes read of an answer
)

// A right is a permission that an operation needs, in the words of both forges.
type right struct{ github, gitea string }

var (
	statusesWrite = right{"`permissions: statuses: write`", "repository write (scope write:repository)"}
	actionsRead   = right{"`permissions: actions: read`", "repository read (scope read:repository)"}
	contentsRead  = right{"`permissions: contents: read`", "repository read (scope read:repository)"}
)

// A call is one request below the repository, a POST where it has a body. Sending
// it twice does no harm.
type call struct {
	what  string // for errors: "set the commit status"
	needs right
	path  []string
	query url.Values
	body  any
}

// do makes a call and returns the body of a 2xx answer, at most 1 MiB of it.
func (c *Client) do(ctx context.Context, k call) ([]byte, error) {
	req, err := c.request(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", c.name(), k.what, err)
	}
	resp, err := c.http.Do(req)
	if resp == nil {
		return nil, c.unreachable(ctx, k, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, c.refusal(k, resp, answer)
	}
	if err != nil {
		return nil, c.unreachable(ctx, k, err)
	}
	c.good.Store(true)
	return answer, nil
}

// wasGood reports whether the forge has taken the token in this run.
func (c *Client) wasGood() bool { return c.good.Load() }

// request builds what is sent.
func (c *Client) request(ctx context.Context, k call) (*retryablehttp.Request, error) {
	target := c.repo.JoinPath(k.path...)
	target.RawQuery = k.query.Encode()
	method, body := http.MethodGet, any(nil)
	if k.body != nil {
		encoded, err := json.Marshal(k.body)
		if err != nil {
			return nil, err
		}
		method, body = http.MethodPost, encoded
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.userAgent)
	if c.gitea {
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Authorization", "token "+c.token.Reveal())
	} else {
		req.Header.Set("Accept", "application/vnd.github+json")
		req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// again is the rule for retries. A 500 is Gitea's way to say that it doesn't know
// a commit, so that it is final; 403 with a Retry-After is GitHub's secondary rate
// limit.
func again(resp *http.Response, err error) bool {
	return err != nil || web.Unavailable(resp.StatusCode) ||
		resp.StatusCode == http.StatusForbidden && resp.Header.Get("Retry-After") != ""
}

// A RequestError says that a request to the forge failed.
type RequestError struct {
	Forge   string // "GitHub" or "Gitea"
	What    string // what was tried
	Status  int    // of the answer; 0: there was none
	Message string // the forge's own words, or why there was no answer; redacted and sanitised
	Advice  string // what to do, for example which permission to add
	stopped error
}

// Error says what was tried, what came back and what to do.
func (e *RequestError) Error() string {
	text := e.Forge + ": " + e.What + ": "
	if e.Status == 0 {
		text += "no answer"
	} else {
		text += fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Advice != "" {
		text += "; " + e.Advice
	}
	return text
}

// Unwrap returns the cause of the context that ended, and nothing else: other
// causes may quote what a peer sent.
func (e *RequestError) Unwrap() error { return e.stopped }

// unreachable says why there was no answer.
func (c *Client) unreachable(ctx context.Context, k call, err error) error {
	stopped := context.Cause(ctx)
	if stopped != nil {
		err = stopped
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the address
	}
	if err == nil {
		err = errors.New("the connection ended")
	}
	e := &RequestError{Forge: c.name(), What: k.what, Message: c.clean(err.Error()), stopped: stopped}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "proxyconnect" {
		e.Message, e.Advice = "the proxy refused the connection", "check HTTPS_PROXY and NO_PROXY"
	}
	return e
}

// refusal says what an answer other than 2xx means.
func (c *Client) refusal(k call, resp *http.Response, answer []byte) error {
	return &RequestError{
		Forge: c.name(), What: k.what, Status: resp.StatusCode,
		Message: c.clean(field(answer, "message")), Advice: c.advice(k, resp),
	}
}

// advice says what to do about a refusal.
func (c *Client) advice(k call, resp *http.Response) string {
	permission := "give the token " + k.needs.gitea
	if !c.gitea {
		permission = "add " + k.needs.github + " to the workflow's job, or use a token that has it"
	}
	switch status := resp.StatusCode; {
	case status >= 300 && status < 400:
		return "redirects are not followed with the token: was the repository renamed, or is the API's URL wrong?"
	case resp.Header.Get("Retry-After") != "" || status == http.StatusTooManyRequests:
		return "the forge limits how often it is asked; run again later"
	case status == http.StatusUnauthorized && !c.gitea:
		return "the token is not valid any more"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return permission
	case status == http.StatusNotFound:
		return "the repository or the commit does not exist, or the token may not see it: " + permission
	case status == http.StatusUnprocessableEntity, status == http.StatusInternalServerError && c.gitea:
		return "the forge also answers like this when it doesn't know the commit: was it pushed to this repository?"
	}
	return ""
}

// field finds a text at the top level of a JSON object, reading no further than
// to there. "" when there is none.
func field(answer []byte, name string) string {
	dec := json.NewDecoder(bytes.NewReader(answer))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return ""
		}
		if key == name {
			var text string
			if dec.Decode(&text) != nil {
				return ""
			}
			return text
		}
		var skipped json.RawMessage
		if dec.Decode(&skipped) != nil {
			return ""
		}
	}
	return ""
}

// clean makes a text of the forge fit to be shown.
func (c *Client) clean(s string) string { return untrusted.Line(c.redact.Redact(s), 300) }

package forge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// Bounds of one operation. A forge is asked beside the real work and must not
// hold it up.
const (
	budget     = 20 * time.Second // a whole operation
	tryTimeout = 8 * time.Second  // one try
	tries      = 4
	backoffMin = 250 * time.Millisecond
	backoffMax = 4 * time.Second
	maxAnswer  = 1 << 20 // bytes read of an answer
)

// A right is a permission that an operation needs, in the words of both forges.
type right struct{ github, gitea string }

var (
	statusesWrite = right{"`permissions: statuses: write`", "repository write (scope write:repository)"}
	contentsRead  = right{"`permissions: contents: read`", "repository read (scope read:repository)"}
	issuesWrite   = right{"`permissions: issues: write`", "issue write (scope write:issue)"}
)

// A call is one request below the repository.
type call struct {
	what   string // for errors: "set the commit status"
	needs  right
	method string
	path   []string
	query  url.Values
	body   any
	// again says that sending it twice does no harm.
	again bool
}

// do makes a call and returns the body of a 2xx answer, at most 1 MiB of it.
func (c *Client) do(ctx context.Context, k call) ([]byte, error) {
	req, err := c.request(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", c.name(), k.what, err)
	}
	client := retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport: c.transport, Timeout: tryTimeout,
			// The token must not travel to wherever a redirect points.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Logger:   nil, // it would log addresses with their queries
		RetryMax: tries - 1, RetryWaitMin: backoffMin, RetryWaitMax: backoffMax,
		CheckRetry: k.retry, Backoff: backoff, ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	resp, err := client.Do(req)
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
	return answer, nil
}

// request builds what is sent.
func (c *Client) request(ctx context.Context, k call) (*retryablehttp.Request, error) {
	target := c.repo.JoinPath(k.path...)
	target.RawQuery = k.query.Encode()
	var body any
	if k.body != nil {
		encoded, err := json.Marshal(k.body)
		if err != nil {
			return nil, err
		}
		body = encoded
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, k.method, target.String(), body)
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

// retry is the rule for trying again. A 500 is Gitea's way to say that it
// doesn't know a commit, so that it is final.
func (k call) retry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil {
		var dial *net.OpError
		return k.again || errors.As(err, &dial) && dial.Op == "dial", nil
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		return true, nil // it was not done
	case http.StatusForbidden: // GitHub's secondary rate limit
		return resp.Header.Get("Retry-After") != "", nil
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return k.again, nil
	default:
		return false, nil
	}
}

// backoff doubles, jittered, and heeds Retry-After up to its own maximum.
func backoff(lowest, highest time.Duration, n int, resp *http.Response) time.Duration {
	wait := retryablehttp.DefaultBackoff(lowest, highest, n, nil)
	wait = wait/2 + rand.N(wait/2+1)
	if resp == nil || resp.Header.Get("Retry-After") == "" {
		return wait
	}
	asked := retryablehttp.DefaultBackoff(lowest, highest, n, &http.Response{StatusCode: http.StatusTooManyRequests, Header: resp.Header})
	if asked < 0 {
		asked = highest
	}
	return min(max(wait, asked), highest)
}

// A RequestError says that a request to the forge failed.
type RequestError struct {
	Forge   string // "GitHub" or "Gitea"
	What    string // what was tried
	Status  int    // of the answer; 0: none was had
	Message string // the forge's own words, redacted and sanitised
	Advice  string // what to do, for example which permission to add
	Err     error  // why no answer was had
}

// Error says what was tried, what came back and what to do.
func (e *RequestError) Error() string {
	text := e.Forge + ": " + e.What + ": "
	if e.Status == 0 {
		text += "no answer: " + e.Err.Error()
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

// Unwrap returns why no answer was had.
func (e *RequestError) Unwrap() error { return e.Err }

// unreachable says that no answer was had.
func (c *Client) unreachable(ctx context.Context, k call, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the address
	}
	var dial *net.OpError
	if err == nil {
		err = errors.New("the connection ended")
	} else if errors.As(err, &dial) && dial.Op == "proxyconnect" {
		err = errors.New("the proxy did not let it through; check HTTPS_PROXY and NO_PROXY")
	}
	return &RequestError{Forge: c.name(), What: k.what, Err: &cleanError{c.clean(err.Error()), err}}
}

// A cleanError shows an error without what a peer wrote into it.
type cleanError struct {
	text string
	err  error
}

func (e *cleanError) Error() string { return e.text }
func (e *cleanError) Unwrap() error { return e.err }

// refusal says what an answer other than 2xx means.
func (c *Client) refusal(k call, resp *http.Response, answer []byte) error {
	return &RequestError{
		Forge: c.name(), What: k.what, Status: resp.StatusCode,
		Message: c.clean(field(answer, "message")), Advice: c.advice(k, resp),
	}
}

// advice says what to do about a refusal.
func (c *Client) advice(k call, resp *http.Response) string {
	permission := "give the token of github-token " + k.needs.gitea
	if !c.gitea {
		permission = "add " + k.needs.github + " to the workflow's job, or give github-token a token that may"
	}
	switch status := resp.StatusCode; {
	case status >= 300 && status < 400:
		return "it redirects elsewhere, where the token must not follow: was the repository renamed, or is GITHUB_API_URL another address?"
	case resp.Header.Get("Retry-After") != "" || status == http.StatusTooManyRequests:
		return "the forge limits how often it is asked; run again later"
	case status == http.StatusUnauthorized && !c.gitea:
		return "the token of github-token is not valid any more"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return permission
	case status == http.StatusNotFound:
		return "the repository or the commit is not there, or the token may not see it: " + permission
	case status == http.StatusUnprocessableEntity && k.needs != issuesWrite, status == http.StatusInternalServerError && c.gitea:
		return "that is also how it answers for a commit that it doesn't know: was it pushed to this repository?"
	case status == http.StatusGone:
		return "the repository has no issues"
	}
	return ""
}

// errProxy stands for every error of Config.Proxy, whose own may quote a password.
var errProxy = errors.New("the proxy setting (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) is malformed")

// ownTransport is used where none is given.
func ownTransport(proxy func(*http.Request) (*url.URL, error)) http.RoundTripper {
	quiet := func(r *http.Request) (*url.URL, error) {
		if proxy == nil {
			return nil, nil
		}
		address, err := proxy(r)
		if err != nil {
			return nil, errProxy
		}
		return address, nil
	}
	return &http.Transport{
		Proxy:       quiet,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
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

package web

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// A Policy says how a request is repeated.
type Policy struct {
	Retries         int           // after the first attempt
	Lowest, Highest time.Duration // of the waits between attempts; see [Backoff]
	// Attempt bounds one attempt to the end of its body; 0: the transport does.
	Attempt time.Duration
	// Again decides whether an answer, or a failure to get one, is worth a retry.
	// It is not asked once the request's context has ended.
	Again func(resp *http.Response, err error) bool
	// Waits, when set, is called before each wait, and Resumes after it.
	Waits   func()
	Resumes func() error
}

// Client returns a client that repeats requests by the policy over a transport.
// The last answer is handed over whatever its status; redirects are answers.
func Client(transport http.RoundTripper, p Policy) *retryablehttp.Client {
	client := &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport: transport, Timeout: p.Attempt,
			// A credential must not travel to wherever a redirect points.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Logger:       nil, // it would log addresses with their queries
		RetryMax:     p.Retries,
		RetryWaitMin: p.Lowest,
		RetryWaitMax: p.Highest,
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			return p.Again(resp, err), nil
		},
		Backoff: func(lowest, highest time.Duration, n int, resp *http.Response) time.Duration {
			if p.Waits != nil { // the library waits as soon as it knows for how long
				p.Waits()
			}
			return Backoff(lowest, highest, n, resp)
		},
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	if p.Resumes != nil {
		client.PrepareRetry = func(*http.Request) error { return p.Resumes() }
	}
	return client
}

// Unavailable reports whether a status says that the same request may succeed a
// moment later: 429, 502, 503, 504.
func Unavailable(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

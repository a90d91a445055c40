package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/net/http/httpguts"

	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// Back-off between two tries (contract, `retries`).
const (
	backoffMin = 250 * time.Millisecond
	backoffMax = 5 * time.Second
)

// orgHeader is the header that the tenants' org guard wants.
const orgHeader = "X-Molecule-Org-Id"

// A Session talks to one tenant and to nothing else: every request goes to the
// tenant's base URL and below it, redirects are answers and not followed, and
// token and org id are sent nowhere else. Its methods may be called by several
// goroutines at once.
type Session struct {
	fleet    *Fleet
	tenant   Tenant
	base     *url.URL
	tenancy  tenancy
	running  chan struct{} // one for each request in flight
	door     *door         // nil: every try may connect when it likes
	redactor func() *secret.Redactor
}

// A door lets the tries to one host get their connections one after the other,
// as long as it isn't known that the host speaks HTTP/1 only: those that start
// together then share one HTTP/2 connection in place of dialling one each.
// Getting a connection that is there already takes no time.
type door struct {
	turn  chan struct{}
	http1 atomic.Bool
}

// newSession returns the session of a tenant that [complete] has seen.
func newSession(f *Fleet, t Tenant) (*Session, error) {
	base, problem := parseBase(t.URL, f.config.AllowHTTP)
	if problem != "" {
		return nil, errors.New("url: " + problem)
	}
	s := &Session{
		fleet:   f,
		tenant:  t,
		base:    base,
		tenancy: newTenancy(),
		running: make(chan struct{}, perTenant),
		// Only failures need it, and most tenants have none.
		redactor: sync.OnceValue(func() *secret.Redactor { return secret.NewRedactor(t.Token) }),
	}
	if base.Scheme == "https" && f.own != nil {
		if f.doors[base.Host] == nil {
			f.doors[base.Host] = &door{turn: make(chan struct{}, 1)}
		}
		s.door = f.doors[base.Host]
	}
	return s, nil
}

// Tenant returns the tenant, its URL normalised and its name filled in.
func (s *Session) Tenant() Tenant { return s.tenant }

// Redactor takes the tokens of the fleet out of text.
func (s *Session) Redactor() *secret.Redactor { return secret.NewRedactor(s.tenant.Token) }

// Do sends a request and returns the answer, whatever its status, with retries
// after a transport error, 429, 502, 503 and 504: those of an idempotent request
// (GET, HEAD, PUT, DELETE, or marked so), and of others only when nothing was
// sent. Between tries it waits 250 ms, doubling, jittered, at most 5 s, and no
// shorter than a Retry-After up to that.
//
// Call it between [Session.Enter] and [Session.Leave]; while it waits to try
// again, the caller's slot is free for others. Without an Enter it takes a slot
// for its own length.
//
// The error is a [*TransportError]: no answer was had, or r is no request.
func (s *Session) Do(ctx context.Context, r Request) (*Response, error) {
	return s.do(ctx, r, s.fleet.config.Retries)
}

// do is Do with a given number of further tries.
func (s *Session) do(ctx context.Context, r Request, retries int) (*Response, error) {
	c := &call{session: s, request: r, ctx: ctx, began: time.Now()}
	req, err := s.newRequest(ctx, r)
	if err != nil {
		return nil, c.refuse(err)
	}
	if !s.tenancy.inside() {
		if err := s.Enter(ctx); err != nil {
			return nil, c.fail(err)
		}
		defer s.Leave()
	}
	client := retryablehttp.Client{
		HTTPClient: &http.Client{
			// Only the call itself is given, so that the library, which closes idle
			// connections when it gives up, can't close those of other tenants.
			Transport:     c,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Logger:       nil, // it would log URLs with their queries
		RetryMax:     retries,
		RetryWaitMin: backoffMin,
		RetryWaitMax: backoffMax,
		CheckRetry:   c.checkRetry,
		Backoff:      c.backoff,
		PrepareRetry: c.resume,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	// What it returns says less than what the last try left in c.
	_, err = client.Do(req) //nolint:bodyclose // the try has read and closed it
	if c.away {
		s.tenancy.owe()
	}
	// An answer that was waited on to be better is none, when the wait was cut.
	if c.answer != nil && !c.away {
		c.answer.Attempts = c.attempts
		return c.answer, nil
	}
	return nil, c.fail(err)
}

// newRequest builds what is sent, of the tenant's URL and r's path alone.
func (s *Session) newRequest(ctx context.Context, r Request) (*retryablehttp.Request, error) {
	target, err := below(s.base, r.Path)
	if err != nil {
		return nil, err
	}
	if !httpguts.ValidHeaderFieldName(r.Method) {
		return nil, errors.New("the method is no HTTP method")
	}
	var body any
	if len(r.Body) > 0 {
		body = r.Body
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, r.Method, s.base.String(), body)
	if err != nil {
		return nil, errors.New("the request is malformed")
	}
	req.URL = target
	for name, values := range r.Header {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, invalidValue) {
			return nil, errors.New("a header has a character that no header can carry")
		}
		if !isOwnHeader(name) {
			req.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
		}
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", s.fleet.config.UserAgent)
	}
	if s.tenant.OrgID != "" {
		req.Header.Set(orgHeader, s.tenant.OrgID)
	}
	switch r.Auth {
	case AuthAdmin:
		req.Header.Set("Authorization", "Bearer "+s.tenant.Token.Reveal())
	case AuthWrong:
		req.Header.Set("Authorization", "Bearer "+s.fleet.wrong)
	}
	return req, nil
}

func invalidValue(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }

// isOwnHeader reports whether a header is the session's or the connection's
// business, and not the caller's.
func isOwnHeader(name string) bool {
	switch strings.ToLower(name) {
	case "authorization", "host", strings.ToLower(orgHeader),
		"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade":
		return true
	default:
		return strings.HasPrefix(strings.ToLower(name), "proxy-")
	}
}

// A call is one Do: the state between its tries.
type call struct {
	session  *Session
	request  Request
	ctx      context.Context // the caller's
	began    time.Time
	attempts int
	answer   *Response // of the last try; nil when that had none
	broken   *breakage // why the last try had none
	sent     bool      // whether any try may have reached the tenant
	away     bool      // the caller's slot was left and not taken again
}

// idempotent reports whether the request may be sent twice.
func (c *call) idempotent() bool {
	switch c.request.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return true
	default:
		return c.request.Idempotent
	}
}

// checkRetry is the contract's rule for trying again.
func (c *call) checkRetry(ctx context.Context, _ *http.Response, _ error) (bool, error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if c.answer == nil {
		return c.broken != nil && (c.idempotent() || !c.broken.sent), nil
	}
	switch c.answer.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return c.idempotent(), nil
	default:
		return false, nil
	}
}

// backoff says how long to wait before the next try, and leaves the slot for
// that time: the library waits as soon as it knows.
func (c *call) backoff(lowest, highest time.Duration, n int, resp *http.Response) time.Duration {
	c.session.Leave()
	c.away = true
	wait := retryablehttp.DefaultBackoff(lowest, highest, n, nil)
	wait = wait/2 + rand.N(wait/2+1)
	if resp == nil || resp.Header.Get("Retry-After") == "" {
		return wait
	}
	// The library multiplies seconds without a look at their number.
	if seconds, err := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 64); err == nil && seconds > int64(highest/time.Second) {
		return highest
	}
	return min(max(wait, retryablehttp.DefaultBackoff(lowest, highest, n, resp)), highest)
}

// resume takes the slot again after a wait.
func (c *call) resume(*http.Request) error {
	if err := c.session.Enter(c.ctx); err != nil {
		return err
	}
	c.away = false
	return nil
}

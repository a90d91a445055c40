package fleet

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/net/http/httpguts"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/molecule"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// The waits between two attempts.
const (
	backoffMin = 250 * time.Millisecond
	backoffMax = 5 * time.Second
)

// Auth says which bearer token a request carries.
type Auth int

// The kinds of authorization of a request.
const (
	AuthAdmin Auth = iota // the tenant's admin token
	AuthNone              // no Authorization header
	AuthWrong             // a well-formed token that the tenant can't know
)

// Org says which org id a request carries.
type Org int

// The kinds of org id of a request.
const (
	OrgOwn   Org = iota // the tenant's org id, where it has one
	OrgNone             // no org header
	OrgWrong            // a well-formed id that the tenant can't know, also where it has none
)

// A Request is one request to a tenant. Path stays below the tenant's base URL:
// there is no way to name another host.
type Request struct {
	Method string
	Path   string // begins with "/", already escaped, may carry a query; see [CheckPath]
	// Header holds further headers. Authorization, the org header and the headers
	// that belong to the connection are the session's; they are left out. Answers
	// come as the tenant encoded them: nothing asks for compression.
	Header http.Header
	Body   []byte
	Auth   Auth
	Org    Org
	// Idempotent allows retries although the method alone would not.
	Idempotent bool
	// Unpaced sends the request although the tenant's rate limit asks for a pause:
	// for putting things back when little time is left.
	Unpaced bool
}

// A Response is what came back. Body holds at most Config.MaxBody bytes. A body that
// broke off, or is shorter than its length promised, is no answer but a
// [*TransportError].
type Response struct {
	Status   int
	Header   http.Header
	Body     []byte
	Complete bool          // the body ended within Config.MaxBody
	Elapsed  time.Duration // of the last attempt: from sending it to the end of the body
	Attempts int           // at least 1
	Refused  int           // attempts to which the tenant refused a connection
}

// MaxBody is Config.MaxBody where nobody set another.
const MaxBody = DefaultMaxBody

// A Session talks to one tenant and to nothing else: every request goes to the
// tenant's base URL and below it, redirects are answers and not followed, and
// token and org id are sent nowhere else. Its methods may be called by several
// goroutines at once.
type Session struct {
	fleet    *Fleet
	tenant   Tenant
	base     *url.URL
	share    slotShare
	starts   starts
	pacer    pacer
	running  chan struct{} // one for each request in flight
	dialTurn *dialTurn     // nil: every attempt may connect when it likes
}

// newSession returns the session of a tenant that [complete] has seen.
func newSession(f *Fleet, t Tenant, base *url.URL) *Session {
	s := &Session{
		fleet: f, tenant: t, base: base,
		share:   slotShare{entering: make(chan struct{}, 1)},
		running: make(chan struct{}, perTenant),
		pacer:   pacer{peers: &f.limited},
	}
	if base.Scheme == "https" && f.own != nil {
		if f.dialTurns[base.Host] == nil {
			f.dialTurns[base.Host] = &dialTurn{turn: make(chan struct{}, 1)}
		}
		s.dialTurn = f.dialTurns[base.Host]
	}
	return s
}

// Tenant returns the tenant, its URL normalised and its name filled in.
func (s *Session) Tenant() Tenant { return s.tenant }

// HasOrg reports whether the tenant has an org id: without one, nothing can be
// learned from leaving it out.
func (s *Session) HasOrg() bool { return s.tenant.OrgID != "" }

// Redactor returns the redactor of the whole fleet's secrets, as
// [Fleet.Redactor] does.
func (s *Session) Redactor() *secret.Redactor { return s.fleet.Redactor() }

// Do sends a request and returns the answer, whatever its status, with retries
// after a transport error, 429, 502, 503 and 504: those of an idempotent request
// (GET, HEAD, PUT, DELETE, or marked so), and of others only when nothing was
// sent. Between attempts it waits 250 ms, doubling, jittered, at most 5 s, and no
// shorter than a Retry-After up to that.
//
// Where the tenant's answers report a rate limit (X-RateLimit-Limit, -Remaining and
// -Reset) that is nearly used up, or one of 429 asks for a pause of up to 2 minutes
// (Retry-After), attempts wait until the tenant allows them, as long as ctx does.
// That is no part of an attempt's time, and the slot is free meanwhile.
//
// Call it between [Session.Enter] and [Session.Leave]; while it waits before a
// retry, the caller's slot is free for others. Without an Enter it takes a slot
// for its own length.
//
// The error is a [*TransportError]: there was no answer, or r is not a valid
// request.
func (s *Session) Do(ctx context.Context, r Request) (*Response, error) {
	return s.do(ctx, r, sending{retries: s.fleet.config.Retries, most: s.fleet.config.MaxBody})
}

// A sending says how a request is sent.
type sending struct {
	retries int   // after the first attempt
	most    int64 // bytes of the answer that are read
	alone   bool  // on a connection of its own, which nobody used before or uses again
}

// do is Do, sent as how says.
func (s *Session) do(ctx context.Context, r Request, how sending) (*Response, error) {
	c := &call{session: s, request: r, how: how, ctx: ctx, began: time.Now()}
	req, err := s.newRequest(ctx, r)
	if err != nil {
		return nil, c.refuse(err)
	}
	if !s.share.inUse() {
		if err := s.Enter(ctx); err != nil {
			return nil, c.fail(err)
		}
		defer s.Leave()
	}
	// Only the call itself is given as the transport, so that the library, which
	// closes idle connections when it gives up, can't close those of other tenants.
	client := web.Client(c, web.Policy{
		Retries: how.retries, Lowest: backoffMin, Highest: backoffMax,
		Again: c.again, Waits: c.leave, Resumes: c.comeBack,
	})
	// What it returns says less than what the last attempt left in c.
	_, err = client.Do(req) //nolint:bodyclose // the attempt has read and closed it
	if c.away {
		s.share.rejoin()
	}
	// An answer after which a retry was cut short is none.
	if c.answer != nil && !c.away {
		c.answer.Attempts, c.answer.Refused = c.attempts, c.refused
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
		return nil, errors.New("the method is not an HTTP method")
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
			return nil, errors.New("a header contains a character that cannot be sent")
		}
		if name = http.CanonicalHeaderKey(name); !isOwnHeader(name) {
			req.Header[name] = slices.Clone(values)
		}
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", s.fleet.config.UserAgent)
	}
	switch {
	case r.Org == OrgOwn && s.HasOrg():
		req.Header.Set(molecule.OrgHeader, s.tenant.OrgID)
	case r.Org == OrgWrong:
		req.Header.Set(molecule.OrgHeader, s.fleet.wrongOrg)
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

// isOwnHeader reports whether a header, in its canonical form, is the session's
// or the connection's business, and not the caller's.
func isOwnHeader(name string) bool {
	switch name {
	case "Authorization", "Host", molecule.OrgHeader,
		"Connection", "Content-Length", "Expect", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	default:
		return strings.HasPrefix(name, "Proxy-")
	}
}

// A call is one Do: the state between its attempts.
type call struct {
	session  *Session
	request  Request
	how      sending
	ctx      context.Context // the caller's
	began    time.Time
	attempts int
	refused  int            // of these, by a refused connection
	answer   *Response      // of the last attempt; nil when it failed
	failed   *failedAttempt // the last attempt, when it failed
	sent     bool           // whether any attempt may have reached the tenant
	paced    bool           // it waits for the tenant's rate limit
	away     bool           // the caller's slot was left and not taken again
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

// again reports whether the last attempt is worth a retry.
func (c *call) again(*http.Response, error) bool {
	if c.answer != nil {
		return c.idempotent() && web.Unavailable(c.answer.Status)
	}
	return c.failed != nil && (c.idempotent() || !c.failed.sent)
}

// leave frees the slot for the time of a wait.
func (c *call) leave() {
	c.session.Leave()
	c.away = true
}

// comeBack takes the slot again after a wait.
func (c *call) comeBack() error {
	if err := c.session.Enter(c.ctx); err != nil {
		return err
	}
	c.away = false
	return nil
}

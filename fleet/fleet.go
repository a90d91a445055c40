package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// Defaults of [Config].
const (
	DefaultRequestTimeout = 10 * time.Second
	DefaultRetries        = 3
	DefaultConcurrency    = 256
	DefaultMaxBody        = 8 << 20
)

// Config sets the limits of a fleet's sessions. The zero value of a field means
// its default.
type Config struct {
	RequestTimeout time.Duration // of one attempt, to the end of its body; [DefaultRequestTimeout]
	Retries        int           // after the first attempt; 0: [DefaultRetries], -1: none
	Concurrency    int           // tenants that are active at the same time; [DefaultConcurrency]
	MaxBody        int64         // bytes of an answer that are read; [DefaultMaxBody]
	AllowHTTP      bool          // permit plain http to a host that is not loopback
	UserAgent      string        // "canary-verify" when empty
	// Secrets are further secrets of the run that no text may show.
	Secrets []secret.Value
	// Proxy returns the proxy of a request, as [http.Transport.Proxy] does; nil:
	// requests go straight to the tenant. This package doesn't read the
	// environment: pass [http.ProxyFromEnvironment] for HTTPS_PROXY and NO_PROXY.
	// A proxy carries https as a tunnel and sees nothing of it.
	Proxy func(*http.Request) (*url.URL, error)
	// RootCAs are the authorities that tenants' certificates are checked
	// against; nil: the system's.
	RootCAs *x509.CertPool
	// Transport replaces the fleet's own transport, and with it Proxy and
	// RootCAs; set in tests only.
	Transport http.RoundTripper
}

const (
	// perTenant is how many requests run on one tenant at the same time: enough
	// for a suite, and few enough for a small tenant.
	perTenant = 8
	// maxOpen is how many connections may be open at a time, where concurrency
	// doesn't ask for more. One of HTTP/2 that is idle takes some 50 KiB, so that a
	// fleet of 10,000 would hold 300 MiB for no use.
	maxOpen = 2048
	// maxHeader limits the header of an answer, in bytes: a tenant's own are
	// under 1 KiB, and servers accept no more than 64 KiB either.
	maxHeader = 64 << 10
	// idleTimeout closes connections that nobody used for this long. It is longer
	// than the default polling interval, and shorter than the 5 s after which the
	// strictest common servers (Node.js) close theirs: a POST that meets a closing
	// connection can't be retried.
	idleTimeout = 4 * time.Second
)

// A Fleet is the tenants of one run and the means to talk to them. Its methods
// may be called by several goroutines at once.
type Fleet struct {
	sessions  []*Session
	config    Config
	transport http.RoundTripper
	own       *http.Transport      // nil when Config.Transport replaced it
	slots     chan struct{}        // one for each tenant that is active
	limited   atomic.Int64         // sessions whose tenants report a rate limit
	sockets   chan struct{}        // nil: file descriptors are not scarce
	dialTurns map[string]*dialTurn // by host
	wrong     string               // the token of AuthWrong
	wrongOrg  string               // the org id of OrgWrong
	redactor  func() *secret.Redactor
}

// New returns the fleet of the given tenants, ready to talk to them; it sends
// nothing. The error joins one [*report.InvalidError] for each problem, of the
// fields "Tenants" and "UserAgent". No tenants at all is no error here, but
// [Fleet.Wait] refuses such a fleet.
func New(tenants []Tenant, cfg Config) (*Fleet, error) {
	cfg.RequestTimeout = orDefault(cfg.RequestTimeout, DefaultRequestTimeout)
	cfg.Concurrency = orDefault(cfg.Concurrency, DefaultConcurrency)
	cfg.MaxBody = orDefault(cfg.MaxBody, DefaultMaxBody)
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "canary-verify")
	cfg.Retries = max(0, cmp.Or(cfg.Retries, DefaultRetries))
	tenants = slices.Clone(tenants)
	var errs []error
	bases := complete(tenants, cfg.AllowHTTP, func(i int, f field, problem string) {
		errs = append(errs, &report.InvalidError{Field: "Tenants", Entry: i + 1, Problem: string(f) + ": " + problem})
	})
	if invalidValue(cfg.UserAgent) {
		errs = append(errs, &report.InvalidError{Field: "UserAgent", Problem: "contains a character that cannot be sent in a header"})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	f := &Fleet{
		config: cfg, transport: cfg.Transport, slots: make(chan struct{}, cfg.Concurrency),
		dialTurns: map[string]*dialTurn{}, wrong: "wrong-" + rand.Text(), wrongOrg: randomUUID(),
	}
	f.redactor = sync.OnceValue(func() *secret.Redactor {
		values := slices.Clone(cfg.Secrets)
		for i := range tenants {
			values = append(values, tenants[i].Token)
		}
		return secret.NewRedactor(values...)
	})
	if f.transport == nil {
		f.useOwnTransport()
	}
	for i := range tenants {
		f.sessions = append(f.sessions, newSession(f, tenants[i], bases[i]))
	}
	return f, nil
}

// randomUUID returns a random UUID (RFC 9562, version 4), which is what org ids
// look like.
func randomUUID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// orDefault returns v, or d when v is zero or negative.
func orDefault[T int | int64 | time.Duration](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// Sessions returns the sessions of all tenants, in their order.
func (f *Fleet) Sessions() []*Session { return f.sessions }

// Redactor returns the redactor of every secret that the fleet knows: all
// tenants' tokens and Config.Secrets. All texts of this package have passed it.
func (f *Fleet) Redactor() *secret.Redactor { return f.redactor() }

// Close closes the connections that nobody uses.
func (f *Fleet) Close() {
	if f.own != nil {
		f.own.CloseIdleConnections()
	}
}

// useOwnTransport builds the one transport that all sessions share: connections,
// buffers and resumable TLS sessions of a large fleet then have one limit. That
// a session reaches its own tenant alone is the business of the session.
func (f *Fleet) useOwnTransport() {
	cfg := f.config
	// Half of the descriptors for requests, half for idle connections.
	files, wanted := maxSockets(), perTenant*cfg.Concurrency
	idle := min(wanted, max(1, files/2))
	if idle < wanted {
		f.sockets = make(chan struct{}, idle)
	}
	open := newDialer(cfg.RequestTimeout, min(files, max(wanted, maxOpen)))
	f.own = &http.Transport{
		Proxy:       web.Proxy(cfg.Proxy),
		DialContext: open.dial,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			RootCAs:    cfg.RootCAs,
			// A tenant of a large fleet is asked again after its connection was
			// closed; a resumed handshake costs a fraction of a full one.
			ClientSessionCache: tls.NewLRUClientSessionCache(cfg.Concurrency),
		},
		TLSHandshakeTimeout:    cfg.RequestTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // an answer of 1 MiB stays one of 1 MiB
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    idle, // a whole fleet may live behind one host
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
			if r.StatusCode != http.StatusOK {
				return proxyRefusal(r.StatusCode)
			}
			return nil
		},
	}
	open.closeIdle = f.own.CloseIdleConnections
	f.transport = f.own
}

// A proxyRefusal is the status with which a proxy refused a tunnel.
type proxyRefusal int

func (r proxyRefusal) Error() string { return fmt.Sprintf("the proxy answered %d to CONNECT", int(r)) }

// A dialTurn lets the attempts to one host get their connections one after the
// other, until it is known that the host speaks HTTP/1 only: those that start
// together then share one HTTP/2 connection, where the transport alone dials one
// for each: the first six requests to each of 100 tenants took 0.3 s with it, and
// 2.8 s without, all of it TLS handshakes. Getting a connection that is there
// already takes no time.
type dialTurn struct {
	turn  chan struct{}
	http1 atomic.Bool
}

// wait waits for its turn, and returns what ends it; calling that twice does
// nothing. A nil dialTurn is always free.
func (d *dialTurn) wait(ctx context.Context) (done func(), err error) {
	if d == nil || d.http1.Load() {
		return func() {}, nil
	}
	select {
	case d.turn <- struct{}{}:
		return sync.OnceFunc(func() { <-d.turn }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// connected learns which protocol a connection speaks.
func (d *dialTurn) connected(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok && d != nil && c.ConnectionState().NegotiatedProtocol != "h2" {
		d.http1.Store(true)
	}
}

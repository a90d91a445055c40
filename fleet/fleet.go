package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Defaults of [Config] (contract, "Inputs").
const (
	defaultRequestTimeout = 10 * time.Second
	defaultRetries        = 3
	defaultConcurrency    = 256
	defaultUserAgent      = "canary-verify"
)

const (
	// perTenant is how many requests run on one tenant at the same time
	// (contract, `concurrency`).
	perTenant = 8
	// maxOpen is how many connections may be open at a time, where concurrency
	// doesn't ask for more. One of HTTP/2 that is idle takes some 50 KiB, so that a
	// fleet of 10,000 would hold 300 MiB for no use.
	maxOpen = 2048
	// maxHeader bounds the header of an answer, in bytes: a tenant's own are
	// under 1 KiB, and servers accept no more than 64 KiB either.
	maxHeader = 64 << 10
	// idleTimeout closes connections that nobody used for so long. It is longer
	// than the default interval of polls, and shorter than the 5 s after which
	// the strictest common servers (Node.js) close theirs: a POST that meets a
	// closing connection can't be retried.
	idleTimeout = 4 * time.Second
)

// A Fleet is the tenants of one run and the means to talk to them. Its methods
// may be called by several goroutines at once.
type Fleet struct {
	sessions  []*Session
	config    Config
	transport http.RoundTripper
	own       *http.Transport  // nil when Config.Transport replaced it
	slots     chan struct{}    // one for each tenant that is being checked
	sockets   chan struct{}    // nil: file descriptors are no bound
	doors     map[string]*door // by host
	wrong     string           // the token of AuthWrong
}

// New returns the fleet of the given tenants, ready to talk to them; it sends
// nothing. The error joins one fault of a tenant each. No tenants at all is no
// fault here, but [Fleet.Wait] will not take them for a fleet that is current.
func New(tenants []Tenant, cfg Config) (*Fleet, error) {
	cfg.RequestTimeout = orDefault(cfg.RequestTimeout, defaultRequestTimeout)
	cfg.Concurrency = orDefault(cfg.Concurrency, defaultConcurrency)
	cfg.UserAgent = cmp.Or(cfg.UserAgent, defaultUserAgent)
	switch {
	case cfg.Retries == 0:
		cfg.Retries = defaultRetries
	case cfg.Retries < 0:
		cfg.Retries = 0
	}
	tenants = append([]Tenant(nil), tenants...)
	var faults []error
	complete(tenants, cfg.AllowHTTP, func(i int, p part, problem string) {
		faults = append(faults, &InputError{Input: "tenants", Entry: i + 1, Problem: string(p) + ": " + problem})
	})
	if invalidValue(cfg.UserAgent) {
		faults = append(faults, errors.New("user agent: holds a character that no header can carry"))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	f := &Fleet{config: cfg, transport: cfg.Transport, slots: make(chan struct{}, cfg.Concurrency), doors: map[string]*door{}, wrong: "wrong-" + rand.Text()}
	if f.transport == nil {
		// Half of the descriptors for requests, half for idle connections.
		files := maxSockets()
		sockets := min(perTenant*cfg.Concurrency, max(1, files/2))
		if sockets < perTenant*cfg.Concurrency {
			f.sockets = make(chan struct{}, sockets)
		}
		f.own = newTransport(cfg, sockets, min(files, max(perTenant*cfg.Concurrency, maxOpen)))
		f.transport = f.own
	}
	f.sessions = make([]*Session, len(tenants))
	for i, t := range tenants {
		s, err := newSession(f, t)
		if err != nil {
			return nil, fmt.Errorf("tenant %s: %w", t.Name, err)
		}
		f.sessions[i] = s
	}
	return f, nil
}

// orDefault returns v, or d when v is zero or makes no sense.
func orDefault[T int | time.Duration](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// Sessions returns the sessions of all tenants, in their order.
func (f *Fleet) Sessions() []*Session { return f.sessions }

// Close closes the connections that nobody uses.
func (f *Fleet) Close() {
	if f.own != nil {
		f.own.CloseIdleConnections()
	}
}

// newTransport returns the one transport that all sessions share: connections,
// buffers and resumable TLS sessions of a large fleet then have one bound. That
// a session reaches its own tenant alone is the business of the session.
func newTransport(cfg Config, idle, files int) *http.Transport {
	bound := &budget{
		dialer: net.Dialer{Timeout: cfg.RequestTimeout, KeepAlive: 15 * time.Second},
		files:  make(chan struct{}, files),
	}
	transport := &http.Transport{
		Proxy:       quietProxy(cfg.Proxy),
		DialContext: bound.dial,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			RootCAs:    cfg.RootCAs,
			// A tenant of a large fleet is met again after its connection was
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
	bound.closeIdle = transport.CloseIdleConnections
	return transport
}

// A proxyRefusal is the status with which a proxy refused a tunnel.
type proxyRefusal int

func (r proxyRefusal) Error() string { return fmt.Sprintf("the proxy answered %d to CONNECT", int(r)) }

// quietProxy is proxy whose errors quote nothing: the address of a proxy may
// hold a password.
func quietProxy(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	if proxy == nil {
		return nil
	}
	return func(r *http.Request) (*url.URL, error) {
		u, err := proxy(r)
		if err != nil {
			return nil, errProxy
		}
		return u, nil
	}
}

// errProxy stands for every error of Config.Proxy.
var errProxy = errors.New("the proxy setting (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) is malformed")

package promote

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// maxBody bounds every answer of a registry. Manifests are at most 4 MiB by the
// distribution specification; configs, records and errors are far smaller.
const maxBody = 4 << 20

// A timing holds every bound of time. Tests shrink it.
type timing struct {
	try        time.Duration // one try of a read
	write      time.Duration // the answer to one write
	record     time.Duration // all of writing a record, or proving it listed
	answer     time.Duration // the same, once the run was cancelled
	backoff    time.Duration // before the second try; doubles
	backoffMax time.Duration // and the most of a Retry-After that is honoured
	tries      int           // of a read, and of a write that is known not to have happened
	lag        time.Duration // until a registry must show a write
	poll       time.Duration // between two looks; doubles
	pollMax    time.Duration
	cancel     time.Duration // everything after a cancel
	overtime   time.Duration // everything after a deadline
	fresh      time.Duration // how long what Confirm saw counts
	slack      time.Duration // how much longer than itself a last look counts
}

// standard are the bounds of design.md: a PUT in flight gets 3 s after a cancel
// and everything together 6 s, a registry may lag 30 s.
var standard = timing{
	try: 10 * time.Second, write: 15 * time.Second, record: 20 * time.Second, answer: 3 * time.Second,
	backoff: 250 * time.Millisecond, backoffMax: 5 * time.Second, tries: 4,
	lag: 30 * time.Second, poll: 50 * time.Millisecond, pollMax: 2 * time.Second,
	cancel: 6 * time.Second, overtime: 45 * time.Second, fresh: 5 * time.Second, slack: 20 * time.Millisecond,
}

// newTransport returns the transport with bounds of its own.
func newTransport(proxy func(*http.Request) (*url.URL, error)) http.RoundTripper {
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  30 * time.Second,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    32,
		MaxResponseHeaderBytes: 256 << 10,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
	}
}

// A wire carries requests under the library's authentication: it bounds answers
// in time and size, reads them whole, and repeats reads that failed for the
// moment. Writes go out once; whether to repeat one is not the wire's to say.
type wire struct {
	base http.RoundTripper
	t    *timing
}

var _ http.RoundTripper = (*wire)(nil)

// RoundTrip implements [http.RoundTripper].
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	read := req.Method == http.MethodGet || req.Method == http.MethodHead
	wait := w.t.backoff
	for try := 1; ; try++ {
		resp, err := w.once(req, read)
		if !read || try >= w.t.tries || !again(resp, err) || req.Context().Err() != nil {
			return resp, err
		}
		d := jitter(wait)
		if resp != nil {
			d = max(d, min(retryAfter(resp.Header), w.t.backoffMax))
		}
		if !pause(req.Context(), d) {
			return resp, err
		}
		wait = min(2*wait, w.t.backoffMax)
	}
}

// pings share the answer to the first request of a handshake, which is the same
// for all images at a registry: how it wants to be signed in to.
type pings struct {
	base http.RoundTripper
	mu   sync.Mutex
	seen map[string]*ping // by URL
}

// A ping is an answer that others may wait for.
type ping struct {
	done chan struct{}
	resp *http.Response
	body []byte
	err  error
}

// RoundTrip implements [http.RoundTripper].
func (p *pings) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet || req.URL.Path != "/v2/" || req.Header.Get("Authorization") != "" {
		return p.base.RoundTrip(req)
	}
	key := req.URL.String()
	p.mu.Lock()
	a := p.seen[key]
	mine := a == nil
	if mine {
		if p.seen == nil {
			p.seen = map[string]*ping{}
		}
		a = &ping{done: make(chan struct{})}
		p.seen[key] = a
	}
	p.mu.Unlock()
	if mine {
		p.ask(a, key, req)
	}
	select {
	case <-a.done:
		return a.response(req)
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// ask asks. What is no answer is kept for those alone who waited for it.
func (p *pings) ask(a *ping, key string, req *http.Request) {
	a.err = errors.New("internal error: no answer was kept") // if this panics
	defer func() {
		if a.err != nil || a.resp.StatusCode != http.StatusOK && a.resp.StatusCode != http.StatusUnauthorized {
			p.mu.Lock()
			delete(p.seen, key)
			p.mu.Unlock()
		}
		close(a.done)
	}()
	resp, err := p.base.RoundTrip(req)
	if err != nil {
		a.err = err
		return
	}
	defer resp.Body.Close()
	a.resp = resp
	a.body, a.err = io.ReadAll(resp.Body) // it is in memory already
}

// response is a response of its own to each who asks.
func (a *ping) response(req *http.Request) (*http.Response, error) {
	if a.err != nil {
		return nil, a.err
	}
	resp := *a.resp
	resp.Header, resp.Body, resp.Request = resp.Header.Clone(), io.NopCloser(bytes.NewReader(a.body)), req
	return &resp, nil
}

// once is one try. The body is read whole, so that a truncated one counts as no
// answer.
func (w *wire) once(req *http.Request, read bool) (*http.Response, error) {
	bound := w.t.write
	if read {
		bound = w.t.try
	}
	ctx, cancel := context.WithTimeout(req.Context(), bound)
	defer cancel()
	out := req.Clone(ctx)
	if req.GetBody != nil {
		// The library sends a request a second time after it refreshed a token,
		// without rewinding its body.
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	resp, err := w.base.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if req.Method != http.MethodHead && resp.ContentLength > maxBody {
		return nil, &tooLarge{}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, &tooLarge{}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.Request = req
	return resp, nil
}

// tooLarge says that an answer is over [maxBody].
type tooLarge struct{}

func (*tooLarge) Error() string { return fmt.Sprintf("the answer is larger than %d MiB", maxBody>>20) }

// again reports whether a read may come out otherwise the next time.
func again(resp *http.Response, err error) bool {
	if err == nil {
		return temporary(resp.StatusCode)
	}
	var large *tooLarge
	var cert *tls.CertificateVerificationError
	var plain tls.RecordHeaderError // https was tried first on a registry that speaks plain http
	var dns *net.DNSError
	switch {
	case errors.As(err, &large), errors.As(err, &cert), errors.As(err, &plain):
		return false
	case errors.As(err, &dns) && dns.IsNotFound:
		return false
	}
	return true
}

// jitter spreads a wait over half to one and a half of it.
func jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(rand.Int64N(int64(d)+1))
}

// pause waits for d; it reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// checkRedirect follows redirects as blobs in object stores need them, and none
// that a hostile registry could use to reach into the runner's network or to
// have something sent in the clear.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from, to := via[0].URL, req.URL
	switch {
	case len(via) > 5:
		return errors.New("more than 5 redirects")
	case from.Scheme == "https" && to.Scheme != "https":
		return errors.New("redirected from https to " + to.Scheme)
	case to.Hostname() != from.Hostname() && private(to.Hostname()):
		return errors.New("redirected to the private address " + to.Hostname())
	}
	return nil
}

// private reports whether host is an address, in any spelling, that is not a
// public one.
func private(host string) bool {
	host, _, _ = strings.Cut(host, "%")
	addr, err := netip.ParseAddr(host)
	if err != nil {
		// No public name ends in a label of digits; old spellings of addresses do.
		last := host[strings.LastIndex(host, ".")+1:]
		return last == "" || host == "localhost" || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
	}
	addr = addr.Unmap()
	return !addr.IsGlobalUnicast() || addr.IsPrivate()
}

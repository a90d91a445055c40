package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A FailureKind is the likely cause of a [TransportError].
type FailureKind int

// The kinds of failure. The zero value is the one of which nothing is known.
const (
	FailureOther    FailureKind = iota
	FailureRequest              // the request is malformed; nothing was tried
	FailureStopped              // the caller's context ended
	FailureTimeout              // an attempt took longer than Config.RequestTimeout
	FailureDNS                  // the host has no address
	FailureRefused              // nothing listens there
	FailureNetwork              // there is no way to the host
	FailureTLS                  // no trusted encrypted connection
	FailureProxy                // the proxy didn't let it through
	FailureBroken               // the connection ended before the answer did
	FailureFiles                // this machine has no file descriptor left
	FailureProtocol             // the answer is not HTTP, or its header too large
)

// String returns one word, for example "timeout".
func (k FailureKind) String() string {
	words := [...]string{"other", "request", "stopped", "timeout", "dns", "refused", "network", "tls", "proxy", "broken", "files", "protocol"}
	if k < 0 || int(k) >= len(words) {
		return words[0]
	}
	return words[k]
}

// A TransportError says why a request had no answer. All its texts are
// sanitised, without secrets and without the values of the query.
type TransportError struct {
	Tenant   string // its name
	Method   string
	URL      string
	Kind     FailureKind
	Attempts int           // 0: it never came to one
	Refused  int           // attempts to which the tenant refused a connection
	Elapsed  time.Duration // of all attempts and the waits between them
	Sent     bool          // whether any attempt may have reached the tenant
	Status   int           // of the header that came before the last attempt broke; 0: none
	Cause    string        // what went wrong in the last attempt
	Hint     string        // the likely reason and what to do; may be empty
	stopped  error
}

// Error returns one line: what was tried, what came back, what to do.
func (e *TransportError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", e.Method, e.URL, e.Cause)
	if e.Attempts > 0 {
		fmt.Fprintf(&b, " (%s in %s)", report.Count(e.Attempts, "attempt"), e.Elapsed.Round(time.Millisecond))
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause of the context that ended, and nothing else: other
// causes may quote what the tenant sent.
func (e *TransportError) Unwrap() error { return e.stopped }

// refuse returns the error of a request that can't be built.
func (c *call) refuse(err error) *TransportError {
	e := c.newError(FailureRequest, err.Error(), "")
	e.URL = c.session.clean(c.session.base.String(), maxURL) // the path is what may be wrong
	return e
}

// fail returns the error of a call that had no answer. err is what ended it
// when there was no attempt.
func (c *call) fail(err error) *TransportError {
	if c.ctx.Err() != nil {
		cause := context.Cause(c.ctx)
		e := c.newError(FailureStopped, "stopped: "+cause.Error(), "")
		if c.paced {
			e.Hint = "it waited for the tenant's rate limit: " + rateLimitAdvice
		}
		e.stopped = cause
		return e
	}
	f, limit := c.failed, c.session.fleet.config.RequestTimeout
	switch {
	case f == nil:
		return c.newError(FailureOther, fmt.Sprint(err), "")
	case f.timedOut && f.status != 0:
		return c.newError(FailureTimeout, fmt.Sprintf("answered %d, but its body did not end within %s", f.status, limit), "")
	case f.timedOut && f.sent:
		return c.newError(FailureTimeout, fmt.Sprintf("no answer within %s", limit), "")
	case f.timedOut:
		return c.newError(FailureTimeout, fmt.Sprintf("no connection within %s", limit), hintSilent)
	}
	kind, hint := classify(f.err)
	cause := innermost(f.err).Error()
	if f.status != 0 {
		cause = fmt.Sprintf("answered %d, but its body broke off: %s", f.status, cause)
	}
	return c.newError(kind, cause, hint)
}

// Limits of texts, in characters.
const (
	maxCause = 300
	maxURL   = 500
)

// newError returns the error with what the call knows. A cause is foreign text:
// a malformed answer is quoted in it.
func (c *call) newError(kind FailureKind, cause, hint string) *TransportError {
	s := c.session
	e := &TransportError{
		Tenant: s.tenant.Name, Method: s.clean(c.request.Method, 20), URL: s.clean(s.shownURL(c.request.Path), maxURL),
		Kind: kind, Attempts: c.attempts, Refused: c.refused, Elapsed: time.Since(c.began), Sent: c.sent, Cause: s.clean(cause, maxCause), Hint: hint,
	}
	if c.failed != nil {
		e.Status = c.failed.status
	}
	return e
}

// clean makes foreign text fit to be shown: redacted, and one line of at most
// limit characters (0: any length).
func (s *Session) clean(text string, limit int) string {
	return untrusted.Line(s.Redactor().Redact(text), limit)
}

// shownURL returns the URL of a request for people: values of a query may be
// anybody's business, and are left out.
func (s *Session) shownURL(path string) string {
	path, query, has := strings.Cut(path, "?")
	if !has {
		return s.base.String() + path
	}
	var names []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, valued := strings.Cut(pair, "=")
		if !valued {
			name = untrusted.Ellipsis // a value without a name
		} else {
			name += "=" + untrusted.Ellipsis
		}
		names = append(names, name)
	}
	return s.base.String() + path + "?" + strings.Join(names, "&")
}

// innermost returns the part of err that says what happened: the layers above
// it repeat method, URL and address.
func innermost(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the connection was closed without an answer")
	}
	return err
}

// hintSilent is for a host of which nothing is heard.
const hintSilent = "the host may be down, or a firewall drops the packets"

// classify finds the likely cause of a failed attempt, and what to do about it.
func classify(err error) (FailureKind, string) {
	op, refusal := new(net.OpError), proxyRefusal(0)
	if errors.Is(err, web.ErrProxySetting) || errors.As(err, &refusal) || errors.As(err, &op) && op.Op == "proxyconnect" {
		return FailureProxy, "the proxy refused the connection; check HTTPS_PROXY and NO_PROXY"
	}
	if dns := new(net.DNSError); errors.As(err, &dns) {
		if dns.IsNotFound {
			return FailureDNS, "the host name has no address: check its spelling, or whether the tenant was torn down"
		}
		return FailureDNS, "the name server did not answer; check the runner's network"
	}
	if hint := tlsHint(err); hint != "" {
		return FailureTLS, hint
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return FailureRefused, "nothing listens at that address: the tenant is down, or the port is wrong"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return FailureFiles, "this machine has no file descriptor left; raise its limit (ulimit -n) or lower the concurrency"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return FailureNetwork, "there is no route to the host from this runner"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return FailureBroken, "the tenant may be restarting, or a proxy in front of it gave up"
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return FailureTimeout, hintSilent
	}
	// The errors of net/http about what is not HTTP have no types.
	for _, words := range []string{"malformed HTTP", "headers exceeded", "header list", "http2: ", "connection error: ", "stream error: "} {
		if strings.Contains(err.Error(), words) {
			return FailureProtocol, "the server there may not be a web server, or its header is too large"
		}
	}
	return FailureOther, ""
}

// tlsHint says what is wrong with an encrypted connection, "" when it is not
// that.
func tlsHint(err error) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &authority):
		return "its certificate is signed by an authority that this machine doesn't know"
	case errors.As(err, &host):
		return "its certificate is for another host name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired or is not valid yet; check the clock too"
	case errors.As(err, &invalid), errors.As(err, &verify):
		return "its certificate is not valid"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "it does not speak TLS at that port; is the URL's scheme http?"
	case errors.As(err, &alert), strings.Contains(err.Error(), "tls: "):
		return "the TLS handshake failed; the server may want another version or a client certificate"
	default:
		return ""
	}
}

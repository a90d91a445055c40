package fleet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
	"time"
)

// A failedAttempt is one that had no answer.
type failedAttempt struct {
	err      error
	sent     bool // the tenant may have seen the request
	timedOut bool // the attempt's own timeout was the reason
	status   int  // of the header that came before it broke; 0: none
}

// RoundTrip sends one attempt and reads its answer to the end, within the timeout
// of one attempt. It makes the call the transport of the library that retries,
// which thereby sees a body that breaks off as what it is: a failed attempt. The
// answer stays in c; the library gets no more of it than decides about a retry.
func (c *call) RoundTrip(req *http.Request) (*http.Response, error) {
	c.answer, c.failed = nil, nil
	if err := c.pace(req.Context()); err != nil {
		closeBody(req)
		return nil, err
	}
	var status int
	var header http.Header
	defer func() { c.session.pacer.answered(status, header, time.Now()) }()
	c.attempts++
	release, err := c.session.admit(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	defer release()
	ctx, stop := context.WithTimeout(req.Context(), c.session.fleet.config.RequestTimeout)
	defer stop()
	a := &attempt{session: c.session, how: c.how}
	c.answer, err = a.send(ctx, req)
	c.sent = c.sent || a.sent.Load()
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			c.refused++
		}
		c.failed = &failedAttempt{err: err, sent: a.sent.Load(), timedOut: ctx.Err() != nil, status: a.status}
		return nil, err
	}
	status, header = c.answer.Status, c.answer.Header
	// Without a Location there is nothing that the client could follow or parse.
	return &http.Response{
		StatusCode: c.answer.Status,
		Header:     http.Header{"Retry-After": c.answer.Header.Values("Retry-After")},
		Body:       http.NoBody,
		Request:    req,
	}, nil
}

// admit waits for room among the requests of this tenant, and among the
// sockets of the process where these are scarce. Waiting here is not a part of
// the attempt's time: nothing was asked of the tenant yet.
func (s *Session) admit(ctx context.Context) (release func(), err error) {
	select {
	case s.running <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if s.fleet.sockets == nil {
		return func() { <-s.running }, nil
	}
	select {
	case s.fleet.sockets <- struct{}{}:
		return func() { <-s.fleet.sockets; <-s.running }, nil
	case <-ctx.Done():
		<-s.running
		return nil, context.Cause(ctx)
	}
}

// An attempt is one request on the wire.
type attempt struct {
	session *Session
	how     sending
	sent    atomic.Bool
	status  int
}

// send sends req and reads the whole answer.
func (a *attempt) send(ctx context.Context, req *http.Request) (*Response, error) {
	began := time.Now()
	transport := a.shared
	if a.how.alone {
		transport = a.alone
	}
	resp, err := transport(ctx, req) //nolint:bodyclose // closed by what reads it
	if err != nil {
		return nil, err
	}
	a.status = resp.StatusCode
	body, complete, err := readBody(resp, a.how.most)
	if err != nil {
		return nil, err
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body, Complete: complete, Elapsed: time.Since(began)}, nil
}

// shared sends req on any connection to the tenant.
func (a *attempt) shared(ctx context.Context, req *http.Request) (*http.Response, error) {
	connected, err := a.session.dialTurn.wait(ctx)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	defer connected()
	// Fail closed: a transport that doesn't say when it has a connection is taken
	// for one that sent.
	a.sent.Store(true)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// The transport itself sends again, on another connection, what certainly
		// wasn't sent on this one: so the last connection counts.
		GetConn: func(string) { a.sent.Store(false) },
		GotConn: func(info httptrace.GotConnInfo) {
			a.sent.Store(true)
			a.session.dialTurn.connected(info.Conn)
			connected()
		},
	})
	return a.session.fleet.transport.RoundTrip(req.WithContext(ctx))
}

// alone sends req on a connection of its own, which closes with the answer's
// body. Behind one address another connection may lead to another build, and one
// that is kept leads to the same for ever.
func (a *attempt) alone(ctx context.Context, req *http.Request) (*http.Response, error) {
	req = req.WithContext(ctx)
	req.Close = true // so that the server doesn't keep it either
	own := a.session.fleet.own
	if own == nil {
		a.sent.Store(true)
		return a.session.fleet.transport.RoundTrip(req)
	}
	base := a.session.base
	address := net.JoinHostPort(base.Hostname(), cmp.Or(base.Port(), defaultPorts[base.Scheme]))
	conn, err := own.NewClientConn(ctx, base.Scheme, address)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	a.sent.Store(true)
	resp, err := conn.RoundTrip(req)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	resp.Body = &lastBody{resp.Body, conn}
	return resp, nil
}

// A lastBody is the body of the last answer on a connection.
type lastBody struct {
	io.ReadCloser
	conn io.Closer
}

// Close closes the connection too.
func (b *lastBody) Close() error {
	return errors.Join(b.ReadCloser.Close(), b.conn.Close())
}

// maxHint is how much memory is set aside for a body whose length was announced,
// in bytes. More is taken as it comes: a tenant may announce what it likes.
const maxHint = 64 << 10

// readBody reads at most the given number of bytes and reports whether that was
// all.
func readBody(resp *http.Response, most int64) (body []byte, complete bool, err error) {
	if resp.Body == nil { // of a transport for tests
		return nil, true, nil
	}
	defer func() { _ = resp.Body.Close() }()
	// After 101 the body is the raw connection, which no context ever ends.
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, true, nil
	}
	var b bytes.Buffer
	if hint := resp.ContentLength; hint > 0 {
		b.Grow(int(min(hint, maxHint)) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(resp.Body, most+1)); err != nil {
		return nil, false, err
	}
	if int64(b.Len()) > most {
		return b.Bytes()[:most:most], false, nil
	}
	return b.Bytes(), true, nil
}

// closeBody does what a transport must with a request that it doesn't send.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

package fleet

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
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
	c.attempts++
	c.answer, c.failed = nil, nil
	release, err := c.session.admit(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	defer release()
	ctx, stop := context.WithTimeout(req.Context(), c.session.fleet.config.RequestTimeout)
	defer stop()
	a := &attempt{session: c.session}
	c.answer, err = a.send(ctx, req)
	c.sent = c.sent || a.sent.Load()
	if err != nil {
		c.failed = &failedAttempt{err: err, sent: a.sent.Load(), timedOut: ctx.Err() != nil, status: a.status}
		return nil, err
	}
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
	sent    atomic.Bool
	status  int
}

// send sends req and reads the whole answer.
func (a *attempt) send(ctx context.Context, req *http.Request) (*Response, error) {
	began := time.Now()
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
	resp, err := a.session.fleet.transport.RoundTrip(req.WithContext(ctx)) //nolint:bodyclose // closed by what reads it
	if err != nil {
		return nil, err
	}
	a.status = resp.StatusCode
	body, complete, err := readBody(resp, a.session.fleet.config.MaxBody)
	if err != nil {
		return nil, err
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body, Complete: complete, Elapsed: time.Since(began)}, nil
}

// readBody reads at most limit bytes and reports whether that was all.
func readBody(resp *http.Response, limit int) (body []byte, complete bool, err error) {
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
		b.Grow(int(min(hint, 64<<10)) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(resp.Body, int64(limit)+1)); err != nil {
		return nil, false, err
	}
	if b.Len() > limit {
		return b.Bytes()[:limit:limit], false, nil
	}
	return b.Bytes(), true, nil
}

// closeBody does what a transport must with a request that it doesn't send.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

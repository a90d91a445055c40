package fleet

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// A breakage is a try that had no answer.
type breakage struct {
	err      error
	sent     bool          // the tenant may have seen the request
	timedOut bool          // the try's own bound was the reason
	after    time.Duration // since the try began
	status   int           // of the header that came before it broke; 0: none
}

// RoundTrip sends one try and reads its answer to the end, within the bounds of
// one try. It makes the call the transport of the library that retries, which
// thereby sees a body that breaks off as what it is: a try that failed. The
// answer stays in c; the library gets no more of it than decides about a retry.
func (c *call) RoundTrip(req *http.Request) (*http.Response, error) {
	c.attempts++
	c.answer, c.broken = nil, nil
	ctx := req.Context()
	release, err := c.session.admit(ctx)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	defer release()
	t := &try{session: c.session, began: time.Now()}
	var stop context.CancelFunc
	ctx, stop = context.WithTimeout(ctx, c.session.fleet.config.RequestTimeout)
	defer stop()
	c.answer, err = t.send(ctx, req)
	if err != nil {
		c.sent = c.sent || t.sent.Load()
		c.broken = &breakage{
			err: err, sent: t.sent.Load(), timedOut: ctx.Err() != nil,
			after: time.Since(t.began), status: t.status,
		}
		return nil, err
	}
	c.sent = true
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
// the try's time: nothing was asked of the tenant yet.
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

// A try is one request on the wire.
type try struct {
	session *Session
	began   time.Time
	sent    atomic.Bool
	status  int
}

// send sends req and reads the whole answer.
func (t *try) send(ctx context.Context, req *http.Request) (*Response, error) {
	// Fail closed: a transport that doesn't tell when it has a connection is
	// taken for one that sent.
	t.sent.Store(true)
	connected, err := t.connect(ctx)
	if err != nil {
		t.sent.Store(false)
		closeBody(req)
		return nil, err
	}
	defer connected()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// The transport itself sends again, on another connection, what certainly
		// wasn't sent on this one: so the last connection counts.
		GetConn: func(string) { t.sent.Store(false) },
		GotConn: func(info httptrace.GotConnInfo) {
			t.sent.Store(true)
			if conn, ok := info.Conn.(*tls.Conn); ok && t.session.door != nil && conn.ConnectionState().NegotiatedProtocol != "h2" {
				t.session.door.http1.Store(true)
			}
			connected()
		},
	})
	resp, err := t.session.fleet.transport.RoundTrip(req.WithContext(ctx)) //nolint:bodyclose // closed by what reads it
	if err != nil {
		return nil, err
	}
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	t.status = resp.StatusCode
	body, whole, err := readBody(resp)
	if err != nil {
		return nil, err
	}
	return &Response{
		Status: resp.StatusCode, Header: resp.Header, Body: body, Complete: whole,
		Elapsed: time.Since(t.began),
	}, nil
}

// connect waits until no other try to the same host is getting a connection that
// this one could share. It returns what ends this try's own turn; calling that
// twice does nothing.
func (t *try) connect(ctx context.Context) (connected func(), err error) {
	door := t.session.door
	if door == nil || door.http1.Load() {
		return func() {}, nil
	}
	select {
	case door.turn <- struct{}{}:
		return sync.OnceFunc(func() { <-door.turn }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// readBody reads at most MaxBody bytes and reports whether that was all.
func readBody(resp *http.Response) (body []byte, whole bool, err error) {
	defer func() { _ = resp.Body.Close() }()
	// After 101 the body is the raw connection, which no context ever ends.
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, true, nil
	}
	var b bytes.Buffer
	if hint := resp.ContentLength; hint > 0 {
		b.Grow(int(min(hint, 64<<10)) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(resp.Body, MaxBody+1)); err != nil {
		return nil, false, err
	}
	if b.Len() > MaxBody {
		return b.Bytes()[:MaxBody:MaxBody], false, nil
	}
	return b.Bytes(), true, nil
}

// closeBody does what a transport owes to a request that it doesn't send.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

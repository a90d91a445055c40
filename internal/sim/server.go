package sim

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A server is an HTTP server on loopback that can stop listening and start
// again at the same port, and that is gone when close returns.
type server struct {
	http     http.Server
	scheme   string
	port     int
	inMemory bool // it listens nowhere; see [PipeTransport]
	cancel   context.CancelFunc

	numbered atomic.Int64 // connections so far, counted as they are accepted
	opened   atomic.Int64 // connections so far

	mu       sync.Mutex
	free     func()                // gives the port back that was reserved while not listening
	conns    map[net.Conn]struct{} // open now
	ln       net.Listener          // nil: not listening
	serving  sync.WaitGroup
	handling int           // requests inside the handler
	idle     chan struct{} // closed when handling falls to 0 after close
	closed   bool
}

// startServer serves h on a free port of 127.0.0.1, with TLS (HTTP/2 offered)
// if asked.
func startServer(h http.Handler, useTLS bool) (*server, error) {
	return new(server).start(h, useTLS)
}

// start makes a server of s and starts it.
func (s *server) start(h http.Handler, useTLS bool) (*server, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s.scheme, s.cancel, s.free = "http", cancel, func() {}
	s.conns, s.idle = map[net.Conn]struct{}{}, make(chan struct{})
	s.http = http.Server{
		Handler:     s.counted(h),
		ErrorLog:    log.New(io.Discard, "", 0),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, s.numbered.Add(1))
		},
		ConnState:         s.count,
		ReadHeaderTimeout: time.Minute,
	}
	if useTLS {
		s.scheme = "https"
		cert, err := serverCert()
		if err != nil {
			cancel()
			return nil, err
		}
		s.http.TLSConfig = &tls.Config{
			Certificates: []tls.Certificate{cert},
			MinVersion:   tls.VersionTLS12,
			NextProtos:   []string{"h2", "http/1.1"},
		}
	}
	if err := s.listen(); err != nil {
		cancel()
		return nil, err
	}
	return s, nil
}

// host returns "127.0.0.1:port".
func (s *server) host() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// url returns the base URL without a trailing slash.
func (s *server) url() string { return s.scheme + "://" + s.host() }

// listen starts accepting connections, at the same port as before if there was
// one. It does nothing where the server listens already or is closed.
func (s *server) listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln != nil || s.closed {
		return nil
	}
	s.free()
	s.free = func() {}
	ln, err := s.open()
	if err != nil {
		return fmt.Errorf("sim: listen on loopback: %w", err)
	}
	s.ln = ln
	s.serving.Go(func() {
		if s.scheme == "https" { // not by TLSConfig, which Serve fills
			_ = s.http.ServeTLS(ln, "", "") // ends when ln is closed
			return
		}
		_ = s.http.Serve(ln)
	})
	return nil
}

// open opens the port; the first time, one that is free.
func (s *server) open() (net.Listener, error) {
	if s.inMemory {
		if s.port == 0 {
			s.port = 1024 + int(inMemoryPort.Add(1)%60000)
		}
		return listenPipe(s.port), nil
	}
	ln, err := net.Listen("tcp4", s.host())
	if err != nil {
		return nil, err
	}
	if s.port == 0 {
		s.port = ln.Addr().(*net.TCPAddr).Port
	}
	return ln, nil
}

// refuse stops listening, so that new connections are refused, and resets the
// open ones.
func (s *server) refuse() {
	s.mu.Lock()
	ln := s.ln
	s.ln = nil
	s.mu.Unlock()
	if ln == nil {
		return
	}
	_ = ln.Close()
	s.serving.Wait()
	s.mu.Lock()
	if !s.inMemory {
		s.free = reservePort(s.port)
	}
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for _, c := range conns {
		reset(c)
	}
}

// close ends all connections and requests and waits for the handlers.
func (s *server) close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.idle
		return
	}
	s.closed = true
	if s.handling == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	s.cancel()
	_ = s.http.Close()
	s.serving.Wait()
	<-s.idle
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free()
	s.free = func() {}
}

// count keeps track of connections.
func (s *server) count(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.opened.Add(1)
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
	case http.StateClosed, http.StateHijacked:
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}
}

// standing returns how many connections are open.
func (s *server) standing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// connectionKey is where a request's context has the number of its connection.
type connectionKey struct{}

// connection returns the number of a request's connection, from 1; 0 where it
// came without one.
func connection(r *http.Request) int64 {
	n, _ := r.Context().Value(connectionKey{}).(int64)
	return n
}

// counted lets close wait until no request is inside h.
func (s *server) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			panic(http.ErrAbortHandler)
		}
		defer s.leave()
		h.ServeHTTP(w, r)
	})
}

func (s *server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.handling++
	return true
}

func (s *server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handling--
	if s.closed && s.handling == 0 {
		close(s.idle)
	}
}

// pause waits for d or until ctx ends; it reports whether all of d has passed.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// abort ends the connection without an answer: with a reset where the
// connection can be had, else (HTTP/2) by resetting the stream. It does not
// return.
func abort(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		reset(conn)
	}
	panic(http.ErrAbortHandler)
}

// reset closes a connection so that the other end sees a reset.
func reset(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	switch c := conn.(type) {
	case *net.TCPConn:
		_ = c.SetLinger(0)
	case *pipeConn:
		c.reset()
	}
	_ = conn.Close()
}

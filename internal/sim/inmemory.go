package sim

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// inMemoryPort gives each registry without a listener a port of its own.
var inMemoryPort atomic.Int64

// NewRegistry returns a registry that listens nowhere: only its RoundTripper
// reaches it. It uses no goroutine and no socket, so that it works where the clock
// is not real (testing/synctest), and hundreds of them cost little. Its Host is
// made up; TLS is not simulated.
func NewRegistry(cfg RegistryConfig) *Registry {
	return &Registry{
		cfg: cfg,
		inner: registry.New(
			registry.Logger(log.New(io.Discard, "", 0)),
			registry.WithReferrersSupport(cfg.Referrers),
			registry.WithBlobHandler(&blobStore{m: map[string][]byte{}}),
		),
		shadows: map[string]*shadow{},
		server: &server{
			scheme: "http", port: 1024 + int(inMemoryPort.Add(1)%60000),
			cancel: func() {}, free: func() {}, conns: map[net.Conn]struct{}{}, idle: make(chan struct{}),
		},
	}
}

// RoundTripper returns a transport to this registry alone, without a network. It
// refuses https, as a server does that speaks plain http.
func (r *Registry) RoundTripper() http.RoundTripper { return inMemory{r} }

// InMemory returns the options of [Registry.Remote] over [Registry.RoundTripper].
func (r *Registry) InMemory() []remote.Option {
	opts := []remote.Option{remote.WithTransport(r.RoundTripper())}
	if r.cfg.Auth != NoAuth && len(r.cfg.Accounts) > 0 {
		a := r.cfg.Accounts[0]
		opts = append(opts, remote.WithAuth(&authn.Basic{Username: a.Username, Password: a.Password}))
	}
	return opts
}

type inMemory struct{ registry *Registry }

var (
	errNotTLS = tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}
	errReset  = errors.New("read: connection reset by peer")
)

// RoundTrip implements [http.RoundTripper]: it lets the registry serve the request
// in the caller's goroutine.
func (t inMemory) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case req.URL.Scheme != "http":
		return nil, errNotTLS
	case req.URL.Host != t.registry.Host():
		return nil, errors.New("dial tcp: connection refused")
	}
	in := req.Clone(req.Context())
	in.RequestURI, in.Host = req.URL.RequestURI(), req.URL.Host
	in.URL.Scheme, in.URL.Host = "", "" // as a server sees it
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	w := &inMemoryWriter{recorder: recorder{header: http.Header{}}}
	whole := w.serve(t.registry, in)
	switch {
	case req.Context().Err() != nil:
		return nil, req.Context().Err()
	case !whole && !w.flushed:
		return nil, errReset
	}
	if w.status == 0 {
		w.status = http.StatusOK
	}
	resp := &http.Response{
		StatusCode: w.status, Status: http.StatusText(w.status), Header: w.header, Request: req,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(w.body.Len()),
	}
	switch {
	case req.Method == http.MethodHead:
		resp.Body = http.NoBody
	case whole:
		resp.Body = io.NopCloser(bytes.NewReader(w.body.Bytes()))
	default:
		resp.ContentLength = -1
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(w.body.Bytes()), cutOff{}))
	}
	return resp, nil
}

// cutOff is where the connection ended.
type cutOff struct{}

func (cutOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// An inMemoryWriter is the server's side of one exchange.
type inMemoryWriter struct {
	recorder
	flushed bool
}

// Flush implements [http.Flusher]: what was written so far reaches the client.
func (w *inMemoryWriter) Flush() { w.flushed = true }

// serve reports whether the answer came whole.
func (w *inMemoryWriter) serve(r *Registry, req *http.Request) (whole bool) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // it is the value itself that net/http panics with
			panic(p)
		}
	}()
	r.serve(w, req)
	return true
}

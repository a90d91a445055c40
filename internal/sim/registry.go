package sim

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// RegistryConfig describes the registry to simulate. Its zero value is
// go-containerregistry's own: open to everybody, without the referrers API, and
// storing every manifest whatever it names.
type RegistryConfig struct {
	Referrers   bool          // the referrers API, as the OCI distribution specification 1.1 has it
	Auth        AuthKind      // who may do what; [NoAuth] lets everybody
	Accounts    []Account     // who there is, where Auth is not NoAuth
	CheckBlobs  bool          // refuse manifests that name blobs or children which are absent, as real registries do
	NoArtifacts bool          // refuse manifests with a subject
	NoDelete    bool          // refuse to delete
	TLS         bool          // serve https; clients need [CAPool]
	Latency     time.Duration // before each answer
}

// A Registry is an OCI registry on loopback that keeps everything in memory.
type Registry struct {
	cfg    RegistryConfig
	server *server
	inner  http.Handler
	auth   tokens
	log    requestLog

	mu         sync.Mutex
	before     func(*http.Request)
	injections []*Injected
	shadows    map[string]*shadow // by path
}

// StartRegistry starts a registry on a free port of 127.0.0.1.
func StartRegistry(cfg RegistryConfig) (*Registry, error) {
	r := &Registry{
		cfg: cfg,
		inner: registry.New(
			registry.Logger(log.New(io.Discard, "", 0)),
			registry.WithReferrersSupport(cfg.Referrers),
			registry.WithBlobHandler(&blobStore{m: map[string][]byte{}}),
		),
		shadows: map[string]*shadow{},
	}
	s, err := startServer(http.HandlerFunc(r.serve), cfg.TLS)
	if err != nil {
		return nil, err
	}
	r.server = s
	return r, nil
}

// Close stops the registry, hanging requests included.
func (r *Registry) Close() { r.server.close() }

// Host returns "127.0.0.1:port", as references to images begin.
func (r *Registry) Host() string { return r.server.host() }

// URL returns the registry's base URL.
func (r *Registry) URL() string { return r.server.url() }

// Remote returns the options with which go-containerregistry reaches this
// registry as its first account: authentication, and trust in its certificate.
func (r *Registry) Remote() []remote.Option {
	opts := []remote.Option{remote.WithTransport(Transport())}
	if r.cfg.Auth != NoAuth && len(r.cfg.Accounts) > 0 {
		a := r.cfg.Accounts[0]
		opts = append(opts, remote.WithAuth(&authn.Basic{Username: a.Username, Password: a.Password}))
	}
	return opts
}

// SetLatency changes the wait before each answer.
func (r *Registry) SetLatency(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cfg.Latency = d
}

// Before sets code that runs at each request, before anything else is done
// with it; nil sets none. It may cancel a context, kill a process, or block, but
// not beyond the end of the request's context: Close waits for it.
func (r *Registry) Before(f func(*http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = f
}

// Digest returns the digest that the tag of the repository ("org/app") points
// at, or "" where there is no such tag. It leaves no trace in the log, and no
// fault touches it.
func (r *Registry) Digest(repository, tag string) string {
	a := r.peek(http.MethodHead, "/v2/"+repository+"/manifests/"+tag)
	if a.Status != http.StatusOK {
		return ""
	}
	return a.Header.Get("Docker-Content-Digest")
}

// Manifest returns the raw manifest behind a tag or digest of the repository,
// or nil, like [Registry.Digest] unseen and untouched.
func (r *Registry) Manifest(repository, reference string) []byte {
	a := r.peek(http.MethodGet, "/v2/"+repository+"/manifests/"+reference)
	if a.Status != http.StatusOK {
		return nil
	}
	return a.Body
}

// An Answer is an HTTP answer that has not been sent yet.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// An Exchange is one request on its way through a [Registry], in the hands of
// an [Action].
type Exchange struct {
	Request *http.Request // its body has been read into Body, and can be read again
	Body    []byte

	registry *Registry
	w        http.ResponseWriter
	cut      bool // the client did not send all of the body
}

// Serve does what the registry does with the request and returns its answer
// without sending it.
func (x *Exchange) Serve() *Answer {
	r := x.registry
	if refusal := r.authorize(x.Request, x.Body); refusal != nil {
		return refusal
	}
	if x.cut {
		return registryError(http.StatusBadRequest, "SIZE_INVALID", "the body ended early")
	}
	return r.handle(x.Request, x.Body)
}

// Send sends the answer.
func (x *Exchange) Send(a *Answer) {
	h := x.w.Header()
	for k, v := range a.Header {
		h[k] = v
	}
	x.w.WriteHeader(a.Status)
	_, _ = x.w.Write(a.Body) // the client may be gone
}

// Reset ends the connection without an answer. It does not return.
func (x *Exchange) Reset() { abort(x.w) }

// serve takes a request through log, hooks and injections to the registry.
func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	body, readErr := io.ReadAll(req.Body) // judged after authentication, as real registries do
	req.Body = io.NopCloser(bytes.NewReader(body))
	entry := r.log.begin(req, user(req))
	lw := &loggingWriter{ResponseWriter: w}
	defer func() { r.log.end(entry, lw.status) }()

	r.mu.Lock()
	before, latency := r.before, r.cfg.Latency
	r.mu.Unlock()
	if before != nil {
		before(req)
	}
	if !pause(req.Context(), latency) {
		abort(w)
	}
	x := &Exchange{Request: req, Body: body, registry: r, w: lw, cut: readErr != nil}
	if do := r.injected(req, entry.Nth); do != nil {
		do(x)
		return
	}
	x.Send(x.Serve())
}

// handle is the registry behind authentication: the checks that real registries
// make, and storage.
func (r *Registry) handle(req *http.Request, body []byte) *Answer {
	if a := r.shadowed(req); a != nil {
		return a
	}
	if refusal := r.check(req, body); refusal != nil {
		return refusal
	}
	a := r.store(req, body)
	if r.cfg.Referrers {
		r.conform(req, body, a)
	}
	return a
}

// store passes the request to go-containerregistry's registry.
func (r *Registry) store(req *http.Request, body []byte) *Answer {
	clone := req.Clone(req.Context())
	clone.Body = io.NopCloser(bytes.NewReader(body))
	rec := recorder{header: http.Header{}}
	r.inner.ServeHTTP(&rec, clone)
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	if a := (&Answer{Status: rec.status, Header: rec.header, Body: rec.body.Bytes()}); a.Status < 400 {
		return a
	}
	rec.header.Set("Content-Type", "application/json; charset=utf-8")
	return &Answer{Status: rec.status, Header: rec.header, Body: rec.body.Bytes()}
}

// peek asks the storage without a client, a log entry or a fault.
func (r *Registry) peek(method, path string) *Answer {
	req, err := http.NewRequest(method, path, nil) // without a host, as a server sees it
	if err != nil {
		return registryError(http.StatusBadRequest, "NAME_INVALID", err.Error())
	}
	return r.store(req, nil)
}

// A recorder keeps an answer in memory.
type recorder struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

// splitPath takes "/v2/<repository>/<kind>/<reference>" apart; ok is false
// where the path has another form.
func splitPath(path string) (repository, kind, reference string, ok bool) {
	rest, isV2 := strings.CutPrefix(path, "/v2/")
	elems := strings.Split(rest, "/")
	if !isV2 || len(elems) < 3 {
		return "", "", "", false
	}
	n := len(elems)
	return strings.Join(elems[:n-2], "/"), elems[n-2], elems[n-1], true
}

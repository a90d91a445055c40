package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// Options say how to reach a registry. The zero value is anonymous and direct.
type Options struct {
	Transport http.RoundTripper // carries all requests; nil: [web.Transport] without a proxy
	Keychain  authn.Keychain    // nil: anonymous
	UserAgent string
	ReadOnly  bool             // sign in with the right to pull alone
	Redact    *secret.Redactor // removes secrets from what a registry says; nil: none are known
}

// A Repository is one repository, over one authenticated transport with the
// right to pull and push. It signs in with the first request. Its methods may be
// called from several goroutines; their errors are [*Error].
type Repository struct {
	name    Name
	options Options
	wire    *wire
	host    *host // what repositories of one host share

	connecting  chan struct{} // full while somebody signs in; guards what follows
	client      *http.Client  // nil: not signed in yet
	refused     error         // why the last sign-in failed
	refusedAt   time.Time     // when it did
	noPush      error         // why the right to push was not granted; nil: it may have been
	anonymous   atomic.Bool   // there is no credential
	noReferrers atomic.Bool   // the registry has no referrers API
}

// Open returns a repository without making a request.
func Open(n Name, o Options) *Repository { return OpenAll(o, n)[0] }

// OpenAll returns repositories, in the order of their names, without making a
// request. Those at the same host sign in once, together.
func OpenAll(o Options, names ...Name) []*Repository {
	if o.Transport == nil {
		o.Transport = web.Transport(nil)
	}
	wire := newWire(o.Transport)
	hosts := map[string]*host{}
	repositories := make([]*Repository, len(names))
	for i, n := range names {
		h := hosts[n.Host()]
		if h == nil {
			h = &host{signing: make(chan struct{}, 1)}
			hosts[n.Host()] = h
		}
		h.scopes = append(h.scopes, n.repository.Scope(o.scope()))
		repositories[i] = &Repository{name: n, options: o, wire: wire, host: h, connecting: make(chan struct{}, 1)}
	}
	return repositories
}

// scope is the right that a run needs.
func (o Options) scope() string {
	if o.ReadOnly {
		return transport.PullScope
	}
	return transport.PushScope
}

// A host is what repositories at one host share: one sign-in with the rights to all
// of them, unless that is refused.
type host struct {
	scopes  []string
	signing chan struct{} // full while somebody signs in; guards what follows
	signed  http.RoundTripper
	alone   bool // each repository signs in for itself
}

// join signs in to all repositories of the host at once, the first time. Nil without
// an error: the repository must sign in for itself.
func (h *host) join(ctx context.Context, with func(scopes ...string) (http.RoundTripper, error)) (http.RoundTripper, error) {
	if len(h.scopes) == 1 {
		return nil, nil
	}
	select {
	case h.signing <- struct{}{}:
		defer func() { <-h.signing }()
	case <-ctx.Done():
		return nil, web.Cause(ctx)
	}
	if h.signed != nil || h.alone {
		return h.signed, nil
	}
	rt, err := with(h.scopes...)
	var refused *transport.Error
	if errors.As(err, &refused) {
		// One repository may be the reason, or a token server that gives one right
		// at a time.
		h.alone = true
		return nil, nil
	}
	h.signed = rt
	return rt, err
}

// Name returns the repository's name.
func (r *Repository) Name() Name { return r.name }

// Anonymous reports whether no credential was found, as far as one was looked for.
func (r *Repository) Anonymous() bool { return r.anonymous.Load() }

// manifestTypes are the media types that are read, as an Accept header.
var manifestTypes = strings.Join([]string{
	string(types.OCIImageIndex), string(types.OCIManifestSchema1),
	string(types.DockerManifestList), string(types.DockerManifestSchema2),
}, ", ")

// A call is one request.
type call struct {
	what   string // "read tag latest", for errors
	method string
	path   string // below the repository: "manifests/latest"
	query  url.Values
	url    *url.URL // instead of path and query: where an upload or a listing goes on
	header http.Header
	body   []byte
	ok     []int // statuses that are no failure
}

// An answer is what came back, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
	url    *url.URL
}

// write reports whether the call needs the right to push.
func (c call) write() bool { return c.method != http.MethodGet && c.method != http.MethodHead }

// do sends a call.
func (r *Repository) do(ctx context.Context, c call) (*answer, error) {
	client, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	u := c.url
	if u == nil {
		u = &url.URL{
			Scheme: r.name.repository.Scheme(), Host: r.name.Host(),
			Path: "/v2/" + r.name.Path() + "/" + c.path, RawQuery: c.query.Encode(),
		}
	}
	var body io.Reader
	if c.body != nil {
		body = bytes.NewReader(c.body)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, u.String(), body)
	if err != nil {
		return nil, r.broken(c.what, c.write(), err)
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, r.broken(c.what, c.write(), err)
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header, url: resp.Request.URL}
	if a.body, err = io.ReadAll(resp.Body); err != nil { // it is in memory already
		return nil, r.broken(c.what, c.write(), err)
	}
	if !slices.Contains(c.ok, a.status) {
		return nil, r.refusal(c.what, c.write(), a)
	}
	return a, nil
}

// connect signs in once, with all rights that the run needs. Calls that waited
// for a sign-in that failed share its error.
func (r *Repository) connect(ctx context.Context) (*http.Client, error) {
	began := time.Now()
	select {
	case r.connecting <- struct{}{}:
		defer func() { <-r.connecting }()
	case <-ctx.Done():
		return nil, r.broken("sign in", false, web.Cause(ctx))
	}
	switch {
	case r.client != nil:
		return r.client, nil
	case r.refusedAt.After(began):
		return nil, r.refused
	}
	rt, err := r.signIn(ctx)
	if err != nil {
		r.refused, r.refusedAt = r.broken("sign in", false, err), time.Now()
		return nil, r.refused
	}
	r.client = &http.Client{Transport: rt, CheckRedirect: checkRedirect}
	return r.client, nil
}

// signIn makes the handshake. A credential that may only pull is found out here;
// it is enough for everything up to the first write.
func (r *Repository) signIn(ctx context.Context) (http.RoundTripper, error) {
	auth := authn.Anonymous
	if r.options.Keychain != nil {
		var err error
		if auth, err = authn.Resolve(ctx, r.options.Keychain, r.name.repository); err != nil {
			return nil, fmt.Errorf("the Docker config's credential can't be read: %w", err)
		}
	}
	r.anonymous.Store(auth == authn.Anonymous)
	base := transport.NewUserAgent(r.wire, r.options.UserAgent)
	with := func(scopes ...string) (http.RoundTripper, error) {
		return transport.NewWithContext(ctx, r.name.repository.Registry, auth, base, scopes)
	}
	if rt, err := r.host.join(ctx, with); rt != nil || err != nil {
		return rt, err
	}
	rt, err := with(r.name.repository.Scope(r.options.scope()))
	if err == nil || r.options.ReadOnly {
		return rt, err
	}
	if e := r.broken("sign in with the right to push", true, err); Denied(e) {
		r.noPush = e
		return with(r.name.repository.Scope(transport.PullScope))
	}
	return nil, err
}

// MayPush signs in and returns why the right to push was not granted. Nil does
// not prove it: tokens and roles promise more than a registry keeps, so that only
// a write shows it.
func (r *Repository) MayPush(ctx context.Context) error {
	if _, err := r.connect(ctx); err != nil {
		return err
	}
	return r.noPush
}

// Manifest reads a manifest; nil when there is none. The digest is that of the
// bytes; an answer that claims another one is an error.
func (r *Repository) Manifest(ctx context.Context, ref Reference) (*Manifest, error) {
	mediaType, raw, err := r.Bytes(ctx, ref)
	if err != nil || raw == nil {
		return nil, err
	}
	m, err := ParseManifest(mediaType, raw)
	if err != nil {
		return nil, r.invalid("read "+ref.String(), err)
	}
	return m, nil
}

// Bytes reads what is behind a reference without looking at it, with the media type
// that the registry gives it; nil when there is nothing. The digest of the bytes is
// checked against that of the reference and against the one that the answer claims.
func (r *Repository) Bytes(ctx context.Context, ref Reference) (mediaType string, raw []byte, err error) {
	what := "read " + ref.String()
	path, err := ref.path()
	if err != nil {
		return "", nil, r.invalid(what, err)
	}
	a, err := r.do(ctx, call{
		what: what, method: http.MethodGet, path: path,
		header: http.Header{"Accept": {manifestTypes}}, ok: []int{http.StatusOK},
	})
	if Absent(err) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if err := matches(a.body, string(ref.digest), a.header.Get("Docker-Content-Digest")); err != nil {
		return "", nil, r.invalid(what, err)
	}
	return a.header.Get("Content-Type"), append([]byte{}, a.body...), nil // never nil
}

// Digest asks which digest a manifest has, without reading it; empty when there
// is none. It is what the registry claims.
func (r *Repository) Digest(ctx context.Context, ref Reference) (report.Digest, error) {
	what := "read the digest of " + ref.String()
	path, err := ref.path()
	if err != nil {
		return "", r.invalid(what, err)
	}
	a, err := r.do(ctx, call{
		what: what, method: http.MethodHead, path: path,
		header: http.Header{"Accept": {manifestTypes}}, ok: []int{http.StatusOK},
	})
	if Absent(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if d, err := report.ParseDigest(a.header.Get("Docker-Content-Digest")); err == nil {
		return d, nil
	}
	m, err := r.Manifest(ctx, ref) // not every registry sends the header
	return m.DigestOrNone(), err
}

// Put writes a manifest under a tag or its own digest. It is sent once. Listed is
// true when the registry acknowledged the manifest's subject (OCI-Subject), so
// that its referrers API lists it.
func (r *Repository) Put(ctx context.Context, ref Reference, m *Manifest) (listed bool, err error) {
	what := "write " + ref.String()
	path, err := ref.path()
	if err != nil {
		return false, r.invalid(what, err)
	}
	a, err := r.do(ctx, call{
		what: what, method: http.MethodPut, path: path,
		header: http.Header{"Content-Type": {m.MediaType}}, body: m.Raw,
		ok: []int{http.StatusOK, http.StatusCreated, http.StatusAccepted},
	})
	return err == nil && a.header.Get("OCI-Subject") != "", err
}

// Store writes a manifest under its own digest, repeatedly while that fails for
// the moment: writing it twice changes nothing. For the rest see [Repository.Put].
func (r *Repository) Store(ctx context.Context, m *Manifest) (listed bool, err error) {
	err = repeat(ctx, func() (err error) { listed, err = r.Put(ctx, ByDigest(m.Digest), m); return err })
	return listed, err
}

// repeat repeats a write that does the same when it is done twice, while it fails
// for the moment only.
func repeat(ctx context.Context, write func() error) error {
	for n := 0; ; n++ {
		err := write()
		if err == nil || n == retries || !Temporary(err) || web.Pause(ctx, RetryWait(n, err)) != nil {
			return err
		}
	}
}

// Untag removes a tag; that it is absent is no error. There is no method that
// deletes by digest: that would delete what other tags point at.
func (r *Repository) Untag(ctx context.Context, tag string) error {
	what := "remove " + ByTag(tag).String()
	if !ValidTag(tag) {
		return r.invalid(what, errors.New("it is not a tag"))
	}
	_, err := r.do(ctx, call{
		what: what, method: http.MethodDelete, path: "manifests/" + tag,
		ok: []int{http.StatusOK, http.StatusAccepted, http.StatusNoContent, http.StatusNotFound},
	})
	return err
}

package promote

import (
	"bytes"
	"context"
	"encoding/json"
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
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// A repository is the registry's side of one image: its requests, over one
// authenticated transport with the right to pull and push, so that no handshake
// is made twice.
type repository struct {
	image    string // as the user wrote it
	name     name.Repository
	tool     string
	keychain authn.Keychain
	readOnly bool // ask for the right to pull alone
	wire     http.RoundTripper
	host     *host
	t        *timing
	redact   *secret.Redactor

	connecting chan struct{} // held while the handshake is made
	client     *http.Client  // nil: no handshake yet
	refused    error         // why the last handshake failed
	refusedAt  time.Time     // when it did
	noPush     error         // why the right to push was not granted; nil: it may have been
	anonymous  atomic.Bool   // there is no credential
	noListing  atomic.Bool   // the registry has no referrers API
	configured atomic.Bool   // the empty config of records is there
}

// A host is what the images at one registry share.
type host struct {
	asks     *repository   // which of them asks the host what holds for all
	told     chan struct{} // closed when it has asked
	listless atomic.Bool   // there seems to be no referrers API; a hint and no proof
}

// manifestTypes are the media types that can be moved, as an Accept header.
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
	url    *url.URL // instead of path and query: where an upload goes on
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

// do sends a call. The error is a *failure.
func (r *repository) do(ctx context.Context, c call) (*answer, error) {
	client, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	u := c.url
	if u == nil {
		u = &url.URL{
			Scheme: r.name.Scheme(), Host: r.name.RegistryStr(),
			Path: "/v2/" + r.name.RepositoryStr() + "/" + c.path, RawQuery: c.query.Encode(),
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

// connect makes the handshake once: ping, then a token with all rights that the
// run needs. The error is a *failure; calls that waited for a handshake share it.
func (r *repository) connect(ctx context.Context) (*http.Client, error) {
	began := time.Now()
	select {
	case r.connecting <- struct{}{}:
		defer func() { <-r.connecting }()
	case <-ctx.Done():
		return nil, r.broken("sign in", false, cause(ctx))
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
// it is enough for everything up to the move.
func (r *repository) signIn(ctx context.Context) (http.RoundTripper, error) {
	auth := authn.Anonymous
	if r.keychain != nil {
		var err error
		if auth, err = authn.Resolve(ctx, r.keychain, r.name); err != nil {
			return nil, fmt.Errorf("the Docker config's credential can't be had: %w", err)
		}
	}
	r.anonymous.Store(auth == authn.Anonymous)
	base := transport.NewUserAgent(r.wire, r.tool)
	with := func(scope string) (http.RoundTripper, error) {
		return transport.NewWithContext(ctx, r.name.Registry, auth, base, []string{r.name.Scope(scope)})
	}
	if r.readOnly {
		return with(transport.PullScope)
	}
	rt, err := with(transport.PushScope)
	if err == nil {
		return rt, nil
	}
	if f := r.broken("sign in with the right to push", true, err); denied(f) {
		r.noPush = f
		return with(transport.PullScope)
	}
	return nil, err
}

// tagOrDigest names a reference for an error.
func tagOrDigest(reference string) string {
	if strings.Contains(reference, ":") {
		return "manifest " + short(reference)
	}
	return "tag " + reference
}

// manifest reads the manifest behind a tag or digest; nil when there is none.
// The digest is that of the bytes; a registry that tells another one is not
// believed anything.
func (r *repository) manifest(ctx context.Context, reference string) (*manifest, error) {
	what := "read " + tagOrDigest(reference)
	a, err := r.do(ctx, call{
		what: what, method: http.MethodGet, path: "manifests/" + reference,
		header: http.Header{"Accept": {manifestTypes}}, ok: []int{http.StatusOK},
	})
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(a.header.Get("Content-Type"), a.body)
	if err == nil {
		err = m.matches(reference, a.header.Get("Docker-Content-Digest"))
	}
	if err != nil {
		return nil, &failure{what: what, on: r.name.Name(), said: r.clean(err.Error()), err: err}
	}
	return m, nil
}

// digest asks which digest a tag or digest has; "" when there is none.
func (r *repository) digest(ctx context.Context, reference string) (string, error) {
	a, err := r.do(ctx, call{
		what: "look at " + tagOrDigest(reference), method: http.MethodHead, path: "manifests/" + reference,
		header: http.Header{"Accept": {manifestTypes}}, ok: []int{http.StatusOK},
	})
	if absent(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if told, err := v1.NewHash(a.header.Get("Docker-Content-Digest")); err == nil {
		return told.String(), nil
	}
	m, err := r.manifest(ctx, reference) // not every registry tells
	if err != nil || m == nil {
		return "", err
	}
	return m.digest, nil
}

// put writes a manifest under a tag or its digest. It is sent once.
func (r *repository) put(ctx context.Context, reference string, m *manifest) (*answer, error) {
	return r.do(ctx, call{
		what: "write " + tagOrDigest(reference), method: http.MethodPut, path: "manifests/" + reference,
		header: http.Header{"Content-Type": {m.mediaType}}, body: m.raw,
		ok: []int{http.StatusOK, http.StatusCreated, http.StatusAccepted},
	})
}

// store is put for what may be written again: artifacts and lists of them.
func (r *repository) store(ctx context.Context, reference string, m *manifest) error {
	return r.persist(ctx, func() error { _, err := r.put(ctx, reference, m); return err })
}

// persist repeats a write that does the same when it is done twice, as long as
// it fails for the moment only.
func (r *repository) persist(ctx context.Context, write func() error) error {
	wait := r.t.backoff
	for try := 1; ; try++ {
		err := write()
		var f *failure
		if err == nil || try >= r.t.tries || ctx.Err() != nil || !errors.As(err, &f) || f.status != 0 && !temporary(f.status) {
			return err
		}
		if !pause(ctx, max(jitter(wait), min(f.retryAfter, r.t.backoffMax))) {
			return err
		}
		wait = min(2*wait, r.t.backoffMax)
	}
}

// untag removes a tag. It never deletes by digest: that would delete the image.
func (r *repository) untag(ctx context.Context, tag string) error {
	_, err := r.do(ctx, call{
		what: "remove tag " + tag, method: http.MethodDelete, path: "manifests/" + tag,
		ok: []int{http.StatusOK, http.StatusAccepted, http.StatusNoContent, http.StatusNotFound},
	})
	return err
}

// blob reads a small blob and holds it against its descriptor.
func (r *repository) blob(ctx context.Context, d v1.Descriptor, limit int64) ([]byte, error) {
	what := "read blob " + short(d.Digest.String())
	if d.Size < 0 || d.Size > limit {
		return nil, &failure{what: what, on: r.name.Name(), said: fmt.Sprintf("it has %d bytes; at most %d are read", d.Size, limit)}
	}
	a, err := r.do(ctx, call{what: what, method: http.MethodGet, path: "blobs/" + d.Digest.String(), ok: []int{http.StatusOK}})
	if err != nil {
		return nil, err
	}
	if err := holds(d, a.body); err != nil {
		return nil, &failure{what: what, on: r.name.Name(), said: err.Error(), err: err}
	}
	return a.body, nil
}

// upload stores a blob.
func (r *repository) upload(ctx context.Context, content []byte) error {
	return r.persist(ctx, func() error { return r.send(ctx, content) })
}

// send uploads a blob: in one request where the registry can, else in two.
func (r *repository) send(ctx context.Context, content []byte) error {
	digest := digestOf(content)
	what := "upload blob " + short(digest)
	start := call{
		what: what, method: http.MethodPost, path: "blobs/uploads/", query: url.Values{"digest": {digest}},
		header: http.Header{"Content-Type": {"application/octet-stream"}}, body: content,
		ok: []int{http.StatusCreated, http.StatusAccepted},
	}
	a, err := r.do(ctx, start)
	var f *failure
	if errors.As(err, &f) && !denied(err) && f.status >= 400 && f.status < 500 && !temporary(f.status) {
		start.query, start.body = nil, nil // it does not know the short form
		a, err = r.do(ctx, start)
	}
	if err != nil || a.status == http.StatusCreated {
		return err
	}
	next, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.header.Get("Location") == "" {
		return &failure{what: what, on: r.name.Name(), said: "the answer does not say where the upload goes on"}
	}
	next = a.url.ResolveReference(next)
	if next.Scheme != a.url.Scheme || next.Hostname() != a.url.Hostname() && private(next.Hostname()) {
		return &failure{what: what, on: r.name.Name(), said: "the upload is sent on to where it must not go"}
	}
	query := next.Query()
	query.Set("digest", digest)
	next.RawQuery = query.Encode()
	_, err = r.do(ctx, call{
		what: what, method: http.MethodPut, url: next, body: content,
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		ok:     []int{http.StatusCreated, http.StatusNoContent},
	})
	return err
}

// parseDiagnostics reads the errors of the distribution specification; "" when
// the body is something else.
func parseDiagnostics(body []byte) string {
	var parsed struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &parsed) != nil {
		return ""
	}
	var parts []string
	for _, e := range parsed.Errors[:min(3, len(parsed.Errors))] {
		parts = append(parts, strings.TrimSpace(e.Code+" "+e.Message))
	}
	return strings.Join(parts, "; ")
}

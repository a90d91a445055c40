package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Blob reads a blob of at most limit bytes, no more than [MaxBody], and checks
// it against its descriptor.
func (r *Repository) Blob(ctx context.Context, d v1.Descriptor, limit int64) ([]byte, error) {
	what := "read blob " + report.Digest(d.Digest.String()).Short()
	if d.Size < 0 || d.Size > limit {
		return nil, r.invalid(what, fmt.Errorf("it has %d bytes; at most %d are read", d.Size, limit))
	}
	a, err := r.do(ctx, call{what: what, method: http.MethodGet, path: "blobs/" + d.Digest.String(), ok: []int{http.StatusOK}})
	if err != nil {
		return nil, err
	}
	if err := check(d, a.body); err != nil {
		return nil, r.invalid(what, err)
	}
	return a.body, nil
}

// check compares content with its descriptor.
func check(d v1.Descriptor, b []byte) error {
	if int64(len(b)) != d.Size {
		return fmt.Errorf("it has %d bytes, expected %d", len(b), d.Size)
	}
	if got := digestLike(d.Digest.String(), b); string(got) != d.Digest.String() {
		return fmt.Errorf("its bytes have the digest %s", got.Short())
	}
	return nil
}

// PushBlob uploads a blob, repeatedly while that fails for the moment.
func (r *Repository) PushBlob(ctx context.Context, content []byte) error {
	return repeat(ctx, func() error { return r.upload(ctx, content) })
}

// upload uploads a blob: in one request where the registry can, else in two.
func (r *Repository) upload(ctx context.Context, content []byte) error {
	digest := DigestOf(content)
	what := "upload blob " + digest.Short()
	start := call{
		what: what, method: http.MethodPost, path: "blobs/uploads/", query: url.Values{"digest": {string(digest)}},
		header: http.Header{"Content-Type": {"application/octet-stream"}}, body: content,
		ok: []int{http.StatusCreated, http.StatusAccepted},
	}
	a, err := r.do(ctx, start)
	if Rejected(err) && !Denied(err) && !Temporary(err) {
		start.query, start.body = nil, nil // it does not know the short form
		a, err = r.do(ctx, start)
	}
	if err != nil || a.status == http.StatusCreated {
		return err
	}
	next, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.header.Get("Location") == "" {
		return r.invalid(what, errors.New("the answer does not say where the upload goes on"))
	}
	next = a.url.ResolveReference(next)
	if next.Scheme != a.url.Scheme || next.Hostname() != a.url.Hostname() && private(next.Hostname()) {
		return r.invalid(what, errors.New("the upload was redirected to another scheme or to a private address"))
	}
	query := next.Query()
	query.Set("digest", string(digest))
	next.RawQuery = query.Encode()
	_, err = r.do(ctx, call{
		what: what, method: http.MethodPut, url: next, body: content,
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		ok:     []int{http.StatusCreated, http.StatusNoContent},
	})
	return err
}

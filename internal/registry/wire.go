package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
)

// MaxBody is the most that is read of an answer, in bytes. Manifests have at most
// 4 MiB by the distribution specification; configs and errors are far smaller.
const MaxBody = 4 << 20

// How long a request may take, and how it is repeated.
const (
	readTimeout  = 10 * time.Second // one attempt
	writeTimeout = 15 * time.Second
	retries      = 3
	lowestWait   = 250 * time.Millisecond
	highestWait  = 5 * time.Second
)

// A wire carries requests below the library's authentication: it limits answers
// in time and size, reads them whole, and repeats reads.
type wire struct {
	whole whole
	reads *retryablehttp.Client
}

func newWire(base http.RoundTripper) *wire {
	w := whole{base}
	return &wire{w, web.Client(w, web.Policy{
		Retries: retries, Lowest: lowestWait, Highest: highestWait, Attempt: readTimeout, Again: again,
	})}
}

// RoundTrip implements [http.RoundTripper].
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		ctx, cancel := context.WithTimeout(req.Context(), writeTimeout)
		defer cancel()
		out := req.Clone(ctx)
		if req.GetBody != nil {
			// The library sends a request a second time after it refreshed a token,
			// without rewinding its body.
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			out.Body = body
		}
		return w.whole.RoundTrip(out)
	}
	out, err := retryablehttp.FromRequest(req)
	if err != nil {
		return nil, err
	}
	return w.reads.Do(out)
}

// whole is a transport that reads answers whole, so that a truncated one counts
// as no answer.
type whole struct{ base http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (w whole) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if req.Method != http.MethodHead && resp.ContentLength > MaxBody {
		return nil, errTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > MaxBody {
		return nil, errTooLarge
	}
	resp.Body, resp.Request = io.NopCloser(bytes.NewReader(body)), req
	return resp, nil
}

// errTooLarge says that an answer is over [MaxBody].
var errTooLarge = fmt.Errorf("the answer is larger than %d MiB", MaxBody>>20)

// again reports whether a read may succeed the next time.
func again(resp *http.Response, err error) bool {
	if err == nil {
		return temporary(resp.StatusCode)
	}
	var cert *tls.CertificateVerificationError
	var plain tls.RecordHeaderError // https was tried first on a registry that speaks plain http
	var dns *net.DNSError
	switch {
	case errors.Is(err, errTooLarge), errors.As(err, &cert), errors.As(err, &plain):
		return false
	case errors.As(err, &dns) && dns.IsNotFound:
		return false
	}
	return true
}

// temporary reports whether the same request may succeed a moment later.
func temporary(status int) bool {
	return web.Unavailable(status) || status == http.StatusRequestTimeout || status == http.StatusInternalServerError
}

// checkRedirect follows redirects as blobs in object stores need them, and none
// that a hostile registry could use to reach into the runner's network or to
// have something sent in the clear.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from, to := via[0].URL, req.URL
	switch {
	case len(via) > 5:
		return errors.New("more than 5 redirects")
	case from.Scheme == "https" && to.Scheme != "https":
		return errors.New("redirected from https to " + to.Scheme)
	case to.Hostname() != from.Hostname() && private(to.Hostname()):
		return errors.New("redirected to the private address " + to.Hostname())
	}
	return nil
}

// private reports whether host is an address, in any spelling, that is not a
// public one.
func private(host string) bool {
	host, _, _ = strings.Cut(host, "%")
	addr, err := netip.ParseAddr(host)
	if err != nil {
		// No public name ends in a label of digits; old spellings of addresses do.
		last := host[strings.LastIndex(host, ".")+1:]
		return last == "" || host == "localhost" || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
	}
	addr = addr.Unmap()
	return !addr.IsGlobalUnicast() || addr.IsPrivate()
}

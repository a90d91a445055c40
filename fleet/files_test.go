package fleet

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// Connections of HTTP/2 that nobody uses make room for those of other tenants,
// also while many ask at once.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	const tenants, files = 10, 4
	roots := x509.NewCertPool()
	list := make([]Tenant, tenants)
	for i := range list {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				t.Errorf("%s, want HTTP/2", r.Proto)
			}
		}))
		s.EnableHTTP2 = true
		s.StartTLS()
		defer s.Close()
		roots.AddCert(s.Certificate())
		list[i] = Tenant{URL: s.URL, Token: secret.New(testToken)}
	}
	f, err := New(list, Config{RootCAs: roots, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The client's side is what descriptors are counted on.
	limited := newDialer(time.Minute, files)
	limited.closeIdle = f.own.CloseIdleConnections
	f.own.DialContext = limited.dial
	f.sockets = make(chan struct{}, files/2)
	var all sync.WaitGroup
	for _, s := range f.Sessions() {
		all.Go(func() {
			for range 3 {
				if _, err := s.Do(t.Context(), Request{Method: "GET", Path: "/"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	f.Close()
	if n := len(limited.open); n > files/2 {
		t.Errorf("%d connections still hold a file, want none but those that are just closing", n)
	}
}

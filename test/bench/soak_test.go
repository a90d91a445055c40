package main

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// TestSoakHoldsItsMemory soaks 1,000 tenants for half an hour of simulated time.
// Between the fifth minute and the end memory grows by the latencies that are
// kept (8 bytes an answer, at most 512 a check) and not otherwise.
func TestSoakHoldsItsMemory(t *testing.T) {
	if os.Getenv("CANARY_FULL") != "1" {
		t.Skip("takes half a minute; CANARY_FULL=1 runs it")
	}
	synctest.Test(t, func(t *testing.T) {
		const tenants, slow = 1000, 59 * time.Second
		suite, err := smoke.Load("soak", []byte(`checks:
  - {name: liveness, get: /admin/liveness, expect: 'status == 200 && len(json.subsystems) > 0'}
  - {name: no bearer, get: /admin/liveness, auth: none, expect: 'status == 401 && len(json.error) > 0'}
`))
		if err != nil {
			t.Fatal(err)
		}
		f := newFleet(t, tenants, fleet.Config{Concurrency: tenants, RequestTimeout: 2 * time.Minute, Transport: wire(func(r *http.Request) (*http.Response, error) {
			time.Sleep(slow)
			return healthy(r)
		})})
		var heap []uint64
		var looks sync.WaitGroup
		looks.Go(func() {
			for range 6 {
				time.Sleep(5*time.Minute - time.Millisecond)
				heap = append(heap, liveHeap())
			}
		})
		results := suite.Run(context.Background(), f.Sessions(), smoke.RunOptions{Soak: 30 * time.Minute})
		looks.Wait()
		passed(t, results)
		for _, r := range results {
			if rounds := r.Checks[0].Rounds; rounds < 28 {
				t.Fatalf("%s: %d rounds in half an hour, want about 30", r.Name, rounds)
			}
		}
		const perCheck = 512 * 8
		if grown := int64(heap[5]) - int64(heap[0]); grown > tenants*2*perCheck {
			t.Errorf("%d bytes of memory after 5 minutes, %d after 30: %d more for a check, want at most %d", heap[0], heap[5], grown/(2*tenants), perCheck)
		}
	})
}

// liveHeap returns the bytes that are in use after a collection.
func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestNothingIsLeft runs the suite on real connections, over plain HTTP and TLS,
// and waits until the server has seen every one of them close.
func TestNothingIsLeft(t *testing.T) {
	for name, start := range map[string]func(*httptest.Server){"plain": (*httptest.Server).Start, "TLS": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			var conns connections
			server := httptest.NewUnstartedServer(http.HandlerFunc(serveHealthy))
			server.Config.ConnState = conns.note
			server.EnableHTTP2 = true
			start(server)
			defer server.Close()
			cfg := fleet.Config{}
			if server.Certificate() != nil {
				cfg.RootCAs = x509.NewCertPool()
				cfg.RootCAs.AddCert(server.Certificate())
			}
			f, err := fleet.New([]fleet.Tenant{{URL: server.URL, Token: secret.New("token-of-a-tenant"), OrgID: "org"}}, cfg)
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				passed(t, sixChecks(t).Run(t.Context(), f.Sessions(), smoke.RunOptions{}))
			}
			f.Close()
			conns.waitForNone()
		})
	}
}

// serveHealthy is healthy as a handler.
func serveHealthy(w http.ResponseWriter, r *http.Request) {
	resp, err := healthy(r)
	if err != nil {
		panic(err) // it has none
	}
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// connections are those of a server that are open.
type connections struct {
	mu      sync.Mutex
	changed sync.Cond
	open    map[net.Conn]bool
}

// note is the server's ConnState.
func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed.L = &c.mu
	if c.open == nil {
		c.open = map[net.Conn]bool{}
	}
	switch state {
	case http.StateNew:
		c.open[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
	c.changed.Broadcast()
}

// waitForNone waits until no connection is open.
func (c *connections) waitForNone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed.L = &c.mu
	for len(c.open) > 0 {
		c.changed.Wait()
	}
}

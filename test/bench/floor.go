package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
)

// A floorRequest is one request of the floor.
type floorRequest struct {
	method, path, body string
	bare               bool // without the bearer token
}

// floorChains are the requests of suite.yml: those of a chain come one after
// the other, as the steps of a check do, and the chains beside each other.
var floorChains = [][]floorRequest{
	{{method: http.MethodGet, path: "/admin/liveness"}},
	{{method: http.MethodGet, path: "/workspaces"}},
	{
		{method: http.MethodPost, path: "/memories/commit", body: `{"content":"probe abcdefghijklmnop","namespace":"canary-smoke","scope":"LOCAL"}`},
		{method: http.MethodGet, path: "/memories/search?query=abcdefghijklmnop"},
	},
	{{method: http.MethodGet, path: "/events"}},
	{{method: http.MethodGet, path: "/admin/liveness", bare: true}},
}

// floor sends the requests of suite.yml to all tenants at once, over as many
// connections as the gate, and looks at nothing that comes back. No program that
// makes these requests can be faster by much.
func floor(members []sim.Member, roots *x509.CertPool) (time.Duration, error) {
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 8,
		MaxConnsPerHost:     8,
	}
	if roots != nil {
		transport.MaxConnsPerHost = 1 // HTTP/2
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	var all sync.WaitGroup
	var mu sync.Mutex
	var faults []error
	began := time.Now()
	for _, m := range members {
		for _, chain := range floorChains {
			all.Go(func() {
				if err := send(client, m, chain); err != nil {
					mu.Lock()
					defer mu.Unlock()
					faults = append(faults, err)
				}
			})
		}
	}
	all.Wait()
	took := time.Since(began)
	if len(faults) > 0 {
		return took, fmt.Errorf("the floor: %d requests failed: %w", len(faults), faults[0])
	}
	return took, nil
}

// send sends the requests of a chain.
func send(client *http.Client, m sim.Member, chain []floorRequest) error {
	for _, r := range chain {
		var body io.Reader
		if r.body != "" {
			body = strings.NewReader(r.body)
		}
		req, err := http.NewRequest(r.method, m.URL+r.path, body)
		if err != nil {
			return err
		}
		req.Header.Set("X-Molecule-Org-Id", m.OrgID)
		if !r.bare {
			req.Header.Set("Authorization", "Bearer "+m.Token)
		}
		if r.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
	}
	return nil
}

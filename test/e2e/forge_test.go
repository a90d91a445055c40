//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A forge answers the few calls that jobs make to GitHub's interface, over TLS
// on loopback, and keeps what they sent.
type forge struct {
	host  string
	token string
	ca    []byte // PEM

	mu       sync.Mutex
	statuses []posted
	issues   []posted
}

// posted is one call that wrote something.
type posted struct {
	path string
	body map[string]any
}

func startForge(t *testing.T) *forge {
	t.Helper()
	f := &forge{token: "forge-" + rand.Text()}
	server := httptest.NewTLSServer(http.HandlerFunc(f.serve))
	t.Cleanup(server.Close)
	f.host = strings.TrimPrefix(server.URL, "https://")
	f.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return f
}

// origin is the remote that makes act take the repository for one of this
// forge.
func (f *forge) origin() string { return "https://" + f.host + "/shop/product.git" }

func (f *forge) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	token := r.Header.Get("Authorization")
	if !strings.HasSuffix(token, " "+f.token) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"message":"Bad credentials"}`)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/api/v3/repos/shop/product")
	f.mu.Lock()
	defer f.mu.Unlock()
	p := posted{path: path}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&p.body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
	}
	switch {
	case r.Method == http.MethodPost && strings.HasPrefix(path, "/statuses/"):
		f.statuses = append(f.statuses, p)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"state": p.body["state"]})
	case r.Method == http.MethodPost && path == "/issues":
		f.issues = append(f.issues, p)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"number":7,"html_url":"https://%s/shop/product/issues/7"}`, f.host)
	case r.Method == http.MethodGet && strings.HasPrefix(path, "/compare/"):
		fmt.Fprint(w, `{"status":"ahead","ahead_by":1,"behind_by":0}`)
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"message":"Not Found"}`)
	}
}

// lastState is the state of the newest commit status of a sha; empty: none.
func (f *forge) lastState(sha string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range slices.Backward(f.statuses) {
		if p.path == "/statuses/"+sha {
			return fmt.Sprint(p.body["state"])
		}
	}
	return ""
}

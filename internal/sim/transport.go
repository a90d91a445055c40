package sim

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"sync"
)

// Transport returns the one transport of this process that trusts the simulated
// TLS servers. It uses no proxy and HTTP/2 where it is offered.
var Transport = sync.OnceValue(func() *http.Transport {
	return &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: CAPool(), MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
})

// digestOf returns "sha256:<hex>" of b.
func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// mustJSON encodes what always can be: values made here.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

package web

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// A ProxyFunc chooses the proxy of a request, as [http.Transport.Proxy] does.
type ProxyFunc func(*http.Request) (*url.URL, error)

// ErrProxySetting stands for every error of a [ProxyFunc], whose own may quote
// the password in a proxy's address.
var ErrProxySetting = errors.New("the proxy setting (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) is not valid")

// Proxy is choose with errors that quote nothing; nil: there is no proxy.
func Proxy(choose ProxyFunc) ProxyFunc {
	if choose == nil {
		return nil
	}
	return func(r *http.Request) (*url.URL, error) {
		address, err := choose(r)
		if err != nil {
			return nil, ErrProxySetting
		}
		return address, nil
	}
}

// Transport returns a transport with bounds for a server that few requests go
// to, such as a registry or a forge.
func Transport(proxy ProxyFunc) *http.Transport {
	return &http.Transport{
		Proxy:                  Proxy(proxy),
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  30 * time.Second,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    32,
		MaxResponseHeaderBytes: 256 << 10,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
	}
}

// IsLoopback reports whether a request to host can't leave the machine. Other
// spellings of loopback addresses, and names under .localhost, depend on the
// resolver and don't count.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

package fleet

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
)

// parseBase returns the base URL of a tenant in its one form: scheme and host
// in lower case, no default port, no trailing slash. Otherwise it returns what
// is wrong with raw; that text never holds a part of raw.
func parseBase(raw string, allowHTTP bool) (*url.URL, string) {
	if raw == "" {
		return nil, "missing"
	}
	if !isVisible(raw) {
		return nil, "contains a space, a control or a non-ASCII character; write an internationalised host in its xn-- form"
	}
	if strings.Contains(raw, "#") {
		return nil, "has a fragment (#); give the base URL alone"
	}
	// The error of url.Parse quotes the URL.
	u, err := url.Parse(raw)
	if err != nil {
		return nil, "is not a URL; write https://host or https://host:port"
	}
	if problem := baseProblem(u, allowHTTP); problem != "" {
		return nil, problem
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	base := &url.URL{Scheme: u.Scheme, Host: canonicalHost(u), RawPath: path}
	base.Path, err = url.PathUnescape(path)
	if err != nil {
		return nil, "has a malformed path"
	}
	if problem := pathProblem(path); path != "" && problem != "" {
		return nil, "its path " + problem
	}
	return base, ""
}

// baseProblem says why a parsed URL can't be the base of a tenant, or "".
func baseProblem(u *url.URL, allowHTTP bool) string {
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return "is not absolute; write https://host or https://host:port"
	case u.Opaque != "" || u.Hostname() == "":
		return "has no host"
	case u.User != nil:
		return "contains credentials; give the token separately"
	case u.RawQuery != "" || u.ForceQuery:
		return "has a query (?); give the base URL alone"
	case !validHost(u.Hostname()):
		return "has a malformed host"
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return "has a malformed port"
		}
	}
	if u.Scheme == "http" && !allowHTTP && !web.IsLoopback(u.Hostname()) {
		return "is plain http to a host that is not loopback, which would show the token to the network; use https, or allow plain http"
	}
	return ""
}

// validHost reports whether host is an IP address without a zone, or made of
// the characters of DNS names and of the underscore that some of them have.
func validHost(host string) bool {
	if strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		return err == nil && addr.Zone() == ""
	}
	for _, label := range strings.Split(strings.TrimSuffix(host, "."), ".") {
		if label == "" || len(label) > 63 || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return len(host) <= 254
}

// defaultPorts of the schemes that a tenant may have.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// canonicalHost returns u's host in lower case, without the default port.
func canonicalHost(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err == nil {
			port = strconv.Itoa(n) // 0443 is 443
		}
		if port != defaultPorts[u.Scheme] {
			host += ":" + port
		}
	}
	return host
}

// originKey returns what is equal for two base URLs of the same tenant.
func originKey(u *url.URL) string {
	host := strings.TrimSuffix(u.Hostname(), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.Unmap().String()
	}
	return u.Scheme + "://" + host + ":" + u.Port() + u.EscapedPath()
}

// CheckPath reports what keeps p from being the path of a [Request]: it has to
// begin with "/", be escaped already, and stay below the base URL; it may carry
// a query. The error quotes nothing of p, which may hold what a tenant sent.
func CheckPath(p string) error {
	path, query, _ := strings.Cut(p, "?")
	if problem := pathProblem(path); problem != "" {
		return fmt.Errorf("the path %s", problem)
	}
	for i := range len(query) {
		if query[i] <= ' ' || query[i] >= 0x7f || query[i] == '#' {
			return fmt.Errorf("the query has a character at position %d that must be escaped", i+1)
		}
	}
	return nil
}

// pathProblem says why path, already escaped, can't be used, or "".
func pathProblem(path string) string {
	if !strings.HasPrefix(path, "/") {
		return `must begin with "/"`
	}
	for i := range len(path) {
		if !isPathByte(path[i]) {
			return fmt.Sprintf("has a character at position %d that must be escaped", i+1)
		}
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		return "has a malformed escape (%)"
	}
	// Servers and proxies differ in when they unescape and in what they take for
	// a separator: a dot segment is refused in each reading.
	for _, segment := range strings.FieldsFunc(plain, func(r rune) bool { return r == '/' || r == '\\' || r == 0 }) {
		if segment == "." || segment == ".." {
			return "has a dot segment (. or ..), which could lead out of the base URL"
		}
	}
	return ""
}

// isPathByte reports whether b may stand in an escaped path (RFC 3986, pchar,
// "/" and "%").
func isPathByte(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	default:
		return strings.IndexByte("-._~!$&'()*+,;=:@/%", b) >= 0
	}
}

// below returns the URL of p below base. It builds the URL of its parts, so
// that nothing in p can be read as a scheme or a host.
func below(base *url.URL, p string) (*url.URL, error) {
	if err := CheckPath(p); err != nil {
		return nil, err
	}
	path, query, hasQuery := strings.Cut(p, "?")
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("the path has a malformed escape (%%)")
	}
	return &url.URL{
		Scheme:     base.Scheme,
		Host:       base.Host,
		Path:       base.Path + plain,
		RawPath:    base.EscapedPath() + path,
		RawQuery:   query,
		ForceQuery: hasQuery && query == "",
	}, nil
}

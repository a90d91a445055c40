package fleet

import (
	"crypto/x509"
	"net/http"
	"net/url"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// A Tenant is one deployment of the product.
type Tenant struct {
	// Name is how people call it: the given name, else the URL's host with port.
	Name string
	// URL is the base URL, absolute, without user, query, fragment or trailing slash.
	URL string
	// Token is the admin bearer token.
	Token secret.Value
	// OrgID is sent as X-Molecule-Org-Id with every request; empty: the header is not sent.
	OrgID string
}

// Auth says which bearer token a request carries.
type Auth int

// The kinds of authorization of a request.
const (
	AuthAdmin Auth = iota // the tenant's admin token
	AuthNone              // no Authorization header
	AuthWrong             // a well-formed token that the tenant can't know
)

// Config bounds what a fleet's sessions do. The zero value of a field means its
// default, which is the default of the input of the same name.
type Config struct {
	RequestTimeout time.Duration // one try, to the end of its body; 10 s
	Retries        int           // further tries; -1 is none, 0 is the default of 3
	Concurrency    int           // tenants checked at the same time; 256
	AllowHTTP      bool          // permit plain http to a host that is not loopback
	UserAgent      string        // "canary-verify" when empty
	// Proxy returns the proxy of a request, as [http.Transport.Proxy] does; nil:
	// requests go straight to the tenant. This package doesn't read the
	// environment: pass [http.ProxyFromEnvironment] for HTTPS_PROXY and NO_PROXY.
	// A proxy carries https as a tunnel and sees nothing of it.
	Proxy func(*http.Request) (*url.URL, error)
	// RootCAs are the authorities that tenants' certificates are checked
	// against; nil: the system's.
	RootCAs *x509.CertPool
	// Transport replaces the fleet's own transport, and with it Proxy and
	// RootCAs; set in tests only.
	Transport http.RoundTripper
}

// A Request is one request to a tenant. Path stays below the tenant's base URL:
// there is no way to name another host.
type Request struct {
	Method string
	Path   string // begins with "/", already escaped, may carry a query; see [CheckPath]
	// Header holds further headers. Authorization, X-Molecule-Org-Id and the
	// headers that belong to the connection are the session's; they are left out.
	// Answers come as the tenant encoded them: nothing asks for compression.
	Header http.Header
	Body   []byte
	Auth   Auth
	// Idempotent allows retries although the method alone would not.
	Idempotent bool
}

// A Response is what came back. Body holds at most [MaxBody] bytes. A body that
// broke off, or is shorter than its length promised, is no answer but a
// [*TransportError].
type Response struct {
	Status   int
	Header   http.Header
	Body     []byte
	Complete bool          // the body ended within MaxBody
	Elapsed  time.Duration // of the last try: from sending it to the end of the body
	Attempts int           // tries made, at least 1
}

// MaxBody is how much of an answer is read, in bytes (design: 1 MiB).
const MaxBody = 1 << 20

// A RolloutState says where a tenant stands in a rollout. The zero value is
// [Unknown].
type RolloutState int

// The states of a tenant in a rollout.
const (
	Unknown     RolloutState = iota // it answered, but told no commit
	Unreachable                     // it did not answer
	Stale                           // it told another commit
	Current                         // it told the expected commit
)

// String returns the word that reports use: current, stale, unreachable, unknown.
func (s RolloutState) String() string {
	switch s {
	case Current:
		return "current"
	case Stale:
		return "stale"
	case Unreachable:
		return "unreachable"
	default:
		return "unknown"
	}
}

// A Rollout is what was last seen of one tenant's commit.
type Rollout struct {
	State   RolloutState
	Version string        // the commit that it told, sanitised; empty when it told none
	Detail  string        // one line for people: why unknown or unreachable, and what to do
	Waited  time.Duration // since the wait began
	Polls   int
}

// WaitOptions says what to wait for.
type WaitOptions struct {
	SHA         string        // the expected commit, 7 to 40 hex digits
	VersionPath string        // for example "/buildinfo"
	Field       string        // dotted path in the JSON answer, for example "git_sha"
	Timeout     time.Duration // of the whole wait
	Interval    time.Duration // between two polls of one tenant, jittered
	// Changed, when set, is called at each change of state or version of the
	// tenant with the given index, one call at a time.
	Changed func(index int, r Rollout)
}

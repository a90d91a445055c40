package sim

import (
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"
)

// A Request is one request that a [Registry] got.
type Request struct {
	Method string
	Path   string
	Query  string
	User   string // of basic authentication; empty: none
	Status int    // 0: not answered (yet)
	Time   time.Time
	// Key is the method and the path with a star for each digest and upload id,
	// so that it is the same in every run: "PUT /v2/org/app/manifests/*".
	Key string
	// Nth counts the requests with this Key, from 1.
	Nth int
}

// Again returns a Match for an [Injection] that hits just this request when the
// same work is done again: the request with the same Key and Nth since the last
// [Registry.ResetLog].
func (r Request) Again() func(req *http.Request, nth int) bool {
	return func(req *http.Request, nth int) bool {
		return nth == r.Nth && requestKey(req) == r.Key
	}
}

// volatile matches what differs between two runs of the same work: digests of
// content with a time in it, ids of uploads.
var volatile = regexp.MustCompile(`sha256:[0-9a-f]{64}|/uploads/[^/]+$`)

// requestKey returns the Key of a request.
func requestKey(r *http.Request) string {
	return r.Method + " " + volatile.ReplaceAllStringFunc(r.URL.Path, func(s string) string {
		if s[0] == '/' {
			return "/uploads/*"
		}
		return "*"
	})
}

// A requestLog is what came to a registry, in order.
type requestLog struct {
	mu      sync.Mutex
	entries []*Request
	seen    map[string]int
}

// begin records a request; its status comes with end.
func (l *requestLog) begin(r *http.Request, user string) *Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := requestKey(r)
	if l.seen == nil {
		l.seen = map[string]int{}
	}
	l.seen[key]++
	e := &Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, User: user,
		Time: time.Now(), Key: key, Nth: l.seen[key],
	}
	l.entries = append(l.entries, e)
	return e
}

func (l *requestLog) end(e *Request, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Status = status
}

// Requests returns what came since the start or the last [Registry.ResetLog],
// in order of arrival.
func (r *Registry) Requests() []Request {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	out := make([]Request, len(r.log.entries))
	for i, e := range r.log.entries {
		out[i] = *e
	}
	return out
}

// ResetLog forgets the requests and resets the counts, those of [Request.Nth] and of
// [Registry.TokenHandshakes] included.
func (r *Registry) ResetLog() {
	r.log.mu.Lock()
	r.log.entries, r.log.seen = nil, nil
	r.log.mu.Unlock()
	r.auth.reset()
}

// Count returns how many requests of the log have one of the methods.
func (r *Registry) Count(methods ...string) int {
	n := 0
	for _, q := range r.Requests() {
		if slices.Contains(methods, q.Method) {
			n++
		}
	}
	return n
}

// A loggingWriter records the status that is sent.
type loggingWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader records the first status.
func (w *loggingWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write records the status that a body without one implies.
func (w *loggingWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *loggingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

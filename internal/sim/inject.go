package sim

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// An Injection makes a [Registry] misbehave at the requests that Method, Path
// and Match all let through; what is left empty lets everything through.
type Injection struct {
	Method string
	Path   string // a regular expression that matches somewhere in the path
	// Match decides by the request and by how many requests with the same
	// [Request.Key] there have been since the last [Registry.ResetLog], this one
	// included. See [Request.Again].
	Match func(r *http.Request, nth int) bool
	Times int // how many matching requests are hit; 0: all
	Do    Action
}

// An Action answers a request, or doesn't, in place of the registry. It may
// call [Exchange.Serve] to have the registry do its work.
type Action func(x *Exchange)

// An Injected is an active injection.
type Injected struct {
	Injection
	path *regexp.Regexp

	mu   sync.Mutex
	hits int
}

// Inject starts an injection. It panics if its Path is not a regular expression.
// Of several that match a request, the one injected first acts.
func (r *Registry) Inject(i Injection) *Injected {
	in := &Injected{Injection: i, path: regexp.MustCompile(i.Path)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.injections = append(r.injections, in)
	return in
}

// Heal ends all injections and their effects.
func (r *Registry) Heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.injections = nil
	r.shadows = map[string]*shadow{}
}

// Hits returns how many requests were hit.
func (in *Injected) Hits() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.hits
}

// injected returns what to do with the request instead of serving it, or nil.
func (r *Registry) injected(req *http.Request, nth int) Action {
	r.mu.Lock()
	injections := slices.Clone(r.injections)
	r.mu.Unlock()
	for _, in := range injections {
		if in.hit(req, nth) {
			return in.Do
		}
	}
	return nil
}

// hit counts and decides.
func (in *Injected) hit(req *http.Request, nth int) bool {
	if in.Method != "" && in.Method != req.Method || !in.path.MatchString(req.URL.Path) {
		return false
	}
	if in.Match != nil && !in.Match(req, nth) {
		return false
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.Times > 0 && in.hits >= in.Times {
		return false
	}
	in.hits++
	return true
}

// Status answers with a status and an error in the registry's form; header is
// pairs of names and values: Status(429, "Retry-After", "1").
func Status(status int, header ...string) Action {
	return func(x *Exchange) {
		a := registryError(status, "INJECTED", fmt.Sprintf("injected %d %s", status, http.StatusText(status)))
		for i := 0; i+1 < len(header); i += 2 {
			a.Header.Set(header[i], header[i+1])
		}
		x.Send(a)
	}
}

// Give answers with just this answer.
func Give(a Answer) Action {
	return func(x *Exchange) { x.Send(&a) }
}

// Reset resets the connection, and nothing is done.
func Reset() Action {
	return func(x *Exchange) { x.Reset() }
}

// Stall does nothing until the client gives up or the registry is closed.
func Stall() Action {
	return func(x *Exchange) {
		<-x.Request.Context().Done()
		x.Reset()
	}
}

// Truncate sends half of the answer's body under its whole length, then ends
// the connection. An answer without a body is sent as it is.
func Truncate() Action {
	return func(x *Exchange) {
		a := x.Serve()
		if len(a.Body) == 0 || x.Request.Method == http.MethodHead {
			x.Send(a)
			return
		}
		a.Header = a.Header.Clone()
		a.Header.Set("Content-Length", fmt.Sprint(len(a.Body)))
		a.Body = a.Body[:len(a.Body)/2]
		x.Send(a)
		_ = http.NewResponseController(x.w).Flush() // fails when the client is gone
		panic(http.ErrAbortHandler)
	}
}

// WrongDigest sends another digest in the header than that of the content. An
// answer without the header is sent as it is.
func WrongDigest() Action {
	return func(x *Exchange) {
		a := x.Serve()
		if a.Header.Get("Docker-Content-Digest") != "" {
			a.Header.Set("Docker-Content-Digest", "sha256:"+strings.Repeat("bad0", 16))
		}
		x.Send(a)
	}
}

// LoseWrite answers a manifest PUT as if it had been stored. Other requests are
// served.
func LoseWrite() Action {
	return func(x *Exchange) {
		if x.Request.Method != http.MethodPut || !strings.Contains(x.Request.URL.Path, "/manifests/") {
			x.Send(x.Serve())
			return
		}
		x.Send(&Answer{Status: http.StatusCreated, Header: http.Header{"Docker-Content-Digest": {digestOf(x.Body)}}})
	}
}

// LoseAnswer does what was asked and then resets the connection.
func LoseAnswer() Action {
	return func(x *Exchange) {
		x.Serve()
		x.Reset()
	}
}

// A shadow is the former answer to reads of a manifest that was changed.
type shadow struct {
	head, get *Answer
	until     time.Time // zero: no limit of time
	reads     int       // left; negative: no limit of reads
}

// Lag serves a PUT or DELETE of a manifest, but lets reads by the same path see
// what was there before, for at most d and that many reads; 0 sets no limit. Other requests are served.
func Lag(d time.Duration, reads int) Action {
	return func(x *Exchange) {
		path := x.Request.URL.Path
		_, kind, _, ok := splitPath(path)
		write := x.Request.Method == http.MethodPut || x.Request.Method == http.MethodDelete
		if !ok || kind != "manifests" || !write {
			x.Send(x.Serve())
			return
		}
		s := &shadow{
			head:  x.registry.peek(http.MethodHead, path),
			get:   x.registry.peek(http.MethodGet, path),
			reads: reads,
		}
		if reads == 0 {
			s.reads = -1
		}
		if d > 0 {
			s.until = time.Now().Add(d)
		}
		a := x.Serve()
		x.registry.mu.Lock()
		x.registry.shadows[path] = s
		x.registry.mu.Unlock()
		x.Send(a)
	}
}

// shadowed returns the former answer to a read, while a lag lasts.
func (r *Registry) shadowed(req *http.Request) *Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.shadows[req.URL.Path]
	if s == nil || req.Method != http.MethodGet && req.Method != http.MethodHead {
		return nil
	}
	if s.reads == 0 || !s.until.IsZero() && !time.Now().Before(s.until) {
		delete(r.shadows, req.URL.Path)
		return nil
	}
	if s.reads > 0 {
		s.reads--
	}
	a := s.get
	if req.Method == http.MethodHead {
		a = s.head
	}
	return &Answer{Status: a.Status, Header: a.Header.Clone(), Body: a.Body}
}

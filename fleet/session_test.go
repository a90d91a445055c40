package fleet

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/molecule"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

const testToken = "tok-3nant-secret"

// testSession returns the session of a tenant at base with the given configuration.
func testSession(t *testing.T, base string, cfg Config) *Session {
	t.Helper()
	f, err := New([]Tenant{{Name: "pm", URL: base, Token: secret.New(testToken), OrgID: "org_1"}}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f.Sessions()[0]
}

// serve starts a plain HTTP server for the length of the test.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// piped returns the session of a tenant that is talk at the other end of every
// connection, for the time of a synctest bubble.
func piped(t *testing.T, cfg Config, talk func(c net.Conn)) *Session {
	t.Helper()
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	s := testSession(t, "http://localhost", cfg)
	s.fleet.own.DialContext = func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		all.Go(func() {
			defer server.Close()
			talk(server)
		})
		return client, nil
	}
	return s
}

// readRequest reads one request of a connection.
func readRequest(c net.Conn) error {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	return err
}

// transportError returns err as what Do promises it to be.
func transportError(t *testing.T, err error) *TransportError {
	t.Helper()
	var e *TransportError
	if !errors.As(err, &e) {
		t.Fatalf("%T (%v) is not a TransportError", err, err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v", err, *e), testToken) {
		t.Errorf("the token is in %+v", *e)
	}
	return e
}

func TestRequestAsSent(t *testing.T) {
	var got *http.Request
	var body []byte
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "hello")
	})
	session := testSession(t, s.URL+"/base/", Config{UserAgent: "canary-verify/1.0 (+https://example.com)"})
	resp, err := session.Do(t.Context(), Request{
		Method: "POST", Path: "/a%2Fb?q=x%20y", Body: []byte(`{"x":1}`),
		Header: http.Header{
			"content-type": {"application/json"}, "Authorization": {"Bearer other"}, "Host": {"evil.example.com"},
			strings.ToLower(molecule.OrgHeader): {"other"}, "Proxy-Authorization": {"x"}, "Transfer-Encoding": {"chunked"}, "Connection": {"close"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if resp.Status != http.StatusTeapot || string(resp.Body) != "hello" || !resp.Complete || resp.Attempts != 1 || resp.Header.Get("X-Answer") != "yes" || resp.Elapsed <= 0 {
		t.Errorf("answer %+v", resp)
	}
	if got.Method != "POST" || got.RequestURI != "/base/a%2Fb?q=x%20y" || string(body) != `{"x":1}` || got.Host != strings.TrimPrefix(s.URL, "http://") {
		t.Errorf("sent %s %s to %s with %q", got.Method, got.RequestURI, got.Host, body)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer " + testToken, molecule.OrgHeader: "org_1", "Content-Type": "application/json",
		"User-Agent": "canary-verify/1.0 (+https://example.com)", "Proxy-Authorization": "", "Accept-Encoding": "", "Connection": "",
	} {
		if v := strings.Join(got.Header.Values(name), "|"); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
}

func TestAuth(t *testing.T) {
	var got string
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") })
	session := testSession(t, s.URL, Config{})
	for auth, want := range map[Auth]string{AuthAdmin: `^Bearer ` + testToken + `$`, AuthNone: `^$`, AuthWrong: `^Bearer wrong-[A-Z2-7]{26}$`} {
		if _, err := session.Do(t.Context(), Request{Method: "GET", Path: "/", Auth: auth}); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("auth %d sent %q, want %s", auth, got, want)
		}
	}
}

func TestOrg(t *testing.T) {
	var got []string
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Values(molecule.OrgHeader) })
	own := testSession(t, s.URL, Config{})
	f, err := New([]Tenant{{URL: s.URL, Token: secret.New(testToken)}}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	none := f.Sessions()[0]
	if !own.HasOrg() || none.HasOrg() {
		t.Errorf("HasOrg = %v with an org id, %v without", own.HasOrg(), none.HasOrg())
	}
	const uuid = `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`
	for _, tt := range []struct {
		session *Session
		org     Org
		want    string
	}{
		{own, OrgOwn, `^org_1$`}, {own, OrgNone, `^$`}, {own, OrgWrong, uuid},
		{none, OrgOwn, `^$`}, {none, OrgNone, `^$`}, {none, OrgWrong, uuid},
	} {
		if _, err := tt.session.Do(t.Context(), Request{Method: "GET", Path: "/", Org: tt.org, Header: http.Header{molecule.OrgHeader: {"org_1"}}}); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(tt.want).MatchString(strings.Join(got, "|")) {
			t.Errorf("org %d sent %q, want %s", tt.org, got, tt.want)
		}
	}
}

// A redirect is an answer. Neither another host nor another port of the same
// host ever hears of it, and a Location that is none is no error either.
func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("followed to %s with %v", r.URL, r.Header) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, location := range []string{elsewhere.URL + "/", "/other", "//" + strings.TrimPrefix(elsewhere.URL, "http://"), "http://[bad", ""} {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/x" {
					t.Errorf("followed to %s", r.URL)
				}
				w.Header()["Location"] = []string{location}
				w.WriteHeader(status)
			})
			for _, method := range []string{"GET", "POST"} {
				resp, err := testSession(t, s.URL, Config{}).Do(t.Context(), Request{Method: method, Path: "/x", Body: []byte("b")})
				if err != nil {
					t.Errorf("%s %d to %q: %v", method, status, location, err)
				} else if resp.Status != status || resp.Header.Get("Location") != location {
					t.Errorf("%s %d to %q: %+v", method, status, location, resp)
				}
			}
		}
	}
}

func TestRequestsCannotLeaveTheTenant(t *testing.T) {
	evil := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("reached with %v", r.Header) })
	host := strings.TrimPrefix(evil.URL, "http://")
	var paths []string
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { paths = append(paths, r.RequestURI) })
	session := testSession(t, s.URL+"/base", Config{Retries: -1})
	malformed := []Request{
		{Method: "", Path: "/"}, {Method: "GET /x", Path: "/"}, {Method: "GET", Path: "/", Header: http.Header{"a b": {"x"}}},
		{Method: "GET", Path: "/", Header: http.Header{"A": {"x\r\nB: y"}}},
	}
	for _, p := range []string{evil.URL + "/", "@" + host, ":80@" + host, `/\` + host, "/../..", "/%2e%2e/", "/a\r\nHost: " + host, "", "x"} {
		malformed = append(malformed, Request{Method: "GET", Path: p})
	}
	for _, r := range malformed {
		_, err := session.Do(t.Context(), r)
		if e := transportError(t, err); e.Kind != FailureRequest || e.Attempts != 0 || e.Sent {
			t.Errorf("%+v: %+v", r, e)
		}
	}
	if _, err := session.Do(t.Context(), Request{Method: "GET", Path: "//" + host + "/x"}); err != nil {
		t.Error(err)
	}
	if want := "/base//" + host + "/x"; len(paths) != 1 || paths[0] != want {
		t.Errorf("the tenant was asked for %q, want only %q", paths, want)
	}
}

func TestBodies(t *testing.T) {
	const most = 100_000
	tests := []struct {
		name     string
		handler  http.HandlerFunc
		method   string
		length   int
		complete bool
	}{
		{"empty", func(http.ResponseWriter, *http.Request) {}, "GET", 0, true},
		{"exactly the limit", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, most)) }, "GET", most, true},
		{"one more", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, most+1)) }, "GET", most, false},
		{"a length alone", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "5000000") }, "HEAD", 0, true},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for block := make([]byte, 64<<10); r.Context().Err() == nil; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}, "GET", most, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, tt.handler)
			resp, err := testSession(t, s.URL, Config{MaxBody: most}).Do(t.Context(), Request{Method: tt.method, Path: "/"})
			if err != nil {
				t.Fatal(err)
			}
			if len(resp.Body) != tt.length || resp.Complete != tt.complete || resp.Attempts != 1 {
				t.Errorf("%d bytes, complete %v, %d attempts; want %d, %v, 1", len(resp.Body), resp.Complete, resp.Attempts, tt.length, tt.complete)
			}
		})
	}
}

// Lists of several MiB are answers like others.
func TestBodiesOfEightMiBAreRead(t *testing.T) {
	const most = 8 << 20
	for size, complete := range map[int]bool{most: true, most + 1: false} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) })
		resp, err := testSession(t, s.URL, Config{}).Do(t.Context(), Request{Method: "GET", Path: "/"})
		if err != nil || len(resp.Body) != most || resp.Complete != complete {
			t.Errorf("of %d bytes: %v, complete %v; want %v", size, err, resp != nil && resp.Complete, complete)
		}
	}
}

// What a tenant announces costs no memory before it comes.
func TestAnnouncedLengthCostsNothing(t *testing.T) {
	body := io.NopCloser(strings.NewReader("short"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := readBody(&http.Response{StatusCode: 200, ContentLength: 1 << 40, Body: body}, 8<<20)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; err != nil || grown > 256<<10 {
		t.Errorf("%d bytes were allocated, %v", grown, err)
	}
}

// A body that breaks off is a failed attempt: an idempotent request is sent
// again, another one isn't, since the tenant saw it.
func TestTruncatedBody(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
	} {
		for method, want := range map[string]int{"GET": 2, "POST": 1} {
			synctest.Test(t, func(t *testing.T) {
				session := piped(t, Config{Retries: 1}, func(c net.Conn) {
					_ = readRequest(c)
					_, _ = io.WriteString(c, answer)
				})
				_, err := session.Do(t.Context(), Request{Method: method, Path: "/"})
				e := transportError(t, err)
				if e.Kind != FailureBroken || !e.Sent || e.Status != 200 || e.Attempts != want {
					t.Errorf("%s: %+v, want %d attempts", method, e, want)
				}
			})
		}
	}
}

func TestSwitchingProtocolsDoesNotHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		session := piped(t, Config{}, func(c net.Conn) {
			_ = readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
			_, _ = io.Copy(io.Discard, c) // until the client closes
		})
		resp, err := session.Do(t.Context(), Request{Method: "GET", Path: "/"})
		if err != nil || resp.Status != 101 || len(resp.Body) != 0 {
			t.Errorf("%+v, %v", resp, err)
		}
	})
}

func TestHugeHeader(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := range 4 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 256<<10))
			}
		}))
		s.EnableHTTP2 = http2
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		_, err := tlsSession(t, s, Config{Retries: -1}).Do(t.Context(), Request{Method: "GET", Path: "/"})
		if e := transportError(t, err); e.Kind != FailureProtocol || len(e.Error()) > 1000 {
			t.Errorf("HTTP/2 %v: %v (%v)", http2, err, e.Kind)
		}
	}
}

// tlsSession returns a session that trusts s.
func tlsSession(t *testing.T, s *httptest.Server, cfg Config) *Session {
	t.Helper()
	cfg.RootCAs = x509.NewCertPool()
	cfg.RootCAs.AddCert(s.Certificate())
	return testSession(t, s.URL, cfg)
}

func TestRetriedStatuses(t *testing.T) {
	for _, status := range []int{429, 502, 503, 504, 500, 501, 401, 404, 408} {
		for _, tt := range []struct {
			method             string
			marked, idempotent bool
		}{
			{"GET", false, true}, {"HEAD", false, true}, {"PUT", false, true}, {"DELETE", false, true}, {"POST", true, true},
			{"POST", false, false}, {"PATCH", false, false}, {"OPTIONS", false, false},
		} {
			synctest.Test(t, func(t *testing.T) {
				var bodies []string
				f := fakeFleet(t, 1, Config{}, func(r *http.Request) (*http.Response, error) {
					b, _ := io.ReadAll(r.Body)
					if bodies = append(bodies, string(b)); len(bodies) == 1 {
						return answer(status, "first"), nil
					}
					return answer(200, ""), nil
				})
				resp, err := f.Sessions()[0].Do(t.Context(), Request{Method: tt.method, Path: "/", Body: []byte("same body"), Idempotent: tt.marked})
				want, wantBodies := status, []string{"same body"}
				if tt.idempotent && (status == 429 || status >= 502) {
					want, wantBodies = 200, []string{"same body", "same body"}
				}
				if err != nil || resp.Status != want || resp.Attempts != len(wantBodies) || !slices.Equal(bodies, wantBodies) {
					t.Errorf("%s, answered %d: %+v, %v after sending %q; want %d", tt.method, status, resp, err, bodies, want)
				}
			})
		}
	}
}

// refusedAddress returns a loopback address at which nothing listens.
func refusedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestPostIsRetriedWhenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		session := testSession(t, "http://localhost", Config{Retries: 1})
		session.fleet.own.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		_, err := session.Do(t.Context(), Request{Method: "POST", Path: "/x?token=hidden&plain", Body: []byte("b")})
		e := transportError(t, err)
		if e.Kind != FailureRefused || e.Attempts != 2 || e.Sent || e.Hint == "" {
			t.Errorf("%+v, want 2 attempts of which none was sent", e)
		}
		if text := e.Error(); strings.Contains(text, "hidden") || strings.Contains(text, "plain") || !strings.Contains(text, "/x?token=…&…") || !strings.Contains(text, "2 attempts") {
			t.Errorf("%q", text)
		}
	})
}

// A server that hangs up after it read the request may have acted on it.
func TestPostIsNotRetriedOnceSent(t *testing.T) {
	for _, tt := range []struct {
		r    Request
		want int32
	}{
		{Request{Method: "POST", Body: []byte("b")}, 1},
		{Request{Method: "POST"}, 1},
		{Request{Method: "POST", Idempotent: true}, 2},
		{Request{Method: "GET"}, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			var seen atomic.Int32
			session := piped(t, Config{Retries: 1}, func(c net.Conn) {
				if readRequest(c) == nil {
					seen.Add(1)
				}
			})
			tt.r.Path = "/"
			_, err := session.Do(t.Context(), tt.r)
			if e := transportError(t, err); e.Kind != FailureBroken || !e.Sent || int32(e.Attempts) != tt.want || seen.Load() != tt.want {
				t.Errorf("%s: %+v, the server saw %d, want %d", tt.r.Method, e, seen.Load(), tt.want)
			}
		})
	}
}

// The same when the connection was used before: what the transport does by
// itself then must not send a POST twice either.
func TestPostIsNotRetriedOnAReusedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var posts atomic.Int32
		session := piped(t, Config{}, func(c net.Conn) {
			in := bufio.NewReader(c)
			for {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				if r.Method == "POST" {
					posts.Add(1)
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		if _, err := session.Do(t.Context(), Request{Method: "GET", Path: "/"}); err != nil {
			t.Fatal(err)
		}
		_, err := session.Do(t.Context(), Request{Method: "POST", Path: "/", Body: []byte("b")})
		if e := transportError(t, err); !e.Sent || e.Attempts != 1 || posts.Load() != 1 {
			t.Errorf("%+v; the server saw %d POSTs", e, posts.Load())
		}
	})
}

// A connection that the server closed while it idled is no failure: nothing was
// sent on it, so a new one is taken, for a POST too.
func TestIdleConnectionClosedByServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		session := piped(t, Config{}, func(c net.Conn) {
			_ = readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		})
		for range 5 {
			resp, err := session.Do(t.Context(), Request{Method: "POST", Path: "/", Body: []byte("b")})
			if err != nil || resp.Attempts != 1 {
				t.Fatal(resp, err)
			}
			synctest.Wait()
		}
	})
}

func TestSlowBodyTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		session := piped(t, Config{Retries: 1}, func(c net.Conn) {
			_ = readRequest(c)
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
			for err == nil {
				_, err = io.WriteString(c, "x")
				time.Sleep(time.Second)
			}
		})
		_, err := session.Do(t.Context(), Request{Method: "GET", Path: "/"})
		if e := transportError(t, err); e.Kind != FailureTimeout || e.Status != 200 || e.Attempts != 2 || e.Cause != "answered 200, but its body did not end within 10s" {
			t.Errorf("%+v", e)
		}
	})
}

func TestCancelReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		session := piped(t, Config{}, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("the run was cancelled")
		time.AfterFunc(time.Second, func() { cancel(reason) })
		began := time.Now()
		_, err := session.Do(ctx, Request{Method: "GET", Path: "/"})
		if e := transportError(t, err); e.Kind != FailureStopped || !errors.Is(err, reason) || e.Attempts != 1 || time.Since(began) != time.Second {
			t.Errorf("%+v after %s", e, time.Since(began))
		}
		_, err = session.Do(ctx, Request{Method: "GET", Path: "/"})
		if e := transportError(t, err); e.Kind != FailureStopped || e.Attempts != 0 || e.Sent {
			t.Errorf("%+v", e)
		}
	})
}

func TestKindsOfFailure(t *testing.T) {
	tlsServer := httptest.NewTLSServer(http.NotFoundHandler())
	tlsServer.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer tlsServer.Close()
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	garbage := func(t *testing.T) *Session {
		return piped(t, Config{Retries: -1}, func(c net.Conn) {
			_ = readRequest(c)
			_, _ = io.WriteString(c, "220 "+testToken+" ESMTP\x1b[31m\r\n")
		})
	}
	wrongName := func(t *testing.T) *Session {
		roots := x509.NewCertPool()
		roots.AddCert(tlsServer.Certificate())
		return testSession(t, strings.Replace(tlsServer.URL, "127.0.0.1", "localhost", 1), Config{Retries: -1, RootCAs: roots})
	}
	at := func(base string) func(*testing.T) *Session {
		return func(t *testing.T) *Session { return testSession(t, base, Config{Retries: -1}) }
	}
	tests := []struct {
		name    string
		session func(*testing.T) *Session
		kind    FailureKind
		hint    string
	}{
		{"unknown authority", at(tlsServer.URL), FailureTLS, "authority"},
		{"another host's certificate", wrongName, FailureTLS, "another host name"},
		{"no TLS there", at(strings.Replace(plain.URL, "http:", "https:", 1)), FailureTLS, "scheme http"},
		{"refused", at("https://" + refusedAddress(t)), FailureRefused, "nothing listens"},
		{"not HTTP", garbage, FailureProtocol, "not be a web server"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.session(t).Do(t.Context(), Request{Method: "GET", Path: "/"})
			e := transportError(t, err)
			if e.Kind != tt.kind || !strings.Contains(e.Hint, tt.hint) || !strings.Contains(e.Error(), e.Hint) {
				t.Errorf("%s: %v, want %s and a hint with %q", e.Kind, err, tt.kind, tt.hint)
			}
			if strings.ContainsAny(e.Error(), "\n\x1b") {
				t.Errorf("%q is not sanitised", e.Error())
			}
		})
	}
}

// A tenant may return another one's token, or any secret of the run.
func TestTextsShowNoSecretOfTheRun(t *testing.T) {
	const other, further = "tok-of-another", "registry-password"
	f, err := New([]Tenant{
		{URL: "https://a.example.com", Token: secret.New(testToken)}, {URL: "https://b.example.com", Token: secret.New(other)},
	}, Config{Retries: -1, Secrets: []secret.Value{secret.New(further)}, Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("malformed HTTP: " + testToken + " " + other + " " + further)
	})})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Sessions()[0].Do(t.Context(), Request{Method: "GET", Path: "/" + other})
	if text := fmt.Sprintf("%+v", *transportError(t, err)); strings.Contains(text, other) || strings.Contains(text, further) {
		t.Error(text)
	}
	r := f.Sessions()[1].rolloutOf(answerOf(`{"git_sha":"`+further+`"}`), WaitOptions{VersionField: "git_sha"})
	if strings.Contains(r.Detail, further) || !strings.Contains(r.Detail, secret.Mask) {
		t.Errorf("%+v", r)
	}
	if got := f.Sessions()[0].Redactor().Redact(other + further); got != secret.Mask+secret.Mask {
		t.Errorf("a session's redactor leaves %q", got)
	}
	hex := Tenant{URL: "https://a.example.com", Token: secret.New("c0ffee00c0ffee")}
	f, err = New([]Tenant{hex}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	r = f.Sessions()[0].rolloutOf(answerOf(`{"git_sha":"c0ffee00c0ffee"}`), WaitOptions{VersionField: "git_sha", Commit: newSHA})
	if r.State != report.UnknownCommit || r.Version != "" || strings.Contains(r.Detail, "c0ffee") {
		t.Errorf("a token that looks like a commit: %+v", r)
	}
}

// answerOf is a whole answer with status 200.
func answerOf(body string) *Response {
	return &Response{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body), Complete: true}
}

func TestOldTLSIsRefused(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	_, err := tlsSession(t, s, Config{Retries: -1}).Do(t.Context(), Request{Method: "GET", Path: "/"})
	if e := transportError(t, err); e.Kind != FailureTLS {
		t.Errorf("%+v", e)
	}
}

// connections counts what a server accepts and answers.
type connections struct{ opened, running, busiest, total atomic.Int32 }

func (c *connections) state(_ net.Conn, s http.ConnState) {
	if s == http.StateNew {
		c.opened.Add(1)
	}
}

// raise sets most to n when that is more.
func raise(most *atomic.Int32, n int32) {
	for {
		old := most.Load()
		if n <= old || most.CompareAndSwap(old, n) {
			return
		}
	}
}

// burst sends n requests at once and waits for all of them.
func burst(t *testing.T, s *Session, n int) {
	t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if _, err := s.Do(t.Context(), Request{Method: "GET", Path: "/"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestAtMostEightAtATime(t *testing.T) {
	const eight = 8 // what users are told, whatever the code says
	for _, proto := range []string{"http", "https", "http2"} {
		t.Run(proto, func(t *testing.T) {
			var c connections
			full := make(chan struct{})
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				n := c.running.Add(1)
				defer c.running.Add(-1)
				raise(&c.busiest, n)
				if c.total.Add(1) == eight {
					close(full)
				}
				<-full // so all eight are needed before any is answered
			}))
			s.Config.ConnState = c.state
			limit := int32(eight)
			var session *Session
			switch proto {
			case "http":
				s.Start()
				session = testSession(t, s.URL, Config{})
			case "http2":
				s.EnableHTTP2, limit = true, 1
				fallthrough
			default:
				s.StartTLS()
				session = tlsSession(t, s, Config{})
			}
			t.Cleanup(s.Close)
			burst(t, session, 30)
			if got := c.busiest.Load(); got != eight {
				t.Errorf("%d requests at a time, want %d", got, eight)
			}
			if got := c.opened.Load(); got > limit {
				t.Errorf("%d connections for 30 requests, want at most %d", got, limit)
			}
		})
	}
}

func TestConnectionIsReused(t *testing.T) {
	var c connections
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.running.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusBadGateway) // an attempt that gives up must not cost the connection
		}
		fmt.Fprint(w, strings.Repeat("x", 100_000))
	}))
	s.Config.ConnState = c.state
	s.Start()
	defer s.Close()
	session := testSession(t, s.URL, Config{Retries: -1})
	for range 10 {
		burst(t, session, 1)
	}
	if got := c.opened.Load(); got != 1 {
		t.Errorf("%d connections for 10 requests one after the other", got)
	}
	session.fleet.Close()
	burst(t, session, 1)
	if got := c.opened.Load(); got != 2 {
		t.Errorf("%d connections after Close, want a second one", got)
	}
}

func TestProxy(t *testing.T) {
	var asked []string
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.RequestURI+" "+r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusForbidden)
	})
	proxyURL, _ := url.Parse(proxy.URL)
	cfg := Config{Retries: -1, Proxy: http.ProxyURL(proxyURL)}
	_, err := testSession(t, "https://tenant.invalid", cfg).Do(t.Context(), Request{Method: "GET", Path: "/"})
	e := transportError(t, err)
	if len(asked) != 1 || asked[0] != "CONNECT tenant.invalid:443 " || e.Sent {
		t.Errorf("the proxy was asked for %q; %+v", asked, e)
	}
	if e.Kind != FailureProxy {
		t.Errorf("%s: %v", e.Kind, err)
	}
	cfg.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("user:pass@proxy is malformed") }
	_, err = testSession(t, "https://tenant.invalid", cfg).Do(t.Context(), Request{Method: "GET", Path: "/"})
	if e := transportError(t, err); e.Kind != FailureProxy || strings.Contains(err.Error(), "pass") {
		t.Errorf("%s: %v", e.Kind, err)
	}
}

// With fewer descriptors than requests, fewer run at once and none fails.
func TestFewFileDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c connections
		f := fakeFleet(t, 1, Config{}, func(*http.Request) (*http.Response, error) {
			raise(&c.busiest, c.running.Add(1))
			time.Sleep(time.Second)
			c.running.Add(-1)
			return answer(200, ""), nil
		})
		f.sockets = make(chan struct{}, 2)
		burst(t, f.Sessions()[0], 20)
		if got := c.busiest.Load(); got != 2 {
			t.Errorf("%d requests at a time, want 2", got)
		}
	})
}

func TestSocketsWithin(t *testing.T) {
	for files, want := range map[uint64]int{0: 2, 64: 2, 256: 128, 1024: 640, 1 << 63: 1 << 20} {
		if got := socketsWithin(files); got != want {
			t.Errorf("%d files: %d sockets, want %d", files, got, want)
		}
	}
}

// A roundTripper is a function as a transport.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

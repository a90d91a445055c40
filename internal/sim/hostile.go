package sim

import (
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// misbehave plays the faults that come before the product's own router; it
// reports whether the request was answered.
func (t *Tenant) misbehave(w http.ResponseWriter, r *http.Request) bool {
	if !t.faulty.Load() && !t.down() {
		return false
	}
	if t.down() || t.broke(Unreachable, r) || t.broke(CutOff, r) {
		abort(w)
	}
	if t.broke(Hang, r) {
		<-r.Context().Done()
		abort(w)
	}
	if p, ok := t.has(Slow, r.Method, r.URL.Path); ok && !pause(r.Context(), p.Delay) {
		abort(w)
	}
	for _, s := range frontFaults {
		p, ok := t.has(s.fault, r.Method, r.URL.Path)
		if ok && s.act(t, w, r, p) {
			return true
		}
	}
	return false
}

// A frontFault answers in place of the product; it reports whether it did.
type frontFault struct {
	fault Fault
	act   func(t *Tenant, w http.ResponseWriter, r *http.Request, p Params) bool
}

// frontFaults are the faults of proxies in front of the product, and those that
// break every answer.
var frontFaults = []frontFault{
	{BadGateway, badGateway},
	{Throttle, throttle},
	{Flapping, flap},
	{RateLimit, limitRate},
	{Redirects, redirect},
	{HTMLEcho, echoURL},
	{HTMLEchoAll, echoAll},
	{SlowDrip, drip},
	{HugeBody, hugeBody},
	{HugeHeader, hugeHeader},
	{WrongLength, wrongLength},
	{BrokenJSON, brokenJSON},
	{DeepJSON, deepJSON},
}

func badGateway(_ *Tenant, w http.ResponseWriter, _ *http.Request, p Params) bool {
	page(w, p.Status, "<h1>502 Bad Gateway</h1><hr>cloudflare")
	return true
}

func flap(t *Tenant, w http.ResponseWriter, r *http.Request, p Params) bool {
	if t.spent(Flapping, p.Count, r.Method+" "+r.URL.Path) {
		return false
	}
	w.WriteHeader(p.Status)
	return true
}

func limitRate(t *Tenant, w http.ResponseWriter, r *http.Request, p Params) bool {
	if t.spent(RateLimit, p.Count, r.Method+" "+r.URL.Path) {
		return false
	}
	w.Header().Set("Retry-After", fmt.Sprint(int((p.Delay+time.Second-1)/time.Second)))
	answer(w, p.Status, map[string]any{"error": "rate limit exceeded"})
	return true
}

func redirect(_ *Tenant, w http.ResponseWriter, r *http.Request, p Params) bool {
	w.Header().Set("Location", p.Text+r.URL.RequestURI())
	w.WriteHeader(p.Status)
	return true
}

func echoURL(_ *Tenant, w http.ResponseWriter, r *http.Request, p Params) bool {
	page(w, p.Status, notFoundPage(r))
	return true
}

// echoAll sends back the whole request, as debugging pages do.
func echoAll(_ *Tenant, w http.ResponseWriter, r *http.Request, p Params) bool {
	dump, err := httputil.DumpRequest(r, true)
	if err != nil {
		dump = []byte(r.URL.RequestURI())
	}
	page(w, p.Status, notFoundPage(r)+"<pre>"+html.EscapeString(string(dump))+"</pre>")
	return true
}

// drip sends an answer that never ends, byte by byte.
func drip(_ *Tenant, w http.ResponseWriter, r *http.Request, p Params) bool {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	c := http.NewResponseController(w)
	for text := "["; ; text = " " {
		_, err := io.WriteString(w, text)
		if err != nil || c.Flush() != nil || !pause(r.Context(), p.Delay) {
			abort(w)
		}
	}
}

func hugeBody(_ *Tenant, w http.ResponseWriter, r *http.Request, _ Params) bool {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	chunk := strings.Repeat(`"aaaaaaaaaaaaaaaa",`, 2000)
	_, err := io.WriteString(w, "[")
	for err == nil && r.Context().Err() == nil {
		_, err = io.WriteString(w, chunk)
	}
	abort(w)
	return true
}

// A lateWriter waits before the answer begins. Handlers have done their work by
// then.
type lateWriter struct {
	http.ResponseWriter
	wait func() bool // reports whether the client is still there
	late bool
}

// WriteHeader implements [http.ResponseWriter].
func (w *lateWriter) WriteHeader(status int) {
	w.answering()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *lateWriter) Write(b []byte) (int, error) {
	w.answering()
	return w.ResponseWriter.Write(b)
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *lateWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *lateWriter) answering() {
	if !w.late && !w.wait() {
		abort(w.ResponseWriter)
	}
	w.late = true
}

// filler is a part of a list of workspaces that nobody sweeps, of some 550 bytes a
// row as the product sends them.
var filler = sync.OnceValue(func() []byte {
	row := workspace{
		name: "team workspace", runtime: "claude-code", url: "https://" + strings.Repeat("a", 300) + ".example/", status: "online",
	}
	var rows []byte
	for range 1000 {
		row.id = newID()
		rows = append(append(rows, ','), mustJSON(row.view())...)
	}
	return rows
})

// largeAnswer sends a list with so many rows more that it has at least size bytes.
// Their ids repeat.
func largeAnswer(w http.ResponseWriter, list []any, size int) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	body := mustJSON(append(list, workspace{id: newID(), name: "team workspace", status: "online"}.view()))
	body = body[:len(body)-1]
	for len(body) < size {
		body = append(body, filler()...)
	}
	_, _ = w.Write(append(body, ']'))
}

func hugeHeader(_ *Tenant, w http.ResponseWriter, _ *http.Request, p Params) bool {
	w.Header().Set("X-Huge", strings.Repeat("a", p.Count))
	answer(w, http.StatusOK, []any{})
	return true
}

func wrongLength(_ *Tenant, w http.ResponseWriter, _ *http.Request, _ Params) bool {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, "[]")
	_ = http.NewResponseController(w).Flush() // fails when the client is gone
	panic(http.ErrAbortHandler)
}

func brokenJSON(_ *Tenant, w http.ResponseWriter, _ *http.Request, _ Params) bool {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = io.WriteString(w, `{"subsystems":{"scheduler":`)
	return true
}

func deepJSON(_ *Tenant, w http.ResponseWriter, _ *http.Request, p Params) bool {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = io.WriteString(w, strings.Repeat("[", p.Count)+strings.Repeat("]", p.Count))
	return true
}

// misanswer plays the faults of routes after authentication; it reports whether
// the request was answered.
func (t *Tenant) misanswer(w http.ResponseWriter, r *http.Request) bool {
	if p, ok := t.has(WrongType, r.Method, r.URL.Path); ok {
		w.Header().Set("Content-Type", p.Text)
	}
	for _, f := range []Fault{ServerError, InvalidUTF8, WorkflowCommands, TerminalEscapes, Markup, TokenEcho} {
		p, ok := t.has(f, r.Method, r.URL.Path)
		if !ok {
			continue
		}
		text := p.Text
		switch f {
		case ServerError:
			answer(w, p.Status, map[string]any{"error": "internal server error"})
			return true
		case TokenEcho:
			text = quoteToken(r.Header.Get("Authorization"))
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(p.Status)
		_, _ = io.WriteString(w, text)
		return true
	}
	return false
}

// quoteToken quotes a header in the forms in which secrets turn up in errors.
func quoteToken(header string) string {
	token := strings.TrimPrefix(header, "Bearer ")
	return fmt.Sprintf("bad header %q; token %s; base64 %s; escaped %s",
		header, token, base64.StdEncoding.EncodeToString([]byte(token)), url.QueryEscape(token))
}

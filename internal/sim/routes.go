package sim

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"html"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// orgHeader names the organization that a request is for.
const orgHeader = "X-Molecule-Org-Id"

// A bearer is whose token a request carries.
type bearer int

const (
	noBearer bearer = iota
	wrongBearer
	adminBearer
)

// String returns the word that [TenantRequest] uses.
func (b bearer) String() string {
	return [...]string{"none", "wrong", "admin"}[b]
}

// bearer looks at a request's Authorization header.
func (t *Tenant) bearer(r *http.Request) bearer {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok || token == "":
		return noBearer
	case subtle.ConstantTimeCompare([]byte(token), []byte(t.cfg.Token)) == 1:
		return adminBearer
	default:
		return wrongBearer
	}
}

// exempt reports whether a path is open to requests without an org header.
func exempt(path string) bool {
	return path == "/health" || path == "/metrics" || path == "/buildinfo" || below(path, "/registry")
}

// ServeHTTP answers as the product's server does: front end and faults of the
// connection first, then org guard, admin authentication and the route.
func (t *Tenant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			abort(w)
		}
		r.Body = io.NopCloser(bytes.NewReader(body)) // read whole, so that the client's leaving is noticed
	}
	entry := t.begin(r)
	lw := &loggingWriter{ResponseWriter: w}
	defer func() { t.end(entry, lw.status) }()

	t.date(lw)
	t.rolling(r)
	if !pause(r.Context(), t.cfg.Latency) {
		abort(lw)
	}
	if t.cfg.Intercept != nil && t.cfg.Intercept(lw, r) {
		return
	}
	if t.misbehave(lw, r) {
		return
	}
	t.route(lw, r)
}

// route is the product's router.
func (t *Tenant) route(w http.ResponseWriter, r *http.Request) {
	if t.open(w, r) {
		return
	}
	if !t.guard(w, r) {
		return
	}
	found := t.adminRoute(r)
	if found == nil {
		t.unknown(w, r)
		return
	}
	if p, ok := t.has(LateAnswers, r.Method, r.URL.Path); ok {
		w = &lateWriter{ResponseWriter: w, wait: func() bool { return pause(r.Context(), p.Delay) }}
	}
	if t.withoutDatabase(w, r, found.workspaces) {
		return
	}
	if t.admit(w, r, found.workspaces) && !t.misanswer(w, r) {
		found.handle(t, w, r)
	}
}

// open serves the routes that need neither org nor token.
func (t *Tenant) open(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	switch r.URL.Path {
	case "/health":
		if t.broke(HealthFails, r) {
			answer(w, http.StatusInternalServerError, map[string]any{"status": "error"})
			return true
		}
		answer(w, http.StatusOK, map[string]any{"status": "ok"})
	case "/metrics":
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		fmt.Fprintf(w, "# TYPE http_requests_total counter\nhttp_requests_total %d\n", t.requests.Load())
	case "/buildinfo":
		return t.buildinfo(w, r)
	default:
		return false
	}
	return true
}

// guard is the org guard: without the right org id, nothing seems to be there.
func (t *Tenant) guard(w http.ResponseWriter, r *http.Request) bool {
	if exempt(r.URL.Path) && r.URL.Path != "/buildinfo" { // which old builds don't know, nor exempt
		return true
	}
	if t.broke(GuardOff, r) {
		return true
	}
	refused := t.broke(OrgRefused, r)
	if t.cfg.OrgID != "" && r.Header.Get(orgHeader) != t.cfg.OrgID {
		refused = true
	}
	if refused {
		w.WriteHeader(http.StatusNotFound)
	}
	return !refused
}

// An adminRoute is one that needs the admin token.
type adminRoute struct {
	pattern    string   // method and path; "*" is any element
	generation Memories // which has it; BothMemories: all
	workspaces bool     // the authentication of workspaces guards it, which takes the admin token as well
	handle     func(*Tenant, http.ResponseWriter, *http.Request)
}

var adminRoutes = []adminRoute{
	{"GET /admin/liveness", BothMemories, false, (*Tenant).liveness},
	{"GET /events", BothMemories, false, (*Tenant).listEvents},
	{"GET /workspaces", BothMemories, false, (*Tenant).listWorkspaces},
	{"POST /workspaces", BothMemories, false, (*Tenant).createWorkspace},
	{"GET /workspaces/*", BothMemories, false, (*Tenant).getWorkspace},
	{"PATCH /workspaces/*", BothMemories, true, (*Tenant).updateWorkspace},
	{"DELETE /workspaces/*", BothMemories, false, (*Tenant).deleteWorkspace},
	{"POST /memories/commit", DocumentedRoutes, false, (*Tenant).commit},
	{"GET /memories/search", DocumentedRoutes, false, (*Tenant).search},
	{"DELETE /memories/*", DocumentedRoutes, false, (*Tenant).deleteMemory},
	{"POST /workspaces/*/memories", PerWorkspaceRoutes, true, (*Tenant).commit},
	{"GET /workspaces/*/memories", PerWorkspaceRoutes, true, (*Tenant).search},
	{"DELETE /workspaces/*/memories/*", PerWorkspaceRoutes, true, (*Tenant).deleteMemory},
}

// adminRoute finds the route of a request, or nil.
func (t *Tenant) adminRoute(r *http.Request) *adminRoute {
	for i := range adminRoutes {
		route := &adminRoutes[i]
		method, pattern, _ := strings.Cut(route.pattern, " ")
		if method == r.Method && fits(pattern, r.URL.Path) && t.offers(route, r) {
			return route
		}
	}
	return nil
}

// offers reports whether the tenant's generation has a route.
func (t *Tenant) offers(route *adminRoute, r *http.Request) bool {
	switch route.generation {
	case BothMemories:
		return true
	case DocumentedRoutes:
		return t.cfg.Memories != PerWorkspaceRoutes && !t.broke(MemoriesGone, r)
	default:
		return t.cfg.Memories != DocumentedRoutes
	}
}

// fits reports whether a path has the elements of the pattern, where "*" is any
// but an empty one.
func fits(pattern, path string) bool {
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	return slices.EqualFunc(want, have, func(w, h string) bool { return w == h || w == "*" && h != "" })
}

// admit is the authentication of admin routes, or of those of workspaces:
// fail-closed, unless a fault opens it.
func (t *Tenant) admit(w http.ResponseWriter, r *http.Request, workspaces bool) bool {
	if p, ok := t.has(Outage, r.Method, r.URL.Path); ok {
		unavailable(w, p.Status)
		return false
	}
	open, missing, invalid := AdminOpen, "admin auth required", "invalid admin auth token"
	if workspaces {
		open, missing, invalid = WorkspaceOpen, "missing workspace auth token", "invalid workspace auth token"
	}
	who, opened := t.bearer(r), t.broke(open, r)
	switch {
	case who == noBearer && !opened && !t.broke(FailOpen, r):
		answer(w, http.StatusUnauthorized, map[string]any{"error": missing})
		return false
	case who == wrongBearer && !opened && !t.broke(WrongBearer, r),
		who == adminBearer && (t.broke(TokenRefused, r) || t.broke(RouteRefused, r)):
		answer(w, http.StatusUnauthorized, map[string]any{"error": invalid})
		return false
	}
	return true
}

// broke reports whether a fault acts on the request.
func (t *Tenant) broke(f Fault, r *http.Request) bool {
	_, ok := t.has(f, r.Method, r.URL.Path)
	return ok
}

// liveness reports when each subsystem was last alive.
func (t *Tenant) liveness(w http.ResponseWriter, r *http.Request) {
	scheduler := map[string]any{
		"last_tick_at": stamp(t.Now().Add(-3 * time.Second)),
		"seconds_ago":  3,
	}
	switch {
	case t.broke(LivenessWithoutSubsystems, r):
		answer(w, http.StatusOK, map[string]any{"status": "ok"})
	case t.broke(LivenessEmpty, r):
		answer(w, http.StatusOK, map[string]any{"subsystems": map[string]any{}})
	case t.broke(LivenessNotMap, r):
		answer(w, http.StatusOK, map[string]any{"subsystems": []any{scheduler}})
	default:
		answer(w, http.StatusOK, map[string]any{"subsystems": map[string]any{"scheduler": scheduler}})
	}
}

// unknown answers a route that does not exist: as gin does, or, with a web front
// end, with a page that echoes the URL.
func (t *Tenant) unknown(w http.ResponseWriter, r *http.Request) {
	if t.cfg.Web {
		page(w, http.StatusNotFound, notFoundPage(r))
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, "404 page not found")
}

// notFoundPage is a front end's body that echoes the URL: as text, and as the
// data that such pages carry for their scripts, brackets and quotes included.
func notFoundPage(r *http.Request) string {
	return fmt.Sprintf(`<h1>404</h1><p>This page could not be found: %s</p><script>self.__next_f=[];self.__next_f.push([1,%s])</script>`,
		html.EscapeString(r.URL.RequestURI()), mustJSON(map[string]any{"url": r.URL.RequestURI(), "status": 404, "subsystems": map[string]any{}}))
}

// page sends an HTML page.
func page(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<!DOCTYPE html><html><head><title>Molecule</title></head><body>"+body+"</body></html>")
}

// answer sends JSON as gin does.
func answer(w http.ResponseWriter, status int, v any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(status)
	_, _ = w.Write(mustJSON(v))
}

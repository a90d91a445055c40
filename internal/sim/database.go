package sim

import (
	"net/http"
	"time"
)

// unavailable is what the product answers where it can't reach its database.
func unavailable(w http.ResponseWriter, status int) {
	answer(w, status, map[string]any{"code": "platform_unavailable", "error": "database unavailable"})
}

// A databaseState is where [DatabaseDown] stands.
type databaseState struct {
	counted int       // requests since it was switched on
	stopped time.Time // zero: it still runs
	caught  bool      // the request that was past the auth step when it stopped has been answered
}

// databaseDown counts a request to a guarded route, and reports whether the
// database is stopped by then.
func (t *Tenant) databaseDown(r *http.Request) bool {
	p, ok := t.has(DatabaseDown, r.Method, r.URL.Path)
	if !ok {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d := &t.database
	if d.counted++; d.counted <= p.Count {
		return false
	}
	if d.stopped.IsZero() {
		d.stopped = time.Now()
	}
	return p.For == 0 || time.Since(d.stopped) < p.For
}

// withoutDatabase answers a request to a route while the database is stopped, and
// reports whether it has. The admin authentication asks the database first, so
// that it answers everybody with the outage; that of workspaces asks only about
// tokens that are not the admin's. A handler that is past it answers a bare 500,
// and so does the one that was at work when the database stopped.
func (t *Tenant) withoutDatabase(w http.ResponseWriter, r *http.Request, workspaces bool) bool {
	if !t.databaseDown(r) {
		return false
	}
	who, atWork := t.bearer(r), false
	if who == adminBearer && !workspaces {
		t.mu.Lock()
		atWork, t.database.caught = !t.database.caught, true
		t.mu.Unlock()
	}
	switch {
	case workspaces && who == noBearer:
		return false // refused without a look into the database
	case atWork, workspaces && who == adminBearer:
		answer(w, http.StatusInternalServerError, map[string]any{"error": "query failed"})
	default:
		unavailable(w, http.StatusServiceUnavailable)
	}
	return true
}

package sim

import (
	"net/http"
	"time"
)

// Now is the time by the tenant's own clock. Rows and events are dated by it, and
// it stands in the Date header of every answer.
func (t *Tenant) Now() time.Time { return time.Now().Add(time.Duration(t.ahead.Load())) }

// Advance puts the tenant's clock forward, or back by a negative time: what is
// stored ages by that.
func (t *Tenant) Advance(d time.Duration) { t.ahead.Add(int64(d)) }

// date dates an answer where the tenant's clock isn't this machine's.
func (t *Tenant) date(w http.ResponseWriter) {
	if t.ahead.Load() != 0 {
		w.Header().Set("Date", t.Now().UTC().Format(http.TimeFormat))
	}
}

// stamp is a time as the product's answers show it.
func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

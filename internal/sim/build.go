package sim

import (
	"context"
	"html"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// buildinfo reports the commit; it returns false if the build is too old to have
// the route.
func (t *Tenant) buildinfo(w http.ResponseWriter, r *http.Request) bool {
	sha := t.shaFor(r)
	switch {
	case sha == OldBuild || t.broke(BuildinfoGone, r):
		return false
	case t.broke(BuildinfoHTML, r):
		page(w, http.StatusOK, `<p>"git_sha":"`+html.EscapeString(sha)+`"</p>`)
		return true
	case t.broke(BuildinfoEmpty, r):
		answer(w, http.StatusOK, map[string]any{})
		return true
	case sha == "":
		sha = "dev"
	}
	fields := map[string]any{"git_sha": sha}
	if t.cfg.Started {
		fields["started_at"] = stamp(t.Started())
	}
	body := string(mustJSON(fields))
	if p, ok := t.has(BuildinfoDuplicate, r.Method, r.URL.Path); ok {
		body = `{"git_sha":"` + p.Text + `",` + body[1:]
	}
	if p, ok := t.has(BuildinfoTrailing, r.Method, r.URL.Path); ok {
		body += p.Text
	}
	if p, ok := t.has(BuildinfoLong, r.Method, r.URL.Path); ok {
		body = string(mustJSON(map[string]any{"git_sha": sha + p.Text}))
	}
	contentType := "application/json; charset=utf-8"
	if p, ok := t.has(BuildinfoPlain, r.Method, r.URL.Path); ok {
		contentType = p.Text
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, body)
	return true
}

// shaFor is the commit of the build that a request's connection leads to: behind
// one address there may be two.
func (t *Tenant) shaFor(r *http.Request) string {
	n := connection(r)
	if n == 0 { // no connections are simulated: each request counts as one
		n = t.requests.Load()
	}
	if p, ok := t.has(Alternating, r.Method, r.URL.Path); ok && n%2 == 0 {
		return p.Text
	}
	if p, ok := t.has(HalfOld, r.Method, r.URL.Path); ok && rand.New(rand.NewPCG(uint64(p.Count), uint64(n))).IntN(2) == 0 {
		return p.Text
	}
	return t.SHA()
}

// Started returns when the tenant's process was started, by its own clock.
func (t *Tenant) Started() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.started
}

// Restart ends the tenant's process and starts another one of the same build:
// connections are reset, and [TenantConfig.Started] shows another time.
func (t *Tenant) Restart() {
	t.setDead(true)
	t.setDead(false)
}

// setDead says whether the tenant's process is dead at the moment.
func (t *Tenant) setDead(dead bool) {
	t.mu.Lock()
	t.dead = dead
	if !dead {
		t.started = t.Now()
	}
	t.mu.Unlock()
	t.reach()
}

// crash starts or ends what [CrashLoop] does, as the tenant's faults say.
func (t *Tenant) crash() {
	t.crashing.Lock()
	defer t.crashing.Unlock()
	t.mu.Lock()
	p, on := t.params(CrashLoop)
	t.mu.Unlock()
	if running := t.stopCrash != nil; on == running {
		return
	}
	if !on {
		t.stopCrash()
		t.stopCrash = nil
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(ctx, p.Delay) {
			t.setDead(true)
			_ = pause(ctx, p.For) // it is started again at the end, too
			t.setDead(false)
		}
	}()
	t.stopCrash = func() { cancel(); <-done }
}

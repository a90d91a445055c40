package sim

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A store is a tenant's database.
type store struct {
	memories   []memory
	workspaces []workspace
	events     []map[string]any
}

type memory struct {
	id, workspace             string // workspace is empty for the documented routes
	scope, namespace, content string
	created                   time.Time
}

// view is a memory as both generations of routes show it.
func (m memory) view() map[string]any {
	v := map[string]any{
		"id": m.id, "scope": m.scope, "namespace": m.namespace, "content": m.content,
		"created_at": stamp(m.created),
	}
	if m.workspace != "" {
		v["workspace_id"] = m.workspace
	}
	return v
}

type workspace struct {
	id, name, runtime, url, status string
	external                       bool
	created                        time.Time
}

// removed is the status of a workspace that was deleted and not purged.
const removed = "removed"

// rows counts what there is.
func (s *store) rows() Rows {
	rows := Rows{Memories: len(s.memories), Events: len(s.events)}
	for _, w := range s.workspaces {
		if w.status == removed {
			rows.Removed++
		} else {
			rows.Workspaces++
		}
	}
	return rows
}

// hidden counts the memories of removed workspaces.
func (s *store) hidden() int {
	n := 0
	for _, m := range s.memories {
		if m.workspace != "" && s.find(m.workspace, false) < 0 {
			n++
		}
	}
	return n
}

// find returns the place of a workspace, or -1; a removed one is there only for
// those that ask for it.
func (s *store) find(id string, evenRemoved bool) int {
	return slices.IndexFunc(s.workspaces, func(w workspace) bool {
		return w.id == id && (evenRemoved || w.status != removed)
	})
}

// view is a workspace as the routes show it.
func (s workspace) view() map[string]any {
	return map[string]any{
		"id": s.id, "name": s.name, "runtime": s.runtime, "external": s.external, "url": s.url, "status": s.status,
		"created_at": stamp(s.created),
	}
}

// newID returns a random UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// fail sends the product's error for a failed database operation.
func fail(w http.ResponseWriter, what string) {
	answer(w, http.StatusInternalServerError, map[string]any{"error": "failed to " + what})
}

// elem returns an element of the path: 1 is the workspace's id.
func elem(r *http.Request, i int) string {
	return strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")[i]
}

// ownWorkspace returns the workspace that the route names; ok is false, and
// the request answered, if it does not exist.
func (t *Tenant) ownWorkspace(w http.ResponseWriter, r *http.Request, evenRemoved bool) (id string, ok bool) {
	if !below(r.URL.Path, "/workspaces") {
		return "", true
	}
	id = elem(r, 1)
	t.mu.Lock()
	ok = t.store.find(id, evenRemoved) >= 0
	t.mu.Unlock()
	if !ok {
		answer(w, http.StatusNotFound, map[string]any{"error": "workspace not found"})
	}
	return id, ok
}

// commit stores a memory: POST /memories/commit, POST /workspaces/:id/memories.
func (t *Tenant) commit(w http.ResponseWriter, r *http.Request) {
	owner, ok := t.ownWorkspace(w, r, false)
	if !ok {
		return
	}
	var in struct{ Scope, Namespace, Content string }
	if !readJSON(w, r, &in) || in.Content == "" {
		answer(w, http.StatusBadRequest, map[string]any{"error": "content is required"})
		return
	}
	if in.Scope != "LOCAL" && in.Scope != "TEAM" && in.Scope != "GLOBAL" {
		answer(w, http.StatusBadRequest, map[string]any{"error": "scope must be LOCAL, TEAM or GLOBAL"})
		return
	}
	m := memory{
		id: newID(), workspace: owner, scope: in.Scope, namespace: in.Namespace,
		content: scrub(in.Content), created: t.Now(),
	}
	switch {
	case t.broke(CommitFails, r):
		fail(w, "store memory")
		return
	case t.broke(CommitWithoutID, r):
		answer(w, http.StatusCreated, map[string]any{"status": "stored"})
		return
	case !t.broke(MemoryLost, r):
		t.mu.Lock()
		t.store.memories = append(t.store.memories, m)
		t.mu.Unlock()
	}
	answer(w, http.StatusCreated, map[string]any{"id": m.id, "scope": m.scope, "namespace": m.namespace})
}

// search finds memories by full text; the parameter is "query" on the
// documented route, "q" on a workspace's. Any other is ignored, so that all is
// listed.
func (t *Tenant) search(w http.ResponseWriter, r *http.Request) {
	owner, ok := t.ownWorkspace(w, r, false)
	if !ok {
		return
	}
	parameter := "query"
	if owner != "" {
		parameter = "q"
	}
	query := r.URL.Query().Get(parameter)
	other := memory{id: newID(), workspace: owner, scope: "LOCAL", namespace: "general", content: "another memory", created: t.Now()}
	lag, lags := t.has(SearchLags, r.Method, r.URL.Path)
	hits := []any{}
	switch {
	case t.broke(SearchFails, r):
		fail(w, "search memories")
		return
	case t.broke(SearchNotArray, r):
		answer(w, http.StatusOK, map[string]any{"memories": []any{}})
		return
	case t.broke(SearchFindsOther, r):
		answer(w, http.StatusOK, []any{other.view()})
		return
	case t.broke(SearchFindsAll, r):
		query = ""
		hits = append(hits, other.view())
	case t.broke(SearchIgnoresQuery, r):
		query = ""
	}
	t.mu.Lock()
	for _, m := range t.store.memories {
		seen := !lags || t.Now().Sub(m.created) >= lag.Delay
		if m.workspace == owner && seen && (query == "" || matches(m.content, query)) {
			hits = append(hits, m.view())
		}
	}
	t.mu.Unlock()
	answer(w, http.StatusOK, hits)
}

// deleteMemory forgets a memory.
func (t *Tenant) deleteMemory(w http.ResponseWriter, r *http.Request) {
	owner, ok := t.ownWorkspace(w, r, false)
	if !ok {
		return
	}
	id := elem(r, 1)
	if owner != "" {
		id = elem(r, 3)
	}
	if t.broke(DeleteFails, r) {
		fail(w, "delete memory")
		return
	}
	t.mu.Lock()
	i := slices.IndexFunc(t.store.memories, func(m memory) bool { return m.id == id && m.workspace == owner })
	t.mu.Unlock()
	if i < 0 {
		answer(w, http.StatusNotFound, map[string]any{"error": "memory not found"})
		return
	}
	if !t.broke(DeleteLost, r) {
		t.mu.Lock()
		t.store.memories = slices.DeleteFunc(t.store.memories, func(m memory) bool { return m.id == id })
		t.mu.Unlock()
	}
	answer(w, http.StatusOK, map[string]any{"status": "deleted"})
}

// listEvents shows what happened to workspaces, newest first.
func (t *Tenant) listEvents(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	events := slices.Clone(t.store.events)
	t.mu.Unlock()
	slices.Reverse(events)
	if events == nil {
		events = []map[string]any{}
	}
	if t.broke(EventsNotArray, r) {
		answer(w, http.StatusOK, map[string]any{"events": events})
		return
	}
	answer(w, http.StatusOK, events)
}

// event records what happened to a workspace; t.mu is held.
func (t *Tenant) event(kind, workspace string) {
	t.store.events = append(t.store.events, map[string]any{
		"id": newID(), "event_type": kind, "workspace_id": workspace,
		"created_at": stamp(t.Now()),
	})
}

// listWorkspaces shows all workspaces.
func (t *Tenant) listWorkspaces(w http.ResponseWriter, r *http.Request) {
	list, undated := []any{}, t.broke(WorkspacesUndated, r)
	t.mu.Lock()
	for _, s := range t.store.workspaces {
		if s.status == removed {
			continue
		}
		row := s.view()
		if undated {
			delete(row, "created_at")
		}
		list = append(list, row)
	}
	t.mu.Unlock()
	if p, ok := t.has(LargeLists, r.Method, r.URL.Path); ok {
		largeAnswer(w, list, p.Count)
		return
	}
	if t.broke(WorkspacesNotArray, r) {
		answer(w, http.StatusOK, map[string]any{"workspaces": list})
		return
	}
	answer(w, http.StatusOK, list)
}

// createWorkspace makes a workspace.
func (t *Tenant) createWorkspace(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name, Runtime, URL string
		External           bool
	}
	if !readJSON(w, r, &in) || in.Name == "" {
		answer(w, http.StatusBadRequest, map[string]any{"error": "name is required"})
		return
	}
	s := workspace{id: newID(), name: in.Name, runtime: in.Runtime, url: in.URL, external: in.External, status: "provisioning", created: t.Now()}
	if s.external {
		s.status = "online"
	}
	switch {
	case t.broke(WorkspaceFails, r):
		fail(w, "create workspace")
		return
	case t.broke(WorkspaceWithoutID, r):
		answer(w, http.StatusCreated, map[string]any{"external": s.external, "status": s.status})
		return
	}
	t.mu.Lock()
	t.store.workspaces = append(t.store.workspaces, s)
	t.event("WORKSPACE_PROVISIONING", s.id)
	t.mu.Unlock()
	answer(w, http.StatusCreated, map[string]any{"external": s.external, "id": s.id, "status": s.status})
}

// getWorkspace shows one workspace.
func (t *Tenant) getWorkspace(w http.ResponseWriter, r *http.Request) {
	id, ok := t.ownWorkspace(w, r, false)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.store.find(id, false)
	if i < 0 { // deleted since
		answer(w, http.StatusNotFound, map[string]any{"error": "workspace not found"})
		return
	}
	answer(w, http.StatusOK, t.store.workspaces[i].view())
}

// updateWorkspace renames a workspace.
func (t *Tenant) updateWorkspace(w http.ResponseWriter, r *http.Request) {
	id, ok := t.ownWorkspace(w, r, false)
	if !ok {
		return
	}
	var in struct{ Name string }
	if !readJSON(w, r, &in) {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid request body"})
		return
	}
	t.mu.Lock()
	for i := range t.store.workspaces {
		if t.store.workspaces[i].id == id && in.Name != "" {
			t.store.workspaces[i].name = in.Name
		}
	}
	t.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"status": "updated"})
}

// deleteWorkspace removes a workspace, if that is confirmed: its row and its
// memories stay, in a state in which nobody sees them, unless they are purged.
// Events always stay.
func (t *Tenant) deleteWorkspace(w http.ResponseWriter, r *http.Request) {
	id, ok := t.ownWorkspace(w, r, true)
	if !ok {
		return
	}
	query := r.URL.Query()
	purge := query.Get("purge") == "true"
	switch {
	case query.Get("confirm") != "true":
		answer(w, http.StatusConflict, map[string]any{"error": "confirm=true is required", "status": "confirmation_required"})
		return
	case t.broke(WorkspaceDeleteFails, r):
		fail(w, "delete workspace")
		return
	case !t.broke(WorkspaceDeleteLost, r):
		t.remove(id, purge)
	}
	status := "removed"
	if purge {
		status = "purged"
	}
	answer(w, http.StatusOK, map[string]any{"status": status})
}

// remove removes a workspace.
func (t *Tenant) remove(id string, purge bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.event("WORKSPACE_REMOVED", id)
	if i := t.store.find(id, true); i >= 0 {
		t.store.workspaces[i].status = removed
	}
	if purge {
		t.store.workspaces = slices.DeleteFunc(t.store.workspaces, func(s workspace) bool { return s.id == id })
		t.store.memories = slices.DeleteFunc(t.store.memories, func(m memory) bool { return m.workspace == id })
	}
}

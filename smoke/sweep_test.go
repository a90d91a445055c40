package smoke_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// A rowServer stores workspaces, as a tenant does: each takes a moment to answer,
// and its clock is not ours.
type rowServer struct {
	mu      sync.Mutex
	rows    []row
	ids     int
	skew    time.Duration
	deleted []string // as they were asked for
	refuses func(id string) bool
	killed  func() bool // the client is gone: nothing reaches the server
	padding string
}

type row struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Created string `json:"created_at,omitempty"`
	Pad     string `json:"pad,omitempty"`
}

func (s *rowServer) now() time.Time { return time.Now().Add(s.skew) }

// add stores a workspace of some age.
func (s *rowServer) add(id, name string, age time.Duration) {
	s.rows = append(s.rows, row{id, name, s.now().Add(-age).Format(time.RFC3339Nano), s.padding})
}

func (s *rowServer) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.killed != nil && s.killed() {
		return nil, errors.New("killed")
	}
	time.Sleep(10 * time.Millisecond)
	s.mu.Lock()
	status, body := s.answer(r)
	text, _ := json.Marshal(body)
	s.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
	return &http.Response{
		StatusCode: status, Request: r, Body: io.NopCloser(strings.NewReader(string(text))), ContentLength: int64(len(text)),
		Header: http.Header{"Content-Type": {"application/json"}, "Date": {s.now().UTC().Format(http.TimeFormat)}},
	}, nil
}

func (s *rowServer) answer(r *http.Request) (int, any) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case parts[0] != "workspaces" || len(parts) > 2 && r.Method == http.MethodGet:
		return 401, map[string]any{"error": "no"}
	case r.Method == http.MethodPost && len(parts) == 1:
		var in row
		_ = json.NewDecoder(r.Body).Decode(&in)
		s.ids++
		s.add(fmt.Sprint("id-", s.ids), in.Name, 0)
		return 201, map[string]any{"id": fmt.Sprint("id-", s.ids), "external": true}
	case r.Method == http.MethodPost:
		s.ids++
		return 201, map[string]any{"id": fmt.Sprint("id-", s.ids)}
	case r.Method == http.MethodDelete:
		s.deleted = append(s.deleted, r.URL.RequestURI())
		if s.refuses != nil && s.refuses(parts[1]) {
			return 409, map[string]any{"error": "no"}
		}
		if len(parts) == 2 {
			s.rows = slices.DeleteFunc(s.rows, func(w row) bool { return w.ID == parts[1] })
		}
		return 200, map[string]any{}
	default:
		return 200, s.rows
	}
}

// sweeps runs the sweep of workspace-server, and returns its warnings.
func sweeps(t testing.TB, s *rowServer, cfg fleet.Config) string {
	t.Helper()
	text, _ := smoke.Builtin("workspace-server")
	_, sweep, _ := strings.Cut(string(text), "\nsweep:")
	sweep, _, _ = strings.Cut(sweep, "\nchecks:")
	suite := load(t, "suite.yml", "sweep:"+sweep+"\nchecks: [{name: a, get: /workspaces, expect: 'status == 200 && is_array(json)'}]")
	var warnings []string
	suite.Run(t.Context(), bubbleOf(t, cfg, fleet.Tenant{}, s), smoke.RunOptions{Warn: func(_ int, text string) { warnings = append(warnings, text) }})
	return strings.Join(warnings, "\n")
}

func TestSweepRemovesWhatAKilledRunLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &rowServer{skew: -5000 * time.Hour, rows: []row{{ID: "ageless", Name: "canary-smoke-b"}}}
		s.add("old", "canary-smoke-a", 61*time.Minute)
		s.add("young", "canary-smoke-c", 59*time.Minute)
		s.add("of-a-user", "my canary-smoke-d", 100*time.Hour)
		s.add("..", "canary-smoke-e", 100*time.Hour)
		got := sweeps(t, s, fleet.Config{})
		if len(s.deleted) != 1 || s.deleted[0] != "/workspaces/old?confirm=true&purge=true" {
			t.Errorf("deleted %q", s.deleted)
		}
		const want = "removed 1 leftover of earlier runs that were killed: /workspaces/old\n" +
			"2 entries may be of earlier runs, but how old they are is not known; they stay"
		if got != want {
			t.Errorf("warned\n%s\nwant\n%s", got, want)
		}
		if again := sweeps(t, s, fleet.Config{}); strings.Contains(again, "removed") {
			t.Errorf("a second time: %s", again)
		}
	})
}

func TestSweepIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		many := func(s *rowServer) *rowServer {
			for i := range 60 {
				s.add(fmt.Sprint(i), "canary-smoke-x", 2*time.Hour)
			}
			return s
		}
		s := many(&rowServer{})
		if got := sweeps(t, s, fleet.Config{}); len(s.deleted) != 50 || !strings.Contains(got, "removed 50 leftovers") || !strings.Contains(got, "10 more leftovers of earlier runs stay") {
			t.Errorf("deleted %d: %s", len(s.deleted), got)
		}
		s = many(&rowServer{refuses: func(string) bool { return true }})
		if got := sweeps(t, s, fleet.Config{}); len(s.deleted) != 3 || !strings.Contains(got, "3 leftovers of earlier runs could not be removed: DELETE /workspaces/0 answered 409, ") || !strings.Contains(got, "57 more") {
			t.Errorf("deleted %d: %s", len(s.deleted), got)
		}
		s = many(&rowServer{padding: strings.Repeat("x", 100)})
		if got := sweeps(t, s, fleet.Config{MaxBody: 5000}); len(s.deleted) != 0 || !strings.Contains(got, "GET /workspaces: answered more than 5,000 bytes") {
			t.Errorf("deleted %d: %s", len(s.deleted), got)
		}
	})
}

// TestNothingStaysOfKilledRuns kills 20 runs of workspace-server at random moments,
// and lets one end an hour later.
func TestNothingStaysOfKilledRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		suite := builtin(t, "workspace-server")
		s := &rowServer{}
		s.add("of-a-user", "production", 1000*time.Hour)
		for range 20 {
			end := time.Now().Add(rand.N(200 * time.Millisecond))
			s.killed = func() bool { return time.Now().After(end) }
			suite.Run(t.Context(), bubbleOf(t, fleet.Config{Retries: -1}, fleet.Tenant{}, s), smoke.RunOptions{})
		}
		left := len(s.rows)
		s.killed = nil
		time.Sleep(61 * time.Minute)
		suite.Run(t.Context(), bubbleOf(t, fleet.Config{}, fleet.Tenant{}, s), smoke.RunOptions{})
		if len(s.rows) != 1 || s.rows[0].ID != "of-a-user" {
			t.Errorf("%d rows were left by killed runs, and now there are %+v", left-1, s.rows)
		}
		if left < 5 {
			t.Errorf("killed runs left only %d rows: the test proves nothing", left-1)
		}
	})
}

// TestHungTenantCostsItsTimeOnce has a tenant that answers nobody, not its sweep
// either.
func TestHungTenantCostsItsTimeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		sessions := bubbleOf(t, fleet.Config{Retries: -1, RequestTimeout: 10 * time.Second}, fleet.Tenant{}, served(func(*http.Request) (int, string) { return 0, "" }))
		builtin(t, "workspace-server").Run(t.Context(), sessions, smoke.RunOptions{})
		if took := time.Since(began); took > 25*time.Second { // eight requests at a time
			t.Errorf("it took %v", took)
		}
	})
}

// TestCreationUnderwayIsCleanedUp ends the run while the answer to a creation is
// out: it is waited for, and what it made is deleted, within the budget.
func TestCreationUnderwayIsCleanedUp(t *testing.T) {
	for name, c := range map[string]struct {
		takes   time.Duration
		deletes string
		says    string
	}{
		"it comes in time": {time.Second, "/things/7 /always", ""},
		"it never comes":   {time.Hour, "/always", "POST /things may have been carried out, but no answer shows what it created (probe "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				time.AfterFunc(100*time.Millisecond, cancel)
				var deletes []string
				sessions := bubble(t, fleet.Config{Retries: -1}, 1, func(r *http.Request) (int, string) {
					switch r.Method {
					case http.MethodPost:
						select {
						case <-time.After(c.takes):
						case <-r.Context().Done():
							return 0, ""
						}
						return 201, `{"id":7,"kind":"thing"}`
					case http.MethodDelete:
						if r.Context().Err() == nil {
							deletes = append(deletes, r.URL.Path)
						}
					}
					return 204, ""
				})
				got := load(t, "suite.yml", withCleanUp).Run(ctx, sessions, smoke.RunOptions{})[0].Checks[0]
				if got.Result != report.Errored || time.Since(began) > 2200*time.Millisecond || !strings.Contains(got.Detail, c.says) {
					t.Errorf("after %v: %+v", time.Since(began), got)
				}
				if c.takes < time.Minute && strings.Join(deletes, " ") != c.deletes {
					t.Errorf("deleted %q", deletes)
				}
			})
		})
	}
}

// TestWhatStaysIsNamedByItsID has a tenant that refuses clean-ups, and one whose
// clean-up has an expectation of its own.
func TestWhatStaysIsNamedByItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const create = `{post: /things, expect: 'status == 201 && json.kind == "thing"', save: {id: json.id}}`
		const suite = `checks:
 - {name: a, steps: [` + create + `], finally: [{delete: '/things/${id}?purge=true'}]}
 - {name: b, steps: [` + create + `], finally: [{delete: '/things/${id}', expect: 'status == 200 && json.gone == true'}]}`
		sessions := bubble(t, fleet.Config{}, 1, func(r *http.Request) (int, string) {
			if r.Method == http.MethodPost {
				return 201, `{"id":"abc-7","kind":"thing"}`
			}
			return 409, `{"error":"busy"}`
		})
		for _, c := range load(t, "suite.yml", suite).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks {
			if !strings.Contains(c.Detail, "DELETE /things/abc-7") || strings.Contains(c.Detail, "${id}") {
				t.Errorf("%+v", c)
			}
		}
	})
}

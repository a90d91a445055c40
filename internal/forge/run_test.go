package forge_test

import (
	"net/http"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/forge"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/forge/forgetest"
)

// Only an answer that says so cancels a run; whatever is not known is an error.
func TestCancelled(t *testing.T) {
	both(t, func(t *testing.T, f *forgetest.Forge) {
		for name, tt := range map[string]struct {
			run    forgetest.Run
			rights []forgetest.Right
			id     int64
			want   string // a part of the text; "error": an error
		}{
			"at work":       {id: 7},
			"waiting":       {run: forgetest.Run{Status: "waiting"}, id: 7},
			"cancelled":     {run: forgetest.Run{Status: "completed", Conclusion: "cancelled"}, id: 7, want: "cancelled"},
			"old Gitea":     {run: forgetest.Run{Status: "cancelled"}, id: 7, want: "cancelled"},
			"ended":         {run: forgetest.Run{Status: "completed", Conclusion: "failure"}, id: 7, want: "ended"},
			"another run":   {id: 8, want: "error"},
			"without right": {id: 7, rights: []forgetest.Right{forgetest.ReadContents}, want: "error"},
		} {
			t.Run(name, func(t *testing.T) {
				f := world(f.Gitea)
				f.Run = tt.run
				if tt.rights != nil {
					f.Rights = tt.rights
				}
				why, err := client(t, f).Cancelled(t.Context(), tt.id)
				if (err != nil) != (tt.want == "error") {
					t.Fatalf("Cancelled = %q, %v", why, err)
				}
				if err == nil && (why == "") != (tt.want == "") || err == nil && !strings.Contains(why, tt.want) {
					t.Errorf("Cancelled = %q, want %q", why, tt.want)
				}
			})
		}
	})
}

// A forge takes a job's token away when its run ends. A token that never worked
// says nothing about the run.
func TestTokenThatWasTakenAway(t *testing.T) {
	both(t, func(t *testing.T, f *forgetest.Forge) {
		c := client(t, f)
		gone := func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		f.Fault = gone
		if why, err := c.Cancelled(t.Context(), 7); err == nil || why != "" {
			t.Errorf("a token that never worked: %q, %v", why, err)
		}
		f.Fault = nil
		if err := c.SetStatus(t.Context(), second, forge.Status{State: forge.Pending, Context: "c"}); err != nil {
			t.Fatal(err)
		}
		f.Fault = gone
		if why, err := c.Cancelled(t.Context(), 7); err != nil || !strings.Contains(why, "token") {
			t.Errorf("a token that was taken away: %q, %v", why, err)
		}
	})
}

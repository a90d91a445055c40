package smoke_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// TestOtherSuiteFits has servers of the other generation of memory routes.
func TestOtherSuiteFits(t *testing.T) {
	for _, c := range []struct {
		suite  string
		routes sim.Memories
		web    bool
		hint   string
	}{
		{"canary", sim.PerWorkspaceRoutes, false, "this server has no /memories/commit; the suite workspace-server fits servers whose memories belong to workspaces (checks: workspace-server)"},
		{"canary", sim.PerWorkspaceRoutes, true, "this server has no /memories/commit; the suite workspace-server fits"},
		{"workspace-server", sim.DocumentedRoutes, false, "the suite canary fits servers with /memories/commit (checks: canary)"},
	} {
		tn := tenant(t, sim.TenantConfig{Memories: c.routes, Web: c.web})
		sessions := sessionsOf(t, quick, tn)
		for _, r := range builtin(t, c.suite).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks {
			if r.Name == trip && (r.Result != report.Failed || !strings.Contains(r.Hint, c.hint)) {
				t.Errorf("%s: %+v", c.suite, r)
			}
		}
		// A suite of the user's own gets no advice about ours.
		text, _ := smoke.Builtin(c.suite)
		for _, r := range load(t, "my.yml", string(text)).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks {
			if strings.Contains(r.Hint, "checks:") {
				t.Errorf("%+v", r)
			}
		}
		if left := tn.Left(); left != (sim.Counts{}) {
			t.Errorf("%s left %+v", c.suite, left)
		}
	}
}

// TestNothingThere has a server that answers 404 with an empty body to everything.
func TestNothingThere(t *testing.T) {
	nothing := served(func(*http.Request) (int, string) { return 404, "" })
	const own = "checks:\n - {name: a, get: /a, expect: 'status == 200 && json.ok == true'}"
	for name, c := range map[string]struct {
		suite, text string
		org         string
		want        report.Result
		hint        string
	}{
		"a foreign server":                {suite: "canary", org: "our-org", want: report.Errored, hint: "check this tenant's URL and org id"},
		"a foreign server, no org id":     {suite: "canary", want: report.Errored, hint: "check this tenant's URL and org id"},
		"a user's suite":                  {suite: "my.yml", text: own, want: report.Failed, hint: "this route is not there"},
		"a user's suite, with an org id":  {suite: "my.yml", text: own, org: "our-org", want: report.Errored, hint: "check this tenant's URL and org id"},
		"a user's suite, and one answers": {suite: "my.yml", text: own + "\n - {name: b, get: /b, auth: none, expect: 'status == 401 && json.ok == true'}", org: "our-org", want: report.Failed, hint: "this build lost the route"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				text := c.text
				if text == "" {
					b, _ := smoke.Builtin(c.suite)
					text = string(b)
				}
				server := nothing
				if strings.Contains(name, "answers") {
					server = func(r *http.Request) (int, string) {
						if r.URL.Path == "/b" {
							return 401, `{"ok":true}`
						}
						return 404, ""
					}
				}
				sessions := bubbleOf(t, fleet.Config{Retries: -1}, fleet.Tenant{OrgID: c.org}, server)
				for _, r := range load(t, c.suite, text).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks {
					if r.Name == "health" || r.Name == "b" || strings.Contains(r.Name, "org id") {
						continue
					}
					if r.Result != c.want || !strings.Contains(r.Hint, c.hint) {
						t.Errorf("%+v", r)
					}
				}
			})
		})
	}
}

// TestAgainWorksAfterTheCleanUp has a check whose later step asks about what is
// deleted when somebody reads the report.
func TestAgainWorksAfterTheCleanUp(t *testing.T) {
	const suite = `checks:
 - name: a
   steps:
    - {post: /things, expect: 'status == 201 && json.kind == "thing"', save: {id: json.id}}
    - {get: '/things/${id}', expect: 'status == 200 && json.sha startsWith sha'}
   finally: [{delete: '/things/${id}'}]`
	synctest.Test(t, func(t *testing.T) {
		create := `{"kind":"thing","id":"abc"}`
		run := func() string {
			sessions := bubbleOf(t, fleet.Config{}, fleet.Tenant{OrgID: "our-org"}, served(func(r *http.Request) (int, string) {
				if r.Method == http.MethodPost {
					return 201, create
				}
				return 200, `{"sha":"other"}`
			}))
			return load(t, "my suite.yml", suite).Run(t.Context(), sessions, smoke.RunOptions{SHA: "4c1d56e"})[0].Checks[0].Reproduce
		}
		const want = `CANARY_ADMIN_TOKENS="$TOKEN" canary-verify smoke --checks 'my suite.yml' --sha '4c1d56e' --org-ids 'our-org' --tenant-urls 'https://tenant.example'`
		if got := run(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		create = "{}"
		if got := run(); !strings.HasPrefix(got, "curl -sS -i -X POST 'https://tenant.example/things'") {
			t.Errorf("the first step: %s", got)
		}
	})
}

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

const orgHeader = "X-Molecule-Org-Id"

// TestOrgOfAStep looks at what is sent, and at the command that shows it again.
func TestOrgOfAStep(t *testing.T) {
	const suite = `checks:
 - {name: default, get: /default, expect: 'status == 200 && json.ok == true'}
 - {name: own, get: /own, org: own, expect: 'status == 200 && json.ok == true'}
 - {name: none, get: /none, org: none, expect: 'status == 404 && body == ""'}
 - {name: wrong, get: /wrong, org: wrong, expect: 'status == 404 && body == ""'}`
	synctest.Test(t, func(t *testing.T) {
		sent := make(chan string, 4)
		sessions := bubbleOf(t, fleet.Config{}, fleet.Tenant{OrgID: "our-org"}, served(func(r *http.Request) (int, string) {
			sent <- r.URL.Path + "=" + r.Header.Get(orgHeader)
			return 200, `{"ok":true}`
		}))
		checks := load(t, "suite", suite).Run(t.Context(), sessions, smoke.RunOptions{})[0].Checks
		orgs := map[string]string{}
		for range 4 {
			path, org, _ := strings.Cut(<-sent, "=")
			orgs[path] = org
		}
		if orgs["/default"] != "our-org" || orgs["/own"] != "our-org" || orgs["/none"] != "" || orgs["/wrong"] == "" || orgs["/wrong"] == "our-org" {
			t.Errorf("sent %v", orgs)
		}
		for i, want := range []string{"", "", "", orgHeader + ": wrong"} {
			c := checks[i]
			if pass := i < 2; pass != (c.Result == report.Passed) || !pass && c.Result != report.Failed {
				t.Errorf("%+v", c)
			}
			if i >= 2 && (!strings.Contains(c.Reproduce, want) || strings.Contains(c.Reproduce, "our-org") || !strings.Contains(c.Hint, "org guard")) {
				t.Errorf("%+v", c)
			}
		}
	})
}

// TestOrgChecksAreSkippedWithoutAnOrg demands that what can't be checked is said.
func TestOrgChecksAreSkippedWithoutAnOrg(t *testing.T) {
	for _, name := range smoke.BuiltinNames() {
		tn := tenant(t, sim.TenantConfig{NoOrg: true})
		reported := map[string]bool{}
		checks := builtin(t, name).Run(t.Context(), sessionsOf(t, quick, tn), smoke.RunOptions{
			Checked: func(_ int, c report.CheckResult) { reported[c.Name] = true },
		})[0].Checks
		skipped := 0
		for _, c := range checks {
			switch {
			case !reported[c.Name]:
				t.Errorf("%s: %s was not reported", name, c.Name)
			case c.Result == report.NotRun:
				skipped++
				if !strings.Contains(c.Name, "org id") || !strings.Contains(c.Detail, "there is no org id") || c.Rounds == 0 {
					t.Errorf("%s: %+v", name, c)
				}
			case c.Result != report.Passed:
				t.Errorf("%s: %+v", name, c)
			}
		}
		if skipped != 2 {
			t.Errorf("%s: %d checks were skipped", name, skipped)
		}
	}
}

// TestSkippedChecksDoNotEndASoak has a suite with a check that is skipped.
func TestSkippedChecksDoNotEndASoak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const suite = oneCheckOf + `
 - {name: b, get: /b, org: none, expect: 'status == 404 && body == ""'}`
		n := 0
		sessions := bubble(t, fleet.Config{}, 1, func(*http.Request) (int, string) { n++; return 200, `{"ok":true}` })
		checks := load(t, "suite", suite).Run(t.Context(), sessions, smoke.RunOptions{Soak: 20 * smoke.DefaultSoakInterval})[0].Checks
		if n < 20 || checks[0].Result != report.Passed || checks[1].Result != report.NotRun {
			t.Errorf("%d requests: %+v", n, checks)
		}
	})
}

const oneCheckOf = "checks:\n - {name: a, get: /a, expect: 'status == 200 && json.ok == true'}"

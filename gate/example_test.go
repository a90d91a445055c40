package gate_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/gate"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// A program of one's own runs the checks against one tenant. Mode verify takes a
// promote.Config in addition, and moves the target tag on green.
func Example() {
	product := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/buildinfo" {
			fmt.Fprint(w, `{"git_sha":"4c1d56e0b7a92f3844de61c05b9a7d20e8f31c6b"}`)
			return
		}
		fmt.Fprint(w, `{"status":"ok"}`)
	}))
	defer product.Close()

	tenants, err := fleet.ParseLists(product.URL, "the-admin-token", "", false)
	if err != nil {
		fmt.Println(err)
		return
	}
	suite, err := smoke.Load("mine.yml", []byte(`checks: [{name: health, get: /health, expect: 'status == 200 && json.status == "ok"'}]`))
	if err != nil {
		fmt.Println(err)
		return
	}
	g, err := gate.New(gate.Plan{
		Mode: report.ModeSmoke, SHA: "4c1d56e", Tenants: tenants, Suite: suite,
	})
	if err != nil {
		fmt.Println(err) // everything that is wrong with the plan, before any request
		return
	}
	result := g.Run(context.Background())
	fmt.Println(result.Verdict, result.Reason, result.IdentityProven)
	// Output: green 1 check passed on 1 tenant true
}

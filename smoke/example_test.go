package smoke_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// A suite of one check, run on one tenant. It needs no registry and no runner.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"status":"degraded"}`)
	}))
	defer server.Close()

	suite, err := smoke.Load("health.yml", []byte(`
checks:
  - name: health
    get: /health
    auth: none
    expect: status == 200 && json.status == "ok"
`))
	if err != nil {
		log.Fatal(err)
	}
	tenants, err := fleet.New([]fleet.Tenant{{Name: "my tenant", URL: server.URL, Token: secret.New("the-admin-token")}}, fleet.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer tenants.Close()

	results := suite.Run(context.Background(), tenants.Sessions(), smoke.RunOptions{})
	for _, tenant := range results {
		for _, check := range tenant.Checks {
			fmt.Printf("%s: %s: %s\n%s\ngot %s\n", tenant.Name, check.Name, check.Result, check.Detail, check.Got)
		}
	}
	// Output:
	// my tenant: health: fail
	// GET /health: expected json.status == "ok", got json.status = "degraded"
	// got status 200, application/json, json.status = "degraded", body: {"status":"degraded"}
}

// An expectation that also passes on a dead tenant is found when it is loaded.
func ExampleLoad() {
	_, err := smoke.Load("suite.yml", []byte(`strict: true
checks:
  - {name: workspaces, get: /workspaces, expect: 'status == 200 && body contains "["'}
`))
	fmt.Println(err)
	// Output:
	// suite.yml:3:51: check "workspaces" can't tell a dead tenant from a live one: it also passes on an HTML page with status 200 that repeats the request; on []. The first is what a web front end, a login page or a proxy in front of a dead service sends; the check would pass, and the build would be promoted. Require something of the JSON, for example: is_array(json), or len(json.id) > 0, or is_map(json.subsystems) && len(json.subsystems) > 0
	//   3 |   - {name: workspaces, get: /workspaces, expect: 'status == 200 && body contains "["'}
	//     |                                                   ^
}

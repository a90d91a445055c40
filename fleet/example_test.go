package fleet_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
)

func ExampleParseTenants() {
	tenants, err := fleet.ParseTenants([]byte(`
- name: canary-pm
  url: https://pm.canary.example.com/
  token: an-admin-token
  org-id: org_1
- {url: "https://qa.canary.example.com:8443", token: another-token}
`), false)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range tenants {
		fmt.Println(t.Name, t.URL, t.Token)
	}
	// Output:
	// canary-pm https://pm.canary.example.com ***
	// qa.canary.example.com:8443 https://qa.canary.example.com:8443 ***
}

func ExampleParseLists_invalid() {
	_, err := fleet.ParseLists("https://a.example.com http://b.example.com", "short", "", false)
	fmt.Println(err)
	// Output:
	// Tokens: 1 entry for 2 URLs; give one token for each URL, in the same order
	// Tokens: entry 1: shorter than 8 characters
	// URLs: entry 2: is plain http to a host that is not loopback, which would show the token to the network; use https, or allow plain http
}

func ExampleFleet_Wait() {
	tenant := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"git_sha":"4c1d56e9a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5"}`)
	}))
	defer tenant.Close()

	tenants, err := fleet.ParseLists(tenant.URL, "an-admin-token", "", false)
	if err != nil {
		fmt.Println(err)
		return
	}
	f, err := fleet.New(tenants, fleet.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	rollouts, err := f.Wait(context.Background(), fleet.WaitOptions{Commit: "4c1d56e", Timeout: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range rollouts {
		fmt.Println(r.State, r.Version.Short(), r.Polls)
	}
	// Output:
	// current 4c1d56e 4
}

package gate

import (
	"encoding/json"
	"errors"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

// good is a tenant that held in every way.
func good() tenantEvidence {
	return tenantEvidence{
		name:   "canary-a",
		before: fleet.Rollout{State: fleet.Current}, after: fleet.Rollout{State: fleet.Current},
		results: []smoke.CheckResult{{Name: "liveness", Result: smoke.Passed}, {Name: "events", Result: smoke.Passed}},
	}
}

// with returns a good tenant after a change.
func with(change func(*tenantEvidence)) tenantEvidence {
	t := good()
	t.name = "canary-b"
	change(&t)
	return t
}

func TestJudge(t *testing.T) {
	refused := &promote.RefusedError{Rule: "backwards", Reason: "it is older"}
	failed := with(func(t *tenantEvidence) { t.results[1].Result = smoke.Failed })
	errored := with(func(t *tenantEvidence) { t.results[1].Result = smoke.Errored })
	tests := []struct {
		name string
		e    evidence
		want Verdict
	}{
		{"nothing at all", evidence{}, Inconclusive},
		{"no tenant", evidence{identity: true, checks: 2}, Inconclusive},
		{"no check", evidence{identity: true, tenants: []tenantEvidence{good()}}, Inconclusive},
		{"a tenant that nobody asked", evidence{identity: true, checks: 2, tenants: []tenantEvidence{good(), {}}}, Inconclusive},
		{"everything held", evidence{identity: true, checks: 2, tenants: []tenantEvidence{good(), good()}}, Green},
		{"identity can't be told", evidence{checks: 2, tenants: []tenantEvidence{with(func(t *tenantEvidence) {
			t.before, t.after = fleet.Rollout{}, fleet.Rollout{}
		})}}, Green},
		{"refused", evidence{refused: refused, identity: true, checks: 2, tenants: []tenantEvidence{good()}}, Refused},
		{"a contradiction", evidence{identity: true, checks: 2, tenants: []tenantEvidence{good(), failed}}, Red},
		{"red wins over inconclusive", evidence{identity: true, checks: 2, tenants: []tenantEvidence{errored, failed}}, Red},
		{"red wins over a cancel", evidence{doubt: errors.New("cancelled"), identity: true, checks: 2, tenants: []tenantEvidence{failed}}, Red},
		{"could not be judged", evidence{identity: true, checks: 2, tenants: []tenantEvidence{good(), errored}}, Inconclusive},
		{"skipped check", evidence{identity: true, checks: 2, tenants: []tenantEvidence{with(func(t *tenantEvidence) {
			t.results[0].Result = smoke.Skipped
		})}}, Inconclusive},
		{"unjudged check", evidence{identity: true, checks: 2, tenants: []tenantEvidence{with(func(t *tenantEvidence) {
			t.results[0] = smoke.CheckResult{}
		})}}, Inconclusive},
		{"a check is missing", evidence{identity: true, checks: 2, tenants: []tenantEvidence{with(func(t *tenantEvidence) {
			t.results = t.results[:1]
		})}}, Inconclusive},
		{"cancelled or moved meanwhile", evidence{doubt: errors.New("moved"), identity: true, checks: 2, tenants: []tenantEvidence{good()}}, Inconclusive},
	}
	for _, state := range []fleet.RolloutState{fleet.Unknown, fleet.Unreachable, fleet.Stale} {
		for _, when := range []string{"before", "after"} {
			tests = append(tests, struct {
				name string
				e    evidence
				want Verdict
			}{state.String() + " " + when, evidence{identity: true, checks: 2, tenants: []tenantEvidence{good(), with(func(t *tenantEvidence) {
				if when == "before" {
					t.before.State = state
				} else {
					t.after.State = state
				}
			})}}, Inconclusive})
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, reason := judge(tt.e)
			if got != tt.want {
				t.Errorf("judge = %s (%s), want %s", got, reason, tt.want)
			}
			if reason == "" {
				t.Error("no reason is given")
			}
		})
	}
}

func TestZeroVerdictIsInconclusive(t *testing.T) {
	var v Verdict
	if v.String() != "inconclusive" || exits[v] != ExitInconclusive {
		t.Errorf("the zero verdict is %s with exit %d", v, exits[v])
	}
	if got := Verdict(99).String(); got != "inconclusive" {
		t.Errorf("an impossible verdict reads %s", got)
	}
}

func TestVerdictSurvivesJSON(t *testing.T) {
	for v := range Verdict(len(verdictNames)) {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var back Verdict
		if err := json.Unmarshal(data, &back); err != nil || back != v {
			t.Errorf("%s came back as %s (%v)", v, back, err)
		}
	}
	var v Verdict
	if json.Unmarshal([]byte(`"purple"`), &v) == nil {
		t.Error("an unknown word was taken for a verdict")
	}
}

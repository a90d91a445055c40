package gate

import (
	"errors"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// good is a tenant on which everything is well.
func good() report.Tenant {
	return report.Tenant{
		Name:    "canary-a",
		Rollout: &report.Rollout{State: report.Current}, After: &report.Rollout{State: report.Current},
		Checks: []report.CheckResult{{Name: "liveness", Result: report.Passed}, {Name: "events", Result: report.Passed}},
	}
}

// with returns a good tenant after a change.
func with(change func(*report.Tenant)) report.Tenant {
	t := good()
	t.Name = "canary-b"
	change(&t)
	return t
}

func TestJudge(t *testing.T) {
	refused := &promote.RefusedError{Rule: promote.RuleBackwards, Reason: "it is older"}
	failed := with(func(t *report.Tenant) { t.Checks[1].Result = report.Failed })
	errored := with(func(t *report.Tenant) { t.Checks[1].Result = report.Errored })
	tests := []struct {
		name string
		e    evidence
		want report.Verdict
	}{
		{"nothing at all", evidence{}, report.Inconclusive},
		{"no tenant", evidence{identity: true, checks: 2}, report.Inconclusive},
		{"no check", evidence{identity: true, tenants: []report.Tenant{good()}}, report.Inconclusive},
		{"a tenant that nobody asked", evidence{identity: true, checks: 2, tenants: []report.Tenant{good(), {}}}, report.Inconclusive},
		{"everything passed", evidence{identity: true, checks: 2, tenants: []report.Tenant{good(), good()}}, report.Green},
		{"there is no version endpoint", evidence{checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) {
			t.Rollout, t.After = nil, nil
		})}}, report.Green},
		{"refused", evidence{refused: refused, identity: true, checks: 2, tenants: []report.Tenant{good()}}, report.Refused},
		{"a check failed", evidence{identity: true, checks: 2, tenants: []report.Tenant{good(), failed}}, report.Red},
		{"red wins over inconclusive", evidence{identity: true, checks: 2, tenants: []report.Tenant{errored, failed}}, report.Red},
		{"red wins over a cancel", evidence{doubt: errors.New("cancelled"), identity: true, checks: 2, tenants: []report.Tenant{failed}}, report.Red},
		{"an error", evidence{identity: true, checks: 2, tenants: []report.Tenant{good(), errored}}, report.Inconclusive},
		{"skipped check", evidence{identity: true, checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) {
			t.Checks[0].Result = report.NotRun
		})}}, report.Inconclusive},
		{"a check that nobody judged", evidence{identity: true, checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) {
			t.Checks[0] = report.CheckResult{}
		})}}, report.Inconclusive},
		{"a check is missing", evidence{identity: true, checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) {
			t.Checks = t.Checks[:1]
		})}}, report.Inconclusive},
		{"asked before, not after", evidence{identity: true, checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) { t.After = nil })}}, report.Inconclusive},
		{"asked after, not before", evidence{identity: true, checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) { t.Rollout = nil })}}, report.Inconclusive},
		{"a check that could not apply", evidence{identity: true, checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) {
			t.Checks[0] = report.CheckResult{Name: "org guard", Result: report.NotRun, Detail: "no org id is configured"}
		})}}, report.Green},
		{"no check could apply", evidence{identity: true, checks: 1, tenants: []report.Tenant{with(func(t *report.Tenant) {
			t.Checks = []report.CheckResult{{Name: "org guard", Result: report.NotRun, Detail: "no org id is configured"}}
		})}}, report.Inconclusive},
		{"flaky", evidence{identity: true, checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) { t.Checks[0].Flaky = true })}}, report.Green},
		{"flaky, where that does not count", evidence{identity: true, steady: true, checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) { t.Checks[0].Flaky = true })}}, report.Inconclusive},
		{"mixed before", evidence{identity: true, checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) { t.Rollout.State = report.Mixed })}}, report.Inconclusive},
		{"mixed after", evidence{identity: true, checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) { t.After.State = report.Mixed })}}, report.Inconclusive},
		{"cancelled or moved meanwhile", evidence{doubt: errors.New("moved"), identity: true, checks: 2, tenants: []report.Tenant{good()}}, report.Inconclusive},
	}
	for _, state := range []report.RolloutState{report.UnknownCommit, report.Unreachable, report.Stale} {
		for _, when := range []string{"before", "after"} {
			tests = append(tests, struct {
				name string
				e    evidence
				want report.Verdict
			}{state.String() + " " + when, evidence{identity: true, checks: 2, tenants: []report.Tenant{good(), with(func(t *report.Tenant) {
				if when == "before" {
					t.Rollout.State = state
				} else {
					t.After.State = state
				}
			})}}, report.Inconclusive})
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

// A tenant that runs another commit after the checks explains what else went
// wrong meanwhile: it is the reason, not a refused connection.
func TestChangedCommitOutranksErrors(t *testing.T) {
	_, reason := judge(evidence{identity: true, checks: 2, tenants: []report.Tenant{with(func(t *report.Tenant) {
		t.Checks[1] = report.CheckResult{Name: "events", Detail: "connection refused"}
		t.After = &report.Rollout{State: report.Stale, Version: "66b9c04"}
	})}})
	if !strings.Contains(reason, "66b9c04") {
		t.Errorf("the reason is %q, want the other commit", reason)
	}
}

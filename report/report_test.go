package report_test

import (
	"encoding/json"
	"strings"
	"testing"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

var (
	sha1   = report.Commit("4c1d56e0b7a92f3844de61c05b9a7d20e8f31c6b")
	sha256 = report.Commit(strings.Repeat("4c1d56e0", 8))
)

func TestParseCommit(t *testing.T) {
	for _, valid := range []string{"4c1d56e", "4C1D56E", string(sha1), string(sha256)} {
		if c, err := report.ParseCommit(valid); err != nil || string(c) != strings.ToLower(valid) {
			t.Errorf("ParseCommit(%q) = %q, %v", valid, c, err)
		}
	}
	for _, invalid := range []string{"", "dev", "4c1d56", "4c1d56g", string(sha1) + "0", string(sha256[:63]), string(sha256) + "0", " 4c1d56e", "v1.2.3"} {
		if c, err := report.ParseCommit(invalid); err == nil || c != "" {
			t.Errorf("ParseCommit(%q) = %q, %v; want an error", invalid, c, err)
		}
	}
}

func TestSameCommit(t *testing.T) {
	tests := []struct {
		a, b report.Commit
		want bool
	}{
		{"4c1d56e", sha1, true},
		{sha1, "4c1d56e", true},
		{"4c1d56e", sha256, true},
		{sha1, sha1, true},
		{"4c1d56f", sha1, false},
		{"", "", false},
		{"", sha1, false},
		{"4c1d56", sha1, false}, // too short to mean one commit
		{"dev", "dev", false},
	}
	for _, tt := range tests {
		if got := tt.a.Same(tt.b); got != tt.want {
			t.Errorf("%q.Same(%q) = %v", tt.a, tt.b, got)
		}
		if got := tt.b.Same(tt.a); got != tt.want {
			t.Errorf("%q.Same(%q) = %v", tt.b, tt.a, got)
		}
	}
	if got := report.Commit("4c1d56e").Longest(sha1); got != sha1 {
		t.Errorf("the longest form is %s", got)
	}
	if got := report.Commit("4c1d56f").Longest(sha1); got != "4c1d56f" {
		t.Errorf("another commit's form was taken: %s", got)
	}
}

func TestParseDigest(t *testing.T) {
	valid := "sha256:" + strings.Repeat("0af9", 16)
	if d, err := report.ParseDigest(valid); err != nil || d.Short() != "sha256:0af90af90af9" {
		t.Errorf("ParseDigest = %q, %v", d, err)
	}
	for _, invalid := range []string{"", "latest", "sha256:", valid + "0", strings.ToUpper(valid), "md5:" + strings.Repeat("0", 32)} {
		if d, err := report.ParseDigest(invalid); err == nil || d != "" {
			t.Errorf("ParseDigest(%q) = %q, %v; want an error", invalid, d, err)
		}
	}
}

// Forgetting to decide decides nothing.
func TestZeroValuesPromoteNothing(t *testing.T) {
	var r report.Report
	var c report.CheckResult
	var tenant report.Tenant
	if r.Verdict != report.Inconclusive || r.Verdict.Exit() != report.ExitInconclusive || report.Verdict(99).Exit() != report.ExitInconclusive {
		t.Errorf("the zero verdict is %s, exit %d", r.Verdict, r.Verdict.Exit())
	}
	if c.Result != report.Errored || tenant.Standing() != report.StandsUndecided {
		t.Errorf("the zero check is %s, the zero tenant stands %v", c.Result, tenant.Standing())
	}
	if report.IdentityProven(nil) || report.IdentityProven([]report.Tenant{{}}) || report.Everywhere(nil) || report.Everywhere([]report.Image{{}}) {
		t.Error("nothing at all proves something")
	}
}

func TestEnumsSurviveJSON(t *testing.T) {
	type all struct {
		Verdict report.Verdict
		Tag     report.TagState
		Canary  report.CanaryState
		Rollout report.RolloutState
		Result  report.Result
	}
	for i := range 6 {
		before := all{report.Verdict(i), report.TagState(i), report.CanaryState(i), report.RolloutState(i), report.Result(i)}
		data, err := json.Marshal(before)
		if err != nil {
			t.Fatal(err)
		}
		var after all
		if err := json.Unmarshal(data, &after); err != nil {
			t.Fatal(err)
		}
		again, _ := json.Marshal(after)
		if string(again) != string(data) {
			t.Errorf("%s came back as %s", data, again)
		}
	}
	var v report.Verdict
	if json.Unmarshal([]byte(`"purple"`), &v) == nil {
		t.Error("an unknown word was taken for a verdict")
	}
}

func TestCausesAreGroupedAndOrdered(t *testing.T) {
	check := func(name string, result report.Result, answer string) report.CheckResult {
		return report.CheckResult{Name: name, Result: result, Answer: answer, Expected: "status == 401", Detail: name + " detail"}
	}
	current, stale := &report.Rollout{State: report.Current}, &report.Rollout{State: report.Stale, Version: "66b9c04"}
	tenants := []report.Tenant{
		{Name: "a", Rollout: current, After: current, Checks: []report.CheckResult{check("door", report.Failed, "answered 200"), check("list", report.Errored, "no answer: refused")}},
		{Name: "b", Rollout: current, After: stale, Checks: []report.CheckResult{check("door", report.Failed, "answered 200"), check("list", report.Failed, "answered 500")}},
		{Name: "c", Rollout: stale},
		{Name: "d", Rollout: current, After: current, Checks: []report.CheckResult{check("door", report.Passed, "")}},
	}
	var got []string
	for _, c := range report.CausesOf(tenants) {
		got = append(got, c.Check+"|"+c.What+"|"+strings.Join(c.Tenants, ","))
	}
	want := []string{
		"door|answered 200, expected status == 401|a,b",
		"list|answered 500, expected status == 401|b",
		"|after the checks: stale at 66b9c04|b",
		"list|no answer: refused, expected status == 401|a",
		"|stale at 66b9c04|c",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("causes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	r := report.Report{Causes: report.CausesOf(tenants)}
	if first, ok := r.FirstCause(); !ok || first.Check != "door" {
		t.Errorf("the first cause is %v, %v", first, ok)
	}
	if r.Verdict = report.Refused; true {
		if _, ok := r.FirstCause(); ok {
			t.Error("a refusal has a cause on a tenant")
		}
	}
}

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"0 checks": report.Count(0, "check"), "1 check": report.Count(1, "check"),
		"12,000 tenants": report.Count(12000, "tenant"), "2 entries": report.Count(2, "entry"), "3 days": report.Count(3, "day"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestInvalidErrorNamesThePlace(t *testing.T) {
	err := &report.InvalidError{Field: "Tenants", Entry: 2, Line: 5, Column: 3, Problem: "token: missing"}
	if got := err.Error(); got != "Tenants: entry 2, line 5, column 3: token: missing" {
		t.Errorf("got %q", got)
	}
}

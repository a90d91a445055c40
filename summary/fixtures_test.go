package summary

import (
	"fmt"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

// The fixtures: one report for each situation that people meet.

const (
	newSHA = "4c1d56e0a9b8c7d6e5f4031221304f5e6d7c8b9a"
	oldSHA = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432"
	newDig = "sha256:4c1d56e04c1d56e04c1d56e04c1d56e04c1d56e04c1d56e04c1d56e04c1d56e0"
	oldDig = "sha256:9f8e7d6c9f8e7d6c9f8e7d6c9f8e7d6c9f8e7d6c9f8e7d6c9f8e7d6c9f8e7d6c"
)

var start = time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

var suiteChecks = []string{"liveness", "workspaces", "memory round-trip", "memory search", "events", "liveness without bearer"}

func current() *gate.Rollout {
	return &gate.Rollout{State: "current", Version: newSHA, WaitedMS: 41200, Polls: 7}
}

func passing(i int, started time.Time) gate.Check {
	ms := int64(12 + 7*i)
	return gate.Check{Name: suiteChecks[i%len(suiteChecks)], Result: "pass", Attempts: 1, Started: started, DurationMS: ms,
		Rounds: 1, P50MS: ms, P95MS: ms, MaxMS: ms}
}

func tenant(name string) gate.Tenant {
	t := gate.Tenant{Name: name, URL: "https://" + name + ".example.com", Rollout: current(), After: current()}
	for i := range suiteChecks {
		t.Checks = append(t.Checks, passing(i, at(43)))
	}
	return t
}

func image(name, state string) gate.Image {
	created := at(-600)
	i := gate.Image{Image: "registry.example.com/molecule/" + name, Source: "staging-4c1d56e", Digest: newDig, Revision: newSHA,
		Created: &created, Target: "latest", Previous: oldDig, PreviousRevision: oldSHA, State: state, Now: oldDig}
	if state == "promoted" || state == "already" {
		i.Now = newDig
	}
	return i
}

// green is a run of verify that went well.
func green() *gate.Report {
	return &gate.Report{
		Schema: gate.Schema, Tool: "v1.2.3", Mode: "verify", SHA: newSHA, Verdict: gate.Green, Exit: gate.ExitOK,
		Reason: "6 checks held on 3 tenants", Started: at(0), Finished: at(47.5), IdentityProven: true, Ran: true, Promoted: true,
		Images:  []gate.Image{image("platform", "promoted"), image("frontend", "promoted")},
		Suite:   &gate.Suite{Name: "canary", Hash: "sha256:" + strings.Repeat("ab", 32), Checks: 6, Rounds: 1},
		Tenants: []gate.Tenant{tenant("canary-pm"), tenant("canary-design"), tenant("canary-ops")},
		Phases: []gate.Phase{
			{Name: "candidate", Started: at(0), Finished: at(0.6)}, {Name: "canary tag", Started: at(0.6), Finished: at(1)},
			{Name: "rollout", Started: at(1), Finished: at(43)}, {Name: "smoke", Started: at(43), Finished: at(44.4)},
			{Name: "identity", Started: at(44.4), Finished: at(44.6)}, {Name: "promote", Started: at(44.6), Finished: at(47.5)}},
		Warnings: []string{},
		Canary:   &gate.Canary{Tag: "canary", State: "moved"},
		Run: gate.Run{URL: "https://git.example.com/molecule/core/actions/runs/812", Repository: "molecule/core", Actor: "release-bot",
			CommitURL: "https://git.example.com/molecule/core/commit/" + newSHA, Event: "workflow_run"},
	}
}

// red is a run that met a tenant which lets everybody in.
func red() *gate.Report {
	r := green()
	r.Verdict, r.Exit, r.Promoted = gate.Red, gate.ExitRed, false
	r.Images = []gate.Image{image("platform", "unchanged"), image("frontend", "unchanged")}
	r.Canary.State = "restored"
	c := &r.Tenants[1].Checks[5]
	c.Result, c.Detail = "fail", "expected status == 401, got 200: the admin route answers without a bearer token"
	c.Expected, c.Got = "status == 401", `200 application/json {"subsystems":{"scheduler":{"seconds_ago":3}}}`
	c.Reproduce = `curl -sS -i -H 'X-Molecule-Org-Id: org_design' 'https://canary-design.example.com/admin/liveness'`
	r.Tenants[2].Checks[0].Flaky, r.Tenants[2].Checks[0].Attempts, r.Tenants[2].Checks[0].DurationMS = true, 3, 1640
	r.Reason = "canary-design: liveness without bearer: " + c.Detail
	r.Next = "Mend what the check found and merge again; latest was left alone."
	r.Phases[5] = gate.Phase{Name: "restore", Started: at(44.6), Finished: at(45.1)}
	r.Phases = append(r.Phases, gate.Phase{Name: "records", Started: at(45.1), Finished: at(45.6)})
	return r
}

// stale is a run whose fleet was not reached in time.
func stale() *gate.Report {
	r := red()
	r.Verdict, r.Exit, r.IdentityProven, r.Ran = gate.Inconclusive, gate.ExitInconclusive, false, false
	for i := range r.Tenants {
		r.Tenants[i].Checks, r.Tenants[i].After = []gate.Check{}, nil
	}
	r.Tenants[0].Rollout = &gate.Rollout{State: "stale", Version: oldSHA, WaitedMS: 420000, Polls: 199}
	r.Tenants[2].Rollout = &gate.Rollout{State: "unreachable", WaitedMS: 420000, Polls: 42, Detail: "connection refused; is the tenant torn down?"}
	r.Reason = "canary-pm: stale, it runs 9f8e7d6 after 7 min"
	r.Next = "Look at the auto-updater of canary-pm, then run again."
	r.Phases = r.Phases[:3]
	r.Finished = at(425)
	r.Phases[2].Finished = at(421)
	return r
}

// ownToken is a run whose own token was refused on one tenant.
func ownToken() *gate.Report {
	r := red()
	r.Verdict, r.Exit = gate.Inconclusive, gate.ExitInconclusive
	r.Tenants[1] = tenant("canary-design")
	for i := range r.Tenants[0].Checks[:5] {
		c := &r.Tenants[0].Checks[i]
		c.Result, c.Detail, c.Expected, c.Got = "error", "our own token was refused", "status == 200", `401 application/json {"error":"invalid admin auth token"}`
		c.Hint, c.Reproduce = "every admin route of this tenant refuses the token: look at admin-tokens", `curl -sS -i -H "Authorization: Bearer $TOKEN" 'https://canary-pm.example.com/admin/liveness'`
	}
	r.Reason = "canary-pm: liveness: could not be judged: our own token was refused"
	r.Next = "canary-pm: every admin route of this tenant refuses the token: look at admin-tokens"
	return r
}

func refused() *gate.Report {
	r := red()
	r.Verdict, r.Ran, r.IdentityProven, r.Tenants, r.Suite, r.Canary = gate.Refused, false, false, nil, nil, nil
	r.Tenants = []gate.Tenant{{Name: "canary-pm", URL: "https://canary-pm.example.com"}}
	r.Reason = "registry.example.com/molecule/platform: 4c1d56e is older than 9f8e7d6, which latest points at"
	r.Next = "Promote the newer commit, or give force a reason."
	r.Phases, r.Finished = r.Phases[:1], at(0.7)
	return r
}

func skipped() *gate.Report {
	return &gate.Report{Schema: gate.Schema, Tool: "v1.2.3", Mode: "verify", SHA: newSHA, Verdict: gate.Skipped,
		Reason: "no tenant is configured, so nothing was checked and nothing was promoted",
		Next:   "Set tenant-urls and admin-tokens (or tenants) to switch the gate on.", Started: at(0), Finished: at(0),
		Warnings: []string{"canary-verify is not configured: no tenant is given."}}
}

func dryRun() *gate.Report {
	r := green()
	r.DryRun, r.Promoted, r.Next = true, false, "Run again without dry-run to promote."
	r.Images = []gate.Image{image("platform", "unchanged"), image("frontend", "unchanged")}
	r.Canary.State = "untouched"
	return r
}

// partial is a promotion that failed and could not be undone.
func partial() *gate.Report {
	r := green()
	r.Exit, r.Promoted = gate.ExitRegistry, false
	r.Images = []gate.Image{image("platform", "promoted"), image("frontend", "unchanged"), image("worker", "unknown")}
	r.Images[0].Detail = "moving it back failed: 500 Internal Server Error"
	r.Images[2].Now, r.Images[2].Previous, r.Images[2].PreviousRevision = "", "", ""
	r.Reason = "registry.example.com/molecule/frontend: PUT latest: 401 unauthorized: the token may not push"
	r.Next = "See where latest points below, mend what the registry refused, and run again: what is right already is left alone."
	return r
}

func restored() *gate.Report {
	r := partial()
	r.Images = []gate.Image{image("platform", "restored"), image("frontend", "unchanged")}
	return r
}

func rollback() *gate.Report {
	r := green()
	r.Mode, r.Verdict, r.SHA, r.Promoted, r.Ran, r.IdentityProven = "rollback", gate.None, oldSHA, false, false, false
	r.Tenants, r.Suite, r.Canary, r.Reason = []gate.Tenant{}, nil, nil, "rolled back from 4c1d56e to 9f8e7d6"
	for i := range r.Images {
		g := &r.Images[i]
		g.Digest, g.Previous, g.Now, g.Revision, g.PreviousRevision = oldDig, newDig, oldDig, oldSHA, newSHA
	}
	r.Rollback = &gate.Rollback{FromSHA: newSHA, ToSHA: oldSHA, LiveSince: at(-9000), LiveFor: 9000 * time.Second,
		PromotedBy: "https://git.example.com/molecule/core/actions/runs/799", Suite: "canary", SuiteHash: "sha256:" + strings.Repeat("ab", 32)}
	r.Phases, r.Finished = []gate.Phase{{Name: "rollback", Started: at(0), Finished: at(1.5)}}, at(1.5)
	r.Run.CommitURL = "https://git.example.com/molecule/core/commit/" + oldSHA
	return r
}

func status() *gate.Report {
	r := stale()
	r.Mode, r.Verdict, r.Reason, r.Next = "status", gate.None, "1 tenant of 3 tenants current", ""
	r.Images, r.Suite, r.Canary, r.Phases = nil, nil, nil, nil
	r.Finished = at(1.2)
	return r
}

func history() *gate.Report {
	r := green()
	r.Mode, r.Verdict, r.Reason, r.SHA = "history", gate.None, "3 steps behind latest", ""
	r.Tenants, r.Suite, r.Canary, r.Images, r.Phases = nil, nil, nil, nil, nil
	r.Promoted, r.Ran, r.IdentityProven = false, false, false
	r.Run.CommitURL = ""
	run := "https://git.example.com/molecule/core/actions/runs/"
	img := "registry.example.com/molecule/platform"
	r.History = []gate.HistoryEntry{
		{Image: img, Time: at(0), Event: "verified", SHA: newSHA, Digest: newDig, Replaced: oldDig, Actor: "release-bot", RunURL: run + "812", Current: true},
		{Image: img, Time: at(-90000), Event: "promoted", SHA: oldSHA, Digest: oldDig, Replaced: "sha256:" + strings.Repeat("77", 32), Actor: "ana", RunURL: run + "640", Reason: "hotfix, canary fleet was being moved"},
		{Image: img, Event: "unrecorded", Digest: "sha256:" + strings.Repeat("77", 32), Broken: "no record: it was live before records began"},
	}
	return r
}

func usage() *gate.Report {
	return &gate.Report{Schema: gate.Schema, Tool: "v1.2.3", Mode: "verify", Verdict: gate.None, Exit: gate.ExitUsage,
		Reason: "2 inputs are malformed", Next: "Mend the inputs named below; `canary-verify --help` lists them all.", Started: at(0), Finished: at(0),
		Faults: []string{"tenant-urls: item 2 has a query", "admin-tokens: 2 tokens for 3 tenant-urls"}}
}

// fleetOf is a run over n tenants, of which the given numbers fail.
func fleetOf(n int, failing func(i int) bool) *gate.Report {
	r := red()
	model := r.Tenants[1].Checks[5]
	r.Tenants = make([]gate.Tenant, 0, n)
	for i := range n {
		t := tenant(fmt.Sprintf("tenant-%05d", i))
		if failing(i) {
			t.Checks[5] = model
		}
		r.Tenants = append(r.Tenants, t)
	}
	r.Reason = "tenant-00000: liveness without bearer: " + model.Detail
	return r
}

// hostileText tries everything that a runner, a terminal or a forge would act on.
const hostileText = "::error::owned\n::set-output name=x::y\r\n##[error]x ##[[add-path] \x1b[31mred\x1b]8;;https://evil.example\x07link\x1b]8;;\x07 " +
	"\u202eRTL\u2066 zero\u200bwidth \ufeff | a | b |\n| --- | --- |\n# heading\n## h2\n- list\n1. one\n> quote\n> [!CAUTION]\n```\nfence\n```\n~~~\n" +
	"<script>alert(1)</script><img src=x onerror=alert(1)><!-- c --></details></summary><b>bold</b> &lt; &copy; &#64; " +
	"[link](https://evil.example) ![image](https://evil.example/x.png) [ref]: https://evil.example\n<https://evil.example> https://evil.example www.evil.example " +
	"mail@evil.example mailto:a@b.example @molecule @molecule/team #123 GH-45 molecule/core#7 !9 JIRA-12 " + newSHA + " 4c1d56e :+1: :rocket: **b** _i_ ~~s~~ `code` ``two`` \\` \\| |\\|| $x$ ]]> \x00\x85\u2028"

// hostile is red with every text of every tenant, image and record hostile.
func hostile(text string) *gate.Report {
	r := red()
	r.Reason, r.Next, r.Forced = text, text, text
	r.Warnings = []string{text, "plain"}
	for i := range r.Images {
		g := &r.Images[i]
		g.Image, g.Source, g.Target, g.Detail, g.Revision, g.Now = text, text, text, text, text, text
	}
	r.Canary = &gate.Canary{Tag: text, State: "moved", Detail: text}
	r.Suite.Name = text
	for i := range r.Tenants {
		t := &r.Tenants[i]
		t.Name, t.URL = text, text
		t.Rollout.Version, t.Rollout.Detail = text, text
		for j := range t.Checks {
			c := &t.Checks[j]
			c.Name, c.Detail, c.Got, c.Expected, c.Hint, c.Reproduce = text+fmt.Sprint(j), text, text, text, text, text
		}
	}
	r.Tenants[2].Rollout.State = "stale"
	r.History = []gate.HistoryEntry{{Image: text, Event: text, SHA: text, Digest: text, Replaced: text, Actor: text, RunURL: text, Reason: text, Broken: text, Current: true}}
	r.Rollback = &gate.Rollback{FromSHA: text, ToSHA: text, PromotedBy: text, Suite: text, SuiteHash: text}
	return r
}

// situations are the reports whose renderings are kept as golden files.
func situations() map[string]*gate.Report {
	return map[string]*gate.Report{
		"green": green(), "red": red(), "stale": stale(), "own-token": ownToken(), "refused": refused(), "skipped": skipped(),
		"dry-run": dryRun(), "partial": partial(), "restored": restored(), "rollback": rollback(), "status": status(),
		"history": history(), "usage": usage(), "hostile": hostile(hostileText), "zero": {},
	}
}

package summary

import (
	"fmt"
	"strings"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown/markdowntest"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
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

func current() *report.Rollout {
	return &report.Rollout{State: report.Current, Version: newSHA, Waited: millis(41200), Polls: 7}
}

func passing(i int, started time.Time) report.CheckResult {
	ms := millis(12 + 7*i)
	return report.CheckResult{Name: suiteChecks[i%len(suiteChecks)], Result: report.Passed, Attempts: 1, Started: started, Duration: ms,
		Rounds: 1, Latency: report.Latency{P50: ms, P95: ms, Max: ms}}
}

func millis(n int) report.Millis { return report.Millis(time.Duration(n) * time.Millisecond) }

func tenant(name string) report.Tenant {
	t := report.Tenant{Name: name, URL: "https://" + name + ".example.com", Rollout: current(), After: current()}
	for i := range suiteChecks {
		t.Checks = append(t.Checks, passing(i, at(43)))
	}
	return t
}

func image(name string, state report.TagState) report.Image {
	i := report.Image{Image: "registry.example.com/molecule/" + name, Source: "staging-4c1d56e", Digest: newDig, Revision: newSHA,
		Created: at(-600), Target: "latest", Previous: oldDig, PreviousRevision: oldSHA, State: state, Now: oldDig}
	if state == report.Promoted || state == report.Already {
		i.Now = newDig
	}
	return i
}

// green is a run of verify that went well.
func green() *report.Report {
	return &report.Report{
		Schema: report.Schema, Tool: "v1.2.3", Mode: "verify", SHA: newSHA, Verdict: report.Green, Exit: report.ExitOK,
		Reason: "6 checks passed on 3 tenants", Started: at(0), Finished: at(47.5), IdentityProven: true, Ran: true, Promoted: true,
		Images:  []report.Image{image("platform", report.Promoted), image("frontend", report.Promoted)},
		Suite:   &report.Suite{Name: "canary", Hash: "sha256:" + strings.Repeat("ab", 32), Checks: 6, Rounds: 1},
		Tenants: []report.Tenant{tenant("canary-pm"), tenant("canary-design"), tenant("canary-ops")},
		Phases: []report.Phase{
			{Name: "candidate", Started: at(0), Finished: at(0.6)}, {Name: "canary tag", Started: at(0.6), Finished: at(1)},
			{Name: "rollout", Started: at(1), Finished: at(43)}, {Name: "smoke", Started: at(43), Finished: at(44.4)},
			{Name: "identity", Started: at(44.4), Finished: at(44.6)}, {Name: "promote", Started: at(44.6), Finished: at(47.5)}},
		Warnings: []string{},
		Canary:   &report.Canary{Tag: "canary", State: report.CanaryMoved},
		Run: report.Run{URL: "https://git.example.com/molecule/core/actions/runs/812", Repository: "molecule/core", Actor: "release-bot",
			CommitURL: "https://git.example.com/molecule/core/commit/" + newSHA, Event: "workflow_run"},
	}
}

// red is a run that met a tenant which lets everybody in.
func red() *report.Report {
	r := green()
	r.Verdict, r.Exit, r.Promoted = report.Red, report.ExitRed, false
	r.Images = []report.Image{image("platform", report.Unchanged), image("frontend", report.Unchanged)}
	r.Canary.State = report.CanaryRestored
	c := &r.Tenants[1].Checks[5]
	c.Result, c.Answer, c.Detail = report.Failed, "answered 200", "expected status == 401, got 200: the admin route answers without a bearer token"
	c.Expected, c.Got = "status == 401", `200 application/json {"subsystems":{"scheduler":{"seconds_ago":3}}}`
	c.Reproduce = `curl -sS -i -H 'X-Molecule-Org-Id: org_design' 'https://canary-design.example.com/admin/liveness'`
	r.Tenants[2].Checks[0].Flaky, r.Tenants[2].Checks[0].Attempts, r.Tenants[2].Checks[0].Duration = true, 3, millis(1640)
	r.Reason = "canary-design: liveness without bearer: " + c.Detail
	r.Causes = report.CausesOf(r.Tenants)
	r.Next = "Fix what the check found and merge again; latest was not moved."
	r.Phases[5] = report.Phase{Name: "restore", Started: at(44.6), Finished: at(45.1)}
	r.Phases = append(r.Phases, report.Phase{Name: "records", Started: at(45.1), Finished: at(45.6)})
	return r
}

// stale is a run whose fleet was not reached in time.
func stale() *report.Report {
	r := red()
	r.Verdict, r.Exit, r.IdentityProven, r.Ran = report.Inconclusive, report.ExitInconclusive, false, false
	for i := range r.Tenants {
		r.Tenants[i].Checks, r.Tenants[i].After = []report.CheckResult{}, nil
	}
	r.Tenants[0].Rollout = &report.Rollout{State: report.Stale, Version: oldSHA, Waited: millis(420000), Polls: 199}
	r.Tenants[2].Rollout = &report.Rollout{State: report.Unreachable, Waited: millis(420000), Polls: 42, Detail: "connection refused; is the tenant torn down?"}
	r.Reason = "canary-pm: stale, it runs 9f8e7d6 after 7 min"
	r.Causes = report.CausesOf(r.Tenants)
	r.Next = "Look at the auto-updater of canary-pm, then run again."
	r.Phases = r.Phases[:3]
	r.Finished = at(425)
	r.Phases[2].Finished = at(421)
	return r
}

// ownToken is a run whose own token was refused on one tenant.
func ownToken() *report.Report {
	r := red()
	r.Verdict, r.Exit = report.Inconclusive, report.ExitInconclusive
	r.Tenants[1] = tenant("canary-design")
	for i := range r.Tenants[0].Checks[:5] {
		c := &r.Tenants[0].Checks[i]
		c.Result, c.Answer, c.Detail, c.Expected, c.Got = report.Errored, "answered 401", "our own token was refused", "status == 200", `401 application/json {"error":"invalid admin auth token"}`
		c.Hint, c.Reproduce = "every admin route of this tenant refuses the token: check the token", `curl -sS -i -H "Authorization: Bearer $TOKEN" 'https://canary-pm.example.com/admin/liveness'`
	}
	r.Reason = "canary-pm: liveness: error: our own token was refused"
	r.Causes = report.CausesOf(r.Tenants)
	r.Next = "canary-pm: every admin route of this tenant refuses the token: check the token"
	return r
}

// outage is a run in which every tenant gave the same wrong answer, and one of
// them moved to another commit meanwhile.
func outage() *report.Report {
	r := red()
	for i := range r.Tenants {
		r.Tenants[i].Checks[5] = red().Tenants[1].Checks[5]
	}
	r.Tenants[2].After = &report.Rollout{State: report.Stale, Version: oldSHA, Waited: millis(45000), Polls: 2}
	r.IdentityProven = false
	r.Causes = report.CausesOf(r.Tenants)
	return r
}

func refused() *report.Report {
	r := red()
	r.Verdict, r.Ran, r.IdentityProven, r.Tenants, r.Suite, r.Canary = report.Refused, false, false, nil, nil, nil
	r.Tenants = []report.Tenant{{Name: "canary-pm", URL: "https://canary-pm.example.com"}}
	r.Causes = []report.Cause{}
	r.Reason = "registry.example.com/molecule/platform: 4c1d56e is older than 9f8e7d6, which latest points at"
	r.Next = "Promote the newer commit, or give force a reason."
	r.Phases, r.Finished = r.Phases[:1], at(0.7)
	return r
}

func skipped() *report.Report {
	return &report.Report{Schema: report.Schema, Tool: "v1.2.3", Mode: "verify", SHA: newSHA, Verdict: report.Skipped,
		Reason: "no tenant is configured, so nothing was checked and nothing was promoted",
		Next:   "Set tenant-urls and admin-tokens (or tenants) to switch the gate on.", Started: at(0), Finished: at(0),
		Warnings: []string{"canary-verify is not configured: no tenant is given."}}
}

func dryRun() *report.Report {
	r := green()
	r.DryRun, r.Promoted, r.Next = true, false, "Run again without dry-run to promote."
	r.Images = []report.Image{image("platform", report.Unchanged), image("frontend", report.Unchanged)}
	r.Canary.State = report.CanaryUntouched
	return r
}

// partial is a promotion that failed and could not be undone.
func partial() *report.Report {
	r := green()
	r.Exit, r.Promoted = report.ExitRegistry, false
	r.Images = []report.Image{image("platform", report.Promoted), image("frontend", report.Unchanged), image("worker", report.UnknownState)}
	r.Images[0].Detail = "moving it back failed: 500 Internal Server Error"
	r.Images[2].Now, r.Images[2].Previous, r.Images[2].PreviousRevision = "", "", ""
	r.Reason = "registry.example.com/molecule/frontend: PUT latest: 401 unauthorized: the token may not push"
	r.Next = "See where latest points below, fix what the registry refused, and run again: images already in place are not touched."
	return r
}

func restored() *report.Report {
	r := partial()
	r.Images = []report.Image{image("platform", report.Restored), image("frontend", report.Unchanged)}
	return r
}

func rollback() *report.Report {
	r := green()
	r.Mode, r.Verdict, r.SHA, r.Promoted, r.Ran, r.IdentityProven = "rollback", report.None, oldSHA, false, false, false
	r.Tenants, r.Suite, r.Canary, r.Reason = []report.Tenant{}, nil, nil, "rolled back from 4c1d56e to 9f8e7d6"
	for i := range r.Images {
		g := &r.Images[i]
		g.Digest, g.Previous, g.Now, g.Revision, g.PreviousRevision = oldDig, newDig, oldDig, oldSHA, newSHA
	}
	r.Rollback = &report.Rollback{FromSHA: newSHA, ToSHA: oldSHA, LiveSince: at(-9000), LiveFor: 9000 * time.Second,
		PromotedBy: "https://git.example.com/molecule/core/actions/runs/799", Suite: "canary", SuiteHash: "sha256:" + strings.Repeat("ab", 32),
		PostMortem: "# Post-mortem: `4c1d56e` was rolled back\n\n## What people saw\n"}
	r.Phases, r.Finished = []report.Phase{{Name: "rollback", Started: at(0), Finished: at(1.5)}}, at(1.5)
	r.Run.CommitURL = "https://git.example.com/molecule/core/commit/" + oldSHA
	return r
}

func status() *report.Report {
	r := stale()
	r.Mode, r.Verdict, r.Reason, r.Next = "status", report.None, "1 tenant of 3 tenants current", ""
	r.Images, r.Suite, r.Canary, r.Phases = nil, nil, nil, nil
	r.Finished = at(1.2)
	return r
}

func history() *report.Report {
	r := green()
	r.Mode, r.Verdict, r.Reason, r.SHA = "history", report.None, "4 decisions about latest, which is on hold since 2026-03-14 03:00:00 UTC, by ana: invoices are wrong", ""
	r.Tenants, r.Suite, r.Canary, r.Images, r.Phases = nil, nil, nil, nil, nil
	r.Promoted, r.Ran, r.IdentityProven = false, false, false
	r.Run.CommitURL = ""
	run := "https://git.example.com/molecule/core/actions/runs/"
	const ancestor = "sha256:7777777777777777777777777777777777777777777777777777777777777777"
	img := "registry.example.com/molecule/"
	const signed = "sha256:" + "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"
	both := func(digest, replaced report.Digest) []report.DecidedImage {
		return []report.DecidedImage{{Image: img + "platform", Digest: digest, Replaced: replaced}, {Image: img + "frontend", Digest: digest, Replaced: replaced}}
	}
	r.Held = &report.Hold{By: "ana", At: at(0), Reason: "invoices are wrong"}
	r.History = []report.Decision{
		{ID: "d4", Seq: 4, Time: at(0), Event: report.EventRolledBack, SHA: newSHA, Actor: "ana", RunURL: run + "812", Reason: "invoices are wrong", SignedBy: signed, Held: true, Images: both(newDig, oldDig)},
		{ID: "d3", Seq: 3, Time: at(-9000), Event: report.EventVerified, SHA: newSHA, Actor: "release-bot", RunURL: run + "799", SignedBy: signed, Images: both(newDig, oldDig)},
		{ID: "d2", Seq: 2, Time: at(-90000), Event: report.EventPromoted, SHA: oldSHA, Actor: "ana", RunURL: run + "640", Reason: "hotfix, canary fleet was being moved", Forced: "no record", Current: true,
			Broken: "the record before it is not in the registry", Images: both(oldDig, ancestor)},
		{Event: "", Images: both(ancestor, "")},
	}
	return r
}

func usage() *report.Report {
	return &report.Report{Schema: report.Schema, Tool: "v1.2.3", Mode: "verify", Verdict: report.None, Exit: report.ExitUsage,
		Reason: "2 invalid inputs", Next: "Fix the inputs named below; `canary-verify --help` lists them all.", Started: at(0), Finished: at(0),
		Faults: []string{"tenant-urls: item 2 has a query", "admin-tokens: 2 tokens for 3 tenant-urls"}}
}

// fleetOf is a run over n tenants, of which the given numbers fail.
func fleetOf(n int, failing func(i int) bool) *report.Report {
	r := red()
	model := r.Tenants[1].Checks[5]
	r.Tenants = make([]report.Tenant, 0, n)
	for i := range n {
		t := tenant(fmt.Sprintf("tenant-%05d", i))
		if failing(i) {
			t.Checks[5] = model
		}
		r.Tenants = append(r.Tenants, t)
	}
	r.Reason = "tenant-00000: liveness without bearer: " + model.Detail
	r.Causes = report.CausesOf(r.Tenants)
	return r
}

// hostile is red with every text of every tenant, image and record hostile.
func hostile(text string) *report.Report {
	r := red()
	r.Reason, r.Next, r.Forced = text, text, text
	r.Warnings = []string{text, "plain"}
	for i := range r.Images {
		g := &r.Images[i]
		g.Image, g.Source, g.Target, g.Detail, g.Revision, g.Now = text, text, text, text, text, report.Digest(text)
	}
	r.Canary = &report.Canary{Tag: text, State: report.CanaryMoved, Detail: text}
	r.Suite.Name = text
	for i := range r.Tenants {
		t := &r.Tenants[i]
		t.Name, t.URL = text, text
		t.Rollout.Version, t.Rollout.Detail = report.Commit(text), text
		for j := range t.Checks {
			c := &t.Checks[j]
			c.Name, c.Detail, c.Got, c.Expected, c.Hint, c.Reproduce, c.Answer = text+fmt.Sprint(j), text, text, text, text, text, text
		}
	}
	r.Tenants[2].Rollout.State = report.Stale
	r.History = []report.Decision{hostileDecision(text)}
	r.Held, r.Signed = &report.Hold{By: text, At: at(0), Reason: text}, text
	r.Admission = &report.Admission{Image: text, Digest: report.Digest(text), Reason: text}
	r.Rollback = &report.Rollback{FromSHA: report.Commit(text), ToSHA: report.Commit(text), PromotedBy: text, Suite: text, SuiteHash: text, PostMortem: "draft " + strings.ReplaceAll(text, "\n", " ")}
	r.Causes = report.CausesOf(r.Tenants)
	return r
}

func hostileDecision(text string) report.Decision {
	return report.Decision{ID: text, Seq: 1, Event: report.Event(text), SHA: report.Commit(text), Actor: text, RunURL: text, Reason: text, Forced: text + "2", SignedBy: text,
		Held: true, Current: true, Broken: text, Images: []report.DecidedImage{{Image: text, Digest: report.Digest(text), Replaced: report.Digest(text)}}}
}

// held is green, and not promoted because the target is on hold.
func held() *report.Report {
	r := green()
	r.Verdict, r.Exit, r.Promoted = report.Refused, report.ExitRed, false
	r.Images = []report.Image{image("platform", report.Unchanged), image("frontend", report.Unchanged)}
	r.Canary.State = report.CanaryRestored
	r.Held = &report.Hold{By: "ana", At: at(-5400), Reason: "invoices are wrong"}
	r.Reason = "6 checks passed on 3 tenants, but latest is " + r.Held.String()
	r.Next = "When the reason for the hold is gone, release latest with `canary-verify release --reason …`, then promote this commit with `canary-verify promote --sha 4c1d56e`."
	r.Signed = "sha256:" + strings.Repeat("5e", 32)
	return r
}

// byHand is a run of a mode that needs no tenant and moves no tag.
func byHand(mode report.Mode, reason string) *report.Report {
	r := green()
	r.Mode, r.Verdict, r.SHA, r.Reason = mode, report.None, "", reason
	r.Tenants, r.Suite, r.Canary, r.Images = nil, nil, nil, nil
	r.Promoted, r.Ran, r.IdentityProven, r.Run.CommitURL = false, false, false, ""
	r.Phases, r.Finished = []report.Phase{{Name: report.PhaseName(mode), Started: at(0), Finished: at(0.8)}}, at(0.8)
	return r
}

func onHold() *report.Report {
	r := byHand("hold", "latest is on hold: invoices are wrong")
	r.Held = &report.Hold{By: "ana", At: at(0), Reason: "invoices are wrong"}
	r.Next = "Nothing is promoted to latest until `canary-verify release --reason …`."
	return r
}

func admitted() *report.Report {
	r := byHand("admit", "registry.example.com/molecule/platform:latest may run as "+newDig)
	r.Admission = &report.Admission{Admitted: true, Image: "registry.example.com/molecule/platform:latest", Digest: newDig}
	return r
}

func notAdmitted() *report.Report {
	r := byHand("admit", "registry.example.com/molecule/platform@"+newDig+" may not run: it was rolled-back (decision 9)")
	r.Verdict, r.Exit = report.Refused, report.ExitRed
	r.Admission = &report.Admission{Image: "registry.example.com/molecule/platform@" + newDig, Digest: newDig, Reason: "it was rolled-back (decision 9)"}
	return r
}

// unsettled was promoted, and then nobody could read the tags.
func unsettled() *report.Report {
	r := green()
	r.Exit = report.ExitAfterwards
	r.Reason = "it was promoted, but the tags could not be read once more after the move: 503 Service Unavailable"
	r.Next = "latest was moved: see where it points below, and make sure that this is meant."
	return r
}

// situations are the reports whose renderings are kept as golden files.
func situations() map[string]*report.Report {
	return map[string]*report.Report{
		"green": green(), "red": red(), "stale": stale(), "own-token": ownToken(), "outage": outage(), "refused": refused(), "skipped": skipped(),
		"dry-run": dryRun(), "partial": partial(), "restored": restored(), "rollback": rollback(), "status": status(),
		"held": held(), "hold": onHold(), "release": byHand("release", "latest is released: fixed in 4c1d56e"), "unsettled": unsettled(),
		"admitted": admitted(), "not-admitted": notAdmitted(),
		"history": history(), "usage": usage(), "hostile": hostile(markdowntest.Hostile), "zero": {},
	}
}

package summary

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/markdown/markdowntest"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

func TestHeadline(t *testing.T) {
	for name, want := range map[string]string{
		"green":     "GREEN: 4c1d56e: 6 checks passed on 3 tenants; latest now points at it",
		"red":       "RED: 4c1d56e is rejected; latest stays at 9f8e7d6. canary-design: liveness without bearer: expected status == 401, got 200: the admin route answers without a bearer token",
		"stale":     "INCONCLUSIVE: no verdict on 4c1d56e; latest stays at 9f8e7d6. canary-pm: stale, it runs 9f8e7d6 after 7 min",
		"refused":   "REFUSED: 4c1d56e may not be promoted; latest stays at 9f8e7d6. registry.example.com/molecule/platform: 4c1d56e is older than 9f8e7d6, which latest points at",
		"skipped":   "SKIPPED: no check ran and nothing was promoted. no tenant is configured, so nothing was checked and nothing was promoted",
		"dry-run":   "GREEN: 4c1d56e: 6 checks passed on 3 tenants (dry run); latest stays at 9f8e7d6",
		"partial":   "PROMOTION FAILED: 4c1d56e is green, but the registry did not move it; it is unknown where latest points for some images. registry.example.com/molecule/frontend: PUT latest: 401 unauthorized: the token may not push",
		"restored":  "PROMOTION FAILED: 4c1d56e is green, but the registry did not move it; latest is back where it was. registry.example.com/molecule/frontend: PUT latest: 401 unauthorized: the token may not push",
		"rollback":  "ROLLED BACK: from 4c1d56e to 9f8e7d6; latest now points at 9f8e7d6",
		"status":    "NOT CURRENT: 1 of 3 tenants run 4c1d56e",
		"history":   "HISTORY: 4 decisions about latest, which is on hold since 2026-03-14 03:00:00 UTC, by ana: invoices are wrong",
		"held":      "REFUSED: 4c1d56e may not be promoted; latest stays at 9f8e7d6. 6 checks passed on 3 tenants, but latest is on hold since 2026-03-14 01:30:00 UTC, by ana: invoices are wrong",
		"hold":      "HOLD: latest is on hold: invoices are wrong",
		"release":   "RELEASE: latest is released: fixed in 4c1d56e",
		"unsettled": "PROMOTED WITH ERRORS: 4c1d56e; latest now points at it. it was promoted, but the tags could not be read once more after the move: 503 Service Unavailable",
		"admitted":  "ADMITTED: registry.example.com/molecule/platform:latest may run as " + newDig,
		"usage":     "CONFIGURATION ERROR: no request was sent and no tag was moved. 2 invalid inputs",
		"zero":      "INCONCLUSIVE: no verdict on the fleet",
		"own-token": "INCONCLUSIVE: no verdict on 4c1d56e; latest stays at 9f8e7d6. canary-pm: liveness: error: our own token was refused",
	} {
		if got := Headline(situations()[name]); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

func TestStatusDescription(t *testing.T) {
	for name, want := range map[string]string{
		"green":     "green: 4c1d56e: 6 checks passed on 3 tenants; latest now points at it",
		"red":       "red: canary-design: liveness without bearer: expected status == 401, got 200: the admin route answers without a bearer token",
		"stale":     "inconclusive: canary-pm: stale, it runs 9f8e7d6",
		"own-token": "inconclusive: canary-pm: liveness: our own token was refused",
		"outage":    "red: 3 tenants: liveness without bearer: answered 200, expected status == 401",
		"refused":   "refused: registry.example.com/molecule/platform: 4c1d56e is older than 9f8e7d6, which latest points at",
		"restored":  "promotion failed: latest is back where it was: registry.example.com/molecule/frontend: PUT latest: 401 unauthorized: the token may not push",
		"rollback":  "rolled back: from 4c1d56e to 9f8e7d6; latest now points at 9f8e7d6",
	} {
		got := StatusDescription(situations()[name])
		if got != want || runes(got) > 140 {
			t.Errorf("%s:\n got %s (%d)\nwant %s", name, got, runes(got), want)
		}
	}
	r := red()
	r.Causes[0].Tenants[0] = strings.Repeat("very-long-host.", 10) + ":8443"
	if got := StatusDescription(r); !strings.Contains(got, "liveness without bearer") {
		t.Errorf("a long name hides the check: %q", got)
	}
}

// Only a run that ended well may look like one, whatever a report says besides.
func TestDoubtIsTheDefault(t *testing.T) {
	for _, exit := range []report.Exit{1, 2, 3, 4, 5, -1} {
		r := green()
		r.Exit = exit
		if s := assess(r); s.tone == toneGood {
			t.Errorf("green with exit %d is shown as %s", exit, s.word)
		}
	}
	for verdict := report.Verdict(-1); verdict < 9; verdict++ {
		r := &report.Report{Verdict: verdict}
		if s := assess(r); s.tone == toneGood && verdict != report.Green {
			t.Errorf("verdict %v of nothing is shown as %s", verdict, s.word)
		}
	}
	r := status()
	r.Exit = report.ExitOK
	if s := assess(r); s.tone == toneGood {
		t.Errorf("a stale fleet is shown as %s", s.word)
	}
	r.Tenants = nil
	if s := assess(r); s.tone == toneGood {
		t.Errorf("an empty fleet is shown as %s", s.word)
	}
}

// What must be seen of a rejected commit, in every format that people read.
func TestRedFlagsTheCommit(t *testing.T) {
	r := red()
	for name, page := range map[string]string{"markdown": Markdown(r), "text": Text(r, false, 0), "html": string(written(t, HTML, r))} {
		head := page
		if i := strings.Index(page, "mages"); i > 0 {
			head = page[:i]
		}
		for _, want := range []string{"RED", newSHA, "canary-design", "liveness without bearer", "9f8e7d6"} {
			if !strings.Contains(head, want) {
				t.Errorf("%s: %q is not at the top", name, want)
			}
		}
		if !strings.Contains(page, "curl") {
			t.Errorf("%s: no command line to see it again", name)
		}
	}
	lines := strings.Split(strings.TrimSpace(Text(r, false, 0)), "\n")
	if !strings.HasPrefix(lines[0], "RED: ") || lines[len(lines)-1] != lines[0] {
		t.Errorf("the first line is %q, the last %q", lines[0], lines[len(lines)-1])
	}
}

func TestText(t *testing.T) {
	plain := Text(red(), false, 0)
	if strings.Contains(plain, "\x1b") {
		t.Error("an escape sequence without colours")
	}
	if !strings.Contains(Text(red(), true, 0), "\x1b[1;31mRED\x1b[0m") {
		t.Error("no colour with colours")
	}
	for line := range strings.Lines(Text(red(), false, 60)) {
		if strings.HasPrefix(line, "reason: ") && runes(line) > 61 {
			t.Errorf("not wrapped: %q", line)
		}
	}
	if !strings.Contains(Text(red(), false, 40), red().Tenants[1].Checks[5].Reproduce) {
		t.Error("a command line was wrapped")
	}
}

// Failing tenants are shown whole, the others counted, whatever the size.
func TestLargeFleet(t *testing.T) {
	r := fleetOf(10000, func(i int) bool { return i%2000 == 7 })
	md, txt := Markdown(r), Text(r, false, 0)
	for _, page := range []string{md, txt, string(written(t, HTML, r))} {
		for _, name := range []string{"tenant-00007", "tenant-02007", "tenant-08007"} {
			if !strings.Contains(page, name) {
				t.Errorf("%s is missing", name)
			}
		}
		if !strings.Contains(page, "9,9") || len(page) > 200<<10 {
			t.Errorf("%d bytes", len(page))
		}
	}
	golden(t, "truncated.md", []byte(md))
	golden(t, "truncated.txt", []byte(txt))
}

// At worst every tenant fails with long texts: the rows stay, the blocks go.
func TestMarkdownNeverExceeds(t *testing.T) {
	for name, text := range map[string]string{"pipes": strings.Repeat("|", 4500), "entities": strings.Repeat("< ", 4500), "wide": strings.Repeat("語", 4500)} {
		r := fleetOf(300, func(int) bool { return true })
		for i := range r.Tenants {
			c := &r.Tenants[i].Checks[5]
			c.Name, c.Expected, c.Got, c.Detail, c.Hint, c.Reproduce = text, text, text, text, text, text
			r.Tenants[i].Name, r.Tenants[i].URL, r.Tenants[i].After = text, text, &report.Rollout{State: report.Stale, Detail: text, Version: report.Commit(text)}
		}
		for range 120 {
			r.Warnings = append(r.Warnings, text)
			r.Images = append(r.Images, report.Image{Image: text, Source: text, Digest: report.Digest(text), Target: text, Previous: report.Digest(text), Now: report.Digest(text), State: report.UnknownState, Detail: text})
			r.History = append(r.History, hostileDecision(text))
			r.Faults = append(r.Faults, text)
		}
		r.Exit, r.Reason, r.Next, r.Rollback = report.ExitRegistry, text, text, &report.Rollback{FromSHA: report.Commit(text), PostMortem: text}
		r.Causes = report.CausesOf(r.Tenants)
		for range 120 {
			r.Causes = append(r.Causes, r.Causes[0])
			r.Phases = append(r.Phases, report.Phase{Name: report.PhaseName(text)})
		}
		md := Markdown(r)
		if len(md) > MaxMarkdown {
			t.Errorf("%s: %d bytes", name, len(md))
		}
		for _, want := range []string{"### Tenants", "Not shown", "more causes", "<sub>"} {
			if !strings.Contains(md, want) {
				t.Errorf("%s: %q is missing", name, want)
			}
		}
		if opened, closed := strings.Count(md, "<details"), strings.Count(md, "</details>"); opened != closed {
			t.Errorf("%s: %d blocks opened, %d closed", name, opened, closed)
		}
	}
}

func TestJUnitIsReadBack(t *testing.T) {
	for name, r := range situations() {
		var suites junit.Testsuites
		if err := xml.Unmarshal(written(t, JUnit, r), &suites); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		bad := suites.Failures + suites.Errors
		if (bad == 0) != (r.Exit == report.ExitOK) && name != "zero" {
			t.Errorf("%s: exit %d with %d failures and errors", name, r.Exit, bad)
		}
		tests, failures, errs, skipped := 0, 0, 0, 0
		ids := map[int]bool{}
		for _, s := range suites.Suites {
			ids[s.ID] = true
			tests, failures, errs, skipped = tests+len(s.Testcases), failures+s.Failures, errs+s.Errors, skipped+s.Skipped
			if _, err := time.Parse(time.RFC3339, s.Timestamp); s.Name == "" || err != nil {
				t.Errorf("%s: suite %q of %q", name, s.Name, s.Timestamp)
			}
		}
		if tests != suites.Tests || failures != suites.Failures || errs != suites.Errors || skipped != suites.Skipped || len(ids) != len(suites.Suites) || tests == 0 {
			t.Errorf("%s: the totals are wrong", name)
		}
	}
}

func TestJUnitOutcomes(t *testing.T) {
	var suites junit.Testsuites
	if err := xml.Unmarshal(written(t, JUnit, red()), &suites); err != nil {
		t.Fatal(err)
	}
	if suites.Failures != 1 || suites.Errors != 0 || suites.Suites[1].Testcases[5].Failure == nil {
		t.Errorf("red: %d failures, %d errors", suites.Failures, suites.Errors)
	}
	suites = junit.Testsuites{}
	if err := xml.Unmarshal(written(t, JUnit, ownToken()), &suites); err != nil {
		t.Fatal(err)
	}
	if suites.Failures != 0 || suites.Errors != 5 {
		t.Errorf("own token: %d failures, %d errors", suites.Failures, suites.Errors)
	}
	suites = junit.Testsuites{}
	if err := xml.Unmarshal(written(t, JUnit, stale()), &suites); err != nil {
		t.Fatal(err)
	}
	if c := suites.Suites[0].Testcases[0]; suites.Errors != 2 || c.Name != "rollout" || c.Error == nil || c.Error.Type != "stale" {
		t.Errorf("stale: %+v", suites)
	}
}

func TestJSONIsReadBack(t *testing.T) {
	for name, r := range situations() {
		raw := written(t, JSON, r)
		var back report.Report
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&back); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if bytes.Contains(raw, []byte("null")) {
			t.Errorf("%s: a list is null: %s", name, raw)
		}
		if back.Verdict != r.Verdict || back.Exit != r.Exit || len(back.Tenants) != len(r.Tenants) {
			t.Errorf("%s: read back as %+v", name, back)
		}
	}
	r := &report.Report{Tenants: []report.Tenant{{Checks: []report.CheckResult{}}, {}}}
	written(t, JSON, r)
	if r.Tenants[1].Checks != nil {
		t.Error("writing changed the report")
	}
}

// The shape of the history is for other programs: fields are only ever added to it.
func TestHistoryJSON(t *testing.T) {
	for name, r := range map[string]*report.Report{"history-shape.json": history(), "history-empty-shape.json": {}} {
		var b bytes.Buffer
		if err := HistoryJSON(&b, r, "latest"); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
	}
}

// A record's address is foreign: it is a link only where this run was made.
func TestHistoryLinks(t *testing.T) {
	r := history()
	r.History = r.History[1:2]
	for address, linked := range map[string]bool{
		"https://git.example.com/molecule/core/actions/runs/9": true, "https://evil.example/x": false, "": false,
	} {
		r.History[0].RunURL = address
		for name, page := range map[string]markdowntest.Page{
			"markdown": markdowntest.Dissect(t, markdowntest.Render(t, Markdown(r))), "html": markdowntest.Dissect(t, written(t, HTML, r)),
		} {
			found := 0
			for a := range page.Addresses {
				if a != "data:," && a != r.Run.URL {
					found++
				}
			}
			if (found == 1) != linked || found > 1 {
				t.Errorf("%s: %q gave %v", name, address, page.Addresses)
			}
		}
	}
}

func TestRepairs(t *testing.T) {
	want := []string{
		"crane tag registry.example.com/molecule/platform@" + oldDig + " latest",
		"crane delete registry.example.com/molecule/worker:latest  # it was absent before",
	}
	if got := repairs(partial()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q", got)
	}
	if got := repairs(red()); got != nil {
		t.Errorf("nothing moved, and yet %q", got)
	}
	r := partial()
	r.Images[0].Image = "x; rm -rf $HOME 'y'"
	if got := repairs(r)[0]; !strings.HasPrefix(got, `crane tag 'x; rm -rf $HOME '\''y'\''@sha256:`) {
		t.Errorf("%s", got)
	}
}

func TestBar(t *testing.T) {
	for _, tc := range []struct {
		from, to, whole time.Duration
		want            string
	}{
		{0, 10, 0, ""}, {-1, 5, 10, ""}, {6, 5, 10, ""}, {0, 20, 10, ""},
		{0, 10, 10, "████████████████████"}, {0, 0, 10, "█░░░░░░░░░░░░░░░░░░░"}, {10, 10, 10, "░░░░░░░░░░░░░░░░░░░█"},
		{5, 10, 10, "░░░░░░░░░░██████████"}, {0, 1, 1000000, "█░░░░░░░░░░░░░░░░░░░"},
	} {
		if got := bar(tc.from, tc.to, tc.whole); got != tc.want {
			t.Errorf("bar(%d, %d, %d) = %q, want %q", tc.from, tc.to, tc.whole, got, tc.want)
		}
	}
}

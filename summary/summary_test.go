package summary

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"git.moleculesai.app/molecule-ai/canary-verify/gate"
)

func TestHeadline(t *testing.T) {
	for name, want := range map[string]string{
		"green":     "GREEN: 4c1d56e: 6 checks held on 3 tenants; latest now points at it",
		"red":       "RED: 4c1d56e is rejected; latest stays at 9f8e7d6. canary-design: liveness without bearer: expected status == 401, got 200: the admin route answers without a bearer token",
		"stale":     "INCONCLUSIVE: 4c1d56e could not be judged; latest stays at 9f8e7d6. canary-pm: stale, it runs 9f8e7d6 after 7 min",
		"refused":   "REFUSED: 4c1d56e may not be promoted; latest stays at 9f8e7d6. registry.example.com/molecule/platform: 4c1d56e is older than 9f8e7d6, which latest points at",
		"skipped":   "SKIPPED: nothing was checked and nothing was promoted. no tenant is configured, so nothing was checked and nothing was promoted",
		"dry-run":   "GREEN: 4c1d56e: 6 checks held on 3 tenants (dry run); latest stays at 9f8e7d6",
		"partial":   "PROMOTION FAILED: 4c1d56e is green, but the registry did not move it; where latest points is not known for all images. registry.example.com/molecule/frontend: PUT latest: 401 unauthorized: the token may not push",
		"restored":  "PROMOTION FAILED: 4c1d56e is green, but the registry did not move it; latest is back where it was. registry.example.com/molecule/frontend: PUT latest: 401 unauthorized: the token may not push",
		"rollback":  "ROLLED BACK: from 4c1d56e to 9f8e7d6; latest now points at 9f8e7d6",
		"status":    "NOT CURRENT: 1 of 3 tenants run 4c1d56e",
		"history":   "HISTORY: 3 steps behind latest",
		"usage":     "CONFIGURATION ERROR: nothing was asked and nothing was moved. 2 inputs are malformed",
		"zero":      "INCONCLUSIVE: the fleet could not be judged",
		"own-token": "INCONCLUSIVE: 4c1d56e could not be judged; latest stays at 9f8e7d6. canary-pm: liveness: could not be judged: our own token was refused",
	} {
		if got := Headline(situations()[name]); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

func TestStatusDescription(t *testing.T) {
	for name, want := range map[string]string{
		"green":     "green: 4c1d56e: 6 checks held on 3 tenants; latest now points at it",
		"red":       "red: canary-design: liveness without bearer: expected status == 401, got 200: the admin route answers without a bearer token",
		"stale":     "inconclusive: canary-pm: stale, it runs 9f8e7d6",
		"own-token": "inconclusive: canary-pm: liveness: our own token was refused",
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
	r.Tenants[1].Name = strings.Repeat("very-long-host.", 10) + ":8443"
	if got := StatusDescription(r); !strings.Contains(got, "liveness without bearer") {
		t.Errorf("a long name hides the check: %q", got)
	}
}

// Only a run that ended well may look like one, whatever a report says besides.
func TestDoubtIsTheDefault(t *testing.T) {
	for _, exit := range []int{1, 2, 3, 4, 5, -1} {
		r := green()
		r.Exit = exit
		if s := assess(r); s.tone == toneGood {
			t.Errorf("green with exit %d is shown as %s", exit, s.word)
		}
	}
	for verdict := gate.Verdict(-1); verdict < 9; verdict++ {
		r := &gate.Report{Verdict: verdict}
		if s := assess(r); s.tone == toneGood && verdict != gate.Green {
			t.Errorf("verdict %v of nothing is shown as %s", verdict, s.word)
		}
	}
	r := status()
	r.Exit = gate.ExitOK
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
		if strings.HasPrefix(line, "first cause") && runes(line) > 61 {
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
	for name, text := range map[string]string{"words": strings.Repeat("word ", 2000), "pipes": strings.Repeat("|", 5000), "entities": strings.Repeat("< ", 5000), "wide": strings.Repeat("語", 5000)} {
		r := fleetOf(10000, func(int) bool { return true })
		for i := range r.Tenants {
			c := &r.Tenants[i].Checks[5]
			c.Name, c.Expected, c.Got, c.Detail, c.Hint, c.Reproduce = text, text, text, text, text, text
			r.Tenants[i].Name, r.Tenants[i].URL, r.Tenants[i].After = text, text, &gate.Rollout{State: text, Detail: text, Version: text}
		}
		for range 1000 {
			r.Warnings = append(r.Warnings, text)
			r.Images = append(r.Images, gate.Image{Image: text, Source: text, Digest: text, Target: text, Previous: text, Now: text, State: "unknown", Detail: text})
			r.History = append(r.History, gate.HistoryEntry{Image: text, Event: text, SHA: text, Digest: text, Replaced: text, Actor: text, RunURL: text, Reason: text, Broken: text})
			r.Faults = append(r.Faults, text)
		}
		r.Exit, r.Reason, r.Next, r.Rollback = gate.ExitRegistry, text, text, &gate.Rollback{FromSHA: text}
		md := Markdown(r)
		if len(md) > MaxMarkdown {
			t.Errorf("%s: %d bytes", name, len(md))
		}
		for _, want := range []string{"### Tenants", "Not shown here", "Left out for length", "<sub>"} {
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
		if (bad == 0) != (r.Exit == gate.ExitOK) && name != "zero" {
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
		var back gate.Report
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
	for _, r := range []*gate.Report{red(), hostile("\n \"tenants\": [],\n<&>\u2028"), {Images: []gate.Image{}, Phases: []gate.Phase{}, Warnings: []string{}, Tenants: []gate.Tenant{}}} {
		var plain bytes.Buffer
		enc := json.NewEncoder(&plain)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
		if got := written(t, JSON, r); !bytes.Equal(got, plain.Bytes()) {
			t.Errorf("differs from what the encoder writes at once:\n%s", got)
		}
	}
	r := &gate.Report{Tenants: []gate.Tenant{{Checks: []gate.Check{}}, {}}}
	written(t, JSON, r)
	if r.Tenants[1].Checks != nil {
		t.Error("writing changed the report")
	}
}

func TestPostMortem(t *testing.T) {
	got := PostMortem(rollback())
	for _, want := range []string{newSHA, oldSHA, "2026-03-14 00:30:00 UTC", "actions/runs/799", "2 h 30 min", "suite `canary`",
		"Which commit broke it?", "Why did the canary not catch it?", "Which check is to be added?"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	golden(t, "post-mortem.md", []byte(got))
	if title := PostMortemTitle(rollback()); title != "Rolled back 4c1d56e: why did the canary not catch it?" {
		t.Error(title)
	}
	if empty := PostMortem(&gate.Report{}); !strings.Contains(empty, "not recorded") {
		t.Error(empty)
	}
}

func TestWebAddress(t *testing.T) {
	for address, want := range map[string]string{
		"https://git.example.com/a?b=1#c":                   "https://git.example.com/a?b=1#c",
		"https://user:password@git.example.com/":            "https://git.example.com/",
		"https://git.example.com/>)[x](javascript:alert(1)": "https://git.example.com/%3E%29%5Bx%5D%28javascript:alert%281%29",
		`https://git.example.com/?a"b'c|d\e`:                "https://git.example.com/?a%22b%27c%7Cd%5Ce",
		"javascript:alert(1)":                               "", "//git.example.com": "", "https://": "", "https://a b": "", "https://a\n": "", "ftp://a": "", "": "",
		"https://" + strings.Repeat("a", 3000): "",
	} {
		if got := webAddress(address); got != want {
			t.Errorf("webAddress(%q) = %q, want %q", address, got, want)
		}
	}
}

// A record's address is foreign: it is a link only where this run was made.
func TestHistoryLinks(t *testing.T) {
	r := history()
	r.History = r.History[:1]
	for address, linked := range map[string]bool{
		"https://git.example.com/molecule/core/actions/runs/9": true, "https://GIT.example.com/x": true, "http://git.example.com/x": false,
		"https://evil.example/x": false, "https://git.example.com:8443/x": false, "https://git.example.com@evil.example/x": false, "": false,
	} {
		r.History[0].RunURL = address
		for name, page := range map[string]page{"markdown": dissect(t, renderGFM(t, Markdown(r))), "html": dissect(t, written(t, HTML, r))} {
			found := 0
			for a := range page.addresses {
				if a != "data:," && a != r.Run.URL {
					found++
				}
			}
			if (found == 1) != linked || found > 1 {
				t.Errorf("%s: %q gave %v", name, address, page.addresses)
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

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "0 ms", 0: "0 ms", 12 * time.Millisecond: "12 ms", 999 * time.Millisecond: "999 ms", 1640 * time.Millisecond: "1.6 s",
		9999 * time.Millisecond: "9.9 s", 41 * time.Second: "41 s", 425 * time.Second: "7 min 5 s", 2*time.Hour + 30*time.Minute: "2 h 30 min", 49 * time.Hour: "2 d 1 h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%d) = %s, want %s", d, got, want)
		}
	}
}

func TestBar(t *testing.T) {
	for _, tc := range []struct {
		part, whole int64
		want        string
	}{{0, 10, ""}, {10, 0, ""}, {-1, 5, ""}, {1, 1000000, "▏"}, {10, 10, "████"}, {5, 10, "██"}, {20, 10, "████"}, {3, 32, "▍"}} {
		if got := bar(tc.part, tc.whole, 4); got != tc.want {
			t.Errorf("bar(%d, %d) = %q, want %q", tc.part, tc.whole, got, tc.want)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	for name, failing := range map[string]func(int) bool{"few": func(i int) bool { return i%100 == 0 }, "all": func(int) bool { return true }} {
		r := fleetOf(10000, failing)
		for _, format := range []struct {
			name  string
			write func(io.Writer, *gate.Report) error
		}{
			{"markdown", func(w io.Writer, r *gate.Report) error { _, err := io.WriteString(w, Markdown(r)); return err }},
			{"text", func(w io.Writer, r *gate.Report) error { _, err := io.WriteString(w, Text(r, false, 0)); return err }},
			{"json", JSON}, {"junit", JUnit}, {"html", HTML},
		} {
			b.Run(name+"/"+format.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := format.write(io.Discard, r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

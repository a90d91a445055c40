package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/molecule"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

const newSHA = "4c1d56e9a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5"

// runs is the answer of a tenant that runs sha.
func runs(sha string) *http.Response { return answer(200, `{"git_sha":"`+sha+`"}`) }

func TestRolloutOf(t *testing.T) {
	const stale = "1234567890123456789012345678901234567890"
	tests := []struct {
		name    string
		answer  *http.Response
		field   string
		state   report.RolloutState
		version string
		detail  string
	}{
		{"full sha", runs(newSHA), "", report.Current, newSHA, ""},
		{"short sha", runs(newSHA[:7]), "", report.Current, newSHA[:7], ""},
		{"upper case", runs(strings.ToUpper(newSHA)), "", report.Current, newSHA, ""},
		{"line break behind it", runs(newSHA + `\n`), "", report.Current, newSHA, ""},
		{"nested field", answer(200, `{"build":{"git":{"sha":"`+newSHA+`"}}}`), "build.git.sha", report.Current, newSHA, ""},
		{"another commit", runs(stale), "", report.Stale, stale, "runs " + stale + ", not " + newSHA},
		{"six digits", runs(newSHA[:6]), "", report.UnknownCommit, "", `git_sha "4c1d56", which is not a commit`},
		{"dev", runs("dev"), "", report.UnknownCommit, "", `git_sha "dev", which is not a commit`},
		{"empty", runs(""), "", report.UnknownCommit, "", `git_sha "", which is not a commit`},
		{"no hex", runs("unknown-version"), "", report.UnknownCommit, "", "not a commit"},
		{"dirty", runs(newSHA + "-dirty"), "", report.UnknownCommit, "", "not a commit"},
		{"escapes", runs(`\u001b[31m::error::`), "", report.UnknownCommit, "", `\\x1b[31m`},
		{"missing field", answer(200, `{"version":"1"}`), "", report.UnknownCommit, "", "there is no field git_sha"},
		{"missing inside", answer(200, `{"build":{}}`), "build.sha", report.UnknownCommit, "", "there is no field build.sha"},
		{"no object inside", answer(200, `{"build":"x"}`), "build.sha", report.UnknownCommit, "", "build is not a JSON object"},
		{"field of another case", answer(200, `{"GIT_SHA":"`+newSHA+`"}`), "", report.UnknownCommit, "", "there is no field"},
		{"number", answer(200, `{"git_sha":1234567}`), "", report.UnknownCommit, "", "git_sha is not text"},
		{"null", answer(200, `{"git_sha":null}`), "", report.UnknownCommit, "", "git_sha is not text"},
		{"list", answer(200, `["`+newSHA+`"]`), "", report.UnknownCommit, "", "the body is not a JSON object"},
		{"null body", answer(200, `null`), "", report.UnknownCommit, "", "the body is not a JSON object"},
		{"nothing", answer(200, ""), "", report.UnknownCommit, "", "the body is not a JSON object"},
		{"two documents", answer(200, `{"git_sha":"`+newSHA+`"}{}`), "", report.UnknownCommit, "", "the body is not a JSON object"},
		{"HTML", answer(200, `<html>"git_sha":"`+newSHA+`"</html>`, "Content-Type", "text/html; charset=utf-8"), "", report.UnknownCommit, "", "answered text/html, expected JSON"},
		{"JSON that says to be HTML", answer(200, `{"git_sha":"`+newSHA+`"}`, "Content-Type", "text/html"), "", report.UnknownCommit, "", "answered text/html, expected JSON"},
		{"JSON that says to be text", answer(200, `{"git_sha":"`+newSHA+`"}`, "Content-Type", "text/plain; charset=utf-8"), "", report.UnknownCommit, "", "answered text/plain, expected JSON"},
		{"without a type", answer(200, `{"git_sha":"`+newSHA+`"}`, "Content-Type", ""), "", report.UnknownCommit, "", "without a media type, expected JSON"},
		{"JSON of a kind", answer(200, `{"git_sha":"`+newSHA+`"}`, "Content-Type", "application/vnd.build+json; v=1"), "", report.Current, newSHA, ""},
		{"key twice", answer(200, `{"git_sha":"`+stale+`","git_sha":"`+newSHA+`"}`), "", report.UnknownCommit, "", "has a key twice"},
		{"key twice, once escaped", answer(200, `{"git_sha":"`+newSHA+`","git\u005fsha":"`+newSHA+`"}`), "", report.UnknownCommit, "", "has a key twice"},
		{"key twice inside", answer(200, `{"build":{"x":1,"x":2,"sha":"`+newSHA+`"}}`), "build.sha", report.UnknownCommit, "", "build has a key twice"},
		{"something behind it", answer(200, `{"git_sha":"`+newSHA+`"} x`), "", report.UnknownCommit, "", "something follows"},
		{"one digit more", answer(200, `{"git_sha":"`+newSHA+`0"}`), "", report.UnknownCommit, "", "not a commit"},
		{"the digits of SHA-256", runs(newSHA + strings.Repeat("0", 24)), "", report.Stale, newSHA + strings.Repeat("0", 24), "not " + newSHA},
		{"too long", answer(200, `{"git_sha":"`+newSHA+`","x":"`+strings.Repeat("x", maxVersionBody)+`"}`), "", report.UnknownCommit, "", "more than 1024 KiB"},
		{"404", answer(404, "404 page not found"), "", report.UnknownCommit, "", "set it to none"},
		{"redirect", answer(302, "", "Location", "/login"), "", report.UnknownCommit, "", "a redirect, which is not followed"},
		{"no content", answer(204, ""), "", report.UnknownCommit, "", "answered 204, expected 200"},
		{"401", answer(401, `{"git_sha":"`+newSHA+`"}`), "", report.UnknownCommit, "", "answered 401, expected 200"},
		{"503", answer(503, `{"git_sha":"`+newSHA+`"}`), "", report.Unreachable, "", "answered 503"},
		{"500", answer(500, ""), "", report.Unreachable, "", "answered 500"},
		{"429", answer(429, ""), "", report.Unreachable, "", "answered 429"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fakeFleet(t, 1, Config{Retries: -1}, func(*http.Request) (*http.Response, error) { return tt.answer, nil })
			got := f.Probe(t.Context(), WaitOptions{Commit: newSHA, VersionField: tt.field})[0]
			if got.State != tt.state || string(got.Version) != tt.version || !strings.Contains(got.Detail, tt.detail) || got.Polls != 1 {
				t.Errorf("got %+v, want %s %q with %q", got, tt.state, tt.version, tt.detail)
			}
			if tt.state != report.Current && got.Detail == "" {
				t.Error("no detail")
			}
			if strings.ContainsAny(got.Detail, "\n\x1b") {
				t.Errorf("detail %q is not sanitised", got.Detail)
			}
		})
	}
}

func TestWaitSendsNoToken(t *testing.T) {
	var mu sync.Mutex
	var got http.Header
	var path string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got, path = r.Header, r.RequestURI
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		fmt.Fprintf(w, `{"git_sha":"%s"}`, newSHA)
	})
	session := testSession(t, s.URL, Config{})
	r, err := session.fleet.Wait(t.Context(), WaitOptions{Commit: "4c1d56e"})
	if err != nil || r[0].State != report.Current || r[0].Polls != 1+DefaultReads {
		t.Fatalf("%+v, %v", r, err)
	}
	if got.Get("Authorization") != "" || got.Get(molecule.OrgHeader) != "org_1" || path != "/buildinfo" {
		t.Errorf("asked %s with %v", path, got)
	}
}

func TestWaitRefusesWhatCanNeverBeMet(t *testing.T) {
	rt := func(*http.Request) (*http.Response, error) { t.Error("asked"); return runs(newSHA), nil }
	one := fakeFleet(t, 1, Config{}, rt)
	for name, o := range map[string]WaitOptions{
		"no commit": {}, "short commit": {Commit: "4c1d56"}, "no hex": {Commit: "staging-1"},
		"path": {Commit: newSHA, VersionPath: "none"}, "field": {Commit: newSHA, VersionField: "a..b"},
	} {
		r, err := one.Wait(t.Context(), o)
		if err == nil || len(r) != 1 || r[0].State != report.UnknownCommit || r[0].Detail == "" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if r := one.Probe(t.Context(), o); r[0].State != report.UnknownCommit || r[0].Detail == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := fakeFleet(t, 0, Config{}, rt).Wait(t.Context(), WaitOptions{Commit: newSHA}); !errors.Is(err, ErrNoTenants) {
		t.Errorf("an empty fleet: %v", err)
	}
}

// A tenant that turns current is noticed within one interval, is asked no more,
// and meanwhile polls come at least half an interval apart and in no lockstep.
func TestWaitPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval, turns, latency = 2 * time.Second, 31 * time.Second, 300 * time.Millisecond
		const n = 50
		var mu sync.Mutex
		polls := map[string][]time.Duration{}
		began := time.Now()
		f := fakeFleet(t, n, Config{}, func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			polls[r.URL.Host] = append(polls[r.URL.Host], time.Since(began))
			mu.Unlock()
			defer time.Sleep(latency)
			if time.Since(began) < turns {
				return runs("1234567"), nil
			}
			return runs(newSHA), nil
		})
		var news []string
		got, err := f.Wait(t.Context(), WaitOptions{Commit: newSHA, Interval: interval, Reads: 1, Changed: func(i int, r report.Rollout) {
			if i == 0 { // one call at a time: the race detector watches news
				news = append(news, r.State.String()+" "+r.Version.Short())
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"stale 1234567", "current 4c1d56e"}; !slices.Equal(news, want) {
			t.Errorf("news %q, want %q", news, want)
		}
		second := map[time.Duration]bool{}
		for i, r := range got {
			p := polls[fmt.Sprintf("tenant-%d.example.com", i)]
			if r.State != report.Current || time.Duration(r.Waited) < turns || time.Duration(r.Waited) > turns+interval+latency || r.Polls != len(p) {
				t.Errorf("tenant %d: %+v after %d polls", i, r, len(p))
			}
			if p[0] != 0 {
				t.Errorf("the first poll came after %s", p[0])
			}
			second[p[1]] = true
			for k := 1; k < len(p); k++ {
				if gap := p[k] - p[k-1]; gap < interval/2 || gap > interval {
					t.Errorf("polls %s apart", gap)
				}
			}
		}
		if len(second) < n/2 {
			t.Errorf("%d tenants were asked again at only %d different times", n, len(second))
		}
	})
}

func TestWaitTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet(t, 5, Config{}, func(r *http.Request) (*http.Response, error) {
			switch r.URL.Host {
			case "tenant-0.example.com":
				return runs(newSHA), nil
			case "tenant-1.example.com":
				return runs("1234567"), nil
			case "tenant-2.example.com":
				return hang(r)
			case "tenant-3.example.com":
				return nil, fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
			default:
				return answer(404, ""), nil
			}
		})
		began := time.Now()
		got, err := f.Wait(t.Context(), WaitOptions{Commit: newSHA, Timeout: time.Minute})
		if err != nil || time.Since(began) != time.Minute {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
		want := []struct {
			state  report.RolloutState
			detail string
			polls  int
		}{
			{report.Current, "", 4}, {report.Stale, "runs 1234567", 30}, {report.Unreachable, "no answer within 10s", 5},
			{report.Unreachable, "nothing listens", 30}, {report.UnknownCommit, "404", 30},
		}
		for i, r := range got {
			if r.State != want[i].state || !strings.Contains(r.Detail, want[i].detail) || r.Polls < want[i].polls {
				t.Errorf("tenant %d: %+v, want %+v", i, r, want[i])
			}
			if waited := time.Duration(r.Waited); i == 0 && waited != 0 || i > 0 && waited != time.Minute {
				t.Errorf("tenant %d waited %s", i, waited)
			}
		}
	})
}

// Twenty hung tenants among a hundred, and fewer slots than those: the others
// finish as if alone, since waiting holds no slot, and the wait ends on time.
func TestHungTenantsCostOnlyThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet(t, 100, Config{Concurrency: 25}, func(r *http.Request) (*http.Response, error) {
			var n int
			_, _ = fmt.Sscanf(r.URL.Host, "tenant-%d.", &n)
			if n%5 == 0 {
				return hang(r)
			}
			time.Sleep(50 * time.Millisecond)
			return runs(newSHA), nil
		})
		began := time.Now()
		got, err := f.Wait(t.Context(), WaitOptions{Commit: newSHA, Timeout: 30 * time.Second})
		if err != nil || time.Since(began) != 30*time.Second {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
		for i, r := range got {
			switch {
			case i%5 == 0 && (r.State != report.Unreachable || r.Polls < 2):
				t.Errorf("hung tenant %d: %+v", i, r)
			case i%5 != 0 && (r.State != report.Current || time.Duration(r.Waited) > 2*time.Second):
				t.Errorf("tenant %d: %+v", i, r)
			}
		}
		if len(f.slots) != 0 {
			t.Errorf("%d slots are still taken", len(f.slots))
		}
	})
}

// What a poll found stays, when the end of the wait cuts the next one short; a
// tenant that never answered is unreachable all the same.
func TestWaitEndsInThePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var polls atomic.Int32
		f := fakeFleet(t, 2, Config{}, func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "tenant-0.example.com" && polls.Add(1) == 1 {
				return runs("1234567"), nil
			}
			return hang(r)
		})
		got, err := f.Wait(t.Context(), WaitOptions{Commit: newSHA, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if got[0].State != report.Stale || got[0].Polls != 1 {
			t.Errorf("stale tenant: %+v", got[0])
		}
		if got[1].State != report.Unreachable || !strings.Contains(got[1].Detail, "did not answer in the 5s") {
			t.Errorf("silent tenant: %+v", got[1])
		}
	})
}

func TestWaitIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet(t, 3, Config{}, func(r *http.Request) (*http.Response, error) {
			switch r.URL.Host {
			case "tenant-0.example.com":
				return runs(newSHA), nil
			case "tenant-1.example.com":
				return runs("1234567"), nil
			default:
				return hang(r)
			}
		})
		reason := errors.New("cancelled by a person")
		ctx, cancel := context.WithCancelCause(t.Context())
		began := time.Now()
		time.AfterFunc(3500*time.Millisecond, func() { cancel(reason) })
		got, err := f.Wait(ctx, WaitOptions{Commit: newSHA})
		if !errors.Is(err, reason) || time.Since(began) != 3500*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if got[0].State != report.Current || got[1].State != report.Stale || got[2].State != report.Unreachable {
			t.Errorf("%+v", got)
		}
	})
}

func TestPollsAreNotRetriedButProbesAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int32
		f := fakeFleet(t, 1, Config{}, func(*http.Request) (*http.Response, error) {
			if attempts.Add(1) < 3 {
				return answer(503, ""), nil
			}
			return runs(newSHA), nil
		})
		if r := f.Probe(t.Context(), WaitOptions{Commit: newSHA}); r[0].State != report.Current || r[0].Polls != 1 || attempts.Load() != 3 {
			t.Errorf("probe: %+v after %d attempts", r[0], attempts.Load())
		}
		attempts.Store(0)
		if r, err := f.Wait(t.Context(), WaitOptions{Commit: newSHA}); err != nil || r[0].Polls != 3+DefaultReads || int(attempts.Load()) != r[0].Polls {
			t.Errorf("wait: %+v, %v after %d attempts", r[0], err, attempts.Load())
		}
	})
}

func TestPanicLeavesTheTenantUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeFleet(t, 2, Config{}, func(*http.Request) (*http.Response, error) { return runs(newSHA), nil })
		got, err := f.Wait(t.Context(), WaitOptions{Commit: newSHA, Changed: func(i int, _ report.Rollout) {
			if i == 0 {
				panic("in a caller's function")
			}
		}})
		if err != nil || got[0].State != report.UnknownCommit || !strings.Contains(got[0].Detail, "internal error of canary-verify") || got[1].State != report.Current {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func FuzzVersion(f *testing.F) {
	for _, s := range []string{`{"git_sha":"` + newSHA + `"}`, `{"git_sha":"dev"}`, `{"a":{"b":"4C1D56E"}}`, `<html>`, `[[[`, `{"git_sha":{}}`, `{"git_sha":"\ud800"}`} {
		f.Add([]byte(s), "git_sha", newSHA)
		f.Add([]byte(s), "a.b", newSHA[:7])
	}
	session := func() *Session {
		fl, err := New([]Tenant{{URL: "http://localhost", Token: secret.New(testToken)}}, Config{})
		if err != nil {
			f.Fatal(err)
		}
		return fl.Sessions()[0]
	}()
	f.Fuzz(func(t *testing.T, body []byte, field, sha string) {
		o, err := WaitOptions{Commit: report.Commit(sha), VersionField: field}.withDefaults(1)
		if err != nil {
			return
		}
		r := session.rolloutOf(answerOf(string(body)), o)
		if r.State == report.Current && !matches(r.Version, o.Commit) || r.State == report.Unreachable {
			t.Errorf("%q reports %+v", body, r)
		}
		if _, err := report.ParseCommit(string(r.Version)); (err == nil) != (r.State == report.Current || r.State == report.Stale) {
			t.Errorf("%+v", r)
		}
		if strings.ContainsFunc(r.Detail, func(c rune) bool { return c < ' ' }) {
			t.Errorf("detail %q is not clean", r.Detail)
		}
	})
}

// The real thing: simulated tenants over TLS and HTTP/2, one of which rolls.
func TestProbeOfSimulatedTenants(t *testing.T) {
	const stale = "1234567890123456789012345678901234567890"
	var sims []*sim.Tenant
	var tenants []Tenant
	for name, sha := range map[string]string{"rolling": stale, "current": newSHA, "old": sim.OldBuild, "unstamped": ""} {
		s, err := sim.StartTenant(sim.TenantConfig{Name: name, SHA: sha, TLS: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		sims = append(sims, s)
		tenants = append(tenants, Tenant{Name: s.Name(), URL: s.URL(), Token: secret.New(s.Token()), OrgID: s.OrgID()})
	}
	f, err := New(tenants, Config{RootCAs: sim.CAPool()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := map[string]report.RolloutState{"rolling": report.Stale, "current": report.Current}
	for range 2 {
		for i, r := range f.Probe(t.Context(), WaitOptions{Commit: newSHA}) {
			if r.State != want[sims[i].Name()] {
				t.Errorf("%s: %+v, want %s", sims[i].Name(), r, want[sims[i].Name()])
			}
			if n := sims[i].Connections(); n > 1 {
				t.Errorf("%s: %d connections for one poll after the other", sims[i].Name(), n)
			}
			if sims[i].Name() == "rolling" {
				sims[i].Roll(newSHA)
			}
		}
		want["rolling"] = report.Current
	}
}

// Tenants behind one host share its HTTP/2 connection, also when all of them
// are asked in the same moment, where no reads on connections of their own are wanted.
func TestFleetBehindOneHost(t *testing.T) {
	fleet, err := sim.StartFleet(50, sim.FleetConfig{SHA: newSHA, TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	var tenants []Tenant
	for _, m := range fleet.Members() {
		tenants = append(tenants, Tenant{URL: m.URL, Token: secret.New(m.Token), OrgID: m.OrgID})
	}
	f, err := New(tenants, Config{RootCAs: sim.CAPool()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := f.Wait(t.Context(), WaitOptions{Commit: newSHA, Reads: 1, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got {
		if r.State != report.Current {
			t.Errorf("%s: %+v", tenants[i].URL, r)
		}
	}
	if opened, _ := fleet.Connections(); opened != 1 {
		t.Errorf("%d connections for 50 tenants behind one host", opened)
	}
}

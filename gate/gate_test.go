package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

const (
	wanted = "4c1d56e0b7a92f3844de61c05b9a7d20e8f31c6b"
	other  = "1f0c7be24a6d93b85e17c04fa2d6b9038e5c71da"
)

// A product answers requests without a network, so that time is the test's.
type product struct {
	sha func() string // what /buildinfo reports
}

func (p product) RoundTrip(r *http.Request) (*http.Response, error) {
	body := `{"status":"ok"}`
	if strings.HasSuffix(r.URL.Path, "/buildinfo") {
		body = fmt.Sprintf(`{"git_sha":%q}`, p.sha())
	}
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

// A watcher keeps what a run says.
type watcher struct {
	Silent
	logs, phases []string
	drafts       []*report.Report
}

func (w *watcher) Phase(name report.PhaseName) { w.phases = append(w.phases, string(name)) }
func (w *watcher) Log(line string)             { w.logs = append(w.logs, line) }
func (w *watcher) Draft(r *report.Report)      { w.drafts = append(w.drafts, r) }

func (w *watcher) count(part string) int {
	n := 0
	for _, line := range w.logs {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// plan is a run of mode smoke on one tenant, without a registry.
func plan(t *testing.T, w Observer, sha func() string) Plan {
	t.Helper()
	suite, err := smoke.Load("test.yml", []byte("checks:\n  - {name: health, get: /health, auth: none, expect: 'status == 200 && json.status == \"ok\"'}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return Plan{
		Mode: report.ModeSmoke, SHA: wanted,
		Tenants: []fleet.Tenant{{Name: "canary-a", URL: "https://canary-a.example", Token: secret.New("token-of-canary-a"), OrgID: "org"}},
		Fleet:   fleet.Config{Transport: product{sha}},
		Suite:   suite, Observer: w,
	}
}

func mustNew(t *testing.T, p Plan) *Gate {
	t.Helper()
	g, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func always(sha string) func() string { return func() string { return sha } }

func TestGreenProvesIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := mustNew(t, plan(t, nil, always(wanted))).Run(t.Context())
		if got.Verdict != report.Green || got.Exit != report.ExitOK || !got.IdentityProven || !got.Ran {
			t.Errorf("verdict %s, exit %d, proven %v, ran %v: %s", got.Verdict, got.Exit, got.IdentityProven, got.Ran, got.Reason)
		}
		if got.Promoted || len(got.Images) != 0 {
			t.Errorf("mode smoke has images %v, promoted %v", got.Images, got.Promoted)
		}
	})
}

func TestStaleFleetTimesOutWithHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{}
		began := time.Now()
		got := mustNew(t, plan(t, w, always(other))).Run(t.Context())
		if got.Verdict != report.Inconclusive || got.Exit != report.ExitInconclusive || got.Ran {
			t.Errorf("verdict %s, exit %d, ran %v", got.Verdict, got.Exit, got.Ran)
		}
		if waited := time.Since(began); waited < 7*time.Minute || waited > 7*time.Minute+15*time.Second {
			t.Errorf("waited %v, want the timeout of 7m", waited)
		}
		if n := w.count("waiting: 0 of 1 current, 1 stale, first is canary-a"); n < 13 {
			t.Errorf("%d heartbeats in 7 minutes, want one every 30 s:\n%s", n, strings.Join(w.logs, "\n"))
		}
		if n := w.count("canary-a: stale, it runs 1f0c7be (after"); n != 1 {
			t.Errorf("%d lines show the change to stale, want 1", n)
		}
		if r := got.Tenants[0].Rollout; r == nil || r.State != report.Stale || r.Version != other {
			t.Errorf("the report says of the rollout %+v", r)
		}
	})
}

func TestTenantThatRollsMeanwhileIsInconclusive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		got := mustNew(t, plan(t, nil, func() string {
			if asked.Add(1) > 4 { // a poll, and three reads that agree
				return other
			}
			return wanted
		})).Run(t.Context())
		if got.Verdict != report.Inconclusive || got.IdentityProven || !got.Ran {
			t.Errorf("verdict %s, proven %v, ran %v: %s", got.Verdict, got.IdentityProven, got.Ran, got.Reason)
		}
	})
}

func TestFleetWithoutVersionEndpointSettlesAndStaysUnproven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{}
		p := plan(t, w, always(other))
		p.NoVersionEndpoint = true
		began := time.Now()
		got := mustNew(t, p).Run(t.Context())
		if waited := time.Since(began); waited != 6*time.Minute {
			t.Errorf("settled for %v, want 6m", waited)
		}
		if got.Verdict != report.Green || got.IdentityProven {
			t.Errorf("verdict %s, proven %v", got.Verdict, got.IdentityProven)
		}
		if len(got.Warnings) == 0 || !strings.Contains(got.Warnings[0], "unproven") {
			t.Errorf("no warning says that identity is unproven: %q", got.Warnings)
		}
		if w.count("settling:") < 11 {
			t.Errorf("the wait is silent:\n%s", strings.Join(w.logs, "\n"))
		}
	})
}

func TestDeadlineEndsTheRunWithAReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plan(t, nil, always(other))
		p.Deadline = time.Minute
		began := time.Now()
		got := mustNew(t, p).Run(t.Context())
		if got.Verdict != report.Inconclusive || !strings.Contains(got.Reason, "deadline") {
			t.Errorf("verdict %s: %s", got.Verdict, got.Reason)
		}
		if waited := time.Since(began); waited > time.Minute+time.Second {
			t.Errorf("ended after %v", waited)
		}
	})
}

func TestCancelKeepsADraftFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(90*time.Second, cancel)
		got := mustNew(t, plan(t, w, always(other))).Run(ctx)
		if got.Verdict != report.Inconclusive || !strings.Contains(got.Reason, "cancelled") {
			t.Errorf("verdict %s: %s", got.Verdict, got.Reason)
		}
		if len(w.drafts) != 1 || w.drafts[0].Verdict != report.Inconclusive {
			t.Errorf("drafts: %v", w.drafts)
		}
	})
}

// angry panics when a phase begins.
type angry struct{ Silent }

func (angry) Phase(name report.PhaseName) { panic("phase " + name) }

func TestPanicDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := mustNew(t, plan(t, angry{}, always(wanted))).Run(t.Context())
		if got.Verdict != report.Inconclusive || got.Exit != report.ExitInconclusive || got.Promoted {
			t.Errorf("verdict %s, exit %d", got.Verdict, got.Exit)
		}
	})
}

// touchy panics at one line of progress.
type touchy struct {
	Silent
	line string
}

func (o touchy) Log(line string) {
	if strings.Contains(line, o.line) {
		panic("logged: " + line)
	}
}

func TestPanicBesideTheRunDecidesNothing(t *testing.T) {
	for _, line := range []string{"waiting: ", "canary-a: stale"} {
		t.Run(line, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var polls atomic.Int32
				got := mustNew(t, plan(t, touchy{line: line}, func() string {
					if polls.Add(1) < 30 {
						return other
					}
					return wanted
				})).Run(t.Context())
				if got.Verdict != report.Inconclusive || got.Exit != report.ExitInconclusive || got.Promoted {
					t.Errorf("verdict %s, exit %d: %s", got.Verdict, got.Exit, got.Reason)
				}
			})
		})
	}
}

func TestEmptyFleet(t *testing.T) {
	p := plan(t, nil, always(wanted))
	p.Tenants = nil
	if _, err := New(p); err == nil {
		t.Error("an empty fleet was taken")
	}
	p.SkipEmpty = true
	got := mustNew(t, p).Run(t.Context())
	if got.Verdict != report.Skipped || got.Exit != report.ExitOK || got.Promoted || got.Ran || len(got.Warnings) != 1 {
		t.Errorf("verdict %s, exit %d, promoted %v, ran %v, warnings %q", got.Verdict, got.Exit, got.Promoted, got.Ran, got.Warnings)
	}
}

// The zero values of a plan are the documented defaults: what was forgotten
// switches no safeguard off.
func TestZeroPlanHasTheDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plan(t, nil, always(other))
		p.Mode, p.Promote = report.ModeSmoke, promote.Config{}
		g := mustNew(t, p)
		began := time.Now()
		got := g.Run(t.Context())
		if got.Verdict != report.Inconclusive || got.Ran {
			t.Errorf("verdict %s, ran %v: a plan without a version path proved nothing", got.Verdict, got.Ran)
		}
		if waited := time.Since(began); waited < fleet.DefaultWaitTimeout {
			t.Errorf("waited %v, want the default of %v", waited, fleet.DefaultWaitTimeout)
		}
	})
	p := plan(t, nil, always(wanted))
	p.Suite = nil
	if g := mustNew(t, p); g.plan.Suite.Name != DefaultSuite {
		t.Errorf("the suite is %s, want %s", g.plan.Suite.Name, DefaultSuite)
	}
}

// A library user who never heard of redaction gets no token in the report.
func TestNoTokenInTheReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plan(t, nil, always(wanted))
		p.Fleet.Transport = echo{}
		suite, err := smoke.Load("test.yml", []byte("checks:\n  - {name: whoami, get: /whoami, expect: 'status == 200 && json.user == \"nobody\"'}\n"))
		if err != nil {
			t.Fatal(err)
		}
		p.Suite, p.NoVersionEndpoint, p.Settle = suite, true, -1
		got := mustNew(t, p).Run(t.Context())
		if got.Verdict != report.Red {
			t.Fatalf("verdict %s, want red: %s", got.Verdict, got.Reason)
		}
		data, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(data); strings.Contains(text, "token-of-canary-a") || !strings.Contains(text, secret.Mask) {
			t.Errorf("the report shows the token: %s", text)
		}
	})
}

// echo answers with the credential that it was sent.
type echo struct{}

func (echo) RoundTrip(r *http.Request) (*http.Response, error) {
	body := fmt.Sprintf(`{"user":%q}`, r.Header.Get("Authorization"))
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

func TestNewReportsEverythingAtOnce(t *testing.T) {
	_, err := New(Plan{Mode: report.ModeVerify, SHA: "xyz", WaitTimeout: -1, Soak: -1, VersionPath: "no-slash"})
	if err == nil {
		t.Fatal("nothing was found")
	}
	missing := map[string]bool{"Tenants": true, "Images": true}
	found := map[string]bool{}
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		for _, e := range flatten(e) {
			var invalid *report.InvalidError
			if !errors.As(e, &invalid) {
				t.Errorf("%v is not an InvalidError", e)
				continue
			}
			found[invalid.Field] = true
			if invalid.Missing != missing[invalid.Field] {
				t.Errorf("%s: missing is %v", invalid.Field, invalid.Missing)
			}
		}
	}
	for _, field := range []string{"SHA", "WaitTimeout", "Soak", "VersionPath", "Tenants", "Images"} {
		if !found[field] {
			t.Errorf("nothing names %s in:\n%v", field, err)
		}
	}
}

func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

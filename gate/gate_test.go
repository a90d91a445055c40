package gate

import (
	"context"
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
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
	"git.moleculesai.app/molecule-ai/canary-verify/smoke"
)

const (
	wanted = "4c1d56e0b7a92f3844de61c05b9a7d20e8f31c6b"
	other  = "1f0c7be24a6d93b85e17c04fa2d6b9038e5c71da"
)

// A product answers requests without a network, so that time is the test's.
type product struct {
	sha func() string // what /buildinfo tells
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

// A watcher keeps what a run tells.
type watcher struct {
	Silent
	logs, phases []string
	drafts       []*Report
}

func (w *watcher) Phase(name string)    { w.phases = append(w.phases, name) }
func (w *watcher) Log(line string)      { w.logs = append(w.logs, line) }
func (w *watcher) Draft(report *Report) { w.drafts = append(w.drafts, report) }

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
		Mode: ModeSmoke, SHA: wanted,
		Tenants:     []fleet.Tenant{{Name: "canary-a", URL: "https://canary-a.example", Token: secret.New("token-of-canary-a"), OrgID: "org"}},
		Fleet:       fleet.Config{Transport: product{sha}},
		VersionPath: "/buildinfo", VersionField: "git_sha",
		Settle: 6 * time.Minute, WaitTimeout: 7 * time.Minute, WaitInterval: 2 * time.Second,
		Suite: suite, Deadline: 30 * time.Minute, Observer: w,
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
		report := mustNew(t, plan(t, nil, always(wanted))).Run(t.Context())
		if report.Verdict != Green || report.Exit != ExitOK || !report.IdentityProven || !report.Ran {
			t.Errorf("verdict %s, exit %d, proven %v, ran %v: %s", report.Verdict, report.Exit, report.IdentityProven, report.Ran, report.Reason)
		}
		if report.Promoted || len(report.Images) != 0 {
			t.Errorf("mode smoke has images %v, promoted %v", report.Images, report.Promoted)
		}
	})
}

func TestStaleFleetTimesOutWithHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{}
		began := time.Now()
		report := mustNew(t, plan(t, w, always(other))).Run(t.Context())
		if report.Verdict != Inconclusive || report.Exit != ExitInconclusive || report.Ran {
			t.Errorf("verdict %s, exit %d, ran %v", report.Verdict, report.Exit, report.Ran)
		}
		if waited := time.Since(began); waited < 7*time.Minute || waited > 7*time.Minute+15*time.Second {
			t.Errorf("waited %v, want the timeout of 7m", waited)
		}
		if n := w.count("waiting: 0 of 1 current, 1 stale, first is canary-a"); n < 13 {
			t.Errorf("%d heartbeats in 7 minutes, want one every 30 s:\n%s", n, strings.Join(w.logs, "\n"))
		}
		if n := w.count("canary-a: stale at 1f0c7be"); n != 1 {
			t.Errorf("%d lines tell the change to stale, want 1", n)
		}
		if got := report.Tenants[0].Rollout; got == nil || got.State != "stale" || got.Version != other {
			t.Errorf("the report says of the rollout %+v", got)
		}
	})
}

func TestTenantThatRollsMeanwhileIsInconclusive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		report := mustNew(t, plan(t, nil, func() string {
			if asked.Add(1) > 1 {
				return other
			}
			return wanted
		})).Run(t.Context())
		if report.Verdict != Inconclusive || report.IdentityProven || !report.Ran {
			t.Errorf("verdict %s, proven %v, ran %v: %s", report.Verdict, report.IdentityProven, report.Ran, report.Reason)
		}
	})
}

func TestFleetThatCannotTellSettlesAndStaysUnproven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{}
		p := plan(t, w, always(other))
		p.VersionPath, p.Untold = "", true
		began := time.Now()
		report := mustNew(t, p).Run(t.Context())
		if waited := time.Since(began); waited != 6*time.Minute {
			t.Errorf("settled for %v, want 6m", waited)
		}
		if report.Verdict != Green || report.IdentityProven {
			t.Errorf("verdict %s, proven %v", report.Verdict, report.IdentityProven)
		}
		if len(report.Warnings) == 0 || !strings.Contains(report.Warnings[0], "unproven") {
			t.Errorf("no warning says that identity is unproven: %q", report.Warnings)
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
		report := mustNew(t, p).Run(t.Context())
		if report.Verdict != Inconclusive || !strings.Contains(report.Reason, "deadline") {
			t.Errorf("verdict %s: %s", report.Verdict, report.Reason)
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
		report := mustNew(t, plan(t, w, always(other))).Run(ctx)
		if report.Verdict != Inconclusive || !strings.Contains(report.Reason, "cancelled") {
			t.Errorf("verdict %s: %s", report.Verdict, report.Reason)
		}
		if len(w.drafts) != 1 || w.drafts[0].Verdict != Inconclusive {
			t.Errorf("drafts: %v", w.drafts)
		}
	})
}

// angry panics when the run tells it anything.
type angry struct{ Silent }

func (angry) Phase(name string) { panic("phase " + name) }

func TestPanicDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report := mustNew(t, plan(t, angry{}, always(wanted))).Run(t.Context())
		if report.Verdict != Inconclusive || report.Exit != ExitInconclusive || report.Promoted {
			t.Errorf("verdict %s, exit %d", report.Verdict, report.Exit)
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
		panic("told: " + line)
	}
}

func TestPanicBesideTheRunDecidesNothing(t *testing.T) {
	for _, line := range []string{"waiting: ", "canary-a: stale"} {
		t.Run(line, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var polls atomic.Int32
				report := mustNew(t, plan(t, touchy{line: line}, func() string {
					if polls.Add(1) < 30 {
						return other
					}
					return wanted
				})).Run(t.Context())
				if report.Verdict != Inconclusive || report.Exit != ExitInconclusive || report.Promoted {
					t.Errorf("verdict %s, exit %d: %s", report.Verdict, report.Exit, report.Reason)
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
	report := mustNew(t, p).Run(t.Context())
	if report.Verdict != Skipped || report.Exit != ExitOK || report.Promoted || report.Ran || len(report.Warnings) != 1 {
		t.Errorf("verdict %s, exit %d, promoted %v, ran %v, warnings %q", report.Verdict, report.Exit, report.Promoted, report.Ran, report.Warnings)
	}
}

// A forgotten path must not switch the proof of identity off.
func TestForgottenVersionPathIsAFault(t *testing.T) {
	p := plan(t, nil, always(other))
	p.VersionPath = ""
	if _, err := New(p); err == nil || !strings.Contains(err.Error(), "version-path: ") {
		t.Errorf("New says %v", err)
	}
}

func TestNewTellsEveryFaultAtOnce(t *testing.T) {
	_, err := New(Plan{Mode: ModeVerify, SHA: "xyz", WaitTimeout: -1, Promote: promote.Config{SourceTag: "staging-{sha}", TargetTag: "latest"}})
	if err == nil {
		t.Fatal("nothing was found")
	}
	for _, input := range []string{"sha: ", "wait-timeout: ", "wait-interval: ", "deadline: ", "tenant-urls: ", "images: ", "checks: "} {
		if !strings.Contains(err.Error(), input) {
			t.Errorf("no fault names %s in:\n%v", input, err)
		}
	}
	var missing *MissingError
	if !errors.As(err, &missing) {
		t.Error("what is missing can't be told from what is malformed")
	}
}

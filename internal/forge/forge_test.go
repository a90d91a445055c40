package forge_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/forge"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/forge/forgetest"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

const (
	token   = "forge-token-0123456789"
	first   = "1111111aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	second  = "2222222bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	side    = "3333333ccccccccccccccccccccccccccccccccc"
	orphan  = "4444444ddddddddddddddddddddddddddddddddd"
	unknown = "9999999eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
)

// world is a forge with a short history: first ← second, first ← side, orphan.
func world(gitea bool) *forgetest.Forge {
	f := &forgetest.Forge{Gitea: gitea, Repository: "molecule/core", Token: token,
		Rights: []forgetest.Right{forgetest.ReadContents, forgetest.WriteStatuses, forgetest.ReadActions}}
	f.Commit(first)
	f.Commit(second, first)
	f.Commit(side, first)
	f.Commit(orphan)
	return f
}

// client talks to the simulated forge without a socket.
func client(t *testing.T, f *forgetest.Forge) *forge.Client {
	t.Helper()
	c, err := forge.New(forge.Config{API: "https://forge.example.com" + f.Prefix(), Repository: f.Repository,
		Token: secret.New(token), Transport: f})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// both runs a test against each forge.
func both(t *testing.T, test func(t *testing.T, f *forgetest.Forge)) {
	for name, gitea := range map[string]bool{"GitHub": false, "Gitea": true} {
		t.Run(name, func(t *testing.T) { test(t, world(gitea)) })
	}
}

func TestSetStatus(t *testing.T) {
	both(t, func(t *testing.T, f *forgetest.Forge) {
		want := forgetest.Status{SHA: second, State: "failure", Context: "canary-verify/latest",
			Description: "red: canary-pm: liveness", TargetURL: "https://forge.example.com/runs/1"}
		for _, sha := range []report.Commit{second, report.Commit(second[:7]), upper(second)} {
			err := client(t, f).SetStatus(t.Context(), sha, forge.Status{State: forge.Failure, Context: want.Context,
				Description: want.Description, TargetURL: want.TargetURL})
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Statuses(); got[len(got)-1] != want {
				t.Errorf("status of %s is %+v, want %+v", sha, got, want)
			}
		}
	})
}

// A description that is too long, of control characters or with the token in it
// must not cost the status nor show the token.
func TestSetStatusCleansWhatItSends(t *testing.T) {
	both(t, func(t *testing.T, f *forgetest.Forge) {
		err := client(t, f).SetStatus(t.Context(), second, forge.Status{State: forge.Error, Context: "c",
			Description: token + "\x1b[31m\n" + strings.Repeat("long ", 100), TargetURL: "javascript:alert(1)"})
		if err != nil {
			t.Fatal(err)
		}
		got := f.Statuses()[0]
		if n := len([]rune(got.Description)); n != 140 {
			t.Errorf("the description has %d characters", n)
		}
		if strings.Contains(got.Description, token) || strings.ContainsAny(got.Description, "\x1b\n") || got.TargetURL != "" {
			t.Errorf("sent %+v", got)
		}
	})
}

func TestErrorsNameThePermission(t *testing.T) {
	for _, tc := range []struct {
		name            string
		change          func(f *forgetest.Forge)
		do              func(c *forge.Client) error
		github, gitea   string
		githubN, giteaN int
	}{
		{"status without the right", func(f *forgetest.Forge) { f.Rights = nil }, setStatus(second), "statuses: write", "write:repository", 403, 403},
		{"status on an unknown commit", nothing, setStatus(unknown), "doesn't know the commit", "doesn't know the commit", 422, 500},
		{"a wrong token", func(f *forgetest.Forge) { f.Token = "another" }, setStatus(second), "not valid any more", "write:repository", 401, 401},
		{"a repository out of sight", func(f *forgetest.Forge) { f.Repository = "other/one" }, setStatus(second), "statuses: write", "write:repository", 404, 404},
		{"compare without the right", func(f *forgetest.Forge) { f.Rights = nil }, compare(first, second), "contents: read", "read:repository", 403, 403},
		{"a redirect", func(f *forgetest.Forge) {
			f.Fault = forgetest.Answer(307, "", "Location", "https://evil.example/")
		}, setStatus(second), "are not followed", "are not followed", 307, 307},
	} {
		both(t, func(t *testing.T, f *forgetest.Forge) {
			c := client(t, f)
			tc.change(f)
			err := tc.do(c)
			var failed *forge.RequestError
			if !errors.As(err, &failed) {
				t.Fatalf("%s: error is %v", tc.name, err)
			}
			want, status := tc.github, tc.githubN
			if f.Gitea {
				want, status = tc.gitea, tc.giteaN
			}
			if !strings.Contains(err.Error(), want) || failed.Status != status || strings.Contains(err.Error(), token) {
				t.Errorf("%s: error is %q with status %d, want %q and %d", tc.name, err, failed.Status, want, status)
			}
			if strings.Contains(err.Error(), "evil.example") {
				t.Errorf("%s: the redirect's address is in %q", tc.name, err)
			}
		})
	}
}

func upper(c report.Commit) report.Commit { return report.Commit(strings.ToUpper(string(c))) }

func nothing(*forgetest.Forge) {}

func setStatus(sha report.Commit) func(*forge.Client) error {
	return func(c *forge.Client) error {
		return c.SetStatus(context.Background(), sha, forge.Status{State: forge.Success, Context: "canary-verify/latest"})
	}
}

func compare(base, next report.Commit) func(*forge.Client) error {
	return func(c *forge.Client) error { _, err := c.Compare(context.Background(), base, next); return err }
}

func TestCompare(t *testing.T) {
	for _, tc := range []struct {
		base, next report.Commit
		want       report.Relation
	}{
		{first, second, report.Ahead}, {second, first, report.Behind}, {second, side, report.Diverged},
		{first, orphan, report.Diverged}, {second, second, report.Identical}, {report.Commit(second[:7]), second, report.Identical},
		{report.Commit(first[:7]), report.Commit(second[:8]), report.Ahead}, {upper(second), first, report.Behind},
	} {
		both(t, func(t *testing.T, f *forgetest.Forge) {
			got, err := client(t, f).Compare(t.Context(), tc.base, tc.next)
			if err != nil || got != tc.want {
				t.Errorf("Compare(%.9s, %.9s) = %v, %v; want %v", tc.base, tc.next, got, err, tc.want)
			}
		})
	}
}

// Nobody may take "can't tell" for an order.
func TestCompareUnknown(t *testing.T) {
	for name, change := range map[string]func(f *forgetest.Forge){
		"no rights":        func(f *forgetest.Forge) { f.Rights = nil },
		"nonsense":         func(f *forgetest.Forge) { f.Fault = forgetest.Answer(200, `{"status":"sideways"}`) },
		"null":             func(f *forgetest.Forge) { f.Fault = forgetest.Answer(200, `null`) },
		"html":             func(f *forgetest.Forge) { f.Fault = forgetest.Answer(200, `<html>[]`) },
		"nothing":          func(f *forgetest.Forge) { f.Fault = forgetest.Answer(204, ``) },
		"outage":           func(f *forgetest.Forge) { f.Fault = forgetest.Answer(500, ``) },
		"empty object":     func(f *forgetest.Forge) { f.Fault = forgetest.Answer(200, `{}`) },
		"list of nonsense": func(f *forgetest.Forge) { f.Fault = forgetest.Answer(200, `[{"sha":"zzz"}]`) },
	} {
		both(t, func(t *testing.T, f *forgetest.Forge) {
			change(f)
			if got, err := client(t, f).Compare(t.Context(), first, second); got != report.UnknownRelation || err == nil {
				t.Errorf("%s: Compare = %v, %v", name, got, err)
			}
		})
	}
	both(t, func(t *testing.T, f *forgetest.Forge) {
		for _, pair := range [][2]report.Commit{{first, unknown}, {unknown, first}, {"--all", first}, {first, "main"}, {"", first}} {
			if got, err := client(t, f).Compare(t.Context(), pair[0], pair[1]); got != report.UnknownRelation || err == nil {
				t.Errorf("Compare(%q, %q) = %v, %v", pair[0], pair[1], got, err)
			}
		}
	})
	old := world(true)
	old.IgnoreNot = true
	if got, err := client(t, old).Compare(t.Context(), first, second); got != report.UnknownRelation || err == nil {
		t.Errorf("a Gitea that ignores `not`: %v, %v", got, err)
	}
}

func TestCompareAsksOnce(t *testing.T) {
	both(t, func(t *testing.T, f *forgetest.Forge) {
		c := client(t, f)
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				if got, err := c.Compare(t.Context(), first, second); got != report.Ahead || err != nil {
					t.Errorf("Compare = %v, %v", got, err)
				}
			})
		}
		wait.Wait()
		if got := f.Requests(); len(got) > 2 { // Gitea is asked both ways
			t.Errorf("asked %d times: %v", len(got), got)
		}
	})
}

// A forge that flaps is asked again, within bounds, and a Retry-After is heeded
// no longer than is good for the run.
func TestRetries(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault func() forgetest.Fault // anew for each forge
		ok    bool
		most  time.Duration
	}{
		{"two bad gateways", func() forgetest.Fault { return forgetest.First(2, forgetest.Answer(502, "")) }, true, 2 * time.Second},
		{"rate limit for an hour", func() forgetest.Fault { return forgetest.First(1, forgetest.Answer(429, "", "Retry-After", "3600")) }, true, 4 * time.Second},
		{"secondary rate limit", func() forgetest.Fault { return forgetest.First(1, forgetest.Answer(403, "", "Retry-After", "1")) }, true, 4 * time.Second},
		{"an overflowing Retry-After", func() forgetest.Fault {
			return forgetest.First(1, forgetest.Answer(429, "", "Retry-After", "99999999999"))
		}, true, 4 * time.Second},
		{"never well", func() forgetest.Fault { return forgetest.Answer(503, "") }, false, 20 * time.Second},
		{"hangs once", func() forgetest.Fault { return forgetest.First(1, forgetest.Hang) }, true, 10 * time.Second},
		{"hangs for ever", func() forgetest.Fault { return forgetest.Hang }, false, 20 * time.Second},
	} {
		for _, gitea := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				f := world(gitea)
				f.Fault = tc.fault()
				began := time.Now()
				err := setStatus(second)(client(t, f))
				if took := time.Since(began); (err == nil) != tc.ok || took > tc.most {
					t.Errorf("%s: %v after %v", tc.name, err, took)
				}
			})
		}
	}
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := world(false)
		f.Fault = forgetest.Hang
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := client(t, f).Compare(ctx, first, second); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// Over a real socket: the token goes to the API's host alone.
func TestTokenStaysHome(t *testing.T) {
	var leaked []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		leaked = append(leaked, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	f := world(true)
	f.Fault = forgetest.Answer(301, "", "Location", elsewhere.URL)
	server := httptest.NewServer(f)
	defer server.Close()
	c, err := forge.New(forge.Config{API: server.URL + "/api/v1", Repository: f.Repository, Token: secret.New(token)})
	if err != nil {
		t.Fatal(err)
	}
	if err := setStatus(second)(c); err == nil || len(leaked) > 0 {
		t.Errorf("%v; elsewhere got %v", err, leaked)
	}
	f.Fault = nil
	if err := setStatus(second)(c); err != nil {
		t.Error(err)
	}
}

// Why there was no answer is shown without the address.
func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := forge.New(forge.Config{API: "https://api.github.com", Repository: "molecule/core", Token: secret.New(token),
			Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused " + token) })})
		if err != nil {
			t.Fatal(err)
		}
		err = setStatus(second)(c)
		var failed *forge.RequestError
		if !errors.As(err, &failed) || failed.Status != 0 || !strings.HasSuffix(err.Error(), "no answer: refused ***") {
			t.Errorf("%v", err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestHostileAnswers(t *testing.T) {
	hostile := `{"message":"::error::x\n##[error]\u001b[31m` + token + `\u202e` + strings.Repeat("y", 100000) + `"}`
	both(t, func(t *testing.T, f *forgetest.Forge) {
		f.Fault = forgetest.Answer(403, hostile)
		text := setStatus(second)(client(t, f)).Error()
		if strings.Contains(text, token) || strings.ContainsAny(text, "\n\x1b\u202e") || strings.Contains(text, "##[") || len(text) > 1000 {
			t.Errorf("%q", text)
		}
		f.Fault = forgetest.Answer(200, `{"sha":"`+unknown+`"}`)
		if err := setStatus(report.Commit(second[:7]))(client(t, f)); err == nil {
			t.Error("another commit was taken for the short sha")
		}
		f.Fault = forgetest.Answer(200, `{"a":`+strings.Repeat("[", 1<<20))
		if got, err := client(t, f).Compare(t.Context(), first, second); got != report.UnknownRelation || err == nil {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	good := forge.Config{API: "https://api.github.com", Repository: "molecule/core", Token: secret.New(token)}
	if _, err := forge.New(good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(c *forge.Config){
		"API: is not a URL":                func(c *forge.Config) { c.API = "" },
		"API: is not a URL; it looks like": func(c *forge.Config) { c.API = "ftp://x" },
		"API: plain http":                  func(c *forge.Config) { c.API = "http://forge.example.com/api/v1" },
		"API: contains credentials":        func(c *forge.Config) { c.API = "https://user:" + token + "@host/api/v1" },
		"Repository: ":                     func(c *forge.Config) { c.Repository = "molecule/core/../../admin" },
		`Repository: "molecule/.."`:        func(c *forge.Config) { c.Repository = "molecule/.." },
		"Token: is empty":                  func(c *forge.Config) { c.Token = secret.Value{} },
		"Token: is empty, or":              func(c *forge.Config) { c.Token = secret.New("with\nbreak" + token) },
	} {
		c := good
		change(&c)
		_, err := forge.New(c)
		var invalid *report.InvalidError
		if !errors.As(err, &invalid) || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, api := range []string{"http://127.0.0.1:3000/api/v1", "http://[::1]:3000/api/v1/", "http://localhost/api/v1"} {
		c := good
		c.API = api
		if _, err := forge.New(c); err != nil {
			t.Errorf("%s: %v", api, err)
		}
	}
}

// Whatever a forge answers, nothing is made up of it.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"status":"ahead"}`))
	f.Add(200, []byte(`[]`))
	f.Add(404, []byte(`{"message":"::error::\u0000"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 || status == 429 || status >= 502 && status <= 504 {
			return
		}
		for _, gitea := range []bool{false, true} {
			w := world(gitea)
			w.Fault = forgetest.Answer(status, string(body))
			c := client(t, w)
			relation, err := c.Compare(t.Context(), first, second)
			if (relation == report.UnknownRelation) != (err != nil) {
				t.Errorf("Compare = %v, %v", relation, err)
			}
			err = setStatus(report.Commit(second[:7]))(c)
			if err != nil && (strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 4000) {
				t.Errorf("%q", err)
			}
		}
	})
}

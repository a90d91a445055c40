package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"
)

// following starts a tenant that follows org/app:latest.
func following(t *testing.T, r *Registry, f Follow) *Tenant {
	t.Helper()
	f.Image, f.Tag, f.Remote = r.Host()+"/org/app", "latest", r.Remote()
	if f.Interval == 0 {
		f.Interval = 5 * time.Millisecond
	}
	return startTenant(t, TenantConfig{Follow: &f})
}

func TestATenantFollowsATag(t *testing.T) {
	for _, index := range []bool{false, true} {
		r := startRegistry(t, RegistryConfig{Auth: TokenAuth, Accounts: []Account{{"u", "p", false}}})
		roll := func(b Build) {
			t.Helper()
			b.Images, b.Tag, b.Index = []string{"org/app"}, "latest", index
			if _, err := Publish(deadline(t), r.Host(), b, r.Remote()...); err != nil {
				t.Fatal(err)
			}
		}
		roll(Build{SHA: shaA})
		tenant := following(t, r, Follow{Restart: time.Millisecond})
		if tenant.SHA() != shaA {
			t.Errorf("booted with %q", tenant.SHA())
		}
		roll(Build{SHA: shaB, Faults: []Fault{FailOpen}})
		if err := tenant.WaitFor(deadline(t), shaB); err != nil {
			t.Fatal(err)
		}
		c := newCaller(t, tenant)
		c.want("GET /buildinfo", 200, `{"git_sha":"`+shaB)
		c.wantAuth("GET /events", "none", 200)
		roll(Build{SHA: shaA})
		if err := tenant.WaitFor(deadline(t), shaA); err != nil {
			t.Fatal(err)
		}
		c.wantAuth("GET /events", "none", 401)
	}
}

func TestATenantWithoutATagWaitsForIt(t *testing.T) {
	r := startRegistry(t, RegistryConfig{})
	tenant := following(t, r, Follow{})
	newCaller(t, tenant).want("GET /buildinfo", 200, `{"git_sha":"dev"}`)
	publish(t, r, shaA, "latest")
	if err := tenant.WaitFor(deadline(t), shaA); err != nil {
		t.Fatal(err)
	}
}

// TestAStaleTenantStays counts the looks of another tenant to know that the
// stale one has had its chances.
func TestAStaleTenantStays(t *testing.T) {
	r := startRegistry(t, RegistryConfig{})
	publish(t, r, shaA, "latest")
	stale, healthy := following(t, r, Follow{}), following(t, r, Follow{Interval: 20 * time.Millisecond})
	stale.Break(Stale)
	publish(t, r, shaB, "latest")
	if err := healthy.WaitFor(deadline(t), shaB); err != nil {
		t.Fatal(err)
	}
	if stale.SHA() != shaA {
		t.Errorf("runs %q", stale.SHA())
	}
	stale.Heal()
	if err := stale.WaitFor(deadline(t), shaB); err != nil {
		t.Fatal(err)
	}
}

func TestWaitForEndsWithItsContext(t *testing.T) {
	tenant := startTenant(t, TenantConfig{SHA: shaA})
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := tenant.WaitFor(ctx, shaB); !errors.Is(err, why) {
		t.Errorf("%v, want %v", err, why)
	}
}

func TestABadReferenceIsAnError(t *testing.T) {
	if _, err := StartTenant(TenantConfig{Follow: &Follow{Image: "NOT A REFERENCE", Tag: "x"}}); err == nil {
		t.Error("started")
	}
}

func TestAFleet(t *testing.T) {
	for _, useTLS := range []bool{false, true} {
		f, err := StartFleet(10, FleetConfig{SHA: shaA, TLS: useTLS, Latency: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Close)
		tenants, members := f.tenants, f.Members()
		tenants[3].Break(FailOpen)
		tenants[4].Break(Unreachable)
		tenants[5].Roll(shaB)
		client := &http.Client{Transport: Transport().Clone()}
		t.Cleanup(client.CloseIdleConnections)
		get := func(i int, path string, bearer string) (int, string) {
			req, _ := http.NewRequestWithContext(deadline(t), http.MethodGet, members[i].URL+path, nil)
			req.Header.Set(orgHeader, members[i].OrgID)
			if bearer != "" {
				req.Header.Set("Authorization", "Bearer "+bearer)
			}
			resp, err := client.Do(req)
			if err != nil {
				return 0, err.Error()
			}
			defer resp.Body.Close()
			var b bytes.Buffer
			_, _ = b.ReadFrom(resp.Body)
			return resp.StatusCode, b.String()
		}
		var wg sync.WaitGroup
		for i := range members {
			wg.Go(func() {
				status, body := get(i, "/buildinfo", "")
				want := shaA
				if i == 5 {
					want = shaB
				}
				if i == 4 {
					if status != 0 {
						t.Errorf("%s answered %d", members[i].Name, status)
					}
					return
				}
				if status != 200 || !strings.Contains(body, want) {
					t.Errorf("%s: %d %s", members[i].Name, status, body)
				}
				if status, _ := get(i, "/events", members[i].Token); status != 200 {
					t.Errorf("%s: own token %d", members[i].Name, status)
				}
				if status, _ := get(i, "/events", members[(i+1)%10].Token); status != 401 {
					t.Errorf("%s: another's token %d", members[i].Name, status)
				}
				if status, _ := get(i, "/events", ""); (status == 200) != (i == 3) {
					t.Errorf("%s: no token %d", members[i].Name, status)
				}
			})
		}
		wg.Wait()
		if n := f.Requests(); n < 9*4 {
			t.Errorf("%d requests", n)
		}
		if opened, _ := f.Connections(); opened == 0 {
			t.Error("no connections")
		}
		f.Roll(shaB)
		if _, body := get(0, "/buildinfo", ""); !strings.Contains(body, shaB) {
			t.Errorf("after the roll: %s", body)
		}
	}
}

func TestAnUnknownMemberIsNotFound(t *testing.T) {
	f, err := StartFleet(1, FleetConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, path := range []string{"/", "/t/canary-0002/health", "/health"} {
		resp, err := http.Get(strings.TrimSuffix(f.Members()[0].URL, "/t/canary-0001") + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 404 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

func TestCloseWaitsForHandlers(t *testing.T) {
	entered, left := make(chan struct{}), false
	tenant := startTenant(t, TenantConfig{Intercept: func(_ http.ResponseWriter, r *http.Request) bool {
		close(entered)
		<-r.Context().Done()
		for range 10_000 { // long enough to be seen missing
			runtime.Gosched()
		}
		left = true
		return true
	}})
	go func() { _ = newCaller(t, tenant).call(context.Background(), "GET /health", "none", false, "") }()
	<-entered
	tenant.Close()
	if !left {
		t.Error("closed while a handler was at work")
	}
}

// TestCloseLeavesNothingBehind closes a world in the middle of its work.
func TestCloseLeavesNothingBehind(t *testing.T) {
	r, err := StartRegistry(RegistryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, r, shaA, "latest")
	f := Follow{Image: r.Host() + "/org/app", Tag: "latest", Interval: time.Millisecond, Restart: time.Hour}
	tenant, err := StartTenant(TenantConfig{TLS: true, Follow: &f, Faults: []Fault{SlowDrip}})
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := StartFleet(10, FleetConfig{Latency: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	r.Inject(Injection{Path: "stall", Do: Stall()})
	var wg sync.WaitGroup
	for _, url := range []string{r.URL() + "/stall", tenant.URL() + "/events", fleet.Members()[0].URL + "/health"} {
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(deadline(t), http.MethodGet, url, nil)
			resp, err := Transport().Clone().RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
		})
	}
	publish(t, r, shaB, "latest")
	for tenant.Connections() == 0 || fleet.Requests() == 0 || !strings.Contains(fmt.Sprint(r.Requests()), "/stall") {
		runtime.Gosched() // until all hang
	}
	tenant.Close()
	tenant.Close()
	fleet.Close()
	r.Close()
	wg.Wait()
	for stop := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		var stacks bytes.Buffer
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		left := ours(stacks.String())
		if len(left) == 0 {
			return
		}
		if time.Now().After(stop) {
			t.Fatalf("left behind:\n%s", strings.Join(left, "\n\n"))
		}
	}
}

// ours returns the goroutines, but for this one, that are in this package.
func ours(stacks string) []string {
	var out []string
	for _, s := range strings.Split(stacks, "\n\n") {
		if strings.Contains(s, "internal/sim.") && !strings.Contains(s, "TestCloseLeavesNothingBehind") {
			out = append(out, s)
		}
	}
	return out
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/fleet"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// measureNotice is the fourth part: how long after a tenant turned current the
// gate knows of it.
func measureNotice(ctx context.Context, b *bench) (*result, error) {
	tenants, within, interval := 1000, 20*time.Second, 2*time.Second
	if b.short {
		tenants, within, interval = 50, 500*time.Millisecond, 200*time.Millisecond
	}
	b.log("%d tenants that turn current within %s", tenants, within)
	ours, polls, peak, err := notice(ctx, tenants, within, interval)
	if err != nil {
		return nil, err
	}
	sleep, poll := incumbents(len(ours))
	r := &result{}
	r.say("%s tenants without a network, each of which turns current at a random moment within %s and answers after %s; `wait-interval` %s. The delay is the time from when a tenant runs the candidate to when the gate reports it. The incumbents are computed from as many random moments within their fleet's update interval of 5 minutes: they sleep for 6 minutes, or look every 30 seconds.", thousands(tenants), within, answerTime, interval)
	rows := [][]string{{"", "median", "95 %", "99 %", "longest"}}
	for _, x := range []struct {
		name   string
		delays samples
	}{{"fixed sleep of 6 minutes", sleep}, {"a look every 30 s", poll}, {"canary-verify, every " + interval.String() + ", jittered", ours}} {
		rows = append(rows, []string{x.name, show(x.delays.median()), show(x.delays.quantile(0.95)), show(x.delays.quantile(0.99)), show(x.delays.quantile(1))})
	}
	r.table(rows)
	mean := float64(polls) / (float64(within+interval) / float64(slot))
	r.say("Polls are spread out: of %s in all, at most %d began in the same %s, where the mean is %.0f; in lockstep it would have been %d.", thousands(polls), peak, slot, mean, tenants)
	if !b.short {
		longest := ours.quantile(1)
		r.hold("a tenant that turns current is noticed", "within one wait-interval ("+interval.String()+") and an answer", show(longest), longest <= interval+2*answerTime)
	}
	return r, nil
}

// slot is the time in which polls count as coming together.
const slot = 100 * time.Millisecond

// incumbents are the delays of those who sleep 6 minutes and of those who look
// every 30 seconds.
func incumbents(n int) (sleep, poll samples) {
	for range n {
		turn := rand.N(5 * time.Minute)
		sleep = append(sleep, 6*time.Minute-turn)
		poll = append(poll, 30*time.Second-turn%(30*time.Second))
	}
	return sleep, poll
}

// A rolling is a fleet without a network whose tenants turn current one by one.
type rolling struct {
	began time.Time
	turns map[string]time.Duration // by host
	mu    sync.Mutex
	slots map[int]int // polls by the slot in which they began
}

// RoundTrip answers what the tenant runs at the end of the answer's time.
func (f *rolling) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.slots[int(time.Since(f.began)/slot)]++
	f.mu.Unlock()
	select {
	case <-time.After(answerTime):
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
	sha := "1f0c7be24a6d93b85e17c04fa2d6b9038e5c71da"
	if time.Since(f.began) >= f.turns[r.URL.Host] {
		sha = candidate
	}
	body := fmt.Appendf(nil, `{"git_sha":%q}`, sha)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

// notice waits for a fleet whose tenants turn current within the given time. It
// returns the delays, the polls in all, and the most in one slot after the first
// interval: the first poll of all comes at once.
func notice(ctx context.Context, tenants int, within, interval time.Duration) (delays samples, polls, peak int, err error) {
	world := &rolling{turns: map[string]time.Duration{}, slots: map[int]int{}}
	list := make([]fleet.Tenant, tenants)
	for i := range list {
		host := fmt.Sprintf("canary-%05d.example.com", i+1)
		world.turns[host] = rand.N(within)
		list[i] = fleet.Tenant{Name: host, URL: "https://" + host, Token: secret.New("a-token-of-no-tenant")}
	}
	f, err := fleet.New(list, fleet.Config{Concurrency: tenants, Transport: world})
	if err != nil {
		return nil, 0, 0, err
	}
	defer f.Close()
	world.began = time.Now()
	rollouts, err := f.Wait(ctx, fleet.WaitOptions{
		Commit: candidate, Timeout: within + time.Minute, Interval: interval,
		Changed: func(i int, now report.Rollout) {
			if now.State == report.Current {
				delays = append(delays, time.Since(world.began)-world.turns[list[i].Name])
			}
		},
	})
	if err != nil {
		return nil, 0, 0, err
	}
	for _, r := range rollouts {
		polls += r.Polls
	}
	for at, n := range world.slots {
		if at >= int(interval/slot) {
			peak = max(peak, n)
		}
	}
	if len(delays) != tenants {
		return nil, 0, 0, fmt.Errorf("%d of %d tenants were seen to turn current", len(delays), tenants)
	}
	return delays, polls, peak, nil
}

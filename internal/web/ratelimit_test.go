package web_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
)

func TestRateLimitOf(t *testing.T) {
	now := time.Now()
	unix := func(after time.Duration) string { return strconv.FormatInt(now.Add(after).Unix(), 10) }
	for name, tt := range map[string]struct {
		limit, remaining, reset string
		date                    time.Time
		want                    web.RateLimit
		ok                      bool
	}{
		"seconds from now":           {"600", "599", "42", time.Time{}, web.RateLimit{Limit: 600, Remaining: 599, Reset: 42 * time.Second}, true},
		"a date":                     {"600", "0", unix(42 * time.Second), now, web.RateLimit{Limit: 600, Reset: 42 * time.Second}, true},
		"a date in milliseconds":     {"600", "0", unix(42*time.Second) + "999", now, web.RateLimit{Limit: 600, Reset: 42 * time.Second}, true},
		"a date of another clock":    {"600", "0", unix(time.Hour), now.Add(time.Hour - 42*time.Second), web.RateLimit{Limit: 600, Reset: 42 * time.Second}, true},
		"a date in the past":         {"600", "3", unix(-time.Hour), now, web.RateLimit{Limit: 600, Remaining: 3}, true},
		"with the window":            {"600;w=60", "12, 12;w=60", "1.5", time.Time{}, web.RateLimit{Limit: 600, Remaining: 12, Reset: time.Second}, true},
		"more left than the limit":   {"600", "9999", "1", time.Time{}, web.RateLimit{Limit: 600, Remaining: 600, Reset: time.Second}, true},
		"a debt":                     {"600", "-3", "1", time.Time{}, web.RateLimit{Limit: 600, Reset: time.Second}, true},
		"for ever":                   {"600", "0", "99999999", time.Time{}, web.RateLimit{Limit: 600, Reset: 24 * time.Hour}, true},
		"none":                       {},
		"without a reset":            {limit: "600", remaining: "3"},
		"no limit":                   {limit: "0", remaining: "0", reset: "1"},
		"not numbers":                {limit: "many", remaining: "some", reset: "soon"},
		"more digits than a number ": {limit: "99999999999999999999", remaining: "1", reset: "1"},
	} {
		h := http.Header{}
		for key, value := range map[string]string{"X-RateLimit-Limit": tt.limit, "X-RateLimit-Remaining": tt.remaining, "X-RateLimit-Reset": tt.reset} {
			if value != "" {
				h.Set(key, value)
			}
		}
		if !tt.date.IsZero() {
			h.Set("Date", tt.date.UTC().Format(http.TimeFormat))
		}
		if got, ok := web.RateLimitOf(h); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %+v, %v, want %+v, %v", name, got, ok, tt.want, tt.ok)
		}
	}
}

package web

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A RateLimit is what a server says about how many requests it takes.
type RateLimit struct {
	Limit     int           // requests in one window, more than 0
	Remaining int           // that are left of them
	Reset     time.Duration // until the window ends, 0 to a day
}

// RateLimitOf reads X-RateLimit-Limit, -Remaining and -Reset, and reports whether
// there are all three. Reset is in seconds from now or, where that would be years,
// a Unix time in seconds or milliseconds; then it is compared with the server's own
// clock (Date), where the answer has that.
func RateLimitOf(h http.Header) (RateLimit, bool) {
	// Names as Go writes them, which costs nothing where they are absent.
	limit, ok := number(h.Get("X-Ratelimit-Limit"))
	if !ok || limit <= 0 {
		return RateLimit{}, false
	}
	remaining, left := number(h.Get("X-Ratelimit-Remaining"))
	reset, ends := number(h.Get("X-Ratelimit-Reset"))
	if !left || !ends {
		return RateLimit{}, false
	}
	const years, millis = 1e8, 1e11 // in seconds: 1973 as a date, and the year 5138
	const day = 24 * 60 * 60
	if reset >= millis {
		reset /= 1000
	}
	if reset >= years {
		now, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			now = time.Now()
		}
		reset -= now.Unix()
	}
	return RateLimit{
		Limit:     int(min(limit, 1<<30)),
		Remaining: int(min(max(remaining, 0), limit, 1<<30)),
		Reset:     time.Duration(min(max(reset, 0), day)) * time.Second,
	}, true
}

// number reads the whole number at the beginning of a value: some servers add the
// window ("600;w=60") or fractions.
func number(value string) (int64, bool) {
	if value == "" { // the common case
		return 0, false
	}
	value = strings.TrimSpace(value)
	if end := strings.IndexAny(value, ".,; "); end >= 0 {
		value = value[:end]
	}
	n, err := strconv.ParseInt(value, 10, 64)
	return n, err == nil
}

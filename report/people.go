package report

import (
	"fmt"
	"strings"
	"time"
)

// Unrest says how many connections tenants refused and how often they restarted;
// empty: they did neither.
func Unrest(refused, restarts int) string {
	var parts []string
	if refused > 0 {
		parts = append(parts, Count(refused, "refused connection"))
	}
	if restarts > 0 {
		parts = append(parts, Count(restarts, "restart"))
	}
	return strings.Join(parts, ", ")
}

// Span writes a length of time for people, in two units at most: "12 ms",
// "1.6 s", "7 min 5 s". A negative one is "0 ms".
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// String writes the length of time for people, as [Span] does.
func (m Millis) String() string { return Span(time.Duration(m)) }

// Moment writes a moment in UTC for people; empty: the zero time, which is not
// known.
func Moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

package main

import (
	"fmt"
	"slices"
	"time"
)

// Samples are measurements of one thing.
type samples []time.Duration

// quantile returns the value at q of the way from the least to the greatest.
func (s samples) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + time.Duration((at-float64(i))*float64(sorted[i+1]-sorted[i]))
}

func (s samples) median() time.Duration { return s.quantile(0.5) }

// String returns the median and the range, for a table.
func (s samples) String() string {
	switch len(s) {
	case 0:
		return "–"
	case 1:
		return show(s[0])
	default:
		return fmt.Sprintf("%s (%s–%s)", show(s.median()), show(s.quantile(0)), show(s.quantile(1)))
	}
}

// show writes a time with three digits.
func show(d time.Duration) string {
	switch {
	case d >= 100*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case d >= time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
	case d >= 10*time.Microsecond:
		return fmt.Sprintf("%.1f µs", d.Seconds()*1e6)
	default:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	}
}

// A duel is two contenders, measured in turn.
type duel struct{ ours, theirs samples }

// ratio returns how often ours goes into theirs, by medians.
func (d duel) ratio() float64 {
	if d.ours.median() == 0 {
		return 0
	}
	return float64(d.theirs.median()) / float64(d.ours.median())
}

// paired returns the quotients ours/theirs of the rounds, least, median and
// greatest: what a busy moment does to one contender it does to its neighbour.
func (d duel) paired() (low, middle, high float64) {
	quotients := make([]float64, min(len(d.ours), len(d.theirs)))
	for i := range quotients {
		quotients[i] = float64(d.ours[i]) / float64(d.theirs[i])
	}
	if len(quotients) == 0 {
		return 0, 0, 0
	}
	slices.Sort(quotients)
	n := len(quotients)
	return quotients[0], (quotients[(n-1)/2] + quotients[n/2]) / 2, quotients[n-1]
}

// fight measures two contenders in turn, each going first every other round.
func fight(rounds int, ours, theirs func() (time.Duration, error)) (duel, error) {
	var d duel
	for i := range rounds {
		order := []func() error{
			func() error { return d.ours.measure(ours) },
			func() error { return d.theirs.measure(theirs) },
		}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, f := range order {
			if err := f(); err != nil {
				return d, err
			}
		}
	}
	return d, nil
}

// measure appends one measurement.
func (s *samples) measure(f func() (time.Duration, error)) error {
	took, err := f()
	*s = append(*s, took)
	return err
}

// mib writes bytes as MiB.
func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// thousands writes a number with a separator every three digits.
func thousands[T int | int64 | uint64](n T) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

package smoke

import (
	"slices"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// maxSamples limits the memory of a long soak of a large fleet.
const maxSamples = 512

// samples are the durations of the answers of one check. Of very many every
// second one is dropped, again and again; the slowest is always kept.
type samples struct {
	kept   []time.Duration
	stride int // one of so many is kept
	skip   int // so many are dropped before the next one is kept
	most   time.Duration
}

func (s *samples) add(d time.Duration) {
	s.most = max(s.most, d)
	if s.skip > 0 {
		s.skip--
		return
	}
	s.stride = max(s.stride, 1)
	if len(s.kept) == maxSamples {
		for i := range maxSamples / 2 {
			s.kept[i] = s.kept[2*i]
		}
		s.kept = s.kept[:maxSamples/2]
		s.stride *= 2
	}
	s.kept = append(s.kept, d)
	s.skip = s.stride - 1
}

// latency returns the percentiles, by nearest rank.
func (s *samples) latency() report.Latency {
	if len(s.kept) == 0 {
		return report.Latency{}
	}
	sorted := slices.Sorted(slices.Values(s.kept))
	rank := func(percent int) report.Millis { return report.Millis(sorted[(len(sorted)*percent+99)/100-1]) }
	return report.Latency{P50: rank(50), P95: rank(95), Max: report.Millis(s.most)}
}

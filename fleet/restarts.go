package fleet

import (
	"sync"
)

// starts are the process starts of one tenant that its version answers named.
type starts struct {
	mu   sync.Mutex
	seen map[string]struct{}
}

// Limits of what is remembered of a tenant's starts: values, and bytes of one.
const (
	maxStarts    = 1000
	maxStartText = 100
)

// note keeps the start that an answer names at a dotted path, if it names one.
// Starts are told apart by their text, and by that alone: whether a clock runs
// ahead means nothing.
func (s *starts) note(body []byte, path string) {
	if path == "" {
		return
	}
	value, err := valueOf(body, path)
	if err != nil || len(value) > maxStartText || value[0] == '{' || value[0] == '[' || string(value) == "null" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]struct{}{}
	}
	if len(s.seen) < maxStarts {
		s.seen[string(value)] = struct{}{}
	}
}

// restarts is how many starts were seen beside the first.
func (s *starts) restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, len(s.seen)-1)
}

// Restarts returns, for every tenant in their order, how many process starts its
// answers with the expected commit named beside the first, at
// WaitOptions.StartedField, since the fleet was made. The start that brought the
// commit is none of them. Several processes behind one address look like restarts.
func (f *Fleet) Restarts() []int {
	counts := make([]int, len(f.sessions))
	for i, s := range f.sessions {
		counts[i] = s.starts.restarts()
	}
	return counts
}

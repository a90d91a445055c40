package promote

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// each runs f for 0 to n-1 at once, waits for all, and joins their errors in
// order, the same words once.
func each(n int, f func(i int) error) error {
	seen := map[string]bool{}
	return errors.Join(slices.DeleteFunc(all(n, f), func(err error) bool {
		again := err == nil || seen[err.Error()]
		if err != nil {
			seen[err.Error()] = true
		}
		return again
	})...)
}

// all is like each and returns one error for each call. A panic is an error
// like another.
func all(n int, f func(i int) error) []error {
	faults := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					faults[i] = fmt.Errorf("internal error: %v", p)
				}
			}()
			faults[i] = f(i)
		})
	}
	wg.Wait()
	return faults
}

// together runs things at once and joins their errors.
func together(fs ...func() error) error {
	return each(len(fs), func(i int) error { return fs[i]() })
}

// Package parallel runs work side by side and turns a panic in any of it into an
// error: no bug in one part of a run may end the process before tags are put back
// and the report is out.
//
// It takes functions and gives their errors; it starts no goroutine that outlives
// the call, except in [Background].
package parallel

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
)

// A PanicError is a panic of ours, caught.
type PanicError struct {
	Value any
	Stack []byte
}

// Error says that it is our fault, and of what type the panic was: its value may
// quote what a peer sent.
func (e *PanicError) Error() string {
	return fmt.Sprintf("internal error of canary-verify (%T); please report it", e.Value)
}

// Guard runs f and returns its error; a panic becomes a [*PanicError].
func Guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return f()
}

// All runs f for 0 to n-1 at once, waits for all of them, and returns the error
// of each.
func All(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = Guard(func() error { return f(i) }) })
	}
	wg.Wait()
	return errs
}

// Each is [All] with the errors joined in order, the same words once.
func Each(n int, f func(i int) error) error {
	seen := map[string]bool{}
	return errors.Join(slices.DeleteFunc(All(n, f), func(err error) bool {
		if err == nil || seen[err.Error()] {
			return true
		}
		seen[err.Error()] = true
		return false
	})...)
}

// Together runs functions at once and joins their errors.
func Together(fs ...func() error) error {
	return Each(len(fs), func(i int) error { return fs[i]() })
}

// Background runs f beside the caller, who receives its error once.
func Background(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- Guard(f) }()
	return done
}

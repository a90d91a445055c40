package web

import (
	"context"
	"errors"
	"time"
)

// How long what is still to be done may take once a run has ended.
const (
	// AfterCancel is for everything together after a cancel: a runner kills 7.5 s
	// after its first signal, and the report must be out too.
	AfterCancel = 6 * time.Second
	// AfterDeadline is for putting tags back after a deadline: registries show a
	// write after 30 s at the latest, or it counts as unknown.
	AfterDeadline = 45 * time.Second
	// AfterCancelTenant is the part of AfterCancel in which checks delete what
	// they made.
	AfterCancelTenant = 2 * time.Second
	// AfterCancelWrite is the part of AfterCancel in which the answer to a write
	// that is in flight is waited for.
	AfterCancelWrite = 3 * time.Second
	// LastStatus bounds the last commit status, which is the last request of a run.
	LastStatus = 5 * time.Second
)

// ErrCancelled says that a run was cancelled, where its context has no cause of
// its own.
var ErrCancelled = errors.New("the run was cancelled")

// Cause is why a context ended, for a sentence.
func Cause(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return ErrCancelled
}

// Cleanup returns a context for putting things back. It outlives ctx: after a
// cancel by [AfterCancel], after a deadline by [AfterDeadline].
func Cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return Outlive(ctx, AfterCancel, AfterDeadline)
}

// Outlive returns a context that ends the given time after ctx was cancelled, or
// after its deadline.
func Outlive(ctx context.Context, afterCancel, afterDeadline time.Duration) (context.Context, context.CancelFunc) {
	cleanup, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		left := afterCancel
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			left = afterDeadline
		}
		if Pause(cleanup, left) == nil {
			cancel()
		}
	})
	return cleanup, func() { stop(); cancel() }
}

package fleet

import (
	"context"
	"sync"
)

// A slotShare is a tenant's share in the fleet's slots: the tenant has one slot
// while anything of it is active, however many goroutines that is.
type slotShare struct {
	entering chan struct{} // held while one goroutine waits for the slot
	mu       sync.Mutex
	users    int
	has      bool // whether the slot is taken; see rejoin
}

// Enter takes the tenant's slot of Config.Concurrency, or joins those who have
// it, and waits for it where it must. Every Enter that returned nil is ended by
// one [Session.Leave], also around every wait of the caller. The error is the
// context's cause.
func (s *Session) Enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	share := &s.share
	select {
	case share.entering <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-share.entering }()
	if share.join() {
		return nil
	}
	select {
	case s.fleet.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	share.mu.Lock()
	defer share.mu.Unlock()
	share.has = true
	share.users++
	return nil
}

// join adds one user where the slot is taken already.
func (s *slotShare) join() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has {
		s.users++
	}
	return s.has
}

// Leave ends one Enter; the last one frees the slot. A Leave without an Enter
// does nothing.
func (s *Session) Leave() {
	share := &s.share
	share.mu.Lock()
	defer share.mu.Unlock()
	if share.users == 0 {
		return
	}
	share.users--
	if share.users == 0 && share.has {
		share.has = false
		<-s.fleet.slots
	}
}

// inUse reports whether anybody entered.
func (s *slotShare) inUse() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users > 0
}

// rejoin counts a user again who left for a wait and could not come back, so
// that the caller's Leave has its Enter. It takes no slot.
func (s *slotShare) rejoin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
}

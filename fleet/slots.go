package fleet

import (
	"context"
	"sync"
)

// A tenancy is a tenant's share in the fleet's slots: the tenant has one slot
// while anything of it is active, however many goroutines that is.
type tenancy struct {
	entering chan struct{} // held while one goroutine waits for the slot
	mu       sync.Mutex
	refs     int
	held     bool // whether the slot is taken; false with refs when a wait was cut short
}

func newTenancy() tenancy { return tenancy{entering: make(chan struct{}, 1)} }

// Enter takes the tenant's slot of Config.Concurrency, or joins those who have
// it, and waits for it where it must. Every Enter that returned nil is ended by
// one [Session.Leave], also around every wait of the caller. The error is the
// context's cause.
func (s *Session) Enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t := &s.tenancy
	select {
	case t.entering <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-t.entering }()
	if t.join() {
		return nil
	}
	select {
	case s.fleet.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = true
	t.refs++
	return nil
}

// join adds one user where the slot is held already.
func (t *tenancy) join() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held {
		t.refs++
	}
	return t.held
}

// Leave ends one Enter; the last one gives the slot back. A Leave without an
// Enter does nothing.
func (s *Session) Leave() {
	t := &s.tenancy
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refs == 0 {
		return
	}
	t.refs--
	if t.refs == 0 && t.held {
		t.held = false
		<-s.fleet.slots
	}
}

// inside reports whether anybody entered.
func (t *tenancy) inside() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refs > 0
}

// owe counts a user again who left for a wait and could not come back, so that
// the caller's Leave finds what it ends. It takes no slot.
func (t *tenancy) owe() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refs++
}

// reservedFiles are the descriptors that a process needs beside its requests:
// streams, report files, registry and forge connections, name servers.
const reservedFiles = 64

// socketsWithin returns the connections that a limit of open files leaves room
// for. A dial may hold two sockets for a moment (IPv4 and IPv6).
func socketsWithin(files uint64) int {
	const plenty = 1 << 20
	if files > plenty {
		return plenty
	}
	return max(2, (int(files)-reservedFiles)*2/3)
}

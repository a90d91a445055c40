package fleet

import (
	"context"
	"net"
	"sync"
	"time"
)

// fileWait is how often a connection that waits for a file descriptor looks
// whether idle ones can be closed.
const fileWait = 20 * time.Millisecond

// A budget bounds the connections that are open at a time, idle ones included.
// The transport alone doesn't: its MaxIdleConns closes no connection of HTTP/2,
// so that a fleet of thousands would use up the process's file descriptors.
type budget struct {
	dialer    net.Dialer
	files     chan struct{} // one for each open connection
	closeIdle func()
}

// dial opens a connection once there is room for it, and makes room by closing
// those that nobody uses.
func (b *budget) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := b.take(ctx); err != nil {
		return nil, err
	}
	conn, err := b.dialer.DialContext(ctx, network, address)
	if err != nil {
		<-b.files
		return nil, err
	}
	return &budgeted{conn, sync.OnceFunc(func() { <-b.files })}, nil
}

// take waits for room.
func (b *budget) take(ctx context.Context) error {
	for {
		select {
		case b.files <- struct{}{}:
			return nil
		default:
		}
		b.closeIdle()
		timer := time.NewTimer(fileWait)
		select {
		case b.files <- struct{}{}:
			timer.Stop()
			return nil
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// A budgeted connection gives its place back when it closes.
type budgeted struct {
	net.Conn
	free func()
}

// Close closes the connection.
func (c *budgeted) Close() error {
	defer c.free()
	return c.Conn.Close()
}

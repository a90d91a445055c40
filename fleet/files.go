package fleet

import (
	"context"
	"net"
	"sync"
	"time"
)

const (
	// reservedFiles are the descriptors that a process needs beside its requests:
	// streams, report files, registry and forge connections, name servers.
	reservedFiles = 64
	// fileWait is how often a dial that waits for a file descriptor looks whether
	// idle connections can be closed.
	fileWait = 20 * time.Millisecond
)

// socketsWithin returns the connections that a limit of open files leaves room
// for. A dial may hold two sockets for a moment (IPv4 and IPv6).
func socketsWithin(files uint64) int {
	const plenty = 1 << 20
	if files > plenty {
		return plenty
	}
	return max(2, (int(files)-reservedFiles)*2/3)
}

// A dialer limits the connections that are open at a time, idle ones included.
// The transport alone doesn't: its MaxIdleConns closes no connection of HTTP/2,
// so that a fleet of thousands would use up the process's file descriptors.
type dialer struct {
	net       net.Dialer
	open      chan struct{} // one for each open connection
	closeIdle func()
}

func newDialer(timeout time.Duration, most int) *dialer {
	return &dialer{net: net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second}, open: make(chan struct{}, most)}
}

// dial opens a connection once there is room for it, and makes room by closing
// those that nobody uses.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := d.makeRoom(ctx); err != nil {
		return nil, err
	}
	conn, err := d.net.DialContext(ctx, network, address)
	if err != nil {
		<-d.open
		return nil, err
	}
	return &countedConn{conn, sync.OnceFunc(func() { <-d.open })}, nil
}

func (d *dialer) makeRoom(ctx context.Context) error {
	for {
		select {
		case d.open <- struct{}{}:
			return nil
		default:
		}
		d.closeIdle()
		select {
		case d.open <- struct{}{}:
			return nil
		case <-time.After(fileWait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A countedConn frees its place when it closes.
type countedConn struct {
	net.Conn
	free func()
}

// Close closes the connection.
func (c *countedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

package sim

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// pipes are the listeners without a socket, by their made-up address.
var pipes sync.Map // string → *pipeListener

// PipeTransport returns a new transport to the tenants that were started with
// [TenantConfig.InMemory], and to nothing else. Together with them it uses no
// socket, so that everything works where the clock is not real (testing/synctest):
// connections are opened, kept, refused and reset as on a network.
func PipeTransport() *http.Transport {
	return &http.Transport{DialContext: dialPipe}
}

// dialPipe connects to a listener without a socket.
func dialPipe(ctx context.Context, network, address string) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	found, ok := pipes.Load(address)
	if !ok {
		return nil, refused
	}
	ln, _ := found.(*pipeListener)
	near, far := net.Pipe()
	cut := new(atomic.Bool)
	client := &pipeConn{Conn: near, cut: cut, remote: ln.address}
	server := &pipeConn{Conn: far, cut: cut, remote: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000 + int(ln.clients.Add(1)%20000)}}
	select {
	case ln.accept <- server:
		return client, nil
	case <-ln.done:
		return nil, refused
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// A pipeListener accepts connections that are made in this process.
type pipeListener struct {
	address *net.TCPAddr
	accept  chan net.Conn
	done    chan struct{}
	clients atomic.Int64
	close   func()
}

// listenPipe listens at a made-up port.
func listenPipe(port int) *pipeListener {
	ln := &pipeListener{
		address: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port},
		accept:  make(chan net.Conn), done: make(chan struct{}),
	}
	pipes.Store(ln.address.String(), ln)
	ln.close = sync.OnceFunc(func() {
		pipes.Delete(ln.address.String())
		close(ln.done)
	})
	return ln
}

// Accept implements [net.Listener].
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accept:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (l *pipeListener) Close() error {
	l.close()
	return nil
}

// Addr implements [net.Listener].
func (l *pipeListener) Addr() net.Addr { return l.address }

// A pipeConn is one end of a connection in this process.
type pipeConn struct {
	net.Conn
	cut    *atomic.Bool // shared by both ends: it was reset, and not closed in order
	remote *net.TCPAddr
}

// RemoteAddr implements [net.Conn].
func (c *pipeConn) RemoteAddr() net.Addr { return c.remote }

// Read implements [net.Conn].
func (c *pipeConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.failure("read", err)
}

// Write implements [net.Conn].
func (c *pipeConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.failure("write", err)
}

// failure is what a network says of the end of a connection.
func (c *pipeConn) failure(op string, err error) error {
	if c.cut.Load() && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)) {
		return &net.OpError{Op: op, Net: "tcp", Addr: c.remote, Err: os.NewSyscallError(op, syscall.ECONNRESET)}
	}
	return err
}

// reset closes the connection so that the other end sees a reset.
func (c *pipeConn) reset() {
	c.cut.Store(true)
	_ = c.Close()
}

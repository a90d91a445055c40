//go:build unix

package sim

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// sharePort lets a listener be opened at a port that [reservePort] holds.
func sharePort(_, _ string, c syscall.RawConn) error {
	var opt error
	err := c.Control(func(fd uintptr) {
		opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if err != nil {
		return err
	}
	return opt
}

// reservePort binds a socket to the port without ever listening on it, so that
// nobody else is given the port while a tenant refuses connections. It does its
// best: without a reservation all works, but for that.
func reservePort(port int) (free func()) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return func() {}
	}
	unix.CloseOnExec(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	_ = unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	return func() { _ = unix.Close(fd) }
}

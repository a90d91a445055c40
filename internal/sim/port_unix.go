//go:build unix

package sim

import "golang.org/x/sys/unix"

// reservePort binds a socket to the port without listening on it, so that
// connections are refused and no other process gets the port. Errors are ignored:
// without a reservation only the second is lost.
func reservePort(port int) (free func()) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return func() {}
	}
	unix.CloseOnExec(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	_ = unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	return func() { _ = unix.Close(fd) }
}

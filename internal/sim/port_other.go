//go:build !unix

package sim

import "syscall"

// sharePort needs to do nothing where [reservePort] reserves nothing.
func sharePort(_, _ string, _ syscall.RawConn) error { return nil }

// reservePort can't keep a port without listening on it here; while a tenant
// refuses connections, another process might take its port.
func reservePort(int) (free func()) { return func() {} }

//go:build !unix

package sim

// reservePort can't keep a port without listening on it here; while a tenant
// refuses connections, another process might take its port.
func reservePort(int) (free func()) { return func() {} }

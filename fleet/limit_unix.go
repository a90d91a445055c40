//go:build unix

package fleet

import "syscall"

// maxSockets returns how many connections the limit of open files leaves room
// for, at least 2. Where the limit is lower than a fleet, fewer requests run at
// once; nothing fails. (The Go runtime has raised the soft limit to the hard one
// when the process began.)
func maxSockets() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 256
	}
	return socketsWithin(uint64(limit.Cur)) //nolint:unconvert // signed on some systems
}

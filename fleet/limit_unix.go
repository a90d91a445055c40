//go:build unix

package fleet

import "syscall"

// reservedFiles are the descriptors that a process needs beside its requests:
// streams, report files, registry and forge connections, name servers.
const reservedFiles = 64

// maxSockets returns how many connections the limit of open files leaves room
// for, at least 2. Where the limit is lower than a fleet, fewer requests run at
// once; nothing fails. (The Go runtime has raised the soft limit to the hard one
// when the process began.)
func maxSockets() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 256
	}
	return socketsWithin(uint64(limit.Cur))
}

// socketsWithin returns the connections that a limit of open files leaves room
// for. A dial may hold two sockets for a moment (IPv4 and IPv6).
func socketsWithin(files uint64) int {
	const plenty = 1 << 20
	if files > plenty {
		return plenty
	}
	return max(2, (int(files)-reservedFiles)*2/3)
}

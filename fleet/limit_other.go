//go:build !unix

package fleet

// maxSockets returns how many connections may be open: these systems have no
// limit of open files that matters here.
func maxSockets() int { return 1 << 20 }

// Command canary-verify is a release gate for fleets of single-tenant
// deployments: an action for GitHub and Gitea runners, and a command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/term"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/cli"
)

// version is stamped at build time: -ldflags "-X main.version=v1.2.3".
var version = "dev"

// The gate lives for minutes and on machines of a CI: it collects garbage half as
// often as usual, which is a tenth of its processor time with a fleet of 10,000,
// and in time to stay under the 512 MiB that docs/performance.md holds it to.
const (
	gcPercent   = 200
	memoryLimit = 400 << 20 // bytes
)

func main() { run(0) }

// run is the program. Tests shorten the lease, see [cli.Command].
func run(lease time.Duration) {
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	command := &cli.Command{
		Args: os.Args[1:], Environ: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Version: version, Lease: lease, OnStdout: screen(os.Stdout), OnStderr: screen(os.Stderr),
	}
	code := command.Run(ctx)
	stop()
	os.Exit(code)
}

// screen is what a stream is shown on.
func screen(stream *os.File) cli.Screen {
	width, _, err := term.GetSize(int(stream.Fd()))
	return cli.Screen{Terminal: err == nil, Width: width}
}

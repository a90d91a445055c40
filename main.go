// Command canary-verify is a release gate for fleets of single-tenant
// deployments: an action for GitHub and Gitea runners, and a command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/cli"
)

// version is stamped at build time: -ldflags "-X main.version=v1.2.3".
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	width, _, err := term.GetSize(int(os.Stderr.Fd()))
	command := &cli.Command{
		Args: os.Args[1:], Environ: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Version: version, Terminal: err == nil, Width: max(width, 80),
	}
	code := command.Run(ctx)
	stop()
	os.Exit(code)
}

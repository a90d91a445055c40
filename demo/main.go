// Command demo plays the whole loop on loopback: an OCI registry, canary tenants
// and production tenants that update themselves from its tags, and the real gate
// between them. Its cycles are short, so it takes about ten seconds. It exits 1 if
// any step does not go as expected.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/pflag"
)

func main() {
	keep := pflag.Bool("keep", false, "leave everything running and print commands to try")
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := play(ctx, os.Stdout, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nThe demo failed:", err)
		os.Exit(1)
	}
}

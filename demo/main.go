// Command demo plays the whole loop on loopback: an OCI registry, canary tenants
// and production tenants that update themselves from its tags, and the real gate
// between them. It takes about ten seconds because its cycles are short, and
// exits 1 if any act of the story goes otherwise than told.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/pflag"
)

func main() {
	keep := pflag.Bool("keep", false, "leave the world running and print command lines to try against it")
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := play(ctx, os.Stdout, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nThe story went otherwise:", err)
		os.Exit(1)
	}
}

package promote_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/sim"
	"git.moleculesai.app/molecule-ai/canary-verify/promote"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// A whole promotion: resolve the candidate, do whatever decides about it, then
// move the targets of all images or none.
func Example() {
	ctx := context.Background()
	registry := exampleRegistry(ctx)
	defer registry.Close()

	p, err := promote.New(promote.Config{
		Images: []string{registry.Host() + "/org/platform", registry.Host() + "/org/tenant"},
		Origin: promote.Origin{Tool: "example", Actor: "ada"},
		Lease:  300 * time.Millisecond, // a registry of this machine
	})
	if err != nil {
		fmt.Println(err) // everything that is invalid, one a line
		return
	}
	sha, err := report.ParseCommit("4c1d56e0b7a92f3844de61c05b9a7d20e8f31c6b")
	if err != nil {
		fmt.Println(err)
		return
	}
	found, err := p.Resolve(ctx, sha, promote.ForVerify)
	var refused *promote.RefusedError
	switch {
	case errors.As(err, &refused):
		fmt.Println("refused:", refused.Rule)
		return
	case err != nil:
		fmt.Println("not known:", err)
		return
	}
	// … here the candidate is tested …
	candidate := found.Candidate
	err = errors.Join(candidate.Preflight(ctx), candidate.Confirm(ctx))
	if err == nil {
		err = candidate.Promote(ctx, promote.Decision{Suite: "my own checks", Reason: "they passed"})
	}
	if err == nil {
		err = candidate.Settle(ctx) // when everything else is done
	}
	var failed *promote.MoveError
	if errors.As(err, &failed) {
		fmt.Println("the registry failed:", failed)
	}
	for _, image := range candidate.Images() {
		fmt.Println(image.Target, image.State, image.AtCandidate())
	}
	// Output:
	// latest promoted true
	// latest promoted true
}

// Everything invalid in a configuration is found at once, and no request is made.
func ExampleNew() {
	_, err := promote.New(promote.Config{
		Images:    []string{"ghcr.io/org/app:latest", "ghcr.io/Org/app"},
		SourceTag: "staging-{commit}",
		Username:  "robot",
		Password:  secret.New("is never shown"),
	})
	fmt.Println(err)
	// Output:
	// Images: entry 1: "ghcr.io/org/app:latest" has a tag: write the repository alone
	// Images: entry 2: "ghcr.io/Org/app" has upper-case letters: repositories are lower-case
	// SourceTag: "staging-{commit}" has the unknown placeholder "{commit}"; known are {sha} and {full-sha}
}

// Restore the newest earlier commit that was good, and see what happened until then.
func ExamplePromoter_Rollback() {
	ctx := context.Background()
	registry := exampleRegistry(ctx)
	defer registry.Close()
	p, err := promote.New(promote.Config{
		Images: []string{registry.Host() + "/org/platform", registry.Host() + "/org/tenant"},
		Lease:  300 * time.Millisecond, // a registry of this machine
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	found, err := p.Resolve(ctx, "4c1d56e", promote.ForVerify)
	if err == nil {
		err = found.Candidate.Promote(ctx, promote.Decision{Reason: "looked good"})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := p.Rollback(ctx, "", "invoices are wrong")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("from", result.Rollback.FromSHA.Short(), "to", result.Rollback.ToSHA.Short())
	history, err := p.History(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, h := range history {
		fmt.Println(h.Event, h.SHA.Short(), h.Reason)
	}
	// Output:
	// from 4c1d56e to 1f0c7be
	// rolled-back 4c1d56e invoices are wrong
	// verified 4c1d56e looked good
	// begun 1f0c7be the ledger begins
}

// exampleRegistry has two images of two commits; latest is at the first.
func exampleRegistry(ctx context.Context) *sim.Registry {
	registry, err := sim.StartRegistry(sim.RegistryConfig{Referrers: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for day, sha := range []string{"1f0c7be24a6d93b85e17c04fa2d6b9038e5c71da", "4c1d56e0b7a92f3844de61c05b9a7d20e8f31c6b"} {
		tag := []string{"staging-1f0c7be,latest", "staging-4c1d56e"}[day]
		created := time.Date(2026, 5, 1+day, 12, 0, 0, 0, time.UTC)
		if _, err := sim.Publish(ctx, registry.Host(), sim.Build{SHA: sha, Images: []string{"org/platform", "org/tenant"}, Tag: tag, Created: created}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	return registry
}

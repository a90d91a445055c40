package promote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Preflight finds out, without writing a tag, whether the move can succeed and
// be undone: the candidate and the former manifest pull by their digests with
// everything an index names, and the credential may push. It is meant to run
// beside the wait for the rollout.
//
// The right to push is tried by uploading the empty config that records need
// anyway, two bytes that change nothing: tokens and roles promise more than a
// registry keeps. Under dry-run nothing is uploaded, and the right stays untried.
//
// The error is a [*MoveError] when the move can't succeed; any other means that
// something could not be read.
func (c *Candidate) Preflight(ctx context.Context) error {
	var fatal, open []error
	for _, err := range parallel.All(len(c.images), func(i int) error { return c.preflight(ctx, c.images[i]) }) {
		if isMoveError(err) {
			fatal = append(fatal, err)
		} else {
			open = append(open, err)
		}
	}
	if len(fatal) > 0 {
		return &MoveError{Err: errors.Join(fatal...)}
	}
	return errors.Join(open...)
}

func isMoveError(err error) bool {
	var failed *MoveError
	return errors.As(err, &failed)
}

// preflight checks one image. The checks run at once.
func (c *Candidate) preflight(ctx context.Context, i *image) error {
	checks := []func() error{func() error { return i.pulls(ctx, i.source, "the candidate is damaged") }}
	if !i.inPlace() {
		checks = append(checks, func() error { return c.p.mayPush(ctx, i.repository) })
		if i.target != nil {
			checks = append(checks, func() error {
				return i.restorable(ctx, i.target, "there is no way back to what "+i.facts.Target+" points at: push it again, or delete that tag")
			})
		}
	}
	errs := parallel.All(len(checks), func(n int) error { return checks[n]() })
	for _, err := range errs {
		if isMoveError(err) {
			return err
		}
	}
	return errors.Join(errs...)
}

// pulls checks that everything that a manifest names as a manifest is there.
func (r *repository) pulls(ctx context.Context, m *registry.Manifest, otherwise string) error {
	err := r.complete(ctx, m, 1)
	if registry.Absent(err) {
		return &MoveError{Err: fmt.Errorf("%s: %w", otherwise, err)}
	}
	return err
}

// restorable checks that a manifest is there by its digest, with everything that
// it names.
func (r *repository) restorable(ctx context.Context, m *registry.Manifest, otherwise string) error {
	return parallel.Together(
		func() error { return r.pulls(ctx, m, otherwise) },
		func() error {
			digest, err := r.Digest(ctx, registry.ByDigest(m.Digest))
			if err != nil || digest == m.Digest {
				return err
			}
			err = r.wrong("read the digest of manifest "+m.Digest.Short(), http.StatusNotFound, "its tag is there, but it can't be pulled by its digest")
			return &MoveError{Err: fmt.Errorf("%s: %w", otherwise, err)}
		},
	)
}

// mayPush tries the right to push.
func (p *Promoter) mayPush(ctx context.Context, r *repository) error {
	if p.config.DryRun {
		return nil
	}
	if err := r.MayPush(ctx); registry.Denied(err) {
		return &MoveError{Err: err}
	}
	bounded, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	err := r.configure(bounded)
	switch {
	case registry.Denied(err):
		return &MoveError{Err: err}
	case ctx.Err() != nil:
		return err
	}
	return nil // if it failed otherwise, records will too, and say so; that is no reason against the move
}

// Confirm reads source and target tags, both heads and the canary tag again. An
// error means that the move must not be made on what was found out before: somebody
// wrote one of them, or it can't be read. It may run beside other reads of the caller.
func (c *Candidate) Confirm(ctx context.Context) error {
	c.setConfirmed(lease{})
	looked := c.p.clock.look()
	look := c.reading()
	heads := func() error { return c.p.unchangedHeads(ctx, look) }
	tags := func() error {
		return parallel.Each(len(c.images), func(n int) error { return c.unmoved(ctx, n) })
	}
	err := parallel.Together(heads, tags)
	if err == nil {
		c.setConfirmed(looked)
	}
	return err
}

// unmoved is an error where a tag of an image shows something else than before.
func (c *Candidate) unmoved(ctx context.Context, n int) error {
	i := c.images[n]
	var source, target report.Digest
	reads := []func() error{
		func() (err error) { source, err = i.sure(ctx, i.facts.Source, i.source); return err },
		func() (err error) { target, err = i.sure(ctx, i.facts.Target, i.target); return err },
	}
	if c.Canary().State == report.CanaryMoved {
		tag := c.p.config.CanaryTag
		reads = append(reads, func() error {
			now, err := i.sure(ctx, tag, i.source)
			if err != nil {
				return err
			}
			return unmoved(i.image, tag, i.source, now, "what was tested may not be the candidate; run again")
		})
	}
	if err := parallel.Together(reads...); err != nil {
		return err
	}
	c.saw(n, target)
	return errors.Join(
		unmoved(i.image, i.facts.Source, i.source, source, "what was tested is not what would be promoted; run again"),
		unmoved(i.image, i.facts.Target, i.target, target, "somebody else moved this tag; run again"),
	)
}

func (c *Candidate) setConfirmed(l lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.confirmed = l
}

func (c *Candidate) lastConfirmed() lease {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.confirmed
}

// reconfirm is [Candidate.Confirm] unless that was called so recently that there is
// time enough left for what follows from it.
func (c *Candidate) reconfirm(ctx context.Context) error {
	if !c.lastConfirmed().over(0.5) {
		return nil
	}
	return c.Confirm(ctx)
}

// sure reads a tag's digest. One that none of the known manifests has is not
// believed before the bytes confirm it: a registry's header may be wrong.
func (r *repository) sure(ctx context.Context, tag string, known ...*registry.Manifest) (report.Digest, error) {
	digests := make([]report.Digest, len(known))
	for n, m := range known {
		digests[n] = m.DigestOrNone()
	}
	return r.digestOf(ctx, tag, digests...)
}

// digestOf is sure, by digests.
func (r *repository) digestOf(ctx context.Context, tag string, known ...report.Digest) (report.Digest, error) {
	digest, err := r.Digest(ctx, registry.ByTag(tag))
	if err != nil || digest == "" || slices.Contains(known, digest) {
		return digest, err
	}
	_, raw, err := r.Bytes(ctx, registry.ByTag(tag))
	if err != nil || raw == nil {
		return "", err
	}
	return registry.DigestOf(raw), nil
}

// unmoved is an error where a tag shows another digest than before.
func unmoved(image, tag string, before *registry.Manifest, now report.Digest, so string) error {
	if before.DigestOrNone() == now {
		return nil
	}
	return fmt.Errorf("%s:%s pointed at %s when the run began and points at %s now: %s",
		image, tag, orNothing(before.DigestOrNone()), orNothing(now), so)
}

func orNothing(d report.Digest) string {
	if d == "" {
		return "nothing"
	}
	return string(d)
}

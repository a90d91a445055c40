package promote

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Preflight finds out, without writing a tag, whether the move can succeed and
// be undone: the candidate and the former manifest pull by their digests with
// everything an index names, and the credential may push. It is meant to run
// beside the wait for the rollout.
//
// The right to push is tried by uploading the empty config that records need
// anyway, two bytes that change nothing: tokens and roles tell less than that.
// Under dry-run nothing is uploaded, and the right stays untried.
//
// The error is a [*MoveError] when the move can't succeed; any other means that
// something could not be read.
func (p *Promoter) Preflight(ctx context.Context, plan *Plan) error {
	if err := p.ready(plan); err != nil {
		return err
	}
	var fatal, open []error
	for _, err := range all(len(plan.Images), func(i int) error { return p.preflight(ctx, plan, i) }) {
		if hopeless := (*MoveError)(nil); errors.As(err, &hopeless) {
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

// preflight checks one image. The checks run at once.
func (p *Promoter) preflight(ctx context.Context, plan *Plan, i int) error {
	image, w := &plan.Images[i], plan.work.images[i]
	checks := []func() error{func() error { return w.pulls(ctx, w.source, false, "the candidate is damaged") }}
	if image.State != Already {
		if w.target != nil {
			checks = append(checks, func() error {
				return w.pulls(ctx, w.target, true, "there is no way back to what "+image.Target+" points at: push it anew, or delete that tag")
			})
		}
		checks = append(checks, func() error { return p.mayPush(ctx, w.repository) })
	}
	faults := all(len(checks), func(i int) error { return checks[i]() })
	for _, err := range faults {
		if hopeless := (*MoveError)(nil); errors.As(err, &hopeless) {
			return err
		}
	}
	return errors.Join(faults...)
}

// pulls proves that a manifest, where asked by its digest, and everything that
// it names as a manifest is there.
func (r *repository) pulls(ctx context.Context, m *manifest, itself bool, otherwise string) error {
	checks := []func() error{func() error { return r.complete(ctx, m, 1) }}
	if itself {
		checks = append(checks, func() error {
			digest, err := r.digest(ctx, m.digest)
			if err == nil && digest != m.digest {
				err = &failure{what: "look at " + tagOrDigest(m.digest), on: r.name.Name(), status: 404, said: "its tag is there, but it can't be had by its digest"}
			}
			return err
		})
	}
	err := together(checks...)
	if err != nil && absent(err) {
		return &MoveError{Err: fmt.Errorf("%s: %w", otherwise, err)}
	}
	return err
}

// mayPush tries the right to push.
func (p *Promoter) mayPush(ctx context.Context, r *repository) error {
	if p.config.DryRun {
		return nil
	}
	if _, err := r.connect(ctx); err == nil && r.noPush != nil {
		return &MoveError{Err: r.noPush}
	}
	bounded, cancel := context.WithTimeout(ctx, p.t.record)
	defer cancel()
	err := r.configure(bounded)
	switch {
	case denied(err):
		return &MoveError{Err: err}
	case ctx.Err() != nil:
		return err
	}
	return nil // if it failed otherwise, records will too, and say so; that is no reason against the move
}

// Confirm reads source and target tags again. An error means that the move must
// not be made on what was found out before: somebody moved one of them, or it
// can't be read. It may run beside other reads of the caller.
func (p *Promoter) Confirm(ctx context.Context, plan *Plan) error {
	if err := p.ready(plan); err != nil {
		return err
	}
	plan.work.confirmed = time.Time{}
	at := time.Now()
	err := each(len(plan.Images), func(i int) error {
		image, w := &plan.Images[i], plan.work.images[i]
		var source, target string
		err := together(
			func() (err error) { source, err = w.sure(ctx, image.Source, image.Digest); return err },
			func() (err error) { target, err = w.sure(ctx, image.Target, image.Previous); return err },
		)
		if err != nil {
			return err
		}
		image.Now = target
		return errors.Join(
			moved(image.Image, image.Source, image.Digest, source, "what was tested is not what would be promoted; run again"),
			moved(image.Image, image.Target, image.Previous, target, "somebody else moves this tag; run again"),
		)
	})
	if err == nil {
		plan.work.confirmed = at
	}
	return err
}

// sure reads a tag's digest, and its bytes where that is not the expected one.
func (r *repository) sure(ctx context.Context, tag, expected string) (string, error) {
	digest, err := r.digest(ctx, tag)
	if err != nil || digest == expected || digest == "" {
		return digest, err
	}
	m, err := r.manifest(ctx, tag)
	return digestOfManifest(m), err
}

// moved is the error of a tag that shows another digest than before.
func moved(image, tag, before, now, so string) error {
	if before == now {
		return nil
	}
	return fmt.Errorf("%s:%s pointed at %s when the run began and points at %s now: %s",
		image, tag, orAbsent(before), orAbsent(now), so)
}

package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The states of a canary tag.
const (
	canaryUntouched = "untouched"
	canaryMoved     = "moved"
	canaryRestored  = "restored"
	canaryUnknown   = "unknown"
)

// MoveCanary moves the canary tag of every image to the candidate, by the same
// rules as the targets. Without a canary tag, and under dry-run, it does nothing.
// After an error the tags are back where they were, or Plan.Canary says where
// they are.
func (p *Promoter) MoveCanary(ctx context.Context, plan *Plan) error {
	if plan != nil && plan.Canary.Tag == "" || p.config.DryRun {
		return nil
	}
	if err := p.ready(plan); err != nil {
		return err
	}
	moves := make([]*move, len(plan.Images))
	for i, w := range plan.work.images {
		moves[i] = &move{repo: w.repository, tag: plan.Canary.Tag, from: w.canary, to: w.source, now: digestOfManifest(w.canary)}
	}
	plan.work.canary = moves
	plan.Canary.State = canaryUnknown // until it is known: a panic must not leave it forgotten
	err := p.apply(ctx, moves)
	plan.Canary.State, plan.Canary.Detail = canaryState(moves)
	if err != nil {
		return fmt.Errorf("the canary tag could not be moved: %w", err)
	}
	return nil
}

// RestoreCanary puts the canary tag back where it was before MoveCanary; where
// that was never begun it does nothing. A tag that pointed at the candidate
// before, as after an interrupted run, is left there.
func (p *Promoter) RestoreCanary(ctx context.Context, plan *Plan) error {
	if plan == nil || plan.work == nil || plan.work.canary == nil {
		return nil
	}
	moves := plan.work.canary
	p.undo(ctx, moves)
	plan.Canary.State, plan.Canary.Detail = canaryState(moves)
	var faults []error
	for _, m := range moves {
		switch m.state {
		case Promoted, UnknownTag:
			faults = append(faults, fmt.Errorf("%s points at %s: %s", m.ref(), place(m), m.detail))
		}
	}
	return errors.Join(faults...)
}

// canaryState sums up the canary tags of all images.
func canaryState(moves []*move) (state, detail string) {
	count := map[State]int{}
	var details []string
	for _, m := range moves {
		count[m.state]++
		if m.detail != "" {
			details = append(details, m.ref()+": "+m.detail)
		}
	}
	detail = strings.Join(details, "; ")
	switch {
	case count[UnknownTag] > 0:
		return canaryUnknown, detail
	case count[Promoted] > 0:
		return canaryMoved, detail
	case count[Restored] > 0:
		return canaryRestored, detail
	case count[Already] == len(moves):
		return canaryMoved, "it pointed at the candidate before this run"
	}
	return canaryUntouched, detail
}

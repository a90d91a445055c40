package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// MoveCanary moves the canary tag of every image to the candidate, by the same
// rules as the targets. Without a canary tag, and under dry-run, it does nothing.
// After an error the tags are back where they were, or [Candidate.Canary] says
// where they are.
func (c *Candidate) MoveCanary(ctx context.Context) error {
	tag := c.p.config.CanaryTag
	if tag == "" || c.p.config.DryRun {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	moves := make([]*move, len(c.images))
	for n, i := range c.images {
		moves[n] = &move{repo: i.repository, tag: tag, from: i.canary, to: i.source, now: i.canary.DigestOrNone()}
	}
	c.canary = moves
	c.setCanary(report.CanaryUnknown, "") // until it is known: a panic must not leave it forgotten
	err := apply(ctx, moves)
	c.setCanary(canaryState(moves))
	if err != nil {
		return fmt.Errorf("the canary tag could not be moved: %w", err)
	}
	return nil
}

// RestoreCanary puts the canary tag back where it was before MoveCanary; where
// that was never begun it does nothing. A tag that pointed at the candidate
// before, as after an interrupted run, is not touched.
func (c *Candidate) RestoreCanary(ctx context.Context) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.canary == nil {
		return nil
	}
	undo(ctx, c.canary)
	c.setCanary(canaryState(c.canary))
	var errs []error
	for _, m := range c.canary {
		if m.state == report.Promoted || m.state == report.UnknownState {
			errs = append(errs, fmt.Errorf("%s points at %s: %s", m.ref(), m.place(), m.detail))
		}
	}
	return errors.Join(errs...)
}

func (c *Candidate) setCanary(state report.CanaryState, detail string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.canaryState.State, c.canaryState.Detail = state, detail
}

// canaryState sums up the canary tags of all images.
func canaryState(moves []*move) (state report.CanaryState, detail string) {
	count := map[report.TagState]int{}
	var details []string
	for _, m := range moves {
		count[m.state]++
		if m.detail != "" {
			details = append(details, m.ref()+": "+m.detail)
		}
	}
	detail = strings.Join(details, "; ")
	switch {
	case count[report.UnknownState] > 0:
		return report.CanaryUnknown, detail
	case count[report.Promoted] > 0:
		return report.CanaryMoved, detail
	case count[report.Restored] > 0:
		return report.CanaryRestored, detail
	case count[report.Already] == len(moves):
		return report.CanaryMoved, "it pointed at the candidate before this run"
	}
	return report.CanaryUntouched, detail
}

package promote

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A HoldResult says what a hold or a release did.
type HoldResult struct {
	Held     *report.Hold // at the end; nil: the target is free
	Changed  bool         // false: it was so already, and nothing was written
	Warnings []string
}

// Hold forbids promotions of the target, with a reason, until it is released. It
// returns when no promotion that looked before can move the target any more.
//
// The error is a [*RefusedError] where a target is absent or the ledger has lost its
// heads, a [*MoveError] where the hold could not be written, a [report.InvalidError]
// where the signing key is not trusted; any other means that the ledger could not be
// read.
func (p *Promoter) Hold(ctx context.Context, reason string) (HoldResult, error) {
	return p.setHold(ctx, report.EventHeld, reason)
}

// Release allows promotions again, with a reason. What was rolled back or rejected
// stays so. Errors are as those of [Promoter.Hold].
func (p *Promoter) Release(ctx context.Context, reason string) (HoldResult, error) {
	return p.setHold(ctx, report.EventReleased, reason)
}

// newHold is a hold by this run.
func (p *Promoter) newHold(reason string) ledger.Hold {
	return ledger.Hold{By: p.who(), At: time.Now().UTC().Truncate(time.Second), Reason: reason}
}

// who names this run or its person.
func (p *Promoter) who() string { return cmp.Or(p.config.Origin.Actor, p.config.Origin.RunURL) }

func (p *Promoter) setHold(ctx context.Context, event report.Event, reason string) (result HoldResult, err error) {
	if !p.config.DryRun {
		if err := p.config.CheckSigner(); err != nil {
			return result, err
		}
	}
	warn := func(format string, args ...any) {
		result.Warnings = append(result.Warnings, untrusted.Line(fmt.Sprintf(format, args...), 1000))
	}
	look, err := p.ready(ctx, warn)
	if look != nil {
		result.Held = holdOf(look.View)
	}
	if err == nil {
		err = p.absentTargets(look)
	}
	if err != nil || isAlready(look.View, event) {
		return result, err
	}
	result.Changed = true
	hold := p.newHold(reason)
	if p.config.DryRun {
		result.Held = nil
		if event == report.EventHeld {
			result.Held = &report.Hold{By: hold.By, At: hold.At, Reason: hold.Reason}
		}
		return result, nil
	}
	shown, err := p.shown(look)
	if err != nil {
		return result, err
	}
	after, err := p.insist(ctx, &change{
		event: event, reason: reason,
		subject: func(n int) *registry.Manifest { return shown[n] },
		sha:     func(n int) report.Commit { return look.View[n].Entry(look.View[n].Target).SHA },
		state: func(_ int, s *ledger.State, _ int64) *ledger.Stop {
			if event == report.EventHeld {
				return s.Hold(hold)
			}
			return s.Release()
		},
	}, warn)
	if after != nil {
		result.Held = holdOf(after.View)
	}
	return result, err
}

// isAlready reports whether a hold or release would change nothing on any image.
func isAlready(v ledger.View, event report.Event) bool {
	for n := range v {
		if s := v[n].Stop; s == nil || (s.Stop.Held != nil) != (event == report.EventHeld) {
			return false
		}
	}
	return true
}

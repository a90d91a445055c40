package promote

import (
	"context"
	"errors"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A HoldResult says what a hold or a release did.
type HoldResult struct {
	Held     *report.Hold // at the end; nil: the target is free
	Changed  bool         // false: it was so already, and nothing was written
	Warnings []string
}

// Hold forbids promotions of the target, with a reason, until it is released.
//
// The error is a [*RefusedError] where a target is absent, a [*MoveError] where the
// hold could not be written; any other means that the ledger could not be read.
func (p *Promoter) Hold(ctx context.Context, reason string) (HoldResult, error) {
	return HoldResult{}, errors.New("not built yet")
}

// Release allows promotions again, with a reason. Errors are as those of [Promoter.Hold].
func (p *Promoter) Release(ctx context.Context, reason string) (HoldResult, error) {
	return HoldResult{}, errors.New("not built yet")
}

// Admit says whether an image may run: "image:tag" asks for what the ledger wants
// behind that target, "image@digest" for that digest. Of the configuration it needs
// credentials and trust, and TargetTag for a digest; read rights are enough. An
// error means that it could not be read.
func Admit(ctx context.Context, c Config, reference string) (report.Admission, error) {
	return report.Admission{Image: reference}, errors.New("not built yet")
}

// Settle waits until no older write can land on the targets any more, reads them
// and the ledger once more, and puts right what was overtaken. It is for calling
// after [Candidate.Promote], when everything else is done.
//
// The error is a [*MoveError]: the targets are not, or not surely, at the candidate.
func (c *Candidate) Settle(ctx context.Context) error { return nil }

// Held returns the hold that was on the target when last read; nil: it is free.
func (c *Candidate) Held() *report.Hold { return nil }

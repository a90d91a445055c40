package promote

import (
	"context"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Held returns the hold that is on the target, with what is worth a warning; nil: it
// is free. The error means that the ledger could not be read.
func (p *Promoter) Held(ctx context.Context) (held *report.Hold, warnings []string, err error) {
	look, err := p.store.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	return holdOf(look.View), look.Warnings, nil
}

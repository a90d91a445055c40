package promote

import (
	"context"
	"slices"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// History returns the decisions about the target tag, one row for all images, newest
// first. Where it can't be followed, the last row says so. The error means that
// something could not be read.
func (p *Promoter) History(ctx context.Context) ([]report.Decision, error) {
	look, err := p.store.Read(ctx)
	if err != nil {
		return nil, err
	}
	decisions, err := p.store.History(ctx, look)
	for _, d := range decisions {
		for i := range d.Images { // as the user wrote them
			if n := slices.Index(p.store.Images, d.Images[i].Image); n >= 0 {
				d.Images[i].Image = p.repos[n].image
			}
		}
	}
	return decisions, err
}

package promote

import (
	"context"
	"fmt"
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Admit says whether an image may run: "image:tag" asks for what the ledger wants
// behind that target, "image@digest" for that digest. Of the configuration it needs
// credentials and trust, and TargetTag for a digest; read rights are enough. Where
// the image is a mirror, As is the repository that its records name. A Witness is
// told what was seen.
//
// The error is a [report.InvalidError] about the field Reference, or means that
// something could not be read.
func Admit(ctx context.Context, c Config, reference string) (report.Admission, error) {
	admission := report.Admission{Image: reference}
	image, tag, digest, err := splitReference(reference)
	if err != nil {
		return admission, err
	}
	if tag != "" {
		c.TargetTag = tag
	}
	c.Images, c.DryRun = []string{image}, true
	c = c.withDefaults()
	names, err := parseImages(c.Images)
	if err != nil {
		return admission, invalid("Reference", "%q is not an image: write host/repository:tag or host/repository@sha256:…", untrusted.Line(reference, 150))
	}
	if _, err := ledger.HeadTag(c.TargetTag, ledger.GoHead); err != nil {
		return admission, invalid("Reference", "%v", err)
	}
	if err := c.Trust.Check(); err != nil {
		return admission, err
	}
	return c.open(names).admit(ctx, admission, digest)
}

// splitReference takes "image:tag" or "image@digest" apart.
func splitReference(reference string) (image, tag string, digest report.Digest, err error) {
	if image, at, found := strings.Cut(reference, "@"); found {
		digest, err := report.ParseDigest(at)
		if err != nil {
			return "", "", "", invalid("Reference", "%v", err)
		}
		return image, "", digest, nil
	}
	n := strings.LastIndex(reference, ":")
	if n < 0 || strings.Contains(reference[n:], "/") || !registry.ValidTag(reference[n+1:]) {
		return "", "", "", invalid("Reference", "%q names neither a tag nor a digest: write host/repository:tag or host/repository@sha256:…", untrusted.Line(reference, 150))
	}
	return reference[:n], reference[n+1:], "", nil
}

// admit asks the ledger of the one image.
func (p *Promoter) admit(ctx context.Context, a report.Admission, digest report.Digest) (report.Admission, error) {
	if as := p.config.As; as != "" {
		p.store.Images[0] = as
		p.store.Registry.(shelf)[as] = p.repos[0]
	}
	look, err := p.store.ReadHeads(ctx)
	if err != nil {
		return a, err
	}
	if look.Unwitnessed != nil {
		return a, fmt.Errorf("what was seen last could not be read: %w", look.Unwitnessed)
	}
	s := &look.View[0]
	answer := s.AdmitTag()
	if digest != "" {
		if s.Go != nil && s.Stop != nil && s.NeedsRecords(digest) {
			if err := p.store.Learn(ctx, look, 0, digest); err != nil {
				return a, err
			}
		}
		answer = s.AdmitDigest(digest, look.Others[0].Found)
	}
	a.Admitted, a.Reason = answer.Admitted, answer.Reason
	if a.Admitted {
		a.Digest = answer.Digest
	}
	if problem := look.Others[0].Problem; problem != "" {
		a.Reason = fmt.Sprintf("%s (%s)", a.Reason, problem)
		return a, nil
	}
	return a, p.store.Tell(ctx, look.View.Saw())
}

package promote

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// A Promoter moves the tags of one [Config]. Its methods may be called from
// several goroutines.
type Promoter struct {
	config Config
	repos  []*repository
}

// A repository is one image's repository, with what a promotion knows of it.
type repository struct {
	*registry.Repository
	image      string      // as the user wrote it
	configured atomic.Bool // the empty config of records is there
}

// New checks the whole configuration and makes no request. The error joins one
// [report.InvalidError] for each thing that is wrong.
func New(c Config) (*Promoter, error) {
	c = c.withDefaults()
	names, imagesErr := parseImages(c.Images)
	if err := errors.Join(imagesErr, c.checkTags(), c.checkCredentials(names)); err != nil {
		return nil, err
	}
	options := registry.Options{
		Transport: c.Transport, Keychain: c.keychain(), UserAgent: c.Origin.Tool,
		ReadOnly: c.DryRun, Redact: secret.NewRedactor(c.Password),
	}
	if options.Transport == nil {
		options.Transport = web.Transport(c.Proxy)
	}
	p := &Promoter{config: c}
	for i, n := range names {
		p.repos = append(p.repos, &repository{Repository: registry.Open(n, options), image: c.Images[i]})
	}
	return p, nil
}

// A Candidate is what [Promoter.Resolve] found of a commit that may be moved. Its
// methods may be called from several goroutines; those that write wait for each
// other.
type Candidate struct {
	p       *Promoter
	sha     report.Commit
	policy  Policy
	images  []*image
	writing sync.Mutex // held by whoever moves tags
	canary  []*move    // nil: never begun; guarded by writing

	mu          sync.Mutex // guards what follows, and what changes of images
	canaryState report.Canary
	warnings    []string
	confirmed   time.Time // when the last read that found all tags unmoved began
}

// An image is one image's part of a candidate.
type image struct {
	*repository
	source, target, canary *registry.Manifest // nil: absent
	newest                 *report.Record     // on the candidate's digest; nil: none
	// facts are what is reported. State, Now and Detail change under the
	// candidate's lock; the rest doesn't once the candidate is resolved.
	facts report.Image
}

// inPlace reports whether the target pointed at the candidate from the start.
func (i *image) inPlace() bool {
	return i.source != nil && i.source.Digest == i.target.DigestOrNone()
}

// candidate starts a candidate; an empty commit is still to be chosen.
func (p *Promoter) candidate(sha report.Commit, policy Policy) *Candidate {
	c := &Candidate{p: p, sha: sha, policy: policy, canaryState: report.Canary{Tag: p.config.CanaryTag}}
	source := ""
	if sha != "" {
		source = expand(p.config.SourceTag, sha)
	}
	for _, r := range p.repos {
		c.images = append(c.images, &image{
			repository: r, facts: report.Image{Image: r.image, Source: source, Target: p.config.TargetTag},
		})
	}
	return c
}

// Images returns what is known of each image, in the order of [Config].
func (c *Candidate) Images() []report.Image {
	c.mu.Lock()
	defer c.mu.Unlock()
	images := make([]report.Image, len(c.images))
	for i, image := range c.images {
		images[i] = image.facts
	}
	return images
}

// Canary returns what became of the canary tag; its Tag is empty when there is
// none.
func (c *Candidate) Canary() report.Canary {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.canaryState
}

// Warnings returns what has become uncertain since the last call, one sentence
// each.
func (c *Candidate) Warnings() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	warnings := c.warnings
	c.warnings = nil
	return slices.Clip(warnings)
}

// warn adds a warning.
func (c *Candidate) warn(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.warnings = append(c.warnings, untrusted.Line(fmt.Sprintf(format, args...), 1000))
}

// saw notes where an image's target points now.
func (c *Candidate) saw(i int, now report.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.images[i].facts.Now = now
}

// commitOf reads a label as a commit; empty when it is none.
func commitOf(label string) report.Commit {
	sha, err := report.ParseCommit(label)
	if err != nil {
		return ""
	}
	return sha
}

// A MoveError says that the registry refused or failed a write, so that targets
// may not be where the caller wanted them; [Candidate.Images] says where each is.
type MoveError struct{ Err error }

// Error returns what failed.
func (e *MoveError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *MoveError) Unwrap() error { return e.Err }

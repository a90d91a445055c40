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
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// A Promoter moves the tags of one [Config]. Its methods may be called from
// several goroutines.
type Promoter struct {
	config Config
	repos  []*repository
	store  *ledger.Store
	clock  *clock
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
	if err := errors.Join(imagesErr, c.checkTags(), c.checkCredentials(names), c.Trust.Check()); err != nil {
		return nil, err
	}
	return c.open(names), nil
}

// open makes a promoter of a configuration that was checked.
func (c Config) open(names []registry.Name) *Promoter {
	timed := &clock{base: c.Transport, lease: c.Lease}
	if timed.base == nil {
		timed.base = web.Transport(c.Proxy)
	}
	if timed.lease <= 0 {
		timed.lease = defaultLease
	}
	books := shelf{}
	p := &Promoter{config: c, clock: timed, store: &ledger.Store{
		Registry: books, Target: c.TargetTag, Trust: c.Trust, Signer: c.Signer, Witness: c.Witness,
	}}
	opened := registry.OpenAll(registry.Options{
		Transport: timed, Keychain: c.keychain(), UserAgent: c.Origin.Tool,
		ReadOnly: c.DryRun, Redact: secret.NewRedactor(c.Password),
	}, names...)
	for i, r := range opened {
		repo := &repository{Repository: r, image: c.Images[i]}
		p.repos = append(p.repos, repo)
		p.store.Images = append(p.store.Images, r.Name().String())
		books[r.Name().String()] = repo
	}
	return p
}

// A Candidate is what [Promoter.Resolve] found of a commit that may be moved. Its
// methods may be called from several goroutines; those that write wait for each
// other.
type Candidate struct {
	p       *Promoter
	sha     report.Commit
	policy  Policy
	images  []*image
	writing sync.Mutex // held by whoever writes
	canary  []*move    // nil: never begun; guarded by writing
	written []*written // heads of the promotion, by image; nil: none; guarded by writing
	late    bool       // the move took too long to be sure of; guarded by writing
	settles time.Time  // from when on no older write can show; guarded by writing

	mu          sync.Mutex // guards what follows, and what changes of images
	look        *ledger.Reading
	canaryState report.Canary
	warnings    []string
	confirmed   lease // of the last look that found all tags unmoved; zero: there is none
}

// An image is one image's part of a candidate.
type image struct {
	*repository
	source, target, canary *registry.Manifest // nil: absent
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
	if text := untrusted.Line(fmt.Sprintf(format, args...), 1000); !slices.Contains(c.warnings, text) {
		c.warnings = append(c.warnings, text)
	}
}

// Held returns the hold that was on the target when last read; nil: it is free.
func (c *Candidate) Held() *report.Hold {
	look := c.reading()
	if look == nil {
		return nil
	}
	return holdOf(look.View)
}

// holdOf returns the hold that a view shows, in the form of reports; nil: none.
func holdOf(v ledger.View) *report.Hold {
	h := v.Held()
	if h == nil {
		return nil
	}
	return &report.Hold{By: h.By, At: h.At, Reason: h.Reason}
}

// reading returns what was read of the ledger last; nil: nothing.
func (c *Candidate) reading() *ledger.Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.look
}

// setReading notes what was read of the ledger, with its warnings.
func (c *Candidate) setReading(r *ledger.Reading) {
	for _, warning := range r.Warnings {
		c.warn("%s", warning)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look = r
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

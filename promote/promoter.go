package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/types"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// A Promoter moves the tags of one [Config]. Its methods may be called one after
// the other; Confirm and Preflight also beside other work of the caller.
type Promoter struct {
	config Config
	repos  []*repository
	t      timing
}

// New checks the whole configuration and makes no request. The error joins one
// error for each fault; each names the input that it is about.
func New(c Config) (*Promoter, error) {
	repos, imageFaults := parseImages(c.Images)
	faults := []error{imageFaults, checkTags(c.SourceTag, c.TargetTag, c.CanaryTag), checkCredentials(c, repos)}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	p := &Promoter{config: c, t: standard}
	base := c.Transport
	if base == nil {
		base = newTransport(c.Proxy)
	}
	w := &pings{base: &wire{base: base, t: &p.t}}
	shared := map[string]*host{}
	for i, repo := range repos {
		r := &repository{
			image: c.Images[i], name: repo, tool: c.Origin.Tool, keychain: c.keychain(), readOnly: c.DryRun,
			wire: w, t: &p.t, redact: secret.NewRedactor(c.Password), connecting: make(chan struct{}, 1),
		}
		at := repo.RegistryStr()
		if shared[at] == nil {
			shared[at] = &host{asks: r, told: make(chan struct{})}
		}
		r.host = shared[at]
		p.repos = append(p.repos, r)
	}
	return p, nil
}

// checkCredentials finds what is wrong with the explicit credentials.
func checkCredentials(c Config, repos []name.Repository) error {
	var faults []error
	switch {
	case c.Username == "" && !c.Password.IsZero():
		faults = append(faults, errors.New("registry-username: missing, though registry-password is given"))
	case c.Username != "" && c.Password.IsZero():
		faults = append(faults, errors.New("registry-password: missing, though registry-username is given"))
	}
	if strings.Contains(c.Username, ":") {
		faults = append(faults, errors.New("registry-username: holds a colon, which basic authentication can't carry"))
	}
	if hosts := registries(repos); c.Username != "" && len(hosts) > 1 {
		faults = append(faults, fmt.Errorf("registry-username: it is for one registry, but images are at %s: log in to each and pass the Docker config (DOCKER_CONFIG) instead",
			strings.Join(hosts, ", ")))
	}
	return errors.Join(faults...)
}

// keychain returns the explicit credential alone, or else the caller's keychain.
func (c Config) keychain() authn.Keychain {
	if c.Username != "" {
		return account{c.Username, c.Password}
	}
	return c.Keychain
}

// An account is the explicit credential: a keychain with one key for all.
type account struct {
	username string
	password secret.Value
}

// Resolve implements [authn.Keychain].
func (a account) Resolve(authn.Resource) (authn.Authenticator, error) { return a, nil }

// Authorization implements [authn.Authenticator]: it is where the password is
// revealed, for a header.
func (a account) Authorization() (*authn.AuthConfig, error) {
	return &authn.AuthConfig{Username: a.username, Password: a.password.Reveal()}, nil
}

// work is what a [Plan] knows beside what it shows.
type work struct {
	policy    Policy
	images    []*imageWork
	canary    []*move // nil: never begun
	confirmed time.Time
	prepared  []*draft // of the records, by image; nil: none
	decision  Decision // that the drafts were made for
}

// An imageWork is one image's manifests.
type imageWork struct {
	*repository
	source, target, canary *manifest // nil: absent
}

// subject is the candidate as a record's subject.
func subjectOf(m *manifest) v1.Descriptor {
	h, _ := v1.NewHash(m.digest) // ours
	return v1.Descriptor{MediaType: types.MediaType(m.mediaType), Digest: h, Size: int64(len(m.raw))}
}

// digestOfManifest is a manifest's digest; "" when there is none.
func digestOfManifest(m *manifest) string {
	if m == nil {
		return ""
	}
	return m.digest
}

// plan starts a Plan of a commit.
func (p *Promoter) plan(sha string, policy Policy) *Plan {
	plan := &Plan{SHA: sha, work: &work{policy: policy}}
	source := ""
	if sha != "" { // else a rollback, which chooses the commit
		source = expand(p.config.SourceTag, sha)
	}
	for _, r := range p.repos {
		plan.Images = append(plan.Images, ImagePlan{Image: r.image, Source: source, Target: p.config.TargetTag})
		plan.work.images = append(plan.work.images, &imageWork{repository: r})
	}
	if p.config.CanaryTag != "" {
		plan.Canary = CanaryPlan{Tag: p.config.CanaryTag, State: canaryUntouched}
	}
	return plan
}

// warn adds a warning to the plan.
func (plan *Plan) warn(format string, args ...any) {
	plan.Warnings = append(plan.Warnings, untrusted.Line(fmt.Sprintf(format, args...), 1000))
}

// errPlan is what a method says of a Plan that is not from Resolve.
var errPlan = errors.New("promote: the plan was not made by Resolve")

// ready reports whether a plan can be carried out.
func (p *Promoter) ready(plan *Plan) error {
	if plan == nil || plan.work == nil || len(plan.work.images) != len(p.repos) {
		return errPlan
	}
	for _, w := range plan.work.images {
		if w.source == nil {
			return errPlan
		}
	}
	return nil
}

// late returns a context for putting things back. It outlives ctx, after a
// cancel by what a runner leaves a process, counted from the cancel and for
// everything together; after a deadline by as long as a registry may need.
func (p *Promoter) late(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		budget := p.t.cancel
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			budget = p.t.overtime
		}
		if pause(late, budget) {
			cancel()
		}
	})
	return late, func() { stop(); cancel() }
}

package promote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// The tags that empty fields of a [Config] mean.
const (
	DefaultSourceTag = "staging-{sha}"
	DefaultTargetTag = "latest"
)

// Config says which tags of which images a [Promoter] works on, and how it may.
type Config struct {
	Images []string // repositories without tag or digest, as the user wrote them
	// SourceTag is a template: {sha} is the first 7 digits of the commit, {full-sha}
	// all of them; empty: [DefaultSourceTag].
	SourceTag string
	TargetTag string // empty: [DefaultTargetTag]
	CanaryTag string // empty: there is none
	// Username and Password are for the one registry that all images share;
	// both empty: Keychain alone.
	Username string
	Password secret.Value
	Keychain authn.Keychain // nil: anonymous
	Ancestry Ancestry       // nil: the order of commits is judged by creation time alone
	// Force is a reason in words that lifts the refusals of order, of records, of the
	// ledger and of holds.
	Force  string
	DryRun bool // every read and check, no write
	Origin Origin
	// Signer signs every record; nil: records are unsigned.
	Signer *ledger.Signer
	Trust  ledger.Trust // whose records count
	// Witness keeps outside the registry which heads were seen last; nil: nothing
	// does, and a replay of a whole older state goes unseen.
	Witness ledger.Witness
	// NoHold leaves the target free after a rollback.
	NoHold bool
	As     string // for [Admit]: the repository, with its host, that an image is a mirror of; empty: itself
	// Lease is for how long a look at the ledger counts; 0: 4 seconds. It must be the
	// same for all who write: twice as long is waited after each write.
	Lease time.Duration
	// Transport carries all requests; nil: one with timeouts of its own.
	Transport http.RoundTripper
	// Proxy chooses a proxy for that one; nil: none. The package reads no
	// environment: pass [http.ProxyFromEnvironment] for HTTPS_PROXY and NO_PROXY.
	Proxy web.ProxyFunc
}

// An Origin says who decided, and where; it stands in the records.
type Origin struct {
	Tool   string // "canary-verify" and its version
	RunURL string
	RunID  string // the same when a run is run again
	Actor  string
}

// Ancestry knows how commits stand to each other; a forge can.
type Ancestry interface {
	// Compare returns how next stands to base.
	Compare(ctx context.Context, base, next report.Commit) (report.Relation, error)
}

// A Policy says what a candidate must be.
type Policy int

// The policies.
const (
	// ForVerify refuses a move backwards or of unknown order, and a digest that was
	// rolled back. While the target is on hold, all but the move is possible.
	ForVerify Policy = iota
	// ForPromote refuses these, a digest without a record of a green run, one that was
	// rejected since, and every move while the target is on hold.
	ForPromote
)

// A Decision is what the caller decided about a [Candidate], for its records.
type Decision struct {
	Suite  string
	Hash   string // of the suite, "sha256:…"
	Fleet  int    // canary tenants that were checked; 0: none
	Reason string
}

// withDefaults fills in the tags.
func (c Config) withDefaults() Config {
	if c.SourceTag == "" {
		c.SourceTag = DefaultSourceTag
	}
	if c.TargetTag == "" {
		c.TargetTag = DefaultTargetTag
	}
	return c
}

// The placeholders of a source tag.
const (
	shortSHA = "{sha}"
	fullSHA  = "{full-sha}"
)

var placeholder = regexp.MustCompile(`\{[^{}]*\}?|\}`)

// expand fills a commit into a source tag.
func expand(template string, sha report.Commit) string {
	return strings.NewReplacer(shortSHA, sha.Short(), fullSHA, string(sha)).Replace(template)
}

// madeBy reports whether some commit makes the template this tag.
func madeBy(template, tag string) bool {
	pattern := regexp.QuoteMeta(template)
	pattern = strings.ReplaceAll(pattern, regexp.QuoteMeta(shortSHA), "[0-9a-f]{7}")
	pattern = strings.ReplaceAll(pattern, regexp.QuoteMeta(fullSHA), "([0-9a-f]{40}|[0-9a-f]{64})")
	return regexp.MustCompile("^" + pattern + "$").MatchString(tag)
}

// invalid is an error about one field.
func invalid(field, format string, args ...any) error {
	return &report.InvalidError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// CheckCommit returns a [report.InvalidError] for the field "SHA" when the source
// tag can't be made of the commit.
func (c Config) CheckCommit(sha report.Commit) error {
	source := c.withDefaults().SourceTag
	switch {
	case sha == "":
		return &report.InvalidError{Field: "SHA", Missing: true, Problem: "missing; give the commit to promote"}
	case !sha.Same(sha):
		return invalid("SHA", "%q is not a commit", untrusted.Line(string(sha), 60))
	case strings.Contains(source, fullSHA) && !sha.Whole():
		return invalid("SHA", "%s has %d digits, but the source tag %q needs all of them", sha, len(sha), source)
	case !registry.ValidTag(expand(source, sha)):
		return invalid("SHA", "the source tag %q makes %q of it, which is not a tag: %s", source, expand(source, sha), registry.TagRule)
	}
	return nil
}

// parseImages returns the repositories that the user wrote.
func parseImages(images []string) ([]registry.Name, error) {
	if len(images) == 0 {
		return nil, &report.InvalidError{Field: "Images", Missing: true,
			Problem: "missing; give the repositories whose tags move, for example ghcr.io/org/app"}
	}
	var names []registry.Name
	var errs []error
	seen := map[string]int{}
	for i, image := range images {
		n, err := registry.ParseName(image)
		if first := seen[sameImage(n)]; err == nil && first > 0 {
			err = fmt.Errorf("%q is the same repository as entry %d", image, first)
		}
		if err != nil {
			errs = append(errs, &report.InvalidError{Field: "Images", Entry: i + 1, Problem: err.Error()})
			continue
		}
		seen[sameImage(n)] = i + 1
		names = append(names, n)
	}
	return names, errors.Join(errs...)
}

// sameImage is one name for all spellings of a repository that are known to be the
// same.
func sameImage(n registry.Name) string {
	host, port, _ := strings.Cut(n.Host(), ":")
	switch {
	case host == "registry-1.docker.io":
		host = "index.docker.io"
	case strings.HasPrefix(n.Host(), "[::1]"):
		host, port = "localhost", strings.TrimPrefix(strings.TrimPrefix(n.Host(), "[::1]"), ":")
	case web.IsLoopback(host):
		host = "localhost"
	}
	return host + ":" + port + "/" + n.Path()
}

// CheckSigner finds why what a run decides would not count, for those that move tags
// or write records. The error is a [report.InvalidError] about the field SigningKey.
func (c Config) CheckSigner() error { return c.Trust.CheckSigner(c.Signer) }

// checkTags finds what is wrong with the three tags.
func (c Config) checkTags() error {
	var errs []error
	sourceOK := true
	for _, p := range placeholder.FindAllString(c.SourceTag, -1) {
		if p != shortSHA && p != fullSHA {
			sourceOK = false
			errs = append(errs, invalid("SourceTag", "%q has the unknown placeholder %q; known are %s and %s",
				untrusted.Line(c.SourceTag, 150), untrusted.Line(p, 40), shortSHA, fullSHA))
		}
	}
	if sourceOK && !registry.ValidTag(expand(c.SourceTag, report.Commit(strings.Repeat("0", 40)))) {
		sourceOK = false
		errs = append(errs, invalid("SourceTag", "%q does not make a tag: %s", untrusted.Line(c.SourceTag, 150), registry.TagRule))
	}
	if ledger.Reserved(c.SourceTag) {
		errs = append(errs, invalid("SourceTag", "%q is reserved: tags like that belong to records", untrusted.Line(c.SourceTag, 150)))
	}
	for _, t := range []struct{ field, tag string }{{"TargetTag", c.TargetTag}, {"CanaryTag", c.CanaryTag}} {
		switch {
		case t.field == "CanaryTag" && t.tag == "":
		case !registry.ValidTag(t.tag):
			errs = append(errs, invalid(t.field, "%q is not a tag: %s", untrusted.Line(t.tag, 150), registry.TagRule))
		case sourceOK && madeBy(c.SourceTag, t.tag):
			errs = append(errs, invalid(t.field, "%q can also be a source tag (%q): a move must not change its own source", t.tag, c.SourceTag))
		case t.field == "CanaryTag" && ledger.Reserved(t.tag):
			errs = append(errs, invalid(t.field, "%q is reserved: tags like that belong to records", t.tag))
		case t.field == "TargetTag":
			if _, err := ledger.HeadTag(t.tag, ledger.GoHead); err != nil {
				errs = append(errs, invalid(t.field, "%v", err))
			}
		}
	}
	if c.CanaryTag == c.TargetTag {
		errs = append(errs, invalid("CanaryTag", "%q is the target tag: production would get what was not tested", c.CanaryTag))
	}
	return errors.Join(errs...)
}

// checkCredentials finds what is wrong with the explicit credentials.
func (c Config) checkCredentials(names []registry.Name) error {
	var errs []error
	switch {
	case c.Username == "" && !c.Password.IsZero():
		errs = append(errs, &report.InvalidError{Field: "Username", Missing: true, Problem: "missing, though a password is given"})
	case c.Username != "" && c.Password.IsZero():
		errs = append(errs, &report.InvalidError{Field: "Password", Missing: true, Problem: "missing, though a username is given"})
	}
	if strings.Contains(c.Username, ":") {
		errs = append(errs, invalid("Username", "has a colon, which basic authentication can't carry"))
	}
	var hosts []string
	for _, n := range names {
		if !slices.Contains(hosts, n.Host()) {
			hosts = append(hosts, n.Host())
		}
	}
	if c.Username != "" && len(hosts) > 1 {
		errs = append(errs, invalid("Username", "is for one registry, but images are at %s: log in to each and use the Docker config (DOCKER_CONFIG) instead",
			strings.Join(hosts, ", ")))
	}
	return errors.Join(errs...)
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

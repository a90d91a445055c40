package promote

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
)

// The grammars of the OCI distribution specification 1.1 for repositories and
// tags. The library's own check is laxer: it lets tags such as "-x" through.
var (
	repositoryForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	hostForm       = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])(:[0-9]{1,5})?$`)
	commitForm     = regexp.MustCompile(`^[0-9a-f]{7,40}$`)
	placeholder    = regexp.MustCompile(`\{[^{}]*\}?|\}`)
)

// The placeholders of a source tag.
const (
	shortSHA = "{sha}"
	fullSHA  = "{full-sha}"
)

// maxRepository is the length that the distribution specification suggests for
// a repository's name, host included.
const maxRepository = 255

// parseImages returns the repositories that the user wrote, and one error for
// each fault.
func parseImages(images []string) ([]name.Repository, error) {
	if len(images) == 0 {
		return nil, errors.New("images: none given; write the repositories whose tags move, for example ghcr.io/org/app")
	}
	var repos []name.Repository
	var faults []error
	seen := map[string]int{}
	for i, image := range images {
		repo, problem := parseImage(image)
		if problem == "" {
			if first, twice := seen[repo.Name()]; twice {
				problem = fmt.Sprintf("is the same repository as entry %d", first)
			} else {
				seen[repo.Name()] = i + 1
			}
		}
		if problem != "" {
			faults = append(faults, fmt.Errorf("images: entry %d: %s %s", i+1, shownImage(image), problem))
			continue
		}
		repos = append(repos, repo)
	}
	return repos, errors.Join(faults...)
}

// shownImage quotes an entry, unless it could hold a password.
func shownImage(image string) string {
	if user, _, found := strings.Cut(image, "@"); found && strings.Contains(user, ":") && !strings.Contains(image, "@sha256:") {
		return "(not shown: it may hold credentials)"
	}
	return fmt.Sprintf("%q", untrusted.Line(image, 100))
}

// parseImage returns one repository, or what is wrong with it.
func parseImage(image string) (name.Repository, string) {
	none := name.Repository{}
	switch {
	case image == "":
		return none, "is empty"
	case strings.Contains(image, "://"):
		return none, "is a URL: write it without scheme"
	case strings.Contains(image, "@"):
		return none, "has a digest or credentials: write the repository alone"
	}
	path := image
	first, rest, found := strings.Cut(image, "/")
	hasHost := found && (first == "localhost" || strings.ContainsAny(first, ".:") || first != strings.ToLower(first))
	if hasHost {
		first, path = strings.ToLower(first), rest
		image = first + "/" + rest
	}
	switch {
	case strings.Contains(path, ":"):
		return none, "has a tag: write the repository alone, tags are inputs of their own"
	case hasHost && !hostForm.MatchString(first):
		return none, "has a host that is none"
	case path != strings.ToLower(path):
		return none, "has upper-case letters: repositories are lower-case"
	case len(image) > maxRepository:
		return none, fmt.Sprintf("is longer than %d characters", maxRepository)
	case !repositoryForm.MatchString(path):
		return none, "is no repository: lower-case letters and digits, in parts joined by . _ - or /"
	}
	repo, err := name.NewRepository(image)
	if err != nil {
		return none, "is no repository: " + untrusted.Line(err.Error(), 200)
	}
	return repo, ""
}

// checkTags finds what is wrong with the three tags.
func checkTags(source, target, canary string) error {
	var faults []error
	sourceOK := true
	for _, p := range placeholder.FindAllString(source, -1) {
		if p != shortSHA && p != fullSHA {
			sourceOK = false
			faults = append(faults, fmt.Errorf("source-tag: %q has the unknown placeholder %q; known are %s and %s",
				untrusted.Line(source, 150), untrusted.Line(p, 40), shortSHA, fullSHA))
		}
	}
	if sourceOK && !tagForm.MatchString(expand(source, strings.Repeat("0", 40))) {
		sourceOK = false
		faults = append(faults, fmt.Errorf("source-tag: %q makes no tag: %s", untrusted.Line(source, 150), tagRule))
	}
	for _, t := range []struct{ input, tag string }{{"target-tag", target}, {"canary-tag", canary}} {
		if t.input == "canary-tag" && t.tag == "" {
			continue
		}
		if !tagForm.MatchString(t.tag) {
			faults = append(faults, fmt.Errorf("%s: %q is no tag: %s", t.input, untrusted.Line(t.tag, 150), tagRule))
			continue
		}
		if sourceOK && madeBy(source, t.tag) {
			faults = append(faults, fmt.Errorf("%s: %q is what source-tag %q can make: a move must not change its own source", t.input, t.tag, source))
		}
	}
	if canary != "" && canary == target {
		faults = append(faults, fmt.Errorf("canary-tag: %q is the target-tag: production would get what was not tested", canary))
	}
	return errors.Join(faults...)
}

// tagRule tells the grammar of tags.
const tagRule = "at most 128 letters, digits, _ . and -, not beginning with . or -"

// expand fills a commit into a source tag.
func expand(template, sha string) string {
	short := sha[:min(7, len(sha))]
	return strings.NewReplacer(shortSHA, short, fullSHA, sha).Replace(template)
}

// madeBy reports whether some commit makes the template this tag.
func madeBy(template, tag string) bool {
	pattern := regexp.QuoteMeta(template)
	pattern = strings.ReplaceAll(pattern, regexp.QuoteMeta(shortSHA), "[0-9a-f]{7}")
	pattern = strings.ReplaceAll(pattern, regexp.QuoteMeta(fullSHA), "[0-9a-f]{40}")
	return regexp.MustCompile("^" + pattern + "$").MatchString(tag)
}

// sameCommit reports whether two commits, each of 7 to 40 hex digits, are the
// same as far as both are told.
func sameCommit(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	return commitForm.MatchString(a) && commitForm.MatchString(b) && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a))
}

// short is a commit or digest as people read it.
func short(s string) string {
	if digest, found := strings.CutPrefix(s, "sha256:"); found {
		return "sha256:" + digest[:min(12, len(digest))]
	}
	return s[:min(7, len(s))]
}

// registries returns the hosts of the repositories, each once.
func registries(repos []name.Repository) []string {
	var hosts []string
	for _, r := range repos {
		if host := r.RegistryStr(); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

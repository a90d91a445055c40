package registry

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// The grammars of the OCI distribution specification 1.1 for repositories and
// tags. The library's own check is laxer: it lets tags such as "-x" through.
var (
	repositoryForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	hostForm       = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])(:[0-9]{1,5})?$`)
)

// maxName is the length that the distribution specification suggests for a
// repository's name, host included.
const maxName = 255

// TagRule is the grammar of tags in words.
const TagRule = "at most 128 letters, digits, _ . and -, not beginning with . or -"

// ValidTag reports whether s is a tag.
func ValidTag(s string) bool { return tagForm.MatchString(s) }

// A Name is a repository at a registry. Make it with [ParseName].
type Name struct{ repository name.Repository }

// String returns the name with its host, "index.docker.io/library/nginx".
func (n Name) String() string { return n.repository.Name() }

// Host returns the registry's host, with its port where it has one.
func (n Name) Host() string { return n.repository.RegistryStr() }

// Path returns the repository below the host, "library/nginx".
func (n Name) Path() string { return n.repository.RepositoryStr() }

// ParseName reads a repository as people write it: without a scheme, tag or
// digest; without a host it is Docker Hub's. The error quotes what was written,
// unless that could hold a password.
func ParseName(s string) (Name, error) {
	n, problem := parseName(s)
	if problem != "" {
		return Name{}, fmt.Errorf("%s %s", shown(s), problem)
	}
	return n, nil
}

func shown(s string) string {
	if user, _, found := strings.Cut(s, "@"); found && strings.Contains(user, ":") && !strings.Contains(s, "@sha256:") {
		return "(not shown: it may hold credentials)"
	}
	return fmt.Sprintf("%q", untrusted.Line(s, 100))
}

func parseName(s string) (n Name, problem string) {
	switch {
	case s == "":
		return n, "is empty"
	case strings.Contains(s, "://"):
		return n, "is a URL: write it without scheme"
	case strings.Contains(s, "@"):
		return n, "has a digest or credentials: write the repository alone"
	}
	path := s
	first, rest, found := strings.Cut(s, "/")
	hasHost := found && (first == "localhost" || strings.ContainsAny(first, ".:") || first != strings.ToLower(first))
	if hasHost {
		first, path = strings.ToLower(first), rest
		s = first + "/" + rest
	}
	switch {
	case strings.Contains(path, ":"):
		return n, "has a tag: write the repository alone"
	case hasHost && !hostForm.MatchString(first):
		return n, "has a host that is not valid"
	case path != strings.ToLower(path):
		return n, "has upper-case letters: repositories are lower-case"
	case !repositoryForm.MatchString(path):
		return n, "is not a repository: use lower-case letters and digits, in parts joined by . _ - or /"
	}
	var err error
	if n.repository, err = name.NewRepository(s); err != nil {
		return Name{}, "is not a repository: " + untrusted.Line(err.Error(), 200)
	}
	if len(n.repository.Name()) > maxName { // with the host that it stands for
		return Name{}, fmt.Sprintf("is longer than %d characters", maxName)
	}
	return n, ""
}

// A Reference names a manifest within a repository, by tag or by digest.
type Reference struct {
	tag    string
	digest report.Digest
}

// ByTag refers to what a tag points at.
func ByTag(tag string) Reference { return Reference{tag: tag} }

// ByDigest refers to one manifest for good.
func ByDigest(d report.Digest) Reference { return Reference{digest: d} }

// String is the reference as people read it: "tag latest", "manifest sha256:1234…".
func (r Reference) String() string {
	if r.tag != "" {
		return "tag " + r.tag
	}
	return "manifest " + r.digest.Short()
}

// path is the reference within a request. Both grammars need no escaping.
func (r Reference) path() (string, error) {
	if r.tag != "" && !ValidTag(r.tag) {
		return "", fmt.Errorf("%q is not a tag", untrusted.Line(r.tag, 150))
	}
	if r.tag == "" {
		if _, err := report.ParseDigest(string(r.digest)); err != nil {
			return "", errors.New("neither a tag nor a digest was given")
		}
		return "manifests/" + string(r.digest), nil
	}
	return "manifests/" + r.tag, nil
}

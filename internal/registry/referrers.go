package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/web"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Limits of a list of referrers.
const (
	maxPages     = 20
	maxReferrers = 2000 // on a page
)

// Referrers lists the artifacts attached to a digest, without duplicates: by the
// referrers API, else by the fallback tag that the distribution specification
// describes. The type (empty: all) is a hint: registries may list others too, or under the
// type of their config.
//
// A registry has no referrers API when it answers with 400, 404, 405, 406 or 501,
// or with something that is not an index; one answer decides for the repository.
// Any other failure is an error, and says nothing.
func (r *Repository) Referrers(ctx context.Context, of report.Digest, artifactType string) ([]v1.Descriptor, error) {
	if !r.noReferrers.Load() {
		list, found, err := r.referrersAPI(ctx, of, artifactType)
		if err != nil || found {
			return list, err
		}
		r.noReferrers.Store(true)
	}
	_, list, err := r.fallback(ctx, of)
	return list, err
}

// referrersAPI asks the API, page by page; found is false where there is none.
func (r *Repository) referrersAPI(ctx context.Context, of report.Digest, artifactType string) (list []v1.Descriptor, found bool, err error) {
	query := url.Values{}
	if artifactType != "" {
		query.Set("artifactType", artifactType)
	}
	c := call{
		what: "list what refers to " + of.Short(), method: http.MethodGet,
		path: "referrers/" + string(of), query: query,
		header: http.Header{"Accept": {string(types.OCIImageIndex)}},
		ok:     []int{http.StatusOK, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented},
	}
	for range maxPages {
		a, err := r.do(ctx, c)
		if err != nil {
			return nil, false, err
		}
		if kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";"); a.status != http.StatusOK || kind != string(types.OCIImageIndex) {
			return nil, false, nil
		}
		page, err := parseReferrers(a.body)
		if err != nil {
			return nil, false, r.invalid(c.what, err)
		}
		list = append(list, page...)
		next, more := nextPage(a)
		if !more {
			return unique(list), true, nil
		}
		c.url = next
	}
	return nil, false, r.invalid(c.what, fmt.Errorf("the list has more than %d pages", maxPages))
}

// parseReferrers reads an index of referrers.
func parseReferrers(b []byte) ([]v1.Descriptor, error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, fmt.Errorf("the list of referrers is not an index: %s", untrusted.Line(err.Error(), 100))
	}
	if index.SchemaVersion != 2 {
		return nil, errors.New("the list of referrers is not an index")
	}
	if n := len(index.Manifests); n > maxReferrers {
		return nil, fmt.Errorf("%d artifacts refer to it; more than %d are refused", n, maxReferrers)
	}
	for _, d := range index.Manifests {
		if _, err := report.ParseDigest(d.Digest.String()); err != nil {
			return nil, errors.New("the list of referrers has an entry without a digest")
		}
	}
	return unique(index.Manifests), nil
}

func unique(list []v1.Descriptor) []v1.Descriptor {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b v1.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return slices.CompactFunc(list, func(a, b v1.Descriptor) bool { return a.Digest == b.Digest })
}

// nextPage reads the Link header of a listing. Another host is not followed.
func nextPage(a *answer) (*url.URL, bool) {
	link, rest, found := strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
	if !found || !strings.Contains(rest, `rel="next"`) && !strings.Contains(rest, "rel=next") {
		return nil, false
	}
	u, err := url.Parse(link)
	if err != nil {
		return nil, false
	}
	u = a.url.ResolveReference(u)
	return u, u.Host == a.url.Host && u.Scheme == a.url.Scheme
}

// fallbackTag is the tag behind which a digest's referrers are listed where there
// is no API.
func fallbackTag(of report.Digest) Reference { return ByTag(strings.Replace(string(of), ":", "-", 1)) }

// fallback reads the list behind the fallback tag; nil when there is none.
func (r *Repository) fallback(ctx context.Context, of report.Digest) (*Manifest, []v1.Descriptor, error) {
	tag := fallbackTag(of)
	m, err := r.Manifest(ctx, tag)
	if err != nil || m == nil {
		return nil, nil, err
	}
	if !m.IsIndex() {
		return nil, nil, r.invalid("read "+tag.String(), errors.New("it is not an index of referrers"))
	}
	list, err := parseReferrers(m.Raw)
	if err != nil {
		return nil, nil, r.invalid("read "+tag.String(), err)
	}
	return m, list, nil
}

// Attach stores an artifact's manifest and makes [Repository.Referrers] of its
// subject list it: the registry does that by itself where it has the API, else
// [Repository.List] does.
func (r *Repository) Attach(ctx context.Context, m *Manifest) error {
	listed, err := r.Store(ctx, m)
	if err != nil || listed {
		return err
	}
	return r.List(ctx, m)
}

// List makes sure that [Repository.Referrers] of an artifact's subject lists it,
// where the registry did not acknowledge the subject: it adds it to the list behind
// the fallback tag. Of writers who read the list at the same time the last one wins,
// so it is read again until it stays.
func (r *Repository) List(ctx context.Context, m *Manifest) error {
	const rounds = 6
	for n := range rounds {
		added, err := r.ListOnce(ctx, m)
		if err != nil || !added {
			return err
		}
		// Their waits spread writers out.
		if n > 0 && web.Pause(ctx, web.Backoff(50*time.Millisecond, 2*time.Second, n, nil)) != nil {
			return r.broken("list a referrer", true, web.Cause(ctx))
		}
	}
	return r.invalid("list a referrer", errors.New("other writers keep overwriting the list"))
}

// ListOnce is [Repository.List] without a second look: another writer may overwrite
// the list. It reports whether the artifact had to be added.
func (r *Repository) ListOnce(ctx context.Context, m *Manifest) (added bool, err error) {
	entry := m.Descriptor()
	entry.ArtifactType, entry.Annotations = m.Content.ArtifactType, m.Content.Annotations
	of := report.Digest(m.Content.Subject.Digest.String())
	list, known, err := r.fallback(ctx, of)
	if err != nil || slices.ContainsFunc(known, func(d v1.Descriptor) bool { return d.Digest == entry.Digest }) {
		return false, err
	}
	return true, r.rewrite(ctx, of, list, entry)
}

// rewrite adds an entry to the list behind the fallback tag.
func (r *Repository) rewrite(ctx context.Context, of report.Digest, list *Manifest, entry v1.Descriptor) error {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if list != nil {
		if err := json.Unmarshal(list.Raw, &index); err != nil {
			return r.invalid("read "+fallbackTag(of).String(), err)
		}
	}
	index.Manifests = unique(append(index.Manifests, entry))
	raw, err := json.Marshal(index)
	if err != nil {
		return r.invalid("list a referrer of "+of.Short(), err)
	}
	m := &Manifest{Digest: DigestOf(raw), MediaType: string(types.OCIImageIndex), Raw: raw}
	return repeat(ctx, func() error { _, err := r.Put(ctx, fallbackTag(of), m); return err })
}

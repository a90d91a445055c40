package promote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// maxPages is how many pages of a listing are read.
const maxPages = 20

// maxRecords is how many records of one digest are read at the most, the newest
// ones.
const maxRecords = 200

// listing returns the records of a digest as the registry lists them, newest
// first: by the referrers API, else by the fallback tag that the distribution
// specification describes and the library keeps, too.
func (r *repository) listing(ctx context.Context, digest string) ([]entry, error) {
	if r.noListing.Load() {
		_, entries, err := r.fallback(ctx, digest)
		return entries, err
	}
	guess := func() ([]entry, error) { _, entries, err := r.fallback(ctx, digest); return entries, err }
	if r.host.listless.Load() {
		guess = ahead(guess)
	}
	entries, listed, err := r.referrers(ctx, digest)
	if err != nil || listed {
		return entries, err
	}
	r.noListing.Store(true)
	return guess()
}

// ahead begins f at once and returns what waits for it.
func ahead(f func() ([]entry, error)) func() ([]entry, error) {
	var entries []entry
	done := make(chan error, 1)
	go func() {
		done <- together(func() (err error) { entries, err = f(); return err })
	}()
	return func() ([]entry, error) { err := <-done; return entries, err }
}

// nowhere is a digest that nothing has.
var nowhere = "sha256:" + strings.Repeat("0", 64)

// foresee finds out, once a registry and beside other reads, whether there is a
// referrers API. Where there seems to be none, a listing asks for the fallback tag
// at the same time instead of afterwards. It decides nothing else: each image's
// own listing is still asked for, since a registry may differ from one repository
// to the next, and what is not seen of a roll-back must not be a guess.
func (r *repository) foresee(ctx context.Context) {
	// The handshake is everybody's; only what comes after it is bounded here.
	_, unconnected := r.connect(ctx)
	ctx, cancel := context.WithTimeout(ctx, r.t.try)
	defer cancel()
	if r.host.asks != r {
		select {
		case <-r.host.told:
		case <-ctx.Done():
		}
		return
	}
	select {
	case <-r.host.told:
		return
	default:
		defer close(r.host.told)
	}
	if unconnected != nil {
		return
	}
	_, listed, err := r.referrers(ctx, nowhere)
	r.host.listless.Store(err == nil && !listed)
}

// referrers asks the referrers API; listed is false where there is none.
func (r *repository) referrers(ctx context.Context, digest string) (entries []entry, listed bool, err error) {
	what := "list the records of " + short(digest)
	c := call{
		what: what, method: http.MethodGet, path: "referrers/" + digest, query: url.Values{"artifactType": {recordType}},
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
		page, err := parseListing(a.body)
		if err != nil {
			return nil, false, &failure{what: what, on: r.name.Name(), said: err.Error(), err: err}
		}
		entries = append(entries, page...)
		next, more := nextPage(a)
		if !more {
			slices.SortFunc(entries, newerEntry)
			return entries, true, nil
		}
		c.url = next
	}
	return nil, false, &failure{what: what, on: r.name.Name(), said: fmt.Sprintf("the list has more than %d pages", maxPages)}
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

// fallbackTag is the tag under which referrers of a digest are listed where
// there is no referrers API.
func fallbackTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }

// fallback reads the list behind the fallback tag; nil when there is none.
func (r *repository) fallback(ctx context.Context, digest string) (*manifest, []entry, error) {
	list, err := r.manifest(ctx, fallbackTag(digest))
	if err != nil || list == nil {
		return nil, nil, err
	}
	if !types.MediaType(list.mediaType).IsIndex() {
		return nil, nil, &failure{what: "read tag " + fallbackTag(digest), on: r.name.Name(), said: "it is no index of referrers"}
	}
	entries, err := parseListing(list.raw)
	if err != nil {
		return nil, nil, &failure{what: "read tag " + fallbackTag(digest), on: r.name.Name(), said: err.Error(), err: err}
	}
	return list, entries, nil
}

// record reads one record of a digest and checks it whole; nil when the
// registry lists it but has it no more.
func (r *repository) record(ctx context.Context, e entry, of string) (*Record, error) {
	fault := func(err error) error {
		return &failure{what: "read record " + short(e.digest) + " of " + short(of), on: r.name.Name(), said: r.clean(err.Error()), err: err}
	}
	m, err := r.manifest(ctx, e.digest)
	if err != nil || m == nil {
		return nil, err
	}
	layer, err := parseArtifact(m, of)
	if err != nil {
		return nil, fault(err)
	}
	b, err := r.blob(ctx, layer, maxPayload)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rec, err := parsePayload(b, of)
	if err != nil {
		return nil, fault(err)
	}
	if !e.time.IsZero() && !e.time.Equal(rec.Time) {
		return nil, fault(errors.New("the listing tells another time than the record"))
	}
	return rec, nil
}

// newest returns the newest record of a digest; nil when there is none.
func (r *repository) newest(ctx context.Context, digest string) (*Record, error) {
	entries, err := r.listing(ctx, digest)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(entries, func(e entry) bool { return e.time.IsZero() }) {
		recs, err := r.readAll(ctx, entries, digest)
		if err != nil || len(recs) == 0 {
			return nil, err
		}
		return recs[0], nil
	}
	for _, e := range entries[:min(maxRecords, len(entries))] {
		if rec, err := r.record(ctx, e, digest); err != nil || rec != nil {
			return rec, err
		}
	}
	return nil, nil
}

// records returns all records of a digest, newest first.
func (r *repository) records(ctx context.Context, digest string) ([]*Record, error) {
	entries, err := r.listing(ctx, digest)
	if err != nil {
		return nil, err
	}
	return r.readAll(ctx, entries, digest)
}

// readAll reads records and orders them by what they tell themselves.
func (r *repository) readAll(ctx context.Context, entries []entry, digest string) ([]*Record, error) {
	entries = entries[:min(maxRecords, len(entries))]
	recs := make([]*Record, len(entries))
	slots := make(chan struct{}, 8)
	err := each(len(entries), func(i int) (err error) {
		slots <- struct{}{}
		defer func() { <-slots }()
		recs[i], err = r.record(ctx, entries[i], digest)
		return err
	})
	if err != nil {
		return nil, err
	}
	recs = slices.DeleteFunc(recs, func(rec *Record) bool { return rec == nil })
	// Records of the same time stand in the order of their digests already.
	slices.SortStableFunc(recs, func(a, b *Record) int { return b.Time.Compare(a.Time) })
	return recs, nil
}

// A writing is a record half written: last makes it found, listed proves that it
// is, and mends the list where another writer overtook.
type writing struct {
	last   func(ctx context.Context) error
	listed func(ctx context.Context) error
}

// attach writes a record whose blobs are there, up to the last request. That is
// the record itself where the registry lists referrers, else the list behind the
// fallback tag.
func (r *repository) attach(ctx context.Context, of v1.Descriptor, rec Record, payload []byte) (writing, error) {
	m := artifact(of, rec, payload)
	if !r.noListing.Load() {
		return writing{
			last:   func(ctx context.Context) error { return r.store(ctx, m.digest, m) },
			listed: func(context.Context) error { return nil },
		}, nil
	}
	// Reading the list does not need the record to be there; listing it does.
	var list *manifest
	err := together(
		func() error { return r.store(ctx, m.digest, m) },
		func() (err error) { list, _, err = r.fallback(ctx, rec.Digest); return err },
	)
	return writing{
		last:   func(ctx context.Context) error { return r.list(ctx, rec, m, list) },
		listed: func(ctx context.Context) error { return r.relist(ctx, rec, m) },
	}, err
}

// list adds a record to the list behind the fallback tag.
func (r *repository) list(ctx context.Context, rec Record, m, list *manifest) error {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	if list != nil {
		if err := json.Unmarshal(list.raw, &index); err != nil {
			return &failure{what: "read tag " + fallbackTag(rec.Digest), on: r.name.Name(), said: r.clean(err.Error()), err: err}
		}
	}
	digest, err := v1.NewHash(m.digest)
	if err != nil {
		return err
	}
	index.Manifests = append(index.Manifests, v1.Descriptor{
		MediaType: types.MediaType(m.mediaType), Digest: digest, Size: int64(len(m.raw)),
		ArtifactType: recordType, Annotations: rec.annotations(),
	})
	slices.SortFunc(index.Manifests, func(a, b v1.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return r.store(ctx, fallbackTag(rec.Digest), &manifest{digest: digestOf(raw), mediaType: string(types.OCIImageIndex), raw: raw})
}

// relist looks whether the record is listed and, where another writer overtook,
// adds it again.
func (r *repository) relist(ctx context.Context, rec Record, m *manifest) error {
	wait := r.t.poll
	for range 5 {
		list, entries, err := r.fallback(ctx, rec.Digest)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(entries, func(e entry) bool { return e.digest == m.digest }) {
			return nil
		}
		if err := r.list(ctx, rec, m, list); err != nil {
			return err
		}
		if !pause(ctx, jitter(wait)) {
			return cause(ctx)
		}
		wait = min(2*wait, r.t.pollMax)
	}
	return &failure{what: "list a record of " + short(rec.Digest), on: r.name.Name(), said: "other writers overtook five times"}
}

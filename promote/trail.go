package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/internal/untrusted"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// maxRecords is how many records of one digest are read at the most, the newest
// ones.
const maxRecords = 200

// listing returns the records of a digest as the registry lists them, newest
// first.
func (r *repository) listing(ctx context.Context, digest report.Digest) ([]entry, error) {
	list, err := r.Referrers(ctx, digest, recordType)
	return records(list), err
}

// readRecord reads one record of a digest and checks it whole; nil when the
// registry lists it but no longer has it.
func (r *repository) readRecord(ctx context.Context, e entry, of report.Digest) (*report.Record, error) {
	bad := func(err error) error {
		return r.wrong("read record "+e.digest.Short()+" of "+of.Short(), 0, untrusted.Line(err.Error(), maxText))
	}
	m, err := r.Manifest(ctx, registry.ByDigest(e.digest))
	if err != nil || m == nil {
		return nil, err
	}
	layer, err := parseArtifact(m, of)
	if err != nil {
		return nil, bad(err)
	}
	b, err := r.Blob(ctx, layer, maxPayload)
	if registry.Absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rec, err := parsePayload(b, of)
	if err != nil {
		return nil, bad(err)
	}
	if !e.time.IsZero() && !e.time.Equal(rec.Time) {
		return nil, bad(errors.New("the listing shows another time than the record"))
	}
	return rec, nil
}

// newestRecord returns the newest record of a digest; nil when there is none.
func (r *repository) newestRecord(ctx context.Context, digest report.Digest) (*report.Record, error) {
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
		if rec, err := r.readRecord(ctx, e, digest); err != nil || rec != nil {
			return rec, err
		}
	}
	return nil, nil
}

// allRecords returns all records of a digest, newest first.
func (r *repository) allRecords(ctx context.Context, digest report.Digest) ([]*report.Record, error) {
	entries, err := r.listing(ctx, digest)
	if err != nil {
		return nil, err
	}
	return r.readAll(ctx, entries, digest)
}

// readAll reads records and orders them by the time that they hold themselves.
func (r *repository) readAll(ctx context.Context, entries []entry, digest report.Digest) ([]*report.Record, error) {
	entries = entries[:min(maxRecords, len(entries))]
	recs := make([]*report.Record, len(entries))
	slots := make(chan struct{}, 8)
	err := parallel.Each(len(entries), func(i int) (err error) {
		slots <- struct{}{}
		defer func() { <-slots }()
		recs[i], err = r.readRecord(ctx, entries[i], digest)
		return err
	})
	if err != nil {
		return nil, err
	}
	recs = slices.DeleteFunc(recs, func(rec *report.Record) bool { return rec == nil })
	// Records of the same time stand in the order of their digests already.
	slices.SortStableFunc(recs, func(a, b *report.Record) int { return b.Time.Compare(a.Time) })
	return recs, nil
}

// writeRecord attaches a record to its subject.
func (r *repository) writeRecord(ctx context.Context, subject *registry.Manifest, rec report.Record, tool string) error {
	content := payload(rec, r.Name().String(), tool)
	if len(content) > maxPayload {
		return fmt.Errorf("the record has %d bytes; at most %d are written", len(content), maxPayload)
	}
	err := parallel.Together(
		func() error { return r.configure(ctx) },
		func() error { return r.PushBlob(ctx, content) },
	)
	if err != nil {
		return err
	}
	return r.Attach(ctx, artifact(subject, rec, content))
}

// configure uploads the empty config of records, once.
func (r *repository) configure(ctx context.Context) error {
	if r.configured.Load() {
		return nil
	}
	err := r.PushBlob(ctx, registry.EmptyConfig)
	r.configured.Store(err == nil)
	return err
}

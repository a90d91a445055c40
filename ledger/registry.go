package ledger

import (
	"context"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A Registry is what the ledger needs of a registry. Images are repositories with
// their host. Every error wraps [ErrNotFound] where the registry said that there is
// no such thing, else [ErrUnreadable] for reads; a write that failed may have been
// done all the same. A Registry is used by several goroutines at once.
type Registry interface {
	// Manifest returns the bytes behind a tag or digest, and their digest; those
	// of a digest are checked against it.
	Manifest(ctx context.Context, image, reference string) (Descriptor, []byte, error)
	// Head returns the same without the bytes.
	Head(ctx context.Context, image, reference string) (Descriptor, error)
	// Blob returns a blob of at most limit bytes, checked against its digest.
	Blob(ctx context.Context, image string, digest report.Digest, limit int64) ([]byte, error)
	// Referrers lists the records that are attached to a digest, by the referrers
	// API or the list that stands in for it. No records: an empty list, no error.
	Referrers(ctx context.Context, image string, digest report.Digest) ([]Descriptor, error)
	// PutBlob writes a blob unless it is there.
	PutBlob(ctx context.Context, image string, content []byte) error
	// PutManifest writes a manifest behind a tag, and reports whether the registry
	// lists it as a referrer of its subject (OCI-Subject).
	PutManifest(ctx context.Context, image, tag, mediaType string, raw []byte) (listed bool, err error)
	// AddReferrer puts a manifest into the list that stands in for the referrers
	// API, for registries that don't list it themselves.
	AddReferrer(ctx context.Context, image string, subject report.Digest, artifact Descriptor) error
}

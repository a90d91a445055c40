package ledger

import (
	"context"

	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A Registry is what the ledger needs of a registry. Images are repositories with
// their host; a reference is a tag or a digest. Every error of a read wraps
// [ErrNotFound] where the registry said that there is no such thing, else
// [ErrUnreadable]; a write that failed may have been done all the same. A Registry
// is used by several goroutines at once.
type Registry interface {
	// Manifest returns the bytes behind a reference, whatever they are, and the media
	// type that the registry gives them. Those of a digest are checked against it.
	Manifest(ctx context.Context, image, reference string) (Object, error)
	// Head returns the digest behind a reference; empty: there is none.
	Head(ctx context.Context, image, reference string) (report.Digest, error)
	// Blob returns what a descriptor names, checked against it.
	Blob(ctx context.Context, image string, content Descriptor) ([]byte, error)
	// Referrers lists what may be a record among the artifacts that are attached to a
	// digest, by the referrers API or the list that stands in for it. Nothing: an
	// empty list, no error.
	Referrers(ctx context.Context, image string, digest report.Digest) ([]Descriptor, error)
	// PutBlob writes a blob unless it is known to be there.
	PutBlob(ctx context.Context, image string, content []byte) error
	// PutManifest writes a manifest, once, and reports whether the registry lists it
	// as a referrer of its subject (OCI-Subject).
	PutManifest(ctx context.Context, image, reference string, raw []byte) (listed bool, err error)
	// AddReferrer puts a manifest into the list that stands in for the referrers API,
	// for registries that don't list it themselves. Sure: again until it stays there,
	// though others write the list at the same time.
	AddReferrer(ctx context.Context, image string, raw []byte, sure bool) error
}

// An Object is a manifest as a registry gave it. The zero Object: there is none.
type Object struct {
	Descriptor
	Raw []byte
}

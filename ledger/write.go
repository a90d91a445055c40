package ledger

import (
	"context"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/parallel"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// Prepare makes a record ready to be written: it is sealed and its blobs are there.
func (s *Store) Prepare(ctx context.Context, r *Record, subject Descriptor) (*Artifact, error) {
	a, err := Seal(r, subject, s.Signer)
	if err != nil {
		return nil, err
	}
	return a, parallel.Each(len(a.Blobs), func(i int) error { return s.Registry.PutBlob(ctx, r.Image, a.Blobs[i]) })
}

// PutHead writes a record behind the tag of a head, once. Listed: the registry lists
// it among the records of its subject, so that [Store.List] isn't needed. After an
// error it may be there all the same.
func (s *Store) PutHead(ctx context.Context, image string, kind Kind, a *Artifact) (listed bool, err error) {
	tag, err := HeadTag(s.Target, kind)
	if err != nil {
		return false, err
	}
	return s.Registry.PutManifest(ctx, image, tag, a.Manifest)
}

// HeadIs returns the digest behind the tag of a head; empty: it is absent.
func (s *Store) HeadIs(ctx context.Context, image string, kind Kind) (report.Digest, error) {
	tag, err := HeadTag(s.Target, kind)
	if err != nil {
		return "", err
	}
	return s.Registry.Head(ctx, image, tag)
}

// List adds a record to the list that stands in for the referrers API. Heads are
// listed for other tools alone, so it is not made sure that the entry stays.
func (s *Store) List(ctx context.Context, image string, a *Artifact) error {
	return s.Registry.AddReferrer(ctx, image, a.Manifest, false)
}

// Attach writes a record that is not a head: it is found through its subject.
func (s *Store) Attach(ctx context.Context, image string, a *Artifact) error {
	listed, err := s.Registry.PutManifest(ctx, image, string(a.Digest), a.Manifest)
	if err != nil || listed {
		return err
	}
	return s.Registry.AddReferrer(ctx, image, a.Manifest, true)
}

// Tell tells the witness which heads a reading found.
func (s *Store) Tell(ctx context.Context, seen map[string]Seen) error {
	if s.Witness == nil {
		return nil
	}
	return s.Witness.Tell(ctx, seen)
}

package promote

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"git.moleculesai.app/molecule-ai/canary-verify/internal/registry"
	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/report"
)

// A shelf is what the ledger sees of the registries: repositories by their name.
type shelf map[string]*repository

// A lost error is a read whose answer says nothing.
type lost struct{ error }

// Is makes it an error that [ledger.ErrUnreadable] matches.
func (lost) Is(target error) bool { return target == ledger.ErrUnreadable }

// Unwrap returns the registry's own error.
func (l lost) Unwrap() error { return l.error }

func unreadable(err error) error {
	if err == nil {
		return nil
	}
	return lost{err}
}

func reference(s string) registry.Reference {
	if d, err := report.ParseDigest(s); err == nil {
		return registry.ByDigest(d)
	}
	return registry.ByTag(s)
}

// Manifest implements [ledger.Registry].
func (s shelf) Manifest(ctx context.Context, image, ref string) (ledger.Object, error) {
	mediaType, raw, err := s[image].Bytes(ctx, reference(ref))
	if err != nil {
		return ledger.Object{}, unreadable(err)
	}
	if raw == nil {
		return ledger.Object{}, fmt.Errorf("%s: %s: %w", image, reference(ref), ledger.ErrNotFound)
	}
	d := ledger.Descriptor{MediaType: mediaType, Digest: registry.DigestOf(raw), Size: int64(len(raw))}
	return ledger.Object{Descriptor: d, Raw: raw}, nil
}

// Head implements [ledger.Registry].
func (s shelf) Head(ctx context.Context, image, ref string) (report.Digest, error) {
	d, err := s[image].Digest(ctx, reference(ref))
	return d, unreadable(err)
}

// Blob implements [ledger.Registry].
func (s shelf) Blob(ctx context.Context, image string, content ledger.Descriptor) ([]byte, error) {
	hash, err := v1.NewHash(string(content.Digest))
	if err != nil {
		return nil, unreadable(err)
	}
	b, err := s[image].Blob(ctx, v1.Descriptor{Digest: hash, Size: content.Size}, content.Size)
	if registry.Absent(err) {
		return nil, fmt.Errorf("%w: %w", ledger.ErrNotFound, err)
	}
	return b, unreadable(err)
}

// Referrers implements [ledger.Registry].
func (s shelf) Referrers(ctx context.Context, image string, digest report.Digest) ([]ledger.Descriptor, error) {
	list, err := s[image].Referrers(ctx, digest, "")
	var records []ledger.Descriptor
	for _, d := range list {
		if ledger.MayBeRecord(d.ArtifactType) {
			records = append(records, ledger.Descriptor{MediaType: string(d.MediaType), Digest: report.Digest(d.Digest.String()), Size: d.Size})
		}
	}
	return records, unreadable(err)
}

// PutBlob implements [ledger.Registry].
func (s shelf) PutBlob(ctx context.Context, image string, content []byte) error {
	if bytes.Equal(content, registry.EmptyConfig) {
		return s[image].configure(ctx)
	}
	return s[image].PushBlob(ctx, content)
}

// PutManifest implements [ledger.Registry].
func (s shelf) PutManifest(ctx context.Context, image, ref string, raw []byte) (listed bool, err error) {
	m, err := registry.ParseManifest("", raw)
	if err != nil {
		return false, err
	}
	if to := reference(ref); to != registry.ByTag(ref) {
		return s[image].Store(ctx, m) // the same however often it is written
	}
	return s[image].Put(ctx, registry.ByTag(ref), m)
}

// AddReferrer implements [ledger.Registry].
func (s shelf) AddReferrer(ctx context.Context, image string, raw []byte, sure bool) error {
	m, err := registry.ParseManifest("", raw)
	if err != nil {
		return err
	}
	if m.Content.Subject == nil {
		return errors.New("the manifest has no subject")
	}
	if sure {
		return s[image].List(ctx, m)
	}
	_, err = s[image].ListOnce(ctx, m)
	return err
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

package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A content is what a manifest of any kind names.
type content struct {
	ArtifactType string          `json:"artifactType"`
	Config       *v1.Descriptor  `json:"config"`
	Layers       []v1.Descriptor `json:"layers"`
	Manifests    []v1.Descriptor `json:"manifests"`
	Blobs        []v1.Descriptor `json:"blobs"`
	Subject      *v1.Descriptor  `json:"subject"`
}

// hasSubject reports whether a manifest is an artifact attached to another one.
func hasSubject(manifest []byte) bool {
	var c content
	return json.Unmarshal(manifest, &c) == nil && c.Subject != nil
}

// check refuses what this registry's kind refuses, before anything is stored.
func (r *Registry) check(req *http.Request, body []byte) *Answer {
	repository, kind, reference, ok := splitPath(req.URL.Path)
	if !ok {
		return nil
	}
	if req.Method == http.MethodDelete && r.cfg.NoDelete {
		return registryError(http.StatusMethodNotAllowed, "UNSUPPORTED", "The operation is unsupported.")
	}
	if req.Method != http.MethodPut || kind != "manifests" {
		return nil
	}
	if r.cfg.NoArtifacts && hasSubject(body) {
		return registryError(http.StatusBadRequest, "MANIFEST_INVALID", "manifests with a subject are not supported")
	}
	if r.cfg.CheckBlobs {
		return r.checkManifest(repository, reference, body)
	}
	return nil
}

// checkManifest refuses a manifest that is not JSON, that is not what its
// digest says, or that refers to what the repository doesn't have.
func (r *Registry) checkManifest(repository, reference string, body []byte) *Answer {
	var c content
	if err := json.Unmarshal(body, &c); err != nil {
		return registryError(http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid: "+err.Error())
	}
	if strings.Contains(reference, ":") && reference != digestOf(body) {
		return registryError(http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content")
	}
	blobs := slices.Concat(c.Layers, c.Blobs)
	if c.Config != nil {
		blobs = append(blobs, *c.Config)
	}
	for _, d := range blobs {
		if r.peek(http.MethodHead, "/v2/"+repository+"/blobs/"+d.Digest.String()).Status != http.StatusOK {
			return registryError(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry: "+d.Digest.String())
		}
	}
	for _, d := range c.Manifests {
		if r.peek(http.MethodHead, "/v2/"+repository+"/manifests/"+d.Digest.String()).Status != http.StatusOK {
			return registryError(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "manifest unknown to registry: "+d.Digest.String())
		}
	}
	return nil
}

// conform makes the answers about referrers those of the specification:
// go-containerregistry's registry gives the config's media type as every
// artifact's type, in no order, filters nothing and doesn't set OCI-Subject.
func (r *Registry) conform(req *http.Request, body []byte, a *Answer) {
	repository, kind, _, ok := splitPath(req.URL.Path)
	switch {
	case !ok || a.Status >= 300:
	case req.Method == http.MethodPut && kind == "manifests":
		var c content
		if json.Unmarshal(body, &c) == nil && c.Subject != nil {
			a.Header.Set("OCI-Subject", c.Subject.Digest.String())
		}
	case req.Method == http.MethodGet && kind == "referrers":
		r.conformReferrers(repository, req.URL.Query().Get("artifactType"), a)
	}
}

func (r *Registry) conformReferrers(repository, filter string, a *Answer) {
	var index v1.IndexManifest
	if json.Unmarshal(a.Body, &index) != nil {
		return
	}
	kept := index.Manifests[:0]
	for _, d := range index.Manifests {
		var c content
		_ = json.Unmarshal(r.Manifest(repository, d.Digest.String()), &c) // it was stored as JSON
		if c.ArtifactType != "" {
			d.ArtifactType = c.ArtifactType
		}
		if filter == "" || d.ArtifactType == filter {
			kept = append(kept, d)
		}
	}
	slices.SortFunc(kept, func(a, b v1.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	index.Manifests = kept
	if filter != "" {
		a.Header.Set("OCI-Filters-Applied", "artifactType")
	}
	a.Body = mustJSON(index)
	a.Header.Set("Content-Length", fmt.Sprint(len(a.Body)))
	a.Header.Set("Content-Type", string(types.OCIImageIndex))
}

// registryError is a refusal in the form of the distribution specification.
func registryError(status int, code, message string) *Answer {
	return &Answer{
		Status: status,
		Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		Body:   mustJSON(map[string]any{"errors": []any{map[string]string{"code": code, "message": message}}}),
	}
}

// A blobStore keeps each repository's blobs apart, as real registries do:
// go-containerregistry's shares them between repositories, so that a manifest
// could be moved to a repository that lacks its layers.
type blobStore struct {
	mu sync.Mutex
	m  map[string][]byte // by repository@digest
}

// blobKey names a blob. The registry passes "app/blobs" as the repository of an
// upload to "app".
func blobKey(repository string, h v1.Hash) string {
	return strings.TrimSuffix(repository, "/blobs") + "@" + h.String()
}

// Get implements [registry.BlobHandler].
func (s *blobStore) Get(_ context.Context, repository string, h v1.Hash) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.m[blobKey(repository, h)]
	if !ok {
		return nil, registry.ErrNotFound
	}
	return io.NopCloser(strings.NewReader(string(b))), nil
}

// Stat implements [registry.BlobStatHandler].
func (s *blobStore) Stat(_ context.Context, repository string, h v1.Hash) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.m[blobKey(repository, h)]
	if !ok {
		return 0, registry.ErrNotFound
	}
	return int64(len(b)), nil
}

// Put implements [registry.BlobPutHandler]; reading verifies the digest.
func (s *blobStore) Put(_ context.Context, repository string, h v1.Hash, rc io.ReadCloser) error {
	b, err := io.ReadAll(rc)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[blobKey(repository, h)] = b
	return nil
}

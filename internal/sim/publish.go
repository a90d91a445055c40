package sim

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The labels of an image's config. The first two are those of the OCI image
// specification; the last says how a tenant that runs the build misbehaves.
const (
	LabelRevision = "org.opencontainers.image.revision"
	LabelCreated  = "org.opencontainers.image.created"
	LabelFaults   = "canary-verify.sim.faults"
)

// A Build is one commit's images.
type Build struct {
	SHA     string    // the commit, 40 hex digits
	Images  []string  // repositories without a host: "org/platform"
	Tag     string    // for example "staging-4c1d56e"; several may be given, separated by commas
	Created time.Time // zero: none
	Faults  []Fault   // how a tenant that runs this build misbehaves
	// Labels are added to those of the build. An empty value removes a label,
	// for example the revision.
	Labels map[string]string
	Docker bool // Docker's media types instead of OCI's
	Index  bool // an index of images for linux/amd64 and linux/arm64
}

// Publish builds the images and pushes them to the registry at host; the
// options may authenticate (see [Registry.Remote]). It returns the digest behind
// the tag for each image ("org/platform" → "sha256:…"). The same build gives the
// same bytes.
func Publish(ctx context.Context, host string, b Build, opts ...remote.Option) (map[string]string, error) {
	opts = append([]remote.Option{remote.WithTransport(Transport())}, opts...)
	pusher, err := remote.NewPusher(opts...)
	if err != nil {
		return nil, fmt.Errorf("sim: publish %s: %w", b.SHA, err)
	}
	digests := make(map[string]string, len(b.Images))
	for _, image := range b.Images {
		for tag := range strings.SplitSeq(b.Tag, ",") {
			digest, err := b.push(ctx, pusher, host, image, tag)
			if err != nil {
				return digests, fmt.Errorf("sim: publish %s/%s:%s: %w", host, image, tag, err)
			}
			digests[image] = digest
		}
	}
	return digests, nil
}

// push builds one image and pushes it.
func (b Build) push(ctx context.Context, pusher *remote.Pusher, host, image, tag string) (string, error) {
	ref, err := name.NewTag(host + "/" + image + ":" + tag)
	if err != nil {
		return "", err
	}
	var t interface {
		remote.Taggable
		Digest() (v1.Hash, error)
	}
	if b.Index {
		t, err = b.index(image)
	} else {
		t, err = b.image(image, "amd64")
	}
	if err != nil {
		return "", err
	}
	if err := pusher.Push(ctx, ref, t); err != nil {
		return "", err
	}
	digest, err := t.Digest()
	return digest.String(), err
}

// index builds an index of two platforms.
func (b Build) index(image string) (v1.ImageIndex, error) {
	mediaType := types.OCIImageIndex
	if b.Docker {
		mediaType = types.DockerManifestList
	}
	index := mutate.IndexMediaType(empty.Index, mediaType)
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := b.image(image, arch)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return index, nil
}

// image builds an image of one small layer.
func (b Build) image(image, arch string) (v1.Image, error) {
	manifestType, configType, layerType := types.OCIManifestSchema1, types.OCIConfigJSON, types.OCIUncompressedLayer
	if b.Docker {
		manifestType, configType, layerType = types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerUncompressedLayer
	}
	layer, err := archive("build", fmt.Sprintf("%s %s %s\n", image, b.SHA, arch))
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, manifestType), configType)
	img, err = mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(layer, layerType)})
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", arch
	cfg.Created = v1.Time{Time: b.Created.UTC()}
	cfg.Config = v1.Config{Labels: b.labels(), Entrypoint: []string{"/build"}}
	return mutate.ConfigFile(img, cfg)
}

// labels returns the labels of the build's images.
func (b Build) labels() map[string]string {
	labels := map[string]string{LabelRevision: b.SHA}
	if !b.Created.IsZero() {
		labels[LabelCreated] = b.Created.UTC().Format(time.RFC3339)
	}
	if len(b.Faults) > 0 {
		labels[LabelFaults] = joinFaults(b.Faults)
	}
	maps.Copy(labels, b.Labels)
	maps.DeleteFunc(labels, func(_, v string) bool { return v == "" })
	return labels
}

// archive returns a tar archive with one file.
func archive(file, content string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	header := &tar.Header{Name: file, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write([]byte(content)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

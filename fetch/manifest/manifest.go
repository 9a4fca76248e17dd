// Package manifest reads the documents of an image and refuses, with a reason,
// what cannot be mounted.
//
// A document is taken for what its body, its mediaType field and the server's
// Content-Type agree that it is (CVE-2021-41190); where they differ it is
// nothing. All functions are pure, and no input makes them panic.
package manifest

import (
	"bytes"
	"encoding/json"
	"mime"
	"strings"

	_ "crypto/sha256" // the digests that can be verified
	_ "crypto/sha512"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Limits on documents, in bytes. Registries take no larger manifests.
const (
	MaxManifest = 4 << 20
	MaxConfig   = 8 << 20
	maxLayers   = 4096
	maxParts    = 1 << 18 // values of an index or another list of images
)

// Media types that image-spec does not name.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	Schema1        = "application/vnd.docker.distribution.manifest.v1+json"
	Schema1Signed  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	DockerConfig   = "application/vnd.docker.container.image.v1+json"
)

// Accept lists what Resolve understands, for the header of that name.
var Accept = strings.Join([]string{
	ocispec.MediaTypeImageIndex, DockerList,
	ocispec.MediaTypeImageManifest, DockerManifest,
	Schema1Signed, Schema1, "*/*",
}, ", ")

// IsIndex, IsImage and IsSchema1 sort the media types of manifests.
func IsIndex(t string) bool   { return t == ocispec.MediaTypeImageIndex || t == DockerList }
func IsImage(t string) bool   { return t == ocispec.MediaTypeImageManifest || t == DockerManifest }
func IsSchema1(t string) bool { return t == Schema1 || t == Schema1Signed }

// shape is what any manifest may have at its top.
type shape struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     json.RawMessage `json:"manifests"`
	Config        json.RawMessage `json:"config"`
	Layers        json.RawMessage `json:"layers"`
	FSLayers      json.RawMessage `json:"fsLayers"`
	Signatures    json.RawMessage `json:"signatures"`
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// Detect says of which media type a manifest is. contentType is what the server
// or the descriptor said, "" if nobody did; its parameters are ignored. It is an
// error (Corrupt) if the two and the body contradict each other, and Unsupported
// if it is no manifest that anything here knows.
func Detect(raw []byte, contentType string) (string, error) {
	if len(raw) > MaxManifest {
		return "", errkind.New(errkind.Unsupported, "manifest of %d bytes is larger than %d", len(raw), MaxManifest)
	}
	var s shape
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", errkind.New(errkind.Corrupt, "manifest is not JSON: %w", err)
	}
	said := baseType(contentType)
	if generic(said) {
		said = ""
	}
	if said != "" && s.MediaType != "" && said != s.MediaType {
		return "", errkind.New(errkind.Corrupt, "manifest says it is %q but came as %q", s.MediaType, said)
	}
	if said == "" {
		said = s.MediaType
	}
	if said == "" {
		return s.guess()
	}
	return said, s.check(said)
}

func baseType(contentType string) string {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		t, _, _ = strings.Cut(contentType, ";")
	}
	return strings.ToLower(strings.TrimSpace(t))
}

// generic types are what servers say that do not know what they serve.
func generic(t string) bool {
	switch t {
	case "", "application/json", "application/octet-stream", "text/plain", "binary/octet-stream":
		return true
	}
	return false
}

// guess names a manifest that says nothing about itself by what it holds.
func (s shape) guess() (string, error) {
	t := ""
	switch {
	case s.SchemaVersion == 1 && present(s.FSLayers) && present(s.Signatures):
		t = Schema1Signed
	case s.SchemaVersion == 1 && present(s.FSLayers):
		t = Schema1
	case present(s.Manifests):
		t = ocispec.MediaTypeImageIndex
	case present(s.Config) || present(s.Layers):
		t = ocispec.MediaTypeImageManifest
	default:
		return "", errkind.New(errkind.Unsupported, "document is no image manifest")
	}
	return t, s.check(t)
}

// check refuses a body that could be read as something else than t.
func (s shape) check(t string) error {
	imageLike := present(s.Config) || present(s.Layers)
	switch {
	case IsSchema1(t):
		if present(s.Manifests) || imageLike || !present(s.FSLayers) {
			return confused(t)
		}
	case IsIndex(t):
		if imageLike || present(s.FSLayers) {
			return confused(t)
		}
	case IsImage(t):
		if present(s.Manifests) || present(s.FSLayers) {
			return confused(t)
		}
	default:
		return errkind.New(errkind.Unsupported, "manifest of unknown type %q", t)
	}
	return nil
}

func confused(t string) error {
	return errkind.New(errkind.Corrupt, "manifest came as %q but has the fields of another type", t)
}

// Index is an OCI index or a docker manifest list.
type Index struct {
	Manifests []ocispec.Descriptor `json:"manifests"`
}

// ParseIndex reads an index that Detect recognised.
func ParseIndex(raw []byte) (Index, error) {
	var x Index
	if err := CheckParts(raw); err != nil {
		return Index{}, errkind.New(errkind.Of(err), "index: %w", err)
	}
	if err := json.Unmarshal(raw, &x); err != nil {
		return Index{}, errkind.New(errkind.Corrupt, "index: %w", err)
	}
	return x, nil
}

// CheckParts refuses (Unsupported) a JSON document of so many parts that it would
// need many times its length in memory: a list of empty objects, say.
func CheckParts(raw []byte) error {
	if n := bytes.Count(raw, []byte{','}); n > maxParts {
		return errkind.New(errkind.Unsupported, "it has more than %d parts", maxParts)
	}
	return nil
}

// ParseImage reads an image manifest that Detect recognised, and refuses what is
// not a file system that we can read.
func ParseImage(raw []byte) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, errkind.New(errkind.Corrupt, "manifest: %w", err)
	}
	if err := checkConfigType(m); err != nil {
		return m, err
	}
	if err := CheckDescriptor(m.Config); err != nil {
		return m, errkind.New(errkind.Of(err), "configuration of the image: %w", err)
	}
	if m.Config.Size > MaxConfig {
		return m, errkind.New(errkind.Unsupported, "configuration of %d bytes is larger than %d", m.Config.Size, MaxConfig)
	}
	if len(m.Layers) > maxLayers {
		return m, errkind.New(errkind.Unsupported, "image has %d layers, more than %d", len(m.Layers), maxLayers)
	}
	for i, d := range m.Layers {
		if err := CheckLayer(d); err != nil {
			return m, errkind.New(errkind.Of(err), "layer %d of %d (%s): %w", i+1, len(m.Layers), d.Digest, err)
		}
	}
	return m, nil
}

func checkConfigType(m ocispec.Manifest) error {
	t := m.Config.MediaType
	if m.ArtifactType == "" && (t == ocispec.MediaTypeImageConfig || t == DockerConfig || generic(t)) {
		return nil
	}
	if t == ocispec.MediaTypeImageConfig || t == DockerConfig {
		return nil // an image may carry an artifactType beside its configuration
	}
	if m.ArtifactType != "" {
		t = m.ArtifactType
	}
	return errkind.WithHint(errkind.New(errkind.Unsupported, "this is an artifact of type %q and no image", t),
		"only container images have a file system to mount")
}

// CheckDescriptor refuses digests that we cannot verify and negative sizes.
func CheckDescriptor(d ocispec.Descriptor) error {
	if err := CheckDigest(d.Digest); err != nil {
		return err
	}
	if d.Size < 0 {
		return errkind.New(errkind.Corrupt, "size %d of %s is negative", d.Size, d.Digest)
	}
	return nil
}

// CheckDigest refuses a digest that is malformed, or of an algorithm that we
// cannot compute: what cannot be verified is not read.
func CheckDigest(d digest.Digest) error {
	err := d.Validate()
	switch err {
	case nil:
		return nil
	case digest.ErrDigestUnsupported:
		return errkind.New(errkind.Unsupported, "digest %q: unknown algorithm", d)
	}
	return errkind.New(errkind.Corrupt, "digest %q: %w", d, err)
}

// ParseConfig reads the configuration of an image with n layers. The layers'
// diffIDs must be there, one each; a history that does not fit is dropped.
func ParseConfig(raw []byte, n int) (ocispec.Image, error) {
	var c ocispec.Image
	if len(raw) > MaxConfig {
		return c, errkind.New(errkind.Unsupported, "configuration of %d bytes is larger than %d", len(raw), MaxConfig)
	}
	if err := decodeConfig(raw, &c); err != nil {
		return c, errkind.New(errkind.Corrupt, "configuration: %w", err)
	}
	if t := c.RootFS.Type; t != "layers" && (t != "" || n > 0) {
		return c, errkind.New(errkind.Unsupported, "configuration: rootfs of unknown type %q", t)
	}
	if len(c.RootFS.DiffIDs) != n {
		return c, errkind.New(errkind.Corrupt, "image has %d layers but its configuration has %d", n, len(c.RootFS.DiffIDs))
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := CheckDigest(d); err != nil {
			return c, errkind.New(errkind.Of(err), "configuration: diffID: %w", err)
		}
	}
	return c, nil
}

// decodeConfig insists on the fields that decide what is mounted. The others are
// for show and come from many hands: one of a wrong type is left out.
func decodeConfig(raw []byte, c *ocispec.Image) error {
	if json.Unmarshal(raw, c) == nil {
		return nil
	}
	var must struct {
		Architecture string         `json:"architecture"`
		Variant      string         `json:"variant"`
		OS           string         `json:"os"`
		OSVersion    string         `json:"os.version"`
		RootFS       ocispec.RootFS `json:"rootfs"`
	}
	if err := json.Unmarshal(raw, &must); err != nil {
		return err
	}
	*c = ocispec.Image{RootFS: must.RootFS}
	c.Architecture, c.Variant, c.OS, c.OSVersion = must.Architecture, must.Variant, must.OS, must.OSVersion
	var may struct {
		Config ocispec.ImageConfig `json:"config"`
	}
	if json.Unmarshal(raw, &may) == nil {
		c.Config = may.Config
	}
	var history struct {
		History []ocispec.History `json:"history"`
	}
	if json.Unmarshal(raw, &history) == nil {
		c.History = history.History
	}
	return nil
}

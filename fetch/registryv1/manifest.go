package registryv1

import (
	"bytes"
	"encoding/json"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/v1image"
	"github.com/peelfs/peelfs/internal/errkind"
)

// MediaType is that of a Manifest. The document is ours: the protocol has none.
const MediaType = "application/vnd.peelfs.registry.v1.image+json"

// MaxManifest is the largest Manifest that is read, bytes.
const MaxManifest = 64 << 20

// Manifest is all that a registry said about an image when it was resolved: what
// a manifest is in later protocols. The same answers make the same bytes, so a
// digest of them tells whether a tag has moved; it says nothing about the
// layers, which have no digests here. The registry is part of it because the
// identifiers mean something only there.
type Manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Registry      string          `json:"registry"` // HOST[:PORT]
	ID            string          `json:"id"`
	Layers        []ManifestLayer `json:"layers"` // base first
}

// ManifestLayer is one image of the chain and its layer.
type ManifestLayer struct {
	ID        string   `json:"id"`
	JSON      []byte   `json:"json"`                // as served: checksums are over these bytes
	Size      int64    `json:"size"`                // of the layer as served, -1 if unknown
	Checksums []string `json:"checksums,omitempty"` // sha256:… of JSON and layer, or tarsum…; as served
}

// Encode is the canonical form.
func (m *Manifest) Encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, errkind.Wrap(errkind.Internal, err)
	}
	return b, nil
}

// ParseManifest reads what Encode wrote and checks it as Resolve does. Errors are
// of kind Corrupt, or Unsupported for one that is too large.
func ParseManifest(raw []byte) (*Manifest, error) {
	if len(raw) > MaxManifest {
		return nil, errkind.New(errkind.Unsupported, "manifest of %d bytes is larger than %d", len(raw), MaxManifest)
	}
	m := &Manifest{}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, errkind.New(errkind.Corrupt, "registry v1 manifest: %w", err)
	}
	if m.MediaType != MediaType || m.SchemaVersion != 1 {
		return nil, errkind.New(errkind.Corrupt, "registry v1 manifest: type %q, version %d", m.MediaType, m.SchemaVersion)
	}
	return m, m.check()
}

// IsManifest says whether raw calls itself a Manifest.
func IsManifest(raw []byte) bool {
	var doc struct {
		MediaType string `json:"mediaType"`
	}
	return bytes.Contains(raw, []byte(MediaType)) && json.Unmarshal(raw, &doc) == nil && doc.MediaType == MediaType
}

// check proves that the layers are one chain: each JSON is of its identifier, and
// where it names a parent, that is the layer below.
func (m *Manifest) check() error {
	if len(m.Layers) == 0 || m.Layers[len(m.Layers)-1].ID != m.ID {
		return errkind.New(errkind.Corrupt, "image %s is not at the top of its own layers", m.ID)
	}
	if len(m.Layers) > v1image.MaxDepth {
		return errkind.New(errkind.Unsupported, "%d layers are more than %d", len(m.Layers), v1image.MaxDepth)
	}
	for i, l := range m.Layers {
		img, err := v1image.Parse(l.JSON)
		if err != nil {
			return err
		}
		if img.ID != l.ID {
			return errkind.New(errkind.Corrupt, "the JSON of image %s is that of image %s", l.ID, img.ID)
		}
		if err := checkParent(m.Layers, i, img.Parent); err != nil {
			return err
		}
	}
	return nil
}

// checkParent compares what the ancestry and the JSON say is below layer i. Old
// writers left the parent out, which is no contradiction.
func checkParent(layers []ManifestLayer, i int, parent string) error {
	switch {
	case parent == "":
		return nil
	case i == 0:
		return errkind.New(errkind.Corrupt, "the ancestry ends at image %s, but its JSON names the parent %s", layers[0].ID, parent)
	case parent != layers[i-1].ID:
		return errkind.New(errkind.Corrupt, "the ancestry puts image %s on %s, but its JSON names the parent %s",
			layers[i].ID, layers[i-1].ID, parent)
	}
	return nil
}

// Config derives the configuration: raw, and its history.
func (m *Manifest) Config() ([]byte, []ocispec.History, error) {
	chain := make([]*v1image.Image, len(m.Layers))
	for i, l := range m.Layers {
		img, err := v1image.Parse(l.JSON)
		if err != nil {
			return nil, nil, err
		}
		img.Throwaway = false // means nothing here: every image has a layer
		chain[i] = img
	}
	history := v1image.History(chain)
	raw, err := v1image.Config(chain, history, nil)
	return raw, history, err
}

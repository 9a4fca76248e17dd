// Package schema1 reads Docker's image manifest, version 2, schema 1.
//
// Such a manifest lists layers and their history in parallel, top first, and
// may carry signatures around the very bytes it signs. The package is pure:
// bytes in, a checked Manifest out. What it promises is that everything in a
// Manifest comes from the payload that its digest covers, that no signature in
// the document was wrong, and that the identifiers form one chain.
//
// A good signature proves that the document is whole, not who wrote it: its key
// comes along with it and nobody vouches for the key.
package schema1

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/v1image"
	"github.com/peelfs/peelfs/internal/errkind"
)

// The media types of a schema 1 manifest. Registries also send it with
// application/json or with no type at all.
const (
	MediaTypeSigned   = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	MediaTypeUnsigned = "application/vnd.docker.distribution.manifest.v1+json"
)

// EmptyLayer is the digest of the blob with which newer tools fill the places of
// entries that changed no file: 32 bytes of gzip for a tar without entries.
const EmptyLayer = digest.Digest("sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4")

// MaxSize is the largest manifest that is read, bytes.
const MaxSize = 4 << 20

// Manifest is a checked schema 1 manifest.
type Manifest struct {
	Name, Tag    string // what the writer called it; a hint, not an identity
	Architecture string
	ID           string        // of the image: that of its topmost entry
	Digest       digest.Digest // sha256 of Payload: what the registry calls the manifest
	Payload      []byte        // the document without its signatures
	Signatures   []Signature   // all of them good; empty if the manifest is not signed
	Layers       []Layer       // base first, without those that are empty
	History      []ocispec.History
	Config       []byte // derived: an OCI configuration without diffIDs
}

// Layer is one layer that has content. Its size is not in the manifest.
type Layer struct {
	BlobSum digest.Digest
	ID      string // of the image whose top it is
	History int    // its entry in Manifest.History
}

type document struct {
	SchemaVersion int    `json:"schemaVersion"`
	Name          string `json:"name"`
	Tag           string `json:"tag"`
	Architecture  string `json:"architecture"`
	FSLayers      []struct {
		BlobSum string `json:"blobSum"`
	} `json:"fsLayers"`
	History []struct {
		V1Compatibility string `json:"v1Compatibility"`
	} `json:"history"`
}

// entry is one layer and its history, which the document keeps apart.
type entry struct {
	blobSum digest.Digest
	image   *v1image.Image
}

// Parse reads a manifest and checks all that can be checked without its layers.
// Errors are of kind Corrupt, or Unsupported for what no registry serves any more.
func Parse(body []byte) (*Manifest, error) {
	if len(body) > MaxSize {
		return nil, errkind.New(errkind.Unsupported, "schema 1 manifest of %d bytes is larger than %d", len(body), MaxSize)
	}
	payload, signatures, err := verify(body)
	if err != nil {
		return nil, errkind.New(errkind.Of(err), "schema 1 manifest: %w", err)
	}
	m, err := parsePayload(payload)
	if err != nil {
		return nil, errkind.New(errkind.Of(err), "schema 1 manifest: %w", err)
	}
	m.Signatures = signatures
	return m, nil
}

func parsePayload(payload []byte) (*Manifest, error) {
	var doc document
	if err := json.Unmarshal(payload, &doc); err != nil {
		return nil, errkind.New(errkind.Corrupt, "not a JSON document: %w", err)
	}
	if doc.SchemaVersion != 1 {
		return nil, errkind.New(errkind.Corrupt, "schemaVersion is %d", doc.SchemaVersion)
	}
	entries, err := doc.entries()
	if err != nil {
		return nil, err
	}
	if entries, err = checkChain(entries); err != nil {
		return nil, err
	}
	m := &Manifest{
		Name: doc.Name, Tag: doc.Tag, Architecture: doc.Architecture,
		Digest: digest.FromBytes(payload), Payload: payload, ID: entries[len(entries)-1].image.ID,
	}
	return m, m.derive(entries)
}

// entries pairs layers with history and turns them over: base first.
func (d *document) entries() ([]entry, error) {
	if len(d.FSLayers) != len(d.History) {
		return nil, errkind.New(errkind.Corrupt, "%d layers but %d history entries", len(d.FSLayers), len(d.History))
	}
	if len(d.FSLayers) == 0 {
		return nil, errkind.New(errkind.Corrupt, "no layers")
	}
	if len(d.FSLayers) > v1image.MaxDepth {
		return nil, errkind.New(errkind.Unsupported, "%d layers are more than %d", len(d.FSLayers), v1image.MaxDepth)
	}
	out := make([]entry, len(d.FSLayers))
	for i := range d.FSLayers {
		e, err := newEntry(d.FSLayers[i].BlobSum, d.History[i].V1Compatibility)
		if err != nil {
			return nil, errkind.New(errkind.Of(err), "entry %d: %w", i, err)
		}
		out[len(out)-1-i] = e
	}
	return out, nil
}

func newEntry(blobSum, v1Compatibility string) (entry, error) {
	if strings.HasPrefix(blobSum, "tarsum") {
		err := errkind.New(errkind.Unsupported, "layer %s is named by its tarsum, as experimental registries of 2014 did", blobSum)
		return entry{}, errkind.WithHint(err, "push the image again with docker 1.6 or later")
	}
	d, err := digest.Parse(blobSum)
	if err != nil {
		return entry{}, errkind.New(errkind.Corrupt, "blobSum %q: %w", blobSum, err)
	}
	img, err := v1image.Parse([]byte(v1Compatibility))
	if err != nil {
		return entry{}, err
	}
	return entry{d, img}, nil
}

// checkChain follows the parents from the base up, drops the upper one of two
// neighbours with the same identifier, as docker did, and refuses what is not a
// chain.
func checkChain(entries []entry) ([]entry, error) {
	base := entries[0].image
	if base.Parent != "" {
		return nil, errkind.New(errkind.Corrupt, "base layer %s has a parent: %s", base.ID, base.Parent)
	}
	out := entries[:1:1]
	seen := map[string]bool{base.ID: true}
	for _, e := range entries[1:] {
		below := out[len(out)-1].image
		if e.image.ID == below.ID {
			continue
		}
		if seen[e.image.ID] {
			return nil, errkind.New(errkind.Corrupt, "image id %s appears twice", e.image.ID)
		}
		if e.image.Parent != below.ID {
			return nil, errkind.New(errkind.Corrupt, "image %s names the parent %q but lies on %s", e.image.ID, e.image.Parent, below.ID)
		}
		seen[e.image.ID] = true
		out = append(out, e)
	}
	return out, nil
}

// derive fills in layers, history and configuration.
func (m *Manifest) derive(entries []entry) error {
	chain := make([]*v1image.Image, len(entries))
	for i, e := range entries {
		chain[i] = e.image
	}
	m.History = v1image.History(chain)
	for i, e := range entries {
		if e.image.Throwaway || e.blobSum == EmptyLayer {
			m.History[i].EmptyLayer = true
			continue
		}
		m.Layers = append(m.Layers, Layer{BlobSum: e.blobSum, ID: e.image.ID, History: i})
	}
	var err error
	m.Config, err = v1image.Config(chain, m.History, nil)
	return err
}

// IsMediaType says whether a Content-Type (without parameters) may mean a schema
// 1 manifest. The two types that only may are decided by Looks.
func IsMediaType(t string) bool {
	return t == MediaTypeSigned || t == MediaTypeUnsigned
}

// Looks says whether body, which came with a type that tells nothing, is a
// schema 1 manifest.
func Looks(body []byte) bool {
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	return json.Unmarshal(body, &doc) == nil && doc.SchemaVersion == 1 && doc.FSLayers != nil
}

// Signed says whether the manifest carries signatures (good ones, or Parse had failed).
func (m *Manifest) Signed() bool { return len(m.Signatures) > 0 }

// KeyIDs are the fingerprints of the signing keys, each once, sorted.
func (m *Manifest) KeyIDs() []string {
	var ids []string
	for _, s := range m.Signatures {
		ids = append(ids, s.KeyID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Package v1image reads the image JSON of docker before images were addressed
// by content: one document for each layer, chained by "parent".
//
// Three sources share it: registries of the first generation, schema 1
// manifests (as v1Compatibility) and old archives of "docker save". What it
// promises is that an identifier it returns is 64 or 16 hexadecimal digits, and
// that a derived configuration decodes as an OCI one however odd its source was.
package v1image

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
)

// MaxJSON is the largest image JSON that is read, bytes.
const MaxJSON = 4 << 20

// MaxDepth is the most layers that a chain may have. Docker stopped at 127, the
// limit of aufs; what others wrote may be longer.
const MaxDepth = 1024

// Image is one layer's JSON, as far as anything here needs it.
type Image struct {
	ID        string
	Parent    string // "" on the base, and where an old writer left it out
	Created   *time.Time
	Author    string
	Comment   string
	CreatedBy string // container_config.Cmd, joined by spaces
	Throwaway bool   // schema 1 only: the entry stands for no layer
	Raw       []byte // the document as it came; checksums are over these bytes
}

var idPattern = regexp.MustCompile(`^(?:[a-f0-9]{64}|[a-f0-9]{16})$`)

// ValidID says whether id is an image identifier: 64 hexadecimal digits, or 16
// as the first releases made them. Identifiers become parts of URLs and paths,
// so nothing else may pass (CVE-2014-9358).
func ValidID(id string) bool { return idPattern.MatchString(id) }

// CheckID is ValidID as an error of kind Corrupt that names the identifier.
func CheckID(id string) error {
	if ValidID(id) {
		return nil
	}
	if len(id) > 80 {
		id = id[:80] + "…"
	}
	return errkind.New(errkind.Corrupt, "image id %q is not 64 or 16 hexadecimal digits", id)
}

// Parse reads one image JSON. Only its identifiers must be well-formed; every
// other field that does not have the expected type counts as absent.
func Parse(raw []byte) (*Image, error) {
	if len(raw) > MaxJSON {
		return nil, errkind.New(errkind.Unsupported, "image JSON of %d bytes is larger than %d", len(raw), MaxJSON)
	}
	var f map[string]json.RawMessage
	if err := json.Unmarshal(raw, &f); err != nil || f == nil {
		return nil, errkind.New(errkind.Corrupt, "image JSON is not an object: %w", orNotObject(err))
	}
	img := &Image{
		ID: field[string](f, "id"), Parent: field[string](f, "parent"),
		Created: created(f), Author: field[string](f, "author"), Comment: field[string](f, "comment"),
		CreatedBy: createdBy(f["container_config"]), Throwaway: field[bool](f, "throwaway"),
		Raw: raw,
	}
	if err := CheckID(img.ID); err != nil {
		return nil, err
	}
	if img.Parent != "" {
		if err := CheckID(img.Parent); err != nil {
			return nil, errkind.New(errkind.Corrupt, "parent of image %s: %w", img.ID, err)
		}
	}
	return img, nil
}

// field is the value at key if it has the type T, else the zero value.
func field[T any](f map[string]json.RawMessage, key string) T {
	var v T
	if json.Unmarshal(f[key], &v) != nil {
		var zero T
		return zero
	}
	return v
}

func created(f map[string]json.RawMessage) *time.Time {
	t := field[*time.Time](f, "created")
	if t == nil || t.IsZero() {
		return nil
	}
	return t
}

func createdBy(raw json.RawMessage) string {
	var c map[string]json.RawMessage
	if json.Unmarshal(raw, &c) != nil {
		return ""
	}
	return strings.Join(stringOrList(c["Cmd"]), " ")
}

// stringOrList reads a command, which old files write as a list, a string or null.
func stringOrList(raw json.RawMessage) []string {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	var s string
	if json.Unmarshal(raw, &s) == nil && s != "" {
		return []string{s}
	}
	return nil
}

// History is the history of a chain, base first. Layers of this era are never
// marked as empty, but for those that a schema 1 manifest throws away.
func History(chain []*Image) []ocispec.History {
	out := make([]ocispec.History, len(chain))
	for i, img := range chain {
		out[i] = ocispec.History{
			Created: img.Created, CreatedBy: img.CreatedBy, Author: img.Author,
			Comment: img.Comment, EmptyLayer: img.Throwaway,
		}
	}
	return out
}

func orNotObject(err error) error {
	if err != nil {
		return err
	}
	return errNull
}

var errNull = errkind.New(errkind.Corrupt, "it is null")

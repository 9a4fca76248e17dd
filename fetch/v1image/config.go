package v1image

import (
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
)

// notConfig are the fields of an image JSON that say where it stands in its
// chain; a configuration has no use for them.
var notConfig = []string{"id", "parent", "parent_id", "layer_id", "Size", "throwaway", "rootfs", "history"}

// Config derives the configuration of the image whose layers are chain (base
// first) with the given history: the JSON of the top layer, less its place in
// the chain, with rootfs and history added. diffIDs may be nil: they were not
// written down in those days. The bytes depend on nothing but the arguments.
func Config(chain []*Image, history []ocispec.History, diffIDs []digest.Digest) ([]byte, error) {
	if len(chain) == 0 {
		return nil, errkind.New(errkind.Corrupt, "image without layers")
	}
	var f map[string]json.RawMessage
	if err := json.Unmarshal(chain[len(chain)-1].Raw, &f); err != nil {
		return nil, errkind.New(errkind.Corrupt, "image JSON: %w", err)
	}
	for _, name := range notConfig {
		delete(f, name)
	}
	clean(f)
	if diffIDs == nil {
		diffIDs = []digest.Digest{}
	}
	if err := put(f, "rootfs", ocispec.RootFS{Type: "layers", DiffIDs: diffIDs}); err != nil {
		return nil, err
	}
	if err := put(f, "history", history); err != nil {
		return nil, err
	}
	return encode(f)
}

// encode writes f and proves that it reads back as a configuration.
func encode(f map[string]json.RawMessage) ([]byte, error) {
	out, err := json.Marshal(f)
	if err != nil {
		return nil, errkind.New(errkind.Corrupt, "image JSON: %w", err)
	}
	var img ocispec.Image
	if err := json.Unmarshal(out, &img); err != nil {
		return nil, errkind.New(errkind.Corrupt, "image JSON: %w", err)
	}
	return out, nil
}

func put(f map[string]json.RawMessage, key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return errkind.New(errkind.Internal, "encode %s: %w", key, err)
	}
	f[key] = raw
	return nil
}

// clean makes f decodable as a configuration: fields that have the type of
// another year are converted or dropped. Docker of this era ran on linux/amd64
// only, which is what absent names mean.
func clean(f map[string]json.RawMessage) {
	dropSpellings(f, "author", "architecture", "os", "variant", "os.version", "os.features",
		"created", "config", "rootfs", "history")
	keep[string](f, "author", "architecture", "os", "variant", "os.version")
	keep[[]string](f, "os.features")
	if created(f) == nil {
		delete(f, "created")
	}
	defaultTo(f, "architecture", `"amd64"`)
	defaultTo(f, "os", `"linux"`)
	var c map[string]json.RawMessage
	if json.Unmarshal(f["config"], &c) != nil || c == nil {
		delete(f, "config")
		return
	}
	cleanRun(c)
	if put(f, "config", c) != nil {
		delete(f, "config")
	}
}

// cleanRun does the same for the execution parameters.
func cleanRun(c map[string]json.RawMessage) {
	dropSpellings(c, "User", "WorkingDir", "StopSignal", "Env", "Labels", "ExposedPorts", "Volumes",
		"ArgsEscaped", "Cmd", "Entrypoint")
	keep[string](c, "User", "WorkingDir", "StopSignal")
	keep[[]string](c, "Env")
	keep[map[string]string](c, "Labels")
	keep[map[string]struct{}](c, "ExposedPorts", "Volumes")
	keep[bool](c, "ArgsEscaped")
	for _, name := range []string{"Cmd", "Entrypoint"} {
		list := stringOrList(c[name])
		if list == nil {
			delete(c, name)
		} else if put(c, name, list) != nil {
			delete(c, name)
		}
	}
}

// dropSpellings drops keys that differ from a known name in nothing but case:
// encoding/json would take them for it.
func dropSpellings(f map[string]json.RawMessage, names ...string) {
	for key := range f {
		for _, name := range names {
			if key != name && strings.EqualFold(key, name) {
				delete(f, key)
			}
		}
	}
}

// keep drops those of the named fields that are null or not a T.
func keep[T any](f map[string]json.RawMessage, names ...string) {
	for _, name := range names {
		var v *T
		if json.Unmarshal(f[name], &v) != nil || v == nil {
			delete(f, name)
		}
	}
}

func defaultTo(f map[string]json.RawMessage, key, value string) {
	if field[string](f, key) == "" {
		f[key] = json.RawMessage(value)
	}
}

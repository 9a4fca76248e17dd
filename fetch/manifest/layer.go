package manifest

import (
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
)

// The families of layer media types; what follows is a compression.
var layerFamilies = []string{
	"application/vnd.oci.image.layer.v1.tar",
	"application/vnd.oci.image.layer.nondistributable.v1.tar",
	"application/vnd.docker.image.rootfs.diff.tar",
	"application/vnd.docker.image.rootfs.foreign.diff.tar",
}

// compressions, as they are spelled after a family. What a blob really is shows
// in its first bytes.
var compressions = map[string]bool{
	"": true, "gzip": true, "zstd": true, "bzip2": true, "xz": true,
}

// lazyFormats are annotations of layers whose blob is no tar, in whole or part.
var lazyFormats = map[string]string{
	"containerd.io/snapshot/nydus-blob":           "a nydus image",
	"containerd.io/snapshot/nydus-bootstrap":      "a nydus image",
	"containerd.io/snapshot/overlaybd/blob-size":  "an overlaybd image",
	"containerd.io/snapshot/overlaybd/version":    "an overlaybd image",
	"containerd.io/snapshot/overlaybd/turbo-oci":  "an overlaybd image",
	"containerd.io/snapshot/overlaybd/image-ref":  "an overlaybd image",
	"containerd.io/snapshot/overlaybd.fastoci.fs": "an overlaybd image",
}

// CheckLayer refuses a layer that is not a tar with or without compression.
func CheckLayer(d ocispec.Descriptor) error {
	if err := CheckDescriptor(d); err != nil {
		return err
	}
	for key, what := range lazyFormats {
		if _, ok := d.Annotations[key]; ok {
			return errkind.New(errkind.Unsupported, "the layer is part of %s", what)
		}
	}
	t := strings.ToLower(d.MediaType)
	if strings.Contains(t, "nydus") {
		return errkind.New(errkind.Unsupported, "the layer is part of a nydus image (%s)", t)
	}
	if isEncrypted(d) {
		return errkind.WithHint(errkind.New(errkind.Unsupported, "the layer is encrypted (%s)", d.MediaType),
			"decrypt the image first, for example with skopeo copy --decryption-key")
	}
	for _, family := range layerFamilies {
		if rest, ok := strings.CutPrefix(t, family); ok {
			rest = strings.TrimLeft(rest, "+.")
			if compressions[rest] {
				return nil
			}
		}
	}
	return errkind.New(errkind.Unsupported, "the layer has the unknown media type %q", d.MediaType)
}

func isEncrypted(d ocispec.Descriptor) bool {
	if strings.HasSuffix(d.MediaType, "+encrypted") {
		return true
	}
	for key := range d.Annotations {
		if strings.HasPrefix(key, "org.opencontainers.image.enc.keys.") {
			return true
		}
	}
	return false
}

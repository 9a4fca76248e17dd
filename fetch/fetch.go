// Package fetch turns names into images, and digests into bytes.
//
// A reference is resolved eagerly to a manifest and a configuration, both
// checked; the layers are only described, and each comes with a Blob through
// which whoever needs its bytes can read ranges of it. What cannot be mounted
// (encrypted layers, unknown media types, artifacts) is refused here, before
// anything large was fetched.
//
// Where an image lies is the business of one subpackage each: registry (the
// distribution API), archive (layouts and archives on disk), registryv1 (the
// API before 2015). They share the values of package image.
package fetch

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
)

// The values of package image, under the names that callers use.
type (
	Reference  = image.Reference
	Platform   = image.Platform
	Image      = image.Image
	Layer      = image.Layer
	Blob       = image.Blob
	Descriptor = ocispec.Descriptor
)

// ParseReference reads the REF of a command line; see image.ParseReference.
func ParseReference(s string) (Reference, error) { return image.ParseReference(s) }

// SplitFile parts the name of a file from what selects an image in it; see
// image.SplitFile.
func SplitFile(transport, s string) (name, rest string) { return image.SplitFile(transport, s) }

// ParsePlatform reads os/arch[/variant]; "" is this machine's.
func ParsePlatform(s string) (Platform, error) { return image.ParsePlatform(s) }

// DefaultPlatform is Linux on this machine's processor.
func DefaultPlatform() Platform { return image.DefaultPlatform() }

// FormatPlatform is the inverse of ParsePlatform.
func FormatPlatform(p Platform) string { return image.FormatPlatform(p) }

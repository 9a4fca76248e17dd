package manifest

import (
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/fetch/image"
	"github.com/peelfs/peelfs/internal/errkind"
)

// Attestation is the annotation of an index entry that is about another one.
const Attestation = "vnd.docker.reference.type"

// Candidates orders the entries of an index that fit want, best first; the order
// of the index decides between equals. Attestations and unknown media types are
// left out. Nested indexes without a platform come late, as they may hold
// anything, and last what may be an artifact.
func (x Index) Candidates(want ocispec.Platform) []ocispec.Descriptor {
	type ranked struct {
		rank int
		d    ocispec.Descriptor
	}
	var fit []ranked
	for _, d := range x.Manifests {
		if !usable(d) {
			continue
		}
		if r := rank(want, d.Platform); r >= 0 {
			if d.Platform == nil && IsIndex(d.MediaType) {
				r = worst
			}
			if PerhapsArtifact(d) {
				r = worst + 1
			}
			fit = append(fit, ranked{r, d})
		}
	}
	slices.SortStableFunc(fit, func(a, b ranked) int { return a.rank - b.rank })
	out := make([]ocispec.Descriptor, len(fit))
	for i := range fit {
		out[i] = fit[i].d
	}
	return out
}

// PerhapsArtifact reports whether an entry of an index names the type of an
// artifact, and no platform. It may still be an image: only its manifest tells.
func PerhapsArtifact(d ocispec.Descriptor) bool { return d.ArtifactType != "" && d.Platform == nil }

// usable reports whether an entry of an index may lead to an image.
func usable(d ocispec.Descriptor) bool {
	if d.Annotations[Attestation] != "" {
		return false
	}
	return IsIndex(d.MediaType) || IsImage(d.MediaType) || IsSchema1(d.MediaType)
}

// Platforms lists what an index offers, in its order, each once.
func (x Index) Platforms() []string {
	var out []string
	for _, d := range x.Manifests {
		if !usable(d) || d.Platform == nil {
			continue
		}
		if s := image.FormatPlatform(image.Normalize(*d.Platform)); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// NoPlatform is the error for an index that has nothing for want.
func NoPlatform(want ocispec.Platform, have []string) error {
	err := errkind.New(errkind.Platform, "the image is not for %s", image.FormatPlatform(want))
	if len(have) == 0 {
		return errkind.WithHint(err, "the index names no platform at all")
	}
	return errkind.WithHint(err, "there are %s: choose with --platform", strings.Join(have, ", "))
}

const worst = 1 << 20

// rank says how well an offer fits, 0 best, or -1. An entry without a platform
// fits anything, after all those that say what they are.
func rank(want ocispec.Platform, offer *ocispec.Platform) int {
	if offer == nil {
		return worst - 1
	}
	want, have := image.Normalize(want), image.Normalize(*offer)
	if want.OS != have.OS || !subset(have.OSFeatures, want.OSFeatures) {
		return -1
	}
	if want.OSVersion != "" && have.OSVersion != "" && want.OSVersion != have.OSVersion {
		return -1
	}
	for i, p := range acceptable(want) {
		if p.Architecture == have.Architecture && p.Variant == have.Variant {
			return i
		}
	}
	return -1
}

func subset(need, have []string) bool {
	for _, f := range need {
		if !slices.Contains(have, f) {
			return false
		}
	}
	return true
}

// acceptable lists what runs where p does: p first, then the lesser variants,
// then what the processor can run besides.
func acceptable(p ocispec.Platform) []ocispec.Platform {
	var list []ocispec.Platform
	add := func(arch string, variants ...string) {
		for _, v := range variants {
			list = append(list, ocispec.Platform{Architecture: arch, Variant: v})
		}
	}
	switch p.Architecture {
	case "amd64":
		add("amd64", downFrom(p.Variant, "v4", "v3", "v2", "")...)
		add("386", "")
	case "arm64":
		if p.Variant != "" {
			add("arm64", downArm64(p.Variant)...)
		}
		add("arm64", "")
		add("arm", "v8", "v7", "v6", "v5")
	case "arm":
		add("arm", downFrom(p.Variant, "v8", "v7", "v6", "v5")...)
	default:
		add(p.Architecture, p.Variant)
		if p.Variant != "" {
			add(p.Architecture, "")
		}
	}
	return list
}

// downFrom is the part of an ordered list that begins with v; v alone if it is
// not in the list.
func downFrom(v string, order ...string) []string {
	if i := slices.Index(order, v); i >= 0 {
		return order[i:]
	}
	return []string{v}
}

// downArm64: v8.2 runs v8.1; v9.1 runs v9 and, after it, all of v8.
func downArm64(v string) []string {
	return downFrom(v, "v9.5", "v9.4", "v9.3", "v9.2", "v9.1", "v9.0", "v9",
		"v8.9", "v8.8", "v8.7", "v8.6", "v8.5", "v8.4", "v8.3", "v8.2", "v8.1")
}

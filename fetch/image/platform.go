package image

import (
	"runtime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Platform is what an image runs on.
type Platform = ocispec.Platform

// DefaultPlatform is Linux on this machine's processor.
func DefaultPlatform() Platform {
	return Normalize(Platform{OS: "linux", Architecture: runtime.GOARCH})
}

// ParsePlatform reads os/arch[/variant][:osversion], or arch alone; "" and
// "local" mean DefaultPlatform.
func ParsePlatform(s string) (Platform, error) {
	if s == "" || s == "local" {
		return DefaultPlatform(), nil
	}
	s, version, _ := strings.Cut(s, ":")
	parts := strings.Split(strings.ToLower(s), "/")
	for _, p := range parts {
		if p == "" || strings.ContainsAny(p, " \t\n\x00") {
			return Platform{}, badPlatform(s)
		}
	}
	p := Platform{OS: "linux", OSVersion: version}
	switch len(parts) {
	case 1:
		p.Architecture = parts[0]
	case 2:
		p.OS, p.Architecture = parts[0], parts[1]
	case 3:
		p.OS, p.Architecture, p.Variant = parts[0], parts[1], parts[2]
	default:
		return Platform{}, badPlatform(s)
	}
	return Normalize(p), nil
}

func badPlatform(s string) error {
	return errkind.WithHint(errkind.New(errkind.Invalid, "platform %q is malformed", s),
		"write it as linux/amd64 or linux/arm/v7")
}

// FormatPlatform is the inverse of ParsePlatform.
func FormatPlatform(p Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	if p.OSVersion != "" {
		s += ":" + p.OSVersion
	}
	return s
}

// Normalize maps the spellings in use to one: x86_64 is amd64, armhf is arm/v7.
func Normalize(p Platform) Platform {
	p.OS = strings.ToLower(p.OS)
	p.Architecture = strings.ToLower(p.Architecture)
	p.Variant = strings.ToLower(p.Variant)
	if p.OS == "macos" {
		p.OS = "darwin"
	}
	switch p.Architecture {
	case "i386", "i486", "i586", "i686":
		p.Architecture, p.Variant = "386", ""
	case "x86_64", "x86-64", "amd64":
		p.Architecture = "amd64"
		if p.Variant == "v1" {
			p.Variant = ""
		}
	case "aarch64", "arm64":
		p.Architecture = "arm64"
		if p.Variant == "8" || p.Variant == "v8" || p.Variant == "v8.0" {
			p.Variant = ""
		}
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	case "arm":
		p.Variant = armVariant(p.Variant)
	}
	return p
}

func armVariant(v string) string {
	switch v {
	case "":
		return "v7"
	case "5", "6", "7", "8":
		return "v" + v
	}
	return v
}

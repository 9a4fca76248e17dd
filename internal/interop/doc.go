// Package interop runs bin/peelfs against other people's programs and compares
// what they make of the same images: Debian's docker-registry and skopeo on the
// giving side; umoci, and kernel overlayfs under podman, on the reading side.
//
// It has only tests, behind the build tag "interop"; `make interop` installs
// what they need and runs them. They need root and /dev/fuse.
package interop

package image

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/imagename"
)

// The transports, as they are spelled before the first colon of a reference;
// imagename.Transports says what they are like.
const (
	Docker        = imagename.Registry
	OCI           = "oci"
	OCIArchive    = "oci-archive"
	DockerArchive = "docker-archive"
	DockerDaemon  = "docker-daemon"
)

// maxReference is the longest reference that is looked at, in bytes.
const maxReference = 4096

// Reference names an image: in a registry, or in a file or directory. The zero
// value names nothing.
type Reference struct {
	transport string
	domain    string // docker: the registry's name, as users write it
	path      string // docker: the repository below the domain; else an absolute file path
	tag       string // docker: "" only if there is a digest; archives: as given, any text
	digest    digest.Digest
	lookedUp  bool // the digest is what the tag was found to have, not what was asked for
}

// ParseReference reads
//
//	[docker://]NAME[:TAG][@DIGEST]
//	oci:DIR[:TAG]  oci-archive:FILE[:TAG]  docker-archive:FILE[:REF]  docker-daemon:REF
//	./DIR[:TAG]  /DIR[:TAG]  ./FILE[:REF]  /FILE[:REF]
//
// A path ends as SplitFile says, or at a digest, which may follow any form; a colon
// in it may be written as %3A, and String does. The word of a transport wins over
// an image of that name. NAME is completed as docker does (docker.io, library/,
// latest), and one of docker 1.x is a name too. What begins as a path does, with a
// dot or a slash, is a layout if it is a directory, else an archive. File paths are
// made absolute, so that what String prints is good in any directory. All errors are
// of kind Invalid.
func ParseReference(s string) (Reference, error) {
	if len(s) > maxReference || strings.ContainsAny(s, "\x00\n\r") {
		return Reference{}, errkind.New(errkind.Invalid, "reference is too long or has control characters")
	}
	if imagename.IsPath(s) {
		return parseBarePath(s)
	}
	if err := imagename.Foreign(s); err != nil {
		return Reference{}, err
	}
	t, rest := imagename.Cut(s)
	if t.File {
		return parsePath(t.Word, s, rest)
	}
	return parseName(t.Word, s, rest)
}

// parseBarePath reads a path without the word of a transport.
func parseBarePath(s string) (Reference, error) {
	name, _ := SplitFile("", s)
	if info, err := os.Stat(fileName("", name)); err == nil && info.IsDir() {
		return parsePath(OCI, s, s)
	}
	return parsePath(DockerArchive, s, s)
}

func parseName(transport, whole, s string) (Reference, error) {
	n, err := imagename.Parse(s)
	if err != nil {
		return Reference{}, invalid(whole, err)
	}
	return Reference{transport: transport, domain: n.Domain, path: n.Path, tag: n.Tag, digest: n.Digest}, nil
}

func parsePath(transport, whole, s string) (Reference, error) {
	var d digest.Digest
	if i := strings.LastIndexByte(s, '@'); i >= 0 && digest.Digest(s[i+1:]).Validate() == nil {
		s, d = s[:i], digest.Digest(s[i+1:])
	}
	name, rest := SplitFile(transport, s)
	switch {
	case name == "":
		return Reference{}, errkind.New(errkind.Invalid, "reference %q names no file", whole)
	case strings.HasPrefix(rest, "@"):
		return Reference{}, errkind.New(errkind.Invalid, "reference %q: %q is no digest", whole, rest[1:])
	}
	tag := strings.TrimPrefix(rest, ":")
	abs, err := filepath.Abs(fileName(transport, name))
	if err != nil {
		return Reference{}, errkind.Wrap(errkind.Invalid, err)
	}
	return Reference{transport: transport, path: abs, tag: tag, digest: d}, nil
}

func invalid(s string, err error) error {
	err = errkind.New(errkind.Invalid, "reference %q: %w", s, err)
	if strings.ToLower(s) != s {
		return errkind.WithHint(err, "repository names are lower case")
	}
	return errkind.WithHint(err, "a reference looks like NAME[:TAG][@DIGEST], oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]")
}

// Transport is one of the constants of this package.
func (r Reference) Transport() string { return r.transport }

// IsRegistry reports whether r is a name in a registry, and no file or daemon.
func (r Reference) IsRegistry() bool { return r.transport == Docker }

// IsZero reports whether r names nothing.
func (r Reference) IsZero() bool { return r.transport == "" }

// Domain is the registry as users write it ("docker.io"), "" for files.
func (r Reference) Domain() string { return r.domain }

// Repository is the name below the domain ("library/debian"), "" for files.
func (r Reference) Repository() string {
	if r.domain == "" {
		return ""
	}
	return r.path
}

// Path is the absolute path of a layout or archive, "" for registries.
func (r Reference) Path() string {
	if r.domain != "" {
		return ""
	}
	return r.path
}

// Tag is the tag, or what selects an image in an archive; it may be "".
func (r Reference) Tag() string { return r.tag }

// Digest is the digest, or "". It decides where there is a tag as well.
func (r Reference) Digest() digest.Digest { return r.digest }

// Name is the reference without tag and digest, in canonical form.
func (r Reference) Name() string {
	switch {
	case r.transport == "":
		return ""
	case r.transport == Docker:
		return r.domain + "/" + r.path
	case r.domain != "":
		return r.transport + ":" + r.domain + "/" + r.path
	}
	return r.transport + ":" + escape.Replace(r.path)
}

// String is the canonical form: ParseReference gives the same value for it.
func (r Reference) String() string {
	s := r.Name()
	if r.tag != "" {
		s += ":" + r.tag
	}
	if r.digest != "" {
		s += "@" + r.digest.String()
	}
	return s
}

// Familiar is the short form that people type, for messages: "debian:12".
func (r Reference) Familiar() string {
	s := r.String()
	if r.transport != Docker || r.domain != "docker.io" {
		return s
	}
	s = strings.TrimPrefix(s, "docker.io/")
	if rest, ok := strings.CutPrefix(s, "library/"); ok && !strings.Contains(rest, "/") {
		return rest
	}
	return s
}

// Daemon is the name by which a docker daemon knows the image.
func (r Reference) Daemon() string {
	r.transport = Docker
	return r.Familiar()
}

// As is r, of a file, with another transport.
func (r Reference) As(transport string) Reference {
	r.transport = transport
	return r
}

// WithDigest is r pinned to d; the tag stays as a comment.
func (r Reference) WithDigest(d digest.Digest) Reference {
	r.digest, r.lookedUp = d, false
	return r
}

// Resolved is r with the digest d that its tag was found to have. Unlike with
// WithDigest nobody asked for that digest: r is not pinned.
func (r Reference) Resolved(d digest.Digest) Reference {
	r.digest, r.lookedUp = d, true
	return r
}

// Pinned reports whether the reference was given with a digest, and so
// asks for what that digest covers and for nothing else.
func (r Reference) Pinned() bool { return r.digest != "" && !r.lookedUp }

// Package imagename is the one grammar of the names that images have in registries,
// and the list of the other places where images are.
//
// What docker 1.x took for a name is one here too: old registries, old tag stores
// and old archives have such names, and what can be imported can be used.
package imagename

import (
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"

	_ "crypto/sha256" // the digests that a name may have
	_ "crypto/sha512"
)

// Transport is a way to images.
type Transport struct {
	Word string // before the first colon of a reference
	File bool   // what follows names a file or directory of this machine
	Tags bool   // it can be asked which names it has
}

// Registry is the transport of names without a word.
const Registry = "docker"

// Transports are all that there are. Another one is another row.
var Transports = []Transport{
	{Word: Registry, Tags: true},
	{Word: "oci", File: true, Tags: true},
	{Word: "oci-archive", File: true, Tags: true},
	{Word: "docker-archive", File: true, Tags: true},
	{Word: "docker-daemon"},
}

// foreign are the transports of other tools, which are not read here.
var foreign = []string{"dir", "containers-storage", "ostree", "sif", "tarball", "docker-tar", "http", "https"}

// prefix is how a reference of the transport begins.
func (t Transport) prefix() string {
	if t.Word == Registry {
		return Registry + "://"
	}
	return t.Word + ":"
}

// Cut parts a reference into its transport and what follows that. The transport is
// Registry's for a reference that names none.
func Cut(s string) (t Transport, rest string) {
	for _, t := range Transports {
		if rest, ok := strings.CutPrefix(s, t.prefix()); ok {
			return t, rest
		}
	}
	return Transports[0], s
}

// IsRegistry reports whether a reference, whole or canonical, is that of a registry.
func IsRegistry(s string) bool {
	t, _ := Cut(s)
	return t.Word == Registry
}

// IsPath reports whether s can only be a path: no name begins so.
func IsPath(s string) bool {
	return strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") || s == "." || s == ".."
}

// Foreign returns an error of kind Invalid if a reference begins with the word of a
// transport of other tools, so that no registry is asked for an image of that name.
func Foreign(s string) error {
	for _, word := range foreign {
		rest, ok := strings.CutPrefix(s, word+":")
		if !ok {
			continue
		}
		err := errkind.New(errkind.Invalid, "reference %q: images are not read from %s:", s, word)
		if path, web := strings.CutPrefix(rest, "//"); web && strings.HasPrefix(word, "http") {
			return errkind.WithHint(err, "write the name alone: %s", path)
		}
		return errkind.WithHint(err, "read are registries, %s; an image of that name is docker://%s", Words(), s)
	}
	return nil
}

// Words lists the transports for messages.
func Words() string {
	var words []string
	for _, t := range Transports[1:] {
		words = append(words, t.Word+":")
	}
	return strings.Join(words, ", ")
}

// Name is an image's name in a registry.
type Name struct {
	Domain string // the registry as users write it
	Path   string // the repository below it
	Tag    string // "" only if there is a digest
	Digest digest.Digest
}

// String is the canonical form.
func (n Name) String() string {
	s := n.Domain + "/" + n.Path
	if n.Tag != "" {
		s += ":" + n.Tag
	}
	if n.Digest != "" {
		s += "@" + n.Digest.String()
	}
	return s
}

// Parse reads NAME[:TAG][@DIGEST] and completes it as docker does: docker.io,
// library/, latest. A name that today's grammar refuses is read by that of docker
// 1.x ("foo/bar_", "a..b"). Errors are of kind Invalid.
func Parse(s string) (Name, error) {
	n, err := ParseStrict(s)
	if err == nil {
		return n, nil
	}
	if old, ok := parseOld(s); ok {
		return old, nil
	}
	return Name{}, err
}

// ParseStrict is Parse by today's grammar alone, for names that are being given.
func ParseStrict(s string) (Name, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Name{}, errkind.Wrap(errkind.Invalid, err)
	}
	n := Name{Domain: reference.Domain(named), Path: reference.Path(named)}
	if d, ok := named.(reference.Digested); ok {
		n.Digest = d.Digest()
	}
	if t, ok := named.(reference.Tagged); ok {
		n.Tag = t.Tag()
	} else if n.Digest == "" {
		n.Tag = "latest"
	}
	return n, nil
}

// The grammar of docker 1.x, in its last and widest form.
var (
	oldHost = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]+)?$`)
	oldRepo = regexp.MustCompile(`^([a-z0-9_-]{2,255}/)?[a-z0-9_-][a-z0-9-_.]*$`)
	oldTag  = regexp.MustCompile(`^[\w][\w.-]{0,127}$`)
)

func parseOld(s string) (Name, bool) {
	var n Name
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		if n.Digest = digest.Digest(s[i+1:]); n.Digest.Validate() != nil {
			return Name{}, false
		}
		s = s[:i]
	}
	host, rest, ok := strings.Cut(s, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		host, rest = "docker.io", s
	}
	if n.Path, n.Tag, ok = strings.Cut(rest, ":"); !ok && n.Digest == "" {
		n.Tag = "latest"
	}
	if host == "index.docker.io" {
		host = "docker.io"
	}
	if n.Domain = host; host == "docker.io" && !strings.Contains(n.Path, "/") {
		n.Path = "library/" + n.Path
	}
	good := len(host)+len(n.Path) <= 255 && oldHost.MatchString(host) && oldRepo.MatchString(n.Path) &&
		(n.Tag == "" && n.Digest != "" && !ok || oldTag.MatchString(n.Tag)) && !isID(n.Path)
	return n, good
}

// isID reports whether a path is the id of an image, which docker has never taken
// for a name.
func isID(path string) bool {
	path = strings.TrimPrefix(path, "library/")
	return len(path) == 64 && strings.Trim(path, "0123456789abcdef") == ""
}

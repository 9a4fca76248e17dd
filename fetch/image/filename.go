package image

import (
	"os"
	"regexp"
	"strings"
)

// SplitFile parts what follows the word of a transport that names files: the name
// as it is written, and what selects an image in it, which is "" or begins with
// ":" or with the "@" of a digest.
//
// Names may have colons: the longest beginning of s that is there as a directory
// (OCI) or as something else (the archives) is the name; as anything, where the
// transport is "" because s is a bare path. If none is, it ends at the first colon.
func SplitFile(transport, s string) (name, rest string) {
	for end := len(s); end > 0; end = strings.LastIndexAny(s[:end], ":@") {
		if (end == len(s) || endsName(s[end:])) && exists(transport, s[:end]) {
			return s[:end], s[end:]
		}
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// digestBehind is the digest that a name may end in front of.
var digestBehind = regexp.MustCompile(`^@(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})(:|$)`)

// endsName reports whether a name may end in front of rest: at any colon, and at
// the "@" of a digest.
func endsName(rest string) bool { return rest[0] == ':' || digestBehind.MatchString(rest) }

// exists reports whether a name as it is written is something that the transport
// could read.
func exists(transport, name string) bool { return isThere(transport, fileName(transport, name)) }

func isThere(transport, path string) bool {
	st, err := os.Stat(path)
	return err == nil && (transport == "" || st.IsDir() == (transport == OCI))
}

// fileName is the path that a name as it is written means: %3A is a colon, and %25
// a percent sign. Only where there is a file of the very name, and none of the
// other, it is that one.
func fileName(transport, name string) string {
	plain := unescape.Replace(name)
	if plain != name && !isThere(transport, plain) && isThere(transport, name) {
		return name
	}
	return plain
}

// What a path has to have changed to be the name in a reference, and back. A
// percent sign that begins no escape stays as it is.
var (
	escape   = strings.NewReplacer(":", "%3A", "%3A", "%253A", "%3a", "%253a", "%25", "%2525")
	unescape = strings.NewReplacer("%3A", ":", "%3a", ":", "%25", "%")
)

package main

import (
	"strings"

	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/imagename"
)

// splitRefPath parts REF:PATH, where PATH begins with a slash. No name has ":/"
// in it but for the word of a transport and what follows that, where the file's
// name ends as fetch.SplitFile says:
//
//	debian:bookworm:/etc     docker://debian:/etc    debian@sha256:…:/etc
//	oci:DIR:TAG:/etc         oci:/abs/DIR:/etc       docker-archive:FILE:host:5000/a:1:/etc
//
// Without a PATH, ok is false and ref is all of it.
func splitRefPath(s string) (ref, path string, ok bool) {
	if imagename.Foreign(s) != nil {
		return s, "", false // dir:/x is no path of an image called dir
	}
	t, rest := imagename.Cut(s)
	transport := strings.TrimSuffix(s, rest)
	before := 0
	word := t.Word
	if imagename.IsPath(s) {
		word = ""
	}
	if t.File || word == "" {
		name, _ := fetch.SplitFile(word, rest)
		before = len(name)
	}
	i := strings.Index(rest[before:], ":/")
	if i < 0 {
		return s, "", false
	}
	i += before
	return transport + rest[:i], rest[i+1:], true
}

// refAndPath is splitRefPath for commands that need a path.
func refAndPath(s string) (ref, path string, err error) {
	ref, path, ok := splitRefPath(s)
	if err := imagename.Foreign(s); err != nil {
		return "", "", err
	}
	if !ok {
		return "", "", errkind.WithHint(errkind.New(errkind.Invalid, "%q has no path", s),
			"write REF:/PATH, as in debian:bookworm:/etc/os-release")
	}
	return ref, path, nil
}

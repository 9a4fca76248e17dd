package index

import "strings"

const (
	markerPrefix = ".wh."
	metaPrefix   = ".wh..wh."
	opaqueMarker = ".wh..wh..opq"
	plnk         = ".wh..wh.plnk" // where AUFS keeps the content of hard links
)

// place says what a cleaned path is, by its names alone.
type place uint8

const (
	plain       place = iota // an object of the layer, or of its hidden .wh..wh.plnk
	root                     // the layer's root
	whiteout                 // a marker that hides one lower name
	opaque                   // a marker that hides all lower names of its directory
	bookkeeping              // other AUFS names: no object, no marker
	refused                  // no place at all
)

// split appends the elements of raw to parts, cleaned as in a chroot whose
// walls are not to be touched: a path that leaves the root has a reason to be
// refused.
func split(parts []string, raw string) ([]string, string) {
	switch {
	case raw == "":
		return nil, "empty path"
	case len(raw) > MaxPath:
		return nil, "path too long"
	case strings.IndexByte(raw, 0) >= 0:
		return nil, "zero byte in path"
	}
	for raw != "" {
		var name string
		name, raw, _ = strings.Cut(raw, "/")
		switch name {
		case "", ".":
		case "..":
			if len(parts) == 0 {
				return nil, "path leaves the root"
			}
			parts = parts[:len(parts)-1]
		default:
			parts = append(parts, name)
		}
	}
	return parts, ""
}

// placeOf says what the cleaned path is, and for refused why.
func placeOf(parts []string) (place, string) {
	if len(parts) == 0 {
		return root, ""
	}
	if parts[0] == plnk {
		return plnkPlace(parts[1:]), ""
	}
	for i, name := range parts {
		if strings.HasPrefix(name, markerPrefix) {
			return markerPlace(name, i == len(parts)-1)
		}
		if len(name) > MaxName {
			return refused, "name too long"
		}
	}
	return plain, ""
}

func plnkPlace(parts []string) place {
	for _, name := range parts {
		if strings.HasPrefix(name, markerPrefix) || len(name) > MaxName {
			return bookkeeping
		}
	}
	if len(parts) == 0 {
		return bookkeeping
	}
	return plain
}

func markerPlace(name string, last bool) (place, string) {
	victim := name[len(markerPrefix):]
	switch {
	case strings.HasPrefix(name, metaPrefix) && name != opaqueMarker:
		return bookkeeping, ""
	case !last:
		return refused, "whiteout marker used as a directory"
	case name == opaqueMarker:
		return opaque, ""
	case victim == "" || victim == "." || victim == "..":
		return refused, "whiteout of no name"
	case len(victim) > MaxName:
		return refused, "name too long"
	}
	return whiteout, ""
}

// cleanPath reports whether p is what a split path is when joined again.
func cleanPath(p []byte) bool {
	for len(p) > 0 {
		n := 0
		for n < len(p) && p[n] != '/' {
			n++
		}
		if !validName(p[:n]) {
			return false
		}
		if n == len(p) {
			return true
		}
		p = p[n+1:]
	}
	return false
}

// validName reports whether name can be an element of a path.
func validName(name []byte) bool {
	if len(name) == 0 || len(name) > MaxName || string(name) == "." || string(name) == ".." {
		return false
	}
	for _, c := range name {
		if c == '/' || c == 0 {
			return false
		}
	}
	return true
}

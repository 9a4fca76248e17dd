package index

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// xattrHead is how many bytes come before the name of an attribute in an encoded
// set. For each attribute, by ascending name, a set has the length of the name in
// one byte, that of the value in four, the name, and the value.
const xattrHead = 5

// xattrSet interns the attributes of r and returns the set's number plus one,
// 0 if there are none to show. An attribute that no Linux file
// can have is left out.
func (b *Builder) xattrSet(r Record) (uint32, error) {
	if len(r.Xattrs) == 0 {
		return 0, nil
	}
	list := slices.Clone(r.Xattrs)
	slices.SortStableFunc(list, func(p, q Xattr) int { return cmp.Compare(p.Name, q.Name) })
	var set []byte
	names := 0
	for i, x := range list {
		if i+1 < len(list) && list[i+1].Name == x.Name || ofOverlay(x.Name) {
			continue
		}
		names += len(x.Name) + 1
		if x.Name == "" || len(x.Name) > MaxXattrName || len(x.Value) > MaxXattrValue ||
			names > MaxXattrList || strings.IndexByte(x.Name, 0) >= 0 {
			b.Refuse(r.Name, fmt.Sprintf("extended attribute %.100q", x.Name))
			continue
		}
		set = append(set, byte(len(x.Name)))
		set = binary.LittleEndian.AppendUint32(set, uint32(len(x.Value)))
		set = append(append(set, x.Name...), x.Value...)
	}
	if set == nil {
		return 0, nil
	}
	id, err := b.xattrs.intern(string(set))
	return id + 1, err
}

// ofOverlay reports whether overlayfs keeps notes of its own under that name.
func ofOverlay(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}

// nextXattr cuts the first attribute off a set.
func nextXattr(set []byte) (name, value, rest []byte, ok bool) {
	if len(set) < xattrHead {
		return nil, nil, nil, false
	}
	n := xattrHead + int(set[0])
	end := uint64(n) + uint64(binary.LittleEndian.Uint32(set[1:]))
	if end > uint64(len(set)) {
		return nil, nil, nil, false
	}
	return set[xattrHead:n:n], set[n:end:end], set[end:], true
}

// validXattrs reports whether set is one that a Builder could have made.
func validXattrs(set []byte) bool {
	if len(set) == 0 {
		return false
	}
	var prev []byte
	for len(set) > 0 {
		name, value, rest, ok := nextXattr(set)
		if !ok || len(name) == 0 || string(name) <= string(prev) || len(value) > MaxXattrValue ||
			slices.Contains(name, 0) {
			return false
		}
		prev, set = name, rest
	}
	return true
}

package fusefs

import (
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/peelfs/peelfs/layers/view"
)

// provenance is the prefix of attributes that are answered when asked for, but
// never listed, so that copies of a tree stay clean.
const provenance = "user.peelfs."

// theirs is the prefix under which an image's own attributes are shown that have
// names which we answer.
const theirs = provenance + "own."

func (t *tree) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	r := t.newRequest(cancel, h)
	defer r.finish()
	value, ok, err := t.xattr(r, name)
	if err != nil {
		return 0, t.errno(r, err)
	}
	if !ok {
		return 0, absent(name)
	}
	return copyOut(dest, value)
}

// xattr is an extended attribute of a node. Of those with our prefix the image's
// own are answered too where we have none; one that we do have is answered under
// the name that ListXAttr gives it.
func (t *tree) xattr(r *request, name string) ([]byte, bool, error) {
	if strings.HasPrefix(name, provenance) {
		if text := t.origin(r.node, name); text != "" {
			return []byte(text), true, nil
		}
		if t.isOurs(name) {
			return nil, false, nil
		}
	}
	if t.hidden.owns(r.node) {
		return nil, false, nil
	}
	if rest, ok := strings.CutPrefix(name, theirs); ok && t.isOurs(provenance+rest) {
		if value, ok, err := t.view.Xattr(r, view.Ino(r.node), provenance+rest); ok || err != nil {
			return value, ok, err
		}
	}
	return t.view.Xattr(r, view.Ino(r.node), name)
}

// isOurs reports whether an attribute of this name says where a node comes from.
func (t *tree) isOurs(name string) bool {
	switch name {
	case provenance + "image", provenance + "layer", provenance + "created_by":
		return true
	}
	return false
}

// origin says where a node comes from, "" if that is not known.
func (t *tree) origin(node uint64, name string) string {
	if name == provenance+"image" {
		return t.opt.Image
	}
	var say func(int) string
	switch name {
	case provenance + "layer":
		say = t.opt.LayerName
	case provenance + "created_by":
		say = t.opt.CreatedBy
	}
	if say == nil || t.hidden.owns(node) {
		return ""
	}
	layer := t.view.LayerOf(view.Ino(node)) - t.opt.Extra
	if layer < 0 {
		return ""
	}
	return say(layer)
}

// absent is the answer for an attribute that a file does not have. Programs ask
// each file for its label and its ACL, and stop only at EOPNOTSUPP.
func absent(name string) fuse.Status {
	if name == "security.selinux" || strings.HasPrefix(name, "system.posix_acl_") {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	return fuse.ENODATA
}

func (t *tree) ListXAttr(cancel <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	r := t.newRequest(cancel, h)
	defer r.finish()
	if t.hidden.owns(h.NodeId) {
		return 0, fuse.OK
	}
	names, err := t.view.XattrNames(r, view.Ino(h.NodeId))
	if err != nil {
		return 0, t.errno(r, err)
	}
	var list []byte
	for _, name := range names {
		if t.isOurs(name) {
			name = theirs + strings.TrimPrefix(name, provenance)
		}
		list = append(append(list, name...), 0)
	}
	return copyOut(dest, list)
}

// copyOut returns the length of data, and ERANGE if dest is too short for it.
func copyOut(dest, data []byte) (uint32, fuse.Status) {
	if len(dest) < len(data) {
		return uint32(len(data)), fuse.ERANGE
	}
	return uint32(copy(dest, data)), fuse.OK
}

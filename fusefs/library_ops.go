package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/peelfs/peelfs/layers/view"
)

// Requests for a libraryFS are answered by its folders, or by the tree of the
// image that the node belongs to.

func (f *libraryFS) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if imageOf(h.NodeId) == 0 {
		return f.lookup(cancel, h, name, out)
	}
	s, t, status := f.enter(cancel, h)
	if t == nil {
		return status
	}
	defer s.leave()
	return t.Lookup(cancel, h, name, out)
}

// GetAttr of an image's root opens no image: a look at all names in a folder
// would open all of them.
func (f *libraryFS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if imageOf(in.NodeId) == 0 {
		f.count(in.Opcode)
		return f.fillFolder(&out.Attr, in.NodeId)
	}
	if s := f.image(in.NodeId); s != nil && in.NodeId&innerMask == nodeRoot && s.current() == nil {
		f.count(in.Opcode)
		f.fillImage(&out.Attr, s)
		return fuse.OK
	}
	s, t, status := f.enter(cancel, &in.InHeader)
	if t == nil {
		return status
	}
	defer s.leave()
	return t.GetAttr(cancel, in, out)
}

func (f *libraryFS) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	s, t, status := f.enter(cancel, h)
	if t == nil {
		return nil, status
	}
	defer s.leave()
	return t.Readlink(cancel, h)
}

func (f *libraryFS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	s, t, status := f.enter(cancel, &in.InHeader)
	if t == nil {
		return nil, status
	}
	defer s.leave()
	return t.Read(cancel, in, buf)
}

func (f *libraryFS) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	s, t, status := f.enter(cancel, &in.InHeader)
	if t == nil {
		return status
	}
	defer s.leave()
	return t.Lseek(cancel, in, out)
}

func (f *libraryFS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.readDir(cancel, in, out, false)
}

func (f *libraryFS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.readDir(cancel, in, out, true)
}

func (f *libraryFS) readDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList, plus bool) fuse.Status {
	if imageOf(in.NodeId) == 0 {
		return f.list(cancel, in, out, plus)
	}
	s, t, status := f.enter(cancel, &in.InHeader)
	if t == nil {
		return status
	}
	defer s.leave()
	return t.list(cancel, in, out, plus)
}

func (f *libraryFS) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	// A program that lists a folder asks each name in it for these, and gets the
	// answer that an image without any would give.
	bare := imageOf(h.NodeId) == 0 || h.NodeId&innerMask == nodeRoot && absent(name) != fuse.ENODATA
	if bare {
		f.count(h.Opcode)
		return 0, absent(name)
	}
	s, t, status := f.enter(cancel, h)
	if t == nil {
		return 0, status
	}
	defer s.leave()
	return t.GetXAttr(cancel, h, name, dest)
}

func (f *libraryFS) ListXAttr(cancel <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	if imageOf(h.NodeId) == 0 {
		f.count(h.Opcode)
		return 0, fuse.OK
	}
	s, t, status := f.enter(cancel, h)
	if t == nil {
		return 0, status
	}
	defer s.leave()
	return t.ListXAttr(cancel, h, dest)
}

func (f *libraryFS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.count(in.Opcode)
	if f.openless {
		return neverAsk
	}
	if n := in.NodeId & innerMask; n >= 1<<view.NarrowShift { // else it may be a live file
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	}
	return fuse.OK
}

func (f *libraryFS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.count(in.Opcode)
	if f.opendirless {
		return neverAsk
	}
	if imageOf(in.NodeId) != 0 {
		out.OpenFlags = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	}
	return fuse.OK
}

func (f *libraryFS) StatFs(_ <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	f.count(h.Opcode)
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, nameMax
	return fuse.OK
}

func (f *libraryFS) Forget(node, nlookup uint64) { f.count(opForget) }
func (f *libraryFS) Init(s *fuse.Server)         { f.refusals.init(s.KernelSettings()) }
func (f *libraryFS) String() string              { return "peelfs" }
func (f *libraryFS) SetDebug(bool)               {}
func (f *libraryFS) OnUnmount()                  {}

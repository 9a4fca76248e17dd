package fusefs

import (
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/peelfs/peelfs/internal/mapfault"
)

// guard stands between the kernel and a file system. A request that meets a file
// of the cache that was cut short, or cannot be read, is answered all the same:
// the file system heals and the request is made again.
type guard struct {
	filesystem
	looked atomic.Int64 // when files were last looked at, in Unix nanoseconds
}

const (
	maxTries = 3                     // of one request
	lookTime = 20 * time.Millisecond // between looks whether files are as long as they were
)

// answer runs one request until it meets no damage. The functions of a file system
// put their own number of the node into the header, so each try begins with the
// kernel's.
func (g *guard) answer(h *fuse.InHeader, try func() fuse.Status) (status fuse.Status) {
	g.look()
	node := h.NodeId
	for range maxTries {
		h.NodeId = node
		fault := mapfault.Catch(func() error {
			status = try()
			return nil
		})
		if fault == nil {
			return status
		}
		g.heal(fault)
		status = statusOf(fault)
	}
	return status
}

// look finds files that were cut within their last page, which does not fault.
func (g *guard) look() {
	now, last := time.Now().UnixNano(), g.looked.Load()
	if now-last >= int64(lookTime) && g.looked.CompareAndSwap(last, now) && !g.whole() {
		g.heal(nil)
	}
}

func (g *guard) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return g.answer(h, func() fuse.Status {
		*out = fuse.EntryOut{}
		return g.filesystem.Lookup(cancel, h, name, out)
	})
}

func (g *guard) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return g.answer(&in.InHeader, func() fuse.Status { return g.filesystem.GetAttr(cancel, in, out) })
}

func (g *guard) Readlink(cancel <-chan struct{}, h *fuse.InHeader) (target []byte, status fuse.Status) {
	status = g.answer(h, func() (status fuse.Status) {
		target, status = g.filesystem.Readlink(cancel, h)
		target = append([]byte(nil), target...) // it may be part of a map
		return status
	})
	return target, status
}

func (g *guard) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (result fuse.ReadResult, status fuse.Status) {
	status = g.answer(&in.InHeader, func() (status fuse.Status) {
		result, status = g.filesystem.Read(cancel, in, buf)
		return status
	})
	return result, status
}

func (g *guard) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	empty := *out
	return g.answer(&in.InHeader, func() fuse.Status {
		*out = empty
		return g.filesystem.ReadDir(cancel, in, out)
	})
}

func (g *guard) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	empty := *out
	return g.answer(&in.InHeader, func() fuse.Status {
		*out = empty
		return g.filesystem.ReadDirPlus(cancel, in, out)
	})
}

func (g *guard) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (n uint32, status fuse.Status) {
	status = g.answer(h, func() (status fuse.Status) {
		n, status = g.filesystem.GetXAttr(cancel, h, name, dest)
		return status
	})
	return n, status
}

func (g *guard) ListXAttr(cancel <-chan struct{}, h *fuse.InHeader, dest []byte) (n uint32, status fuse.Status) {
	status = g.answer(h, func() (status fuse.Status) {
		n, status = g.filesystem.ListXAttr(cancel, h, dest)
		return status
	})
	return n, status
}

func (g *guard) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	return g.answer(&in.InHeader, func() fuse.Status { return g.filesystem.Lseek(cancel, in, out) })
}

func (g *guard) StatFs(cancel <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	return g.answer(h, func() fuse.Status { return g.filesystem.StatFs(cancel, h, out) })
}

func (t *tree) whole() bool { return t.view.Whole() }

func (t *tree) heal(fault error) {
	if fault != nil {
		t.log.Error("the cache was damaged under a request, which is made again", "error", fault)
	}
	t.view.Heal()
}

func (f *libraryFS) whole() bool {
	whole := true
	for _, s := range f.images() {
		if t := s.current(); t != nil && !t.whole() {
			whole = false
		}
	}
	return whole
}

func (f *libraryFS) heal(fault error) {
	for _, s := range f.images() {
		if t := s.current(); t != nil {
			t.heal(fault)
		}
	}
}

package fusefs

import "github.com/hanwen/go-fuse/v2/fuse"

// A file needs no opening: a node id is all that a READ needs. A kernel too old
// to hear that gets an answer with which it keeps its caches all the same.

func (t *tree) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	t.count(in.Opcode)
	if t.openless {
		return neverAsk
	}
	if !t.hidden.isLive(in.NodeId) {
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	}
	return fuse.OK
}

func (t *tree) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	t.count(in.Opcode)
	if t.opendirless {
		return neverAsk
	}
	out.OpenFlags = fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

func (t *tree) Init(s *fuse.Server) { t.refusals.init(s.KernelSettings()) }

package fusefs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/view"
)

// Read returns exactly what the file has there, or an error. The kernel takes a
// short answer for the end of the file, and shrinks it for ever.
func (t *tree) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	r := t.newRequest(cancel, &in.InHeader)
	defer r.finish()
	off := int64(in.Offset)
	if data, ok := t.hidden.read(in.NodeId, off, len(buf)); ok {
		return fuse.ReadResultData(data), fuse.OK
	}
	if status := t.failures.recall(in.NodeId, off, time.Now); status != fuse.OK {
		return nil, status
	}
	n, err := t.readExactly(r, buf, off)
	if err != nil {
		status := t.errno(r, err)
		if status != fuse.EINTR {
			t.failures.record(in.NodeId, off, status, time.Now())
		}
		return nil, status
	}
	t.failures.forgive(in.NodeId, off)
	t.bytesRead.Add(uint64(n))
	if off == 0 && n < len(buf) && n <= pushSize && t.local.Load() {
		t.pusher.saw(view.Ino(in.NodeId))
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Whences of LSEEK, as in lseek(2). The kernel sends no others.
const (
	seekData = 3
	seekHole = 4
)

// Lseek finds holes and data of a sparse file.
func (t *tree) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	r := t.newRequest(cancel, &in.InHeader)
	defer r.finish()
	off := int64(in.Offset)
	if size, ok := t.hidden.size(in.NodeId); ok {
		return seekPlain(off, size, in.Whence, out)
	}
	next := t.view.NextData
	switch in.Whence {
	case seekData:
	case seekHole:
		next = t.view.NextHole
	default:
		return fuse.EINVAL
	}
	at, ok, err := next(r, view.Ino(in.NodeId), off)
	switch {
	case err != nil:
		return t.errno(r, err)
	case !ok:
		return fuse.Status(syscall.ENXIO)
	}
	out.Offset = uint64(at)
	return fuse.OK
}

// seekPlain is Lseek in a file of size bytes that has no holes.
func seekPlain(off, size int64, whence uint32, out *fuse.LseekOut) fuse.Status {
	if off < 0 || off >= size {
		return fuse.Status(syscall.ENXIO)
	}
	if out.Offset = uint64(off); whence == seekHole {
		out.Offset = uint64(size)
	}
	return fuse.OK
}

// readExactly checks the promise of the view where it matters most.
func (t *tree) readExactly(r *request, buf []byte, off int64) (int, error) {
	ino := view.Ino(r.node)
	n, err := t.view.ReadAt(r, ino, buf, off)
	if err != nil || n == len(buf) {
		return n, err
	}
	a, err := t.view.Attr(r, ino)
	if err != nil {
		return 0, err
	}
	if want := min(int64(len(buf)), max(0, a.Size-off)); int64(n) != want {
		return 0, errkind.New(errkind.Internal, "read of %d bytes at %d gave %d, want %d", len(buf), off, n, want)
	}
	return n, nil
}

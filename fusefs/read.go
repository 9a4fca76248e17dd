package fusefs

import (
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

package fusefs

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/peelfs/peelfs/internal/mapfault"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

// forEver, in seconds, is longer than the kernel can count in ticks; it then
// takes the most it can.
const forEver = 1 << 40

// nameMax is the longest name, as statfs says.
const nameMax = 255

// tree answers the kernel's questions from a view. A node id is an inode number
// of the view, or one of the hidden directory's, so that FORGET means nothing
// here. Its methods are called concurrently.
//
// Each request is counted and gets a context that ends with its caller's patience
// (newRequest), and is logged if it fails (errno).
type tree struct {
	*session
	counters
	refusals // what a read-only tree of plain data never does

	numbers    numbers
	view       *view.View
	hidden     *hidden
	opt        *Options
	failures   failures
	limiter    limiter
	pusher     *cachePusher
	background sync.WaitGroup // what runs in the background
	local      atomic.Bool    // all data is: see Server.LayersComplete
	covered    sync.Once      // a name of the image that ours covers was logged
}

// newRequest begins a request. From here on h has the number that the view, or the
// hidden directory, has for the node, and not the kernel's.
func (t *tree) newRequest(cancel <-chan struct{}, h *fuse.InHeader) *request {
	t.count(h.Opcode)
	h.NodeId = t.numbers.in(h.NodeId)
	return t.begin(cancel, h)
}

// translateAttr changes attributes from the view's numbers and owners to those that
// the kernel is told.
func (t *tree) translateAttr(a *fuse.Attr) {
	a.Ino = t.numbers.out(a.Ino)
	t.opt.Squash.apply(a)
}

// translateEntry does for an entry what translateAttr does for attributes.
func (t *tree) translateEntry(out *fuse.EntryOut) {
	if out.NodeId != 0 {
		out.NodeId = t.numbers.out(out.NodeId)
		t.translateAttr(&out.Attr)
	}
}

// errno logs why a request failed and returns what the kernel is told.
func (t *tree) errno(r *request, err error) fuse.Status {
	status := statusOf(err)
	if status == fuse.EINTR || status == fuse.ENOTDIR || status == fuse.Status(syscall.ESTALE) {
		return status
	}
	t.failed.Add(1)
	if skipped, ok := t.limiter.allow(time.Now()); ok {
		t.log.Error("request failed", "operation", opName(r.opcode), "path", t.path(r.node),
			"process", processOf(r.caller), "error", err, "unlogged", skipped)
	}
	return status
}

// onPanic keeps the mount alive when a bug of ours strikes one request.
func (t *tree) onPanic(what any) fuse.Status {
	t.failed.Add(1)
	return panicked(t.log, what)
}

func panicked(log *slog.Logger, what any) fuse.Status {
	log.Error("panic in a request", "panic", fmt.Sprint(what), "stack", string(debug.Stack()))
	return fuse.EIO
}

func (t *tree) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	r := t.newRequest(cancel, h)
	defer r.finish()
	defer t.translateEntry(out)
	if len(name) > nameMax {
		return fuse.Status(syscall.ENAMETOOLONG)
	}
	dir := h.NodeId
	if dir == nodeHidden && name == theirsName {
		dir, name = uint64(t.hidden.top), view.MetaDir
	} else if status, ok := t.hidden.lookup(dir, name, out); ok {
		return status
	}
	a, err := t.find(r, view.Ino(dir), name)
	if errors.Is(err, view.ErrNotExist) {
		out.EntryValid = forEver // node id 0: a name that is not there, to be remembered
		return fuse.OK
	}
	if err != nil {
		return t.errno(r, err)
	}
	if ino, _ := t.hidden.substitute(a.Ino, a.Kind); ino != a.Ino && name != ".." && name != "." {
		out.NodeId, out.EntryValid, out.AttrValid = uint64(ino), forEver, forEver
		t.hidden.fillOwn(&out.Attr, uint64(ino))
		return fuse.OK
	}
	fillEntry(out, &a)
	return fuse.OK
}

// find looks a name up. Servers of file handles ask for "." and ".." too.
func (t *tree) find(r *request, dir view.Ino, name string) (view.Attr, error) {
	switch name {
	case ".":
		return t.view.Attr(r, dir)
	case "..":
		parent, err := t.parent(r, dir)
		if err != nil {
			return view.Attr{}, err
		}
		return t.view.Attr(r, view.Ino(parent))
	}
	return t.view.Lookup(r, dir, name)
}

func (t *tree) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	r := t.newRequest(cancel, &in.InHeader)
	defer r.finish()
	defer t.translateAttr(&out.Attr)
	if status, ok := t.hidden.getAttr(in.NodeId, out); ok {
		return status
	}
	if in.NodeId == uint64(t.hidden.top) {
		return t.getRoot(r, out)
	}
	a, err := t.view.Attr(r, view.Ino(in.NodeId))
	if err != nil {
		return t.errno(r, err)
	}
	out.AttrValid = forEver
	fillAttr(&out.Attr, &a)
	return fuse.OK
}

// rootPatience is how long a look at the root waits for its attributes.
const rootPatience = 10 * time.Second

// getRoot answers for the root even if no layer at hand describes it, in the end
// with what a directory has that none describes. A layer far down may be all that
// has its attributes, while df, umount and whoever lists the directory above look
// at every mountpoint: they must not hang because a registry is away. Where the
// kernel checks permissions it looks at the root before it goes on to anything
// below; then there is no waiting at all. Such an answer holds for a moment only.
func (t *tree) getRoot(r *request, out *fuse.AttrOut) fuse.Status {
	a, final := t.view.Provisional(t.hidden.top)
	if !final && !t.opt.AllowOther {
		r.limit = min(r.limit, rootPatience)
		sure, err := t.view.Attr(r, t.hidden.top)
		switch {
		case err == nil:
			a, final = sure, true
		case statusOf(err) == fuse.EINTR:
			return fuse.EINTR
		}
	}
	if final {
		out.AttrValid = forEver
	} else {
		out.AttrValidNsec = uint32(100 * time.Millisecond)
	}
	fillAttr(&out.Attr, &a)
	return fuse.OK
}

func (t *tree) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	r := t.newRequest(cancel, h)
	defer r.finish()
	if r.node == nodeBack {
		return []byte(t.hidden.back()), fuse.OK
	}
	target, err := t.view.Readlink(r, view.Ino(h.NodeId))
	if err != nil {
		return nil, t.errno(r, err)
	}
	return target, fuse.OK
}

// blockSize is the unit of statfs and of st_blksize.
const blockSize = 4096

// StatFs never waits for anything: by it others see whether the server lives.
func (t *tree) StatFs(_ <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	t.count(h.Opcode)
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, nameMax
	if t.opt.Usage != nil {
		u := t.opt.Usage()
		out.Blocks = uint64(max(0, u.Bytes)+blockSize-1) / blockSize
		out.Files = uint64(max(0, u.Inodes))
	}
	return fuse.OK
}

func (t *tree) Forget(node, nlookup uint64) { t.count(opForget) }

// String is what go-fuse calls the file system.
func (t *tree) String() string { return "peelfs" }

func (t *tree) SetDebug(bool) {}

func (t *tree) OnUnmount() {}

var typeBits = [...]uint32{
	index.Dir: syscall.S_IFDIR, index.File: syscall.S_IFREG, index.Symlink: syscall.S_IFLNK,
	index.Char: syscall.S_IFCHR, index.Block: syscall.S_IFBLK, index.Fifo: syscall.S_IFIFO,
}

// modeOf are the S_IFMT bits, 0 for a kind that no view shows.
func modeOf(k index.Kind) uint32 {
	if int(k) < len(typeBits) {
		return typeBits[k]
	}
	return 0
}

func fillEntry(out *fuse.EntryOut, a *view.Attr) {
	out.NodeId = uint64(a.Ino)
	out.EntryValid, out.AttrValid = forEver, forEver
	fillAttr(&out.Attr, a)
}

func fillAttr(out *fuse.Attr, a *view.Attr) {
	out.Ino = uint64(a.Ino)
	out.Mode = modeOf(a.Kind) | a.Mode
	out.Size = uint64(a.Size)
	out.Blocks = (out.Size + 511) / 512
	out.Nlink = a.Nlink
	out.Uid, out.Gid = a.UID, a.GID
	sec := uint64(a.Sec)
	out.Mtime, out.Ctime, out.Atime = sec, sec, sec
	out.Mtimensec, out.Ctimensec, out.Atimensec = a.Nsec, a.Nsec, a.Nsec
	out.Rdev = a.Minor&0xff | a.Major<<8 | a.Minor&^0xff<<12 // as the kernel's new_encode_dev
	out.Blksize = blockSize
}

// newLog returns the logger of a mount, which discards everything if the options name
// none.
func newLog(opt *Options) *slog.Logger {
	if opt.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return opt.Logger
}

// pathOf is a node for people to read.
func (t *tree) pathOf(node uint64) string {
	path := ""
	_ = mapfault.Catch(func() error { // it is told in goroutines of their own too
		path = t.view.Path(view.Ino(node))
		return nil
	})
	if path != "" && !t.hidden.owns(node) {
		return path
	}
	return "inode " + strconv.FormatUint(node, 10)
}

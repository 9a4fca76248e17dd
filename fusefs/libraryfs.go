package fusefs

import (
	"context"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flight"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

// libraryFS is a library as the kernel sees it: folders, and in them images, each a
// tree of its own whose nodes have its image's number.
//
// All images are one file system. So nothing is mounted while somebody waits for
// it, a working directory in an image is one as anywhere, and it takes no rights
// but those for the one mount.
type libraryFS struct {
	*session
	counters
	refusals

	lib        Library
	opt        *Options
	idle       time.Duration
	born       time.Time
	fuse       *fuse.Server
	background sync.WaitGroup

	// answers are the ids of the images that paths name. One stands for a moment,
	// so that a program that tries a name in several ways asks once.
	answers *flight.Group[string, string]
	limiter limiter
	mu      struct {
		sync.Mutex
		folders map[uint64]string        // by node, but for the root
		nodes   map[string]uint64        // of folders
		images  []*libraryImage          // images[i] has the number i+1
		latest  map[string]*libraryImage // by path
		lists   map[uint64][]string
	}
}

const (
	maxFolders = 1 << 16
	// imageValid is for how long the kernel need not ask again what a name in a
	// folder is, in nanoseconds.
	imageValid = uint32(500 * time.Millisecond)
	// answerValid is for how long an answer stands.
	answerValid = 2 * time.Second
)

func newLibraryFS(lib Library, idle time.Duration, opt *Options, device int) *libraryFS {
	f := &libraryFS{lib: lib, opt: opt, idle: idle, born: time.Now()}
	f.answers = &flight.Group[string, string]{KeepValue: answerValid, KeepError: answerValid}
	f.session = newSession(opt, device, func(node uint64) string { return "/" + f.folder(node) })
	f.mu.folders, f.mu.nodes = map[uint64]string{nodeRoot: ""}, map[string]uint64{"": nodeRoot}
	f.mu.latest = map[string]*libraryImage{}
	f.mu.lists = map[uint64][]string{}
	return f
}

func (f *libraryFS) start(server *fuse.Server) {
	f.fuse = server
	f.background.Go(f.closeIdle)
}

// finish ends everything. The server is through: no request is under way.
func (f *libraryFS) finish() {
	f.close()
	f.background.Wait()
	f.closeSince(time.Now())
	f.watchers.Wait()
}

// close fails all that waits, in the images too.
func (f *libraryFS) close() {
	f.session.close()
	for _, s := range f.images() {
		if t := s.current(); t != nil {
			t.close()
		}
	}
}

func (f *libraryFS) images() []*libraryImage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.mu.images)
}

// closeIdle closes what nobody uses, until the session ends.
func (f *libraryFS) closeIdle() {
	if f.idle <= 0 {
		return
	}
	tick := time.NewTicker(max(f.idle/4, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			f.closeSince(now.Add(-f.idle))
		case <-f.closing:
			return
		}
	}
}

func (f *libraryFS) closeSince(since time.Time) {
	for _, s := range f.images() {
		t, closer := s.takeIdle(since)
		if t == nil {
			continue
		}
		t.finish()
		if err := closer(); err != nil {
			f.log.Warn("closing an image failed", "name", s.path, "error", err)
		}
		f.log.Info("image closed", "name", s.path)
	}
}

func (f *libraryFS) localNow() bool {
	for _, s := range f.images() {
		if t := s.current(); t != nil {
			t.localNow()
		}
	}
	return false // the mount's read-ahead is for all images, and some are not local
}

func (f *libraryFS) stats() Stats {
	total := Stats{Requests: f.requests(), Waits: f.waits.Load(), Slow: f.slow.Load(), Failed: f.failed.Load(), Signals: f.interrupts.Load()}
	for _, s := range f.images() {
		if t := s.current(); t != nil {
			total.add(t.stats())
		}
	}
	return total
}

func (s *Stats) add(o Stats) {
	for op, n := range o.Requests {
		s.Requests[op] += n
	}
	s.BytesRead += o.BytesRead
	s.Waits += o.Waits
	s.Slow += o.Slow
	s.Failed += o.Failed
	s.Signals += o.Signals
	s.Pushed += o.Pushed
}

func (f *libraryFS) folder(node uint64) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.folders[node]
}

// folderNode is the node of a folder. It is never used for another.
func (f *libraryFS) folderNode(path string) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if node, ok := f.mu.nodes[path]; ok {
		return node, nil
	}
	if len(f.mu.nodes) >= maxFolders {
		return 0, errkind.New(errkind.Unsupported, "too many folders were asked for")
	}
	node := uint64(nodeRoot + len(f.mu.nodes))
	f.mu.nodes[path], f.mu.folders[node] = node, path
	return node, nil
}

func (f *libraryFS) image(node uint64) *libraryImage {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := imageOf(node); n >= 1 && n <= uint64(len(f.mu.images)) {
		return f.mu.images[n-1]
	}
	return nil
}

func (f *libraryFS) newImage(path, id string) (*libraryImage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.mu.latest[path]; s != nil {
		if have, _ := s.state(); have == id {
			return s, nil // somebody was quicker
		}
	}
	if len(f.mu.images) >= maxImages {
		return nil, errkind.New(errkind.Unsupported, "too many images were asked for")
	}
	s := &libraryImage{number: uint64(len(f.mu.images) + 1), path: path}
	s.mu.id = id
	f.mu.images, f.mu.latest[path] = append(f.mu.images, s), s
	return s, nil
}

// find returns the image that a name stands for. A name that is known is not resolved
// before something in it is asked for, so that a listing with attributes asks
// nobody; one that was closed is, for it may have moved.
func (f *libraryFS) find(r *request, path string) (*libraryImage, error) {
	f.mu.Lock()
	s := f.mu.latest[path]
	f.mu.Unlock()
	if s != nil {
		id, open := s.state()
		if open || id == "" {
			return s, nil
		}
	} else if f.lib.Known(path) {
		return f.newImage(path, "")
	}
	id, err := f.resolve(r, path)
	if err != nil {
		return nil, err
	}
	return f.newImage(path, id)
}

// resolve asks which image a path names, once for all who ask at a time.
func (f *libraryFS) resolve(r *request, path string) (string, error) {
	return f.answers.Do(r, path, func(ctx context.Context) (string, error) { return f.lib.Resolve(ctx, path) })
}

// enter opens the image of a node for a request, which ends with s.leave.
func (f *libraryFS) enter(cancel <-chan struct{}, h *fuse.InHeader) (*libraryImage, *tree, fuse.Status) {
	s := f.image(h.NodeId)
	if s == nil {
		return nil, nil, fuse.Status(syscall.ESTALE)
	}
	r := f.begin(cancel, h)
	defer r.finish()
	t, err := s.enter(r, func() (opened, error) { return f.open(r, s) })
	if err != nil {
		return nil, nil, f.errno(r, s.path, err)
	}
	return s, t, fuse.OK
}

func (f *libraryFS) open(r *request, s *libraryImage) (opened, error) {
	id, _ := s.state()
	if id == "" {
		var err error
		if id, err = f.resolve(r, s.path); err != nil {
			return opened{}, err
		}
	}
	o, err := f.lib.Open(r, s.path, id)
	if err != nil {
		return opened{}, err
	}
	t := newTree(o.View, &o.Options, f.device)
	t.numbers.image = s.number
	t.start(f.fuse)
	t.localNow()
	f.log.Info("image opened", "name", s.path, "digest", id)
	return opened{id, t, o.Close}, nil
}

// errno logs why a name is not there, or an image is not ready, and returns what the
// kernel is told.
func (f *libraryFS) errno(r *request, path string, err error) fuse.Status {
	status := statusOf(err)
	if status == fuse.EINTR {
		return status
	}
	f.failed.Add(1)
	if skipped, ok := f.limiter.allow(time.Now()); ok {
		f.log.Error("no such image, or none that can be had", "name", path, "process", processOf(r.caller),
			"error", err, "hint", errkind.Hint(err), "unlogged", skipped)
	}
	return status
}

func (f *libraryFS) onPanic(what any) fuse.Status {
	f.failed.Add(1)
	return panicked(f.log, what)
}

// isAbsent says that an error is the proof that there is no such image.
func isAbsent(err error) bool {
	return errkind.Is(err, errkind.NotFound) || errkind.Is(err, errkind.Invalid) || errkind.Is(err, errkind.Denied) ||
		errkind.Is(err, errkind.Platform)
}

// lookup finds a name in a folder. An absence is told in a way that the kernel does
// not remember, for the name may exist later.
func (f *libraryFS) lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f.count(h.Opcode)
	r := f.begin(cancel, h)
	defer r.finish()
	path := f.folder(h.NodeId)
	if path != "" {
		path += "/"
	}
	path += name
	switch f.lib.Kind(path) {
	case FolderPath:
		node, err := f.folderNode(path)
		if err != nil {
			return f.errno(r, path, err)
		}
		out.NodeId, out.EntryValid = node, forEver
		return f.fillFolder(&out.Attr, node)
	case ImagePath:
		s, err := f.find(r, path)
		if err != nil {
			if status := f.errno(r, path, err); !isAbsent(err) {
				return status
			}
			return noSuchName
		}
		out.NodeId, out.EntryValidNsec = numbers{image: s.number, top: view.RootIno}.out(uint64(view.RootIno)), imageValid
		f.fillImage(&out.Attr, s)
		return fuse.OK
	}
	return noSuchName
}

// fillFolder gives a folder's attributes, which must not be remembered: by its
// time the kernel sees that a listing is old.
func (f *libraryFS) fillFolder(out *fuse.Attr, node uint64) fuse.Status {
	changed := f.born
	if _, at, err := f.lib.List(f.folder(node)); err == nil && at.After(changed) {
		changed = at
	}
	fillHidden(out, node, syscall.S_IFDIR|0o555, changed)
	out.Nlink = 1
	return fuse.OK
}

// fillImage gives the attributes of an image's root: those of the tree if it is
// open and they are at hand, else what a directory has that nothing describes.
func (f *libraryFS) fillImage(out *fuse.Attr, s *libraryImage) {
	a := view.Attr{Ino: view.RootIno, Kind: index.Dir, Mode: 0o755, Nlink: 1, Sec: f.born.Unix()}
	n := numbers{image: s.number, top: view.RootIno}
	if t := s.current(); t != nil {
		a, _ = t.view.Provisional(t.hidden.top)
		a.Ino = view.RootIno
		fillAttr(out, &a)
		t.opt.Squash.apply(out)
	} else {
		fillAttr(out, &a)
	}
	out.Ino = n.out(uint64(view.RootIno))
}

// list lists a folder. A listing that is under way goes on with the names that it
// began with.
func (f *libraryFS) list(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList, plus bool) fuse.Status {
	f.count(in.Opcode)
	names, err := f.names(in.NodeId, in.Offset)
	if err != nil {
		r := f.begin(cancel, &in.InHeader)
		defer r.finish()
		return f.errno(r, f.folder(in.NodeId), err)
	}
	l := lister{numbers: numbers{top: view.RootIno}, out: out, plus: plus}
	if in.Offset < dots && !l.dots(in.Offset, in.NodeId, in.NodeId) {
		return fuse.OK
	}
	for i := max(in.Offset, dots) - dots; i < uint64(len(names)); i++ {
		// The number is none that a node has: it is told when the name is looked up.
		e := fuse.DirEntry{Name: names[i], Mode: fuse.S_IFDIR, Ino: maxImages<<imageShift | i + 1, Off: i + dots + 1}
		if _, ok := l.add(e); !ok {
			return fuse.OK
		}
	}
	return fuse.OK
}

func (f *libraryFS) names(node, from uint64) ([]string, error) {
	f.mu.Lock()
	names, ok := f.mu.lists[node]
	path := f.mu.folders[node]
	f.mu.Unlock()
	if ok && from > 0 {
		return names, nil
	}
	names, _, err := f.lib.List(path)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.lists[node] = names
	return names, nil
}

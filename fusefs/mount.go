package fusefs

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/moby/sys/mountinfo"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/view"
	"golang.org/x/sys/unix"
)

// maxBackground is how many requests the kernel may have under way that no reader
// waits for by itself. With its default of 12, as many read-aheads that wait for
// the network stall all others, those of local data too.
const maxBackground = 512

// Server serves one mount.
type Server struct {
	dir  string
	info mountinfo.Info
	fs   filesystem
	log  *slog.Logger
	fuse *fuse.Server
	done chan struct{} // closed when the kernel has let go and nothing runs any more
}

// filesystem is what a Server serves: a tree, or a library of them.
type filesystem interface {
	fuse.RawFileSystem
	start(*fuse.Server) // starts the goroutines that run in the background
	close()             // fails all that waits
	finish()            // closes, and waits for what runs; no request is under way any more
	localNow() bool     // notices whether all data has become local, and says whether it has just now
	stats() Stats       // a snapshot
	onPanic(any) fuse.Status
	whole() bool // looks whether files of the cache in use are as long as they were
	heal(error)  // finds out which of them are damaged, and lets go of those
}

// Mount mounts v at dir and returns once the kernel's first message is answered.
// A dead mount of ours at dir is cleared first. Failures have the kind
// Mountpoint or NoFUSE, and a hint.
//
// With GOGC at 25 (debug.SetGCPercent) the server's buffers take about a sixth of
// the memory under many readers, at no cost in speed.
func Mount(dir string, v *view.View, opt Options) (*Server, error) {
	path, err := prepare(dir)
	if err != nil {
		return nil, err
	}
	device, err := attach(path, &opt)
	if err != nil {
		return nil, err
	}
	s, err := serve(path, device, &opt, func(device int) filesystem { return newTree(v, &opt, device) })
	if err != nil {
		return nil, errors.Join(err, detach(path, true))
	}
	return s, nil
}

// prepare makes dir ready to be mounted upon: what is dead is cleared, and then
// what was below it must do as well.
func prepare(dir string) (string, error) {
	for _, step := range []func(string) error{CheckMountpoint, ClearDead, CheckMountpoint} {
		if err := step(dir); err != nil {
			return "", err
		}
	}
	path, err := Canonical(dir)
	if err != nil {
		return "", missing(dir, err)
	}
	return path, nil
}

// serve takes over the device, and answers what comes from it.
func serve(path string, device int, opt *Options, serves func(device int) filesystem) (*Server, error) {
	info, err := mountAt(path)
	if err == nil && info == nil {
		err = errkind.New(errkind.Internal, "the mount at %s is not in the list of mounts", path)
	}
	if err != nil {
		unix.Close(device)
		return nil, err
	}
	watched, err := dup(device)
	if err != nil {
		unix.Close(device)
		return nil, errkind.New(errkind.Internal, "duplicate the FUSE device: %w", err)
	}
	files := serves(watched)
	log := newLog(opt)
	server, err := fuse.NewServer(&guard{filesystem: files}, fmt.Sprintf("/dev/fd/%d", device), mountOptions(opt, log, files.onPanic))
	if err != nil {
		unix.Close(watched)
		return nil, errkind.New(errkind.NoFUSE, "talk to the kernel: %w", err)
	}
	s := &Server{dir: path, info: *info, fs: files, log: log, fuse: server, done: make(chan struct{})}
	files.start(server)
	go s.run(watched)
	s.LayersComplete()
	return s, nil
}

// run serves until the kernel has let go.
func (s *Server) run(watched int) {
	defer close(s.done)
	s.fuse.Serve()
	s.fs.finish()
	unix.Close(watched)
}

func newTree(v *view.View, opt *Options, device int) *tree {
	t := &tree{view: v, opt: opt, hidden: newHidden(v, opt), numbers: numbers{top: opt.top()}}
	t.pusher = newCachePusher(t)
	t.session = newSession(opt, device, t.pathOf)
	return t
}

func newSession(opt *Options, device int, path func(node uint64) string) *session {
	return &session{
		log: newLog(opt), budget: opt.budget(), device: device,
		closing: make(chan struct{}), path: path,
	}
}

func (t *tree) start(server *fuse.Server) {
	t.pusher.server = server
	t.background.Go(t.pusher.run)
}

func (t *tree) finish() {
	t.close()
	t.background.Wait()
	t.watchers.Wait()
}

func mountOptions(opt *Options, log *slog.Logger, onPanic func(any) fuse.Status) *fuse.MountOptions {
	return &fuse.MountOptions{
		Name: "peelfs", FsName: opt.FSName,
		MaxWrite:      maxRead, // the size of reads as well
		MaxReadAhead:  maxRead,
		MaxBackground: maxBackground, CongestionThreshold: maxBackground,
		EnableSymlinkCaching: true,
		DisableSplice:        true, // three system calls more for each READ, and no gain
		ExtraCapabilities:    fuse.CAP_EXPORT_SUPPORT | fuse.CAP_NO_OPENDIR_SUPPORT,
		DisabledCapabilities: fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_PASSTHROUGH,
		Debug:                opt.Debug,
		Logger:               slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		PanicHandler:         onPanic,
	}
}

// Wait returns when the kernel has let go of the mount.
func (s *Server) Wait() { <-s.done }

// Done is closed when Wait would return.
func (s *Server) Done() <-chan struct{} { return s.done }

// MountID is the kernel's number of the mount, to be given to Unmount later.
func (s *Server) MountID() int { return s.info.ID }

// Unmount ends the mount. Without force it fails while the mount is in use, and
// waits until the server is through. With force the mount is out of sight at
// once and all that waits for it fails; the server ends, at the latest, when the
// last who has something of it open lets go: see Wait.
func (s *Server) Unmount(force bool) error {
	if gone, err := s.gone(); gone || err != nil {
		return err
	}
	err := Unmount(s.dir, UnmountOptions{Force: force, MountID: s.info.ID})
	switch {
	case force:
		s.fs.close()
	case err == nil:
		<-s.done
	}
	return err
}

// gone says whether the mount is nowhere any more.
func (s *Server) gone() (bool, error) {
	found, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.ID != s.info.ID, m.ID == s.info.ID })
	if err != nil {
		return false, errkind.New(errkind.Internal, "read the list of mounts: %w", err)
	}
	return len(found) == 0, nil
}

// Stats is a snapshot of the counters.
func (s *Server) Stats() Stats { return s.fs.stats() }

func (t *tree) stats() Stats {
	return Stats{
		Requests: t.requests(), BytesRead: t.bytesRead.Load(),
		Waits: t.waits.Load(), Slow: t.slow.Load(), Failed: t.failed.Load(), Signals: t.interrupts.Load(),
		Pushed: t.pusher.count.Load(),
	}
}

// LayersComplete is to be called when data became local: once all of it is, the
// kernel is allowed to read further ahead. Only root may change that; for others the
// call does nothing.
func (s *Server) LayersComplete() {
	if !s.fs.localNow() {
		return
	}
	if err := raiseReadAhead(s.info.Major, s.info.Minor); err != nil {
		s.log.Debug("read-ahead stays as it is", "error", err)
	}
}

func (t *tree) localNow() bool {
	return !t.local.Load() && t.opt.Complete != nil && t.opt.Complete() && !t.local.Swap(true)
}

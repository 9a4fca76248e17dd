package fusefs

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/moby/sys/mountinfo"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/view"
	"golang.org/x/sys/unix"
)

// background is how many requests the kernel may have under way that no reader
// waits for by itself. With its default of 12, as many read-aheads that wait for
// the network stall all others, those of local data too.
const background = 512

// Server serves one mount.
type Server struct {
	dir  string
	info mountinfo.Info
	tree *tree
	fuse *fuse.Server
	done chan struct{} // closed when the kernel has let go and nothing runs any more

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
	s, err := serve(path, device, v, &opt)
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
func serve(path string, device int, v *view.View, opt *Options) (*Server, error) {
	info, err := mountAt(path)
	if err == nil && info == nil {
		err = errkind.New(errkind.Internal, "the mount at %s is not in the list of mounts", path)
	}
	if err != nil {
		unix.Close(device)
		return nil, err
	}
	watched, err := unix.FcntlInt(uintptr(device), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(device)
		return nil, errkind.New(errkind.Internal, "duplicate the FUSE device: %w", err)
	}
	t := newTree(v, opt, watched)
	server, err := fuse.NewServer(t, fmt.Sprintf("/dev/fd/%d", device), mountOptions(t))
	if err != nil {
		unix.Close(watched)
		return nil, errkind.New(errkind.NoFUSE, "talk to the kernel: %w", err)
	}
	s := &Server{dir: path, info: *info, tree: t, fuse: server, done: make(chan struct{})}
	t.pusher.server = server
	go s.run(watched)
	s.LayersComplete()
	return s, nil
}

// run serves until the kernel has let go.
func (s *Server) run(watched int) {
	defer close(s.done)
	var pushes sync.WaitGroup
	pushes.Go(s.tree.pusher.run)
	s.fuse.Serve()
	s.tree.close()
	pushes.Wait()
	s.tree.watchers.Wait()
	unix.Close(watched)
}

func newTree(v *view.View, opt *Options, device int) *tree {
	t := &tree{view: v, opt: opt, hidden: newHidden(v, opt.Files)}
	t.pusher = newPusher(t)
	t.session = &session{
		log: newLog(opt), budget: opt.budget(), device: device,
		closing: make(chan struct{}), path: t.pathOf,
	}
	return t
}

func mountOptions(t *tree) *fuse.MountOptions {
	return &fuse.MountOptions{
		Name: "peelfs", FsName: t.opt.FSName,
		MaxWrite:      maxRead, // the size of reads as well
		MaxReadAhead:  maxRead,
		MaxBackground: background, CongestionThreshold: background,
		EnableSymlinkCaching: true,
		DisableSplice:        true, // three system calls more for each READ, and no gain
		ExtraCapabilities:    fuse.CAP_EXPORT_SUPPORT | fuse.CAP_NO_OPENDIR_SUPPORT,
		DisabledCapabilities: fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_PASSTHROUGH,
		Debug:                t.opt.Debug,
		Logger:               slog.NewLogLogger(t.log.Handler(), slog.LevelDebug),
		PanicHandler:         t.onPanic,
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
		s.tree.close()
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
func (s *Server) Stats() Stats {
	t := s.tree
	return Stats{
		Requests: t.requests(), BytesRead: t.bytesRead.Load(),
		Waits: t.waits.Load(), Slow: t.slow.Load(), Failed: t.failed.Load(), Signals: t.interrupts.Load(),
		Pushed: t.pusher.count.Load(),
	}
}

// LayersComplete is to be called when data became local: once all is, the
// kernel may read further ahead. That needs root, and is no loss else.
func (s *Server) LayersComplete() {
	t := s.tree
	if t.local.Load() || t.opt.Complete == nil || !t.opt.Complete() || t.local.Swap(true) {
		return
	}
	if err := raiseReadAhead(s.info.Major, s.info.Minor); err != nil {
		t.log.Debug("read-ahead stays as it is", "error", err)
	}
}

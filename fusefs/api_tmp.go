package fusefs

import "github.com/peelfs/peelfs/layers/view"

// Server serves one mount.
type Server struct{}

// Mount mounts v at dir and returns once the kernel's first message is answered.
// A dead mount of ours at dir is cleared first. Failures have the kind
// Mountpoint or NoFUSE, and a hint.
func Mount(dir string, v *view.View, opt Options) (*Server, error) { return nil, nil }

// Wait returns when the kernel has let go of the mount.
func (s *Server) Wait() {}

// Unmount ends the mount, whose dir must still be this mount.
func (s *Server) Unmount(force bool) error { return nil }

// Stats is a snapshot of the counters.
func (s *Server) Stats() Stats { return Stats{} }

// MountID is the kernel's number of the mount, to be given to Unmount later.
func (s *Server) MountID() int { return 0 }

// LayersComplete is to be called when data became local: once all is, the
// kernel may read further ahead.
func (s *Server) LayersComplete() {}

// Unmount ends whatever peelfs mount is at dir.
func Unmount(dir string, opt UnmountOptions) error { return nil }

// Dead says whether dir is a peelfs mount whose server is gone. The error says
// that this cannot be told.
func Dead(dir string) (bool, error) { return false, nil }

// ClearDead detaches a dead mount at dir, if there is one.
func ClearDead(dir string) error { return nil }

// CheckMountpoint says why dir cannot be mounted upon (kind Mountpoint), nil if
// it can. A dead mount of ours is no obstacle.
func CheckMountpoint(dir string) error { return nil }

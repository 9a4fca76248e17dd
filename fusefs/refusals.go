package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// refusals are the operations that a read-only tree does not have. Those that
// would write say EROFS. Those that only tell a server something, which this one
// need not know, say ENOSYS: the kernel then answers them itself and never asks
// again. With no OPEN and no OPENDIR it also keeps file data and listings
// cached from one open to the next.
type refusals struct {
	// Set at INIT: whether this kernel takes ENOSYS for an answer.
	openless, opendirless bool
}

const neverAsk = fuse.ENOSYS

// init looks at what the kernel said of itself.
func (n *refusals) init(kernel *fuse.InitIn) {
	flags := kernel.Flags64()
	n.openless = flags&fuse.CAP_NO_OPEN_SUPPORT != 0
	n.opendirless = flags&fuse.CAP_NO_OPENDIR_SUPPORT != 0
}

func (n *refusals) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status    { return neverAsk }
func (n *refusals) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status    { return neverAsk }
func (n *refusals) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return neverAsk }
func (n *refusals) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status  { return neverAsk }
func (n *refusals) Release(<-chan struct{}, *fuse.ReleaseIn)            {}
func (n *refusals) ReleaseDir(*fuse.ReleaseIn)                          {}

func (n *refusals) Statx(<-chan struct{}, *fuse.StatxIn, *fuse.StatxOut) fuse.Status {
	return neverAsk
}

// GetLk, SetLk and SetLkw never come: the kernel keeps locks itself.
func (n *refusals) GetLk(<-chan struct{}, *fuse.LkIn, *fuse.LkOut) fuse.Status { return neverAsk }
func (n *refusals) SetLk(<-chan struct{}, *fuse.LkIn) fuse.Status              { return neverAsk }
func (n *refusals) SetLkw(<-chan struct{}, *fuse.LkIn) fuse.Status             { return neverAsk }

func (n *refusals) Ioctl(<-chan struct{}, *fuse.IoctlIn, []byte, *fuse.IoctlOut, []byte) fuse.Status {
	return fuse.Status(syscall.ENOTTY)
}

func (n *refusals) SetAttr(<-chan struct{}, *fuse.SetAttrIn, *fuse.AttrOut) fuse.Status {
	return fuse.EROFS
}

func (n *refusals) Mknod(<-chan struct{}, *fuse.MknodIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

func (n *refusals) Mkdir(<-chan struct{}, *fuse.MkdirIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

func (n *refusals) Unlink(<-chan struct{}, *fuse.InHeader, string) fuse.Status { return fuse.EROFS }
func (n *refusals) Rmdir(<-chan struct{}, *fuse.InHeader, string) fuse.Status  { return fuse.EROFS }

func (n *refusals) Rename(<-chan struct{}, *fuse.RenameIn, string, string) fuse.Status {
	return fuse.EROFS
}

func (n *refusals) Link(<-chan struct{}, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

func (n *refusals) Symlink(<-chan struct{}, *fuse.InHeader, string, string, *fuse.EntryOut) fuse.Status {
	return fuse.EROFS
}

func (n *refusals) SetXAttr(<-chan struct{}, *fuse.SetXAttrIn, string, []byte) fuse.Status {
	return fuse.EROFS
}

func (n *refusals) RemoveXAttr(<-chan struct{}, *fuse.InHeader, string) fuse.Status {
	return fuse.EROFS
}

func (n *refusals) Create(<-chan struct{}, *fuse.CreateIn, string, *fuse.CreateOut) fuse.Status {
	return fuse.EROFS
}

func (n *refusals) Tmpfile(<-chan struct{}, *fuse.CreateIn, *fuse.CreateOut) fuse.Status {
	return fuse.EROFS
}

func (n *refusals) Write(<-chan struct{}, *fuse.WriteIn, []byte) (uint32, fuse.Status) {
	return 0, fuse.EROFS
}

func (n *refusals) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.EROFS
}

func (n *refusals) CopyFileRange(<-chan struct{}, *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	return 0, fuse.EROFS
}

func (n *refusals) Fallocate(<-chan struct{}, *fuse.FallocateIn) fuse.Status { return fuse.EROFS }

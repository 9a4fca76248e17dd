package fusefs

import "github.com/peelfs/peelfs/layers/view"

// nodeRoot is what the kernel calls the root of every mount.
const nodeRoot = 1

// nodeOutside is the kernel's number of the view's root, where a subtree has
// taken that of the mount's root.
const nodeOutside = 5

// numbers translate between what the kernel calls a node and the numbers used
// behind it: those of the view and of the hidden directory.
//
//	one image    the same, but for the two roots of a subtree
//	many images  bits 63..48 image, from 1   47..0 the image's node:
//	             narrow as in the view, or wide and own as
//	             47 own   46..45 marker   44..32 layer, from 1   31..0 entry
//
// Image 0 of many has the directories above the images.
type numbers struct {
	image uint64   // 0 where there is one image
	top   view.Ino // shown as the root
}

const (
	imageShift = 48
	maxImages  = 1<<16 - 1
	innerMask  = 1<<imageShift - 1

	packedOwn       = 47
	packedMarker    = 45
	packedLayer     = 32
	packedLayerMask = 1<<13 - 1
)

// in is the number behind a kernel's node.
func (n numbers) in(node uint64) uint64 {
	if n.image != 0 {
		node = unpack(node & innerMask)
	}
	switch {
	case node == nodeRoot:
		return uint64(n.top)
	case node == nodeOutside && n.top != view.RootIno:
		return uint64(view.RootIno)
	}
	return node
}

// out is the kernel's node for a number.
func (n numbers) out(number uint64) uint64 {
	switch {
	case number == uint64(n.top):
		number = nodeRoot
	case number == uint64(view.RootIno):
		number = nodeOutside
	}
	if n.image == 0 {
		return number
	}
	return n.image<<imageShift | pack(number)
}

func imageOf(node uint64) uint64 { return node >> imageShift }

func pack(number uint64) uint64 {
	if number < 1<<view.WideShift {
		return number
	}
	return number>>view.OwnShift&1<<packedOwn | number>>view.MarkerShift&view.MarkerMask<<packedMarker |
		number>>view.WideShift&packedLayerMask<<packedLayer | number&view.EntryMask
}

func unpack(node uint64) uint64 {
	if node <= view.EntryMask {
		return node
	}
	return node>>packedOwn&1<<view.OwnShift | node>>packedMarker&view.MarkerMask<<view.MarkerShift |
		node>>packedLayer&packedLayerMask<<view.WideShift | node&view.EntryMask
}

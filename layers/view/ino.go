package view

// Ino is an inode number. It names a place in an immutable layer index, so it
// is the same in every process, and can always be resolved again.
//
//	narrow  bits 31..25 layer, from 1 for the base   24..0 entry
//	wide    bits 61..40 layer, from 1                39..38 0    31..0 entry
//	own     bit 62, then as wide with 39..38 = which marker
//
// Numbers are narrow where layer < 128 and entry < 2^25, so that 32-bit programs
// can stat and list; a stack of 128 layers or more is wide throughout. RootIno is 1. The
// numbers from 2 to 2^25-1, and all with bit 63, are free for a file system
// that shows files of its own beside the view.
type Ino uint64

// RootIno is the root directory of the view.
const RootIno Ino = 1

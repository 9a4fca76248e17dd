package spanfile

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"os"
	"path/filepath"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
)

// The state file, little endian:
//
//	  0  magic "peelspan"
//	  8  u64 version
//	 16  boot id, the first 16 bytes of its sha256; zeros while it is unknown
//	 32  u64 number of spans
//	 40  u64 epoch: grows when a span was dropped, before its bytes go
//	 48  u64 1 if bits were changed only by holders of span locks; programs that
//	    had no such rule left 0
//	 56  u64 inode number of the data file; 0 as above
//	 64  zeros: how many spans are present is counted, because a number beside the
//	    bits would be wrong after a death between the two
//	4096 three bitmaps, each of whole 64-bit words: present, suspect, used
const (
	stateMagic   = "peelspan"
	stateVersion = 1
	headerSize   = 4096
	bootOff      = 16
	spansOff     = 32
	epochOff     = 40
	rulesOff     = 48
	inodeOff     = 56
	heldRules    = 1
)

// maxSpans bounds a state file: 2^27 spans are 48 MiB of bits.
const maxSpans = 1 << 27

type state struct {
	file                   *os.File
	lock                   *flock.File // of file
	m                      []byte      // the mapping
	n                      int
	present, suspect, used []byte // parts of m; but used is our own of a state that cannot be written

	own *readOnly // what this process knows of a state that cannot be written; nil of others
}

func stateSize(n int) int64 { return headerSize + 3*int64((n+63)/64*8) }

// openState maps the state file at path; it returns nil without an error if there
// is none for n spans.
func openState(path string, n int) (*state, error) {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return mapState(file, n, unix.PROT_READ|unix.PROT_WRITE)
}

// createState makes a state file without bits in dir, under a temporary name.
func createState(dir string, n int, inode uint64) (_ *state, err error) {
	file, err := os.CreateTemp(dir, ".present-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
			file.Close()
		}
	}()
	if n > maxSpans {
		return nil, errkind.New(errkind.Unsupported, "a layer of %d spans", n)
	}
	// A store to a hole of a mapped file on a full disk is a fatal signal.
	if err := unix.Fallocate(int(file.Fd()), 0, 0, stateSize(n)); err != nil {
		if err != unix.EOPNOTSUPP {
			return nil, &os.PathError{Op: "allocate", Path: file.Name(), Err: err}
		}
		if _, err := file.Write(make([]byte, stateSize(n))); err != nil {
			return nil, err
		}
	}
	h := make([]byte, 64)
	copy(h, stateMagic)
	boot := bootID()
	copy(h[bootOff:], boot[:])
	for off, word := range map[int]uint64{8: stateVersion, spansOff: uint64(n), rulesOff: heldRules, inodeOff: inode} {
		binary.LittleEndian.PutUint64(h[off:], word)
	}
	if _, err := file.WriteAt(h, 0); err != nil {
		return nil, err
	}
	st, err := mapState(file, n, unix.PROT_READ|unix.PROT_WRITE)
	if st == nil && err == nil {
		err = errkind.New(errkind.Internal, "the state file that was just made does not fit")
	}
	return st, err
}

// mapState maps file, which the state owns from then on; it returns nil without
// an error, and closes it, if it is not a state file for n spans. It goes by the
// open file: what stands under a name may be another one a moment later.
func mapState(file *os.File, n, protection int) (_ *state, err error) {
	st := &state{file: file, n: n, lock: flock.New(file)}
	keep := false
	defer func() {
		if !keep {
			st.close()
		}
	}()
	fi, err := file.Stat()
	if err != nil || n > maxSpans || fi.Size() != stateSize(n) {
		return nil, err
	}
	st.m, err = unix.Mmap(int(file.Fd()), 0, int(fi.Size()), protection, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "map", Path: file.Name(), Err: err}
	}
	m := st.m
	st.divide()
	if string(m[:8]) != stateMagic || binary.LittleEndian.Uint64(m[8:]) != stateVersion || binary.LittleEndian.Uint64(m[spansOff:]) != uint64(n) {
		return nil, nil
	}
	keep = true
	return st, nil
}

// divide finds the bitmaps in the mapping.
func (st *state) divide() {
	m, words := st.m, (st.n+63)/64*8
	st.present, st.suspect, st.used = m[headerSize:][:words], m[headerSize+words:][:words], m[headerSize+2*words:][:words]
}

// touch reads a word of each page; a page that cannot be read faults.
func (st *state) touch() {
	for off := 0; off+8 <= len(st.m); off += pageSize {
		word(st.m, off).Load()
	}
}

func (st *state) close() (err error) {
	if st == nil || st.file == nil {
		return nil
	}
	if st.m != nil {
		err = unix.Munmap(st.m)
	}
	return cmp.Or(err, st.file.Close())
}

// isOf reports whether the state is that of the data file with an inode number,
// or was made before states said so.
func (st *state) isOf(inode uint64) bool {
	of := word(st.m, inodeOff).Load()
	return of == inode || of == 0
}

// renew makes present bits suspect that were set at an earlier boot of the
// machine, or by programs without span locks. Nobody holds locks of such a state.
func (st *state) renew(inode uint64) {
	boot := bootID()
	if st.current(boot) {
		return
	}
	st.distrust()
	// These are written last: a crash on the way starts over.
	copy(st.m[bootOff:], boot[:])
	word(st.m, inodeOff).Store(inode)
	word(st.m, rulesOff).Store(heldRules)
}

// current reports whether the present bits were set at this boot of the machine, by
// programs with span locks.
func (st *state) current(boot [16]byte) bool {
	return boot != [16]byte{} && bytes.Equal(st.m[bootOff:bootOff+16], boot[:]) && word(st.m, rulesOff).Load() == heldRules
}

// distrust makes all present bits suspect.
func (st *state) distrust() {
	for off := 0; off < len(st.present); off += 8 {
		set := word(st.present, off).Load()
		word(st.suspect, off).Or(set)
		word(st.present, off).And(^set)
	}
}

// replace puts a new state in the place of st at path, for the data file with an
// inode number, in which all that st has is suspect: st was another data file's,
// and a process that writes to that one goes on to set its bits.
func (st *state) replace(path string, inode uint64) error {
	fresh, err := createState(filepath.Dir(path), st.n, inode)
	if err != nil {
		return err
	}
	for off := 0; off < len(st.present); off += 8 {
		word(fresh.suspect, off).Store(word(st.present, off).Load() | word(st.suspect, off).Load())
	}
	if err := os.Rename(fresh.file.Name(), path); err != nil {
		os.Remove(fresh.file.Name())
		fresh.close()
		return err
	}
	old := *st
	*st = *fresh
	return old.close()
}

func (st *state) epoch() *atomic.Uint64 { return word(st.m, epochOff) }

// presentWord is the word at off of the bits of spans that are present.
func (st *state) presentWord(off int) uint64 {
	if st.own != nil {
		return st.own.presentWord(st, off)
	}
	return word(st.present, off).Load()
}

// isPresent reports whether span i is present.
func (st *state) isPresent(i int) bool { return st.presentWord(i/64*8)&(1<<(i%64)) != 0 }

// isSuspect reports whether span i is suspect, and not present.
func (st *state) isSuspect(i int) bool {
	if st.own != nil {
		return st.own.storedWord(st, i/64*8)&^st.presentWord(i/64*8)&(1<<(i%64)) != 0
	}
	return !st.isPresent(i) && st.has(st.suspect, i)
}

// countPresent is the number of spans that are present.
func (st *state) countPresent() (n int) {
	for off := 0; off < len(st.present); off += 8 {
		n += bits.OnesCount64(st.presentWord(off))
	}
	return n
}

func (st *state) has(set []byte, i int) bool {
	return word(set, i/64*8).Load()&(1<<(i%64)) != 0
}

// set sets bit i and reports whether it was clear.
func (st *state) set(bits []byte, i int) bool {
	bit := uint64(1) << (i % 64)
	return word(bits, i/64*8).Or(bit)&bit == 0
}

// clear clears bit i and reports whether it was set.
func (st *state) clear(bits []byte, i int) bool {
	bit := uint64(1) << (i % 64)
	return word(bits, i/64*8).And(^bit)&bit != 0
}

// word is the 64-bit word at off of mapped bytes, or of bytes of this process. Both
// are aligned for atomic operations, and off is a multiple of 8; on mapped bytes
// the operations hold between processes too.
func word(m []byte, off int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&m[off : off+8][0]))
}

// bootID identifies this boot of the machine; zeros where it cannot be read, and
// then no earlier bit is trusted.
func bootID() (id [16]byte) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id
	}
	sum := sha256.Sum256(b)
	copy(id[:], sum[:])
	return id
}

package spanfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"os"
	"path/filepath"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The state file, little endian:
//
//	  0  magic "peelspan"
//	  8  u64 version
//	 16  boot id, the first 16 bytes of its sha256; zeros while it is unknown
//	 32  u64 number of spans
//	 40  u64 epoch: grows when a span was dropped, before its bytes go
//	 48  zeros: how many spans are present is counted, because whoever kept a
//	    number beside the bits could die between the two
//	4096 three bitmaps, each of whole 64-bit words: present, suspect, used
const (
	stateMagic   = "peelspan"
	stateVersion = 1
	headerSize   = 4096
	bootOff      = 16
	spansOff     = 32
	epochOff     = 40
)

// maxSpans bounds a state file: 2^27 spans are 48 MiB of bits.
const maxSpans = 1 << 27

type state struct {
	m                      []byte // the mapping
	n                      int
	present, suspect, used []byte // parts of m
}

func stateSize(n int) int64 { return headerSize + 3*int64((n+63)/64*8) }

// openState maps the state file at path, or makes one without bits where there
// is none that fits n spans. Bits of an earlier boot become suspect.
func openState(path string, n int) (*state, error) {
	st, err := mapState(path, n)
	if err != nil || st == nil {
		return createState(path, n)
	}
	if boot := bootID(); boot == [16]byte{} || !bytes.Equal(st.m[bootOff:bootOff+16], boot[:]) {
		st.carryOver(boot)
	}
	return st, nil
}

func createState(path string, n int) (_ *state, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".present-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	// A store to a hole of a mapped file on a full disk is a fatal signal.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, stateSize(n)); err != nil {
		if err != unix.EOPNOTSUPP {
			return nil, &os.PathError{Op: "allocate", Path: path, Err: err}
		}
		if _, err := f.Write(make([]byte, stateSize(n))); err != nil {
			return nil, err
		}
	}
	h := make([]byte, 64)
	copy(h, stateMagic)
	binary.LittleEndian.PutUint64(h[8:], stateVersion)
	boot := bootID()
	copy(h[bootOff:], boot[:])
	binary.LittleEndian.PutUint64(h[spansOff:], uint64(n))
	if _, err := f.WriteAt(h, 0); err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, err
	}
	return mapState(path, n)
}

// mapState maps the file at path; it returns nil without an error if the file is
// missing or is not a state file for n spans.
func mapState(path string, n int) (*state, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || n > maxSpans || fi.Size() != stateSize(n) {
		return nil, err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "map", Path: path, Err: err}
	}
	words := (n + 63) / 64 * 8
	st := &state{m: m, n: n, present: m[headerSize:][:words], suspect: m[headerSize+words:][:words], used: m[headerSize+2*words:][:words]}
	if string(m[:8]) != stateMagic || binary.LittleEndian.Uint64(m[8:]) != stateVersion || binary.LittleEndian.Uint64(m[spansOff:]) != uint64(n) {
		return nil, st.close()
	}
	return st, nil
}

func (st *state) close() error { return unix.Munmap(st.m) }

// carryOver turns the present bits of an earlier boot into suspect ones. The
// boot id is written last: a crash on the way starts over.
func (st *state) carryOver(boot [16]byte) {
	for i := range st.present {
		st.suspect[i] |= st.present[i]
		st.present[i] = 0
	}
	copy(st.m[bootOff:], boot[:])
}

func (st *state) epoch() *atomic.Uint64 { return word(st.m, epochOff) }

// ones is the number of bits that are set.
func (st *state) ones(set []byte) (n int) {
	for off := 0; off < len(set); off += 8 {
		n += bits.OnesCount64(word(set, off).Load())
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

// word is the 64-bit word at off of mapped bytes. The mapping is page aligned
// and off a multiple of 8, so the word is aligned for atomic operations, which
// hold between processes too.
func word(m []byte, off int) *atomic.Uint64 {
	_ = m[off+7]
	return (*atomic.Uint64)(unsafe.Pointer(&m[off]))
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

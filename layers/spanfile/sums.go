package spanfile

import (
	"cmp"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// The file of checksums, little endian:
//
//	 0  magic "peelsums"
//	 8  u64 number of spans
//	16  u64 XXH3 of each span's bytes; 0 where there is none
//
// Only the holder of a span's lock writes its word.
const (
	sumsMagic  = "peelsums"
	sumsHeader = 16
)

// sums keeps checksums of spans; nil keeps none.
type sums struct{ file *os.File }

// openSums opens the checksums at path, of n spans. It reports true if there were
// none and a file without any was made.
func openSums(path string, n int) (_ *sums, fresh bool, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, false, err
	}
	want := binary.LittleEndian.AppendUint64([]byte(sumsMagic), uint64(n))
	size := sumsHeader + 8*int64(n)
	if s := (&sums{file}); s.isOf(n) {
		return s, false, nil
	}
	err = file.Truncate(0)
	if err == nil {
		err = file.Truncate(size)
	}
	if err == nil {
		_, err = file.WriteAt(want, 0)
	}
	if err != nil {
		file.Close()
		return nil, false, err
	}
	return &sums{file}, true, nil
}

// put keeps the checksum of span i.
func (s *sums) put(i int, sum uint64) error {
	if s == nil {
		return nil
	}
	_, err := s.file.WriteAt(binary.LittleEndian.AppendUint64(nil, cmp.Or(sum, 1)), sumsHeader+8*int64(i))
	return err
}

// get is the checksum of span i, if one was kept.
func (s *sums) get(i int) (uint64, bool) {
	if s == nil {
		return 0, false
	}
	var b [8]byte
	if _, err := s.file.ReadAt(b[:], sumsHeader+8*int64(i)); err != nil {
		return 0, false
	}
	sum := binary.LittleEndian.Uint64(b[:])
	return sum, sum != 0
}

func (s *sums) close() error {
	if s == nil {
		return nil
	}
	return s.file.Close()
}

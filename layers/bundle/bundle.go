// Package bundle puts the indexes of several layers into one file, for another
// machine.
//
// Invariant: nothing of a bundle is given out before its checksum has shown that
// all of it came. The checksum is against accidents; whoever wrote the bundle can
// have put anything in, and what is in it is for the receiver to check.
//
// Little endian:
//
//	 0  magic "peelidxs"
//	 8  u32 version, u32 number of indexes
//	16  for each: u64 length packed, u64 length, the index packed by zstd
//	    sha256 of all that precedes it
package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/peelfs/peelfs/internal/errkind"
)

const (
	magic      = "peelidxs"
	version    = 1
	headerSize = 16
	itemHeader = 16
)

// Limits of a bundle.
const (
	MaxItems = 4096    // layers of an image
	MaxItem  = 1 << 30 // bytes of one index
	MaxFile  = 1 << 30 // bytes of the file
)

// Write writes a bundle of indexes. Errors are w's, or Unsupported.
func Write(w io.Writer, indexes [][]byte) error {
	if len(indexes) > MaxItems {
		return errkind.New(errkind.Unsupported, "%d indexes, more than %d", len(indexes), MaxItems)
	}
	sum := sha256.New()
	out := io.MultiWriter(w, sum)
	head := binary.LittleEndian.AppendUint32([]byte(magic), version)
	if _, err := out.Write(binary.LittleEndian.AppendUint32(head, uint32(len(indexes)))); err != nil {
		return err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	for _, x := range indexes {
		if len(x) > MaxItem {
			return errkind.New(errkind.Unsupported, "an index of %d bytes, more than %d", len(x), MaxItem)
		}
		packed := enc.EncodeAll(x, nil)
		item := binary.LittleEndian.AppendUint64(nil, uint64(len(packed)))
		if _, err := out.Write(binary.LittleEndian.AppendUint64(item, uint64(len(x)))); err != nil {
			return err
		}
		if _, err := out.Write(packed); err != nil {
			return err
		}
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

func corrupt(format string, args ...any) error {
	return errkind.New(errkind.Corrupt, "bundle of indexes: "+format, args...)
}

// Read reads a bundle to its end and gives its indexes to each, one after the
// other. What is wrong with it is Corrupt, what passes a limit Unsupported;
// errors of each end the reading.
func Read(r io.Reader, each func(index []byte) error) error {
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return err
	}
	rest, n, err := frame(data)
	if err != nil {
		return err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxItem))
	if err != nil {
		return err
	}
	defer dec.Close()
	for i := range n {
		var x []byte
		if x, rest, err = item(dec, rest); err != nil {
			return corrupt("index %d of %d: %w", i+1, n, err)
		}
		if err := each(x); err != nil {
			return err
		}
	}
	if len(rest) > 0 {
		return corrupt("%d bytes too many", len(rest))
	}
	return nil
}

// frame checks all that is around the items.
func frame(data []byte) (items []byte, n uint32, err error) {
	switch {
	case len(data) > MaxFile:
		return nil, 0, errkind.New(errkind.Unsupported, "bundle of indexes: larger than %d bytes", MaxFile)
	case len(data) < headerSize+sha256.Size || !bytes.HasPrefix(data, []byte(magic)):
		return nil, 0, corrupt("not one, or cut short")
	}
	if v := binary.LittleEndian.Uint32(data[8:]); v != version {
		return nil, 0, errkind.New(errkind.Unsupported, "bundle of indexes: version %d, not %d", v, version)
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(got[:], sum) {
		return nil, 0, corrupt("its checksum does not match: it is damaged or cut short")
	}
	if n = binary.LittleEndian.Uint32(data[12:]); n > MaxItems {
		return nil, 0, errkind.New(errkind.Unsupported, "bundle of %d indexes, more than %d", n, MaxItems)
	}
	return body[headerSize:], n, nil
}

func item(dec *zstd.Decoder, data []byte) (x, rest []byte, err error) {
	if len(data) < itemHeader {
		return nil, nil, io.ErrUnexpectedEOF
	}
	packed, size := binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:])
	data = data[itemHeader:]
	if packed > uint64(len(data)) || size > MaxItem {
		return nil, nil, errkind.New(errkind.Corrupt, "%d bytes packed into %d", size, packed)
	}
	if err := dec.Reset(bytes.NewReader(data[:packed])); err != nil {
		return nil, nil, err
	}
	var out bytes.Buffer // grows with what is there, not with what is claimed
	if _, err := io.Copy(&out, io.LimitReader(dec, int64(size)+1)); err != nil {
		return nil, nil, err
	}
	if uint64(out.Len()) != size {
		return nil, nil, errkind.New(errkind.Corrupt, "%d bytes instead of %d", out.Len(), size)
	}
	return out.Bytes(), data[packed:], nil
}

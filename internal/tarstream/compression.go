package tarstream

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Compression is how a tar may be compressed.
type Compression uint8

// The compressions that layers and archives may have.
const (
	None Compression = iota
	Gzip
	Zstd
	Bzip2
	Xz
)

// HeadSize is how many of the first bytes tell the compressions apart.
const HeadSize = blockSize

// Limits of what a stream may ask for, in bytes: for an xz dictionary twice what
// xz -9 needs, for a zstd window twice what zstd --ultra --long=27 does.
const (
	maxXzDict     = 128 << 20
	maxZstdWindow = 256 << 20
)

// compressions is the one list of them all.
var compressions = []struct {
	is    Compression
	name  string // as media types spell it
	magic func(head []byte) bool
	open  func(*bufio.Reader) (io.Reader, error)
}{
	{Gzip, "gzip", begins("\x1f\x8b"), newGzip},
	{Zstd, "zstd", isZstd, newZstd},
	{Bzip2, "bzip2", begins("BZh"), func(r *bufio.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{Xz, "xz", begins("\xfd7zXZ\x00"), func(r *bufio.Reader) (io.Reader, error) { return xz.ReaderConfig{DictCap: maxXzDict}.NewReader(r) }},
}

func begins(magic string) func([]byte) bool {
	return func(head []byte) bool { return bytes.HasPrefix(head, []byte(magic)) }
}

// isZstd reports whether head begins a frame of zstd, or a skippable frame, which
// may come before.
func isZstd(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18})
}

// Detect tells the compression of a tar by its first HeadSize bytes, or by all of
// a shorter one. A valid tar header is one whatever the name of its file begins
// with.
func Detect(head []byte) Compression {
	if len(head) >= blockSize && isHeader(head[:blockSize]) {
		return None
	}
	for _, c := range compressions {
		if c.magic(head) {
			return c.is
		}
	}
	return None
}

// String is the name that media types use, "" for None.
func (c Compression) String() string {
	for _, known := range compressions {
		if known.is == c {
			return known.name
		}
	}
	return ""
}

// NewReader decodes r from its first byte to its last. Its errors are those of r,
// or of data that are wrong; a caller tells them apart by their kinds. If the
// result is an io.Closer, Close releases memory; r stays open.
func (c Compression) NewReader(r io.Reader) (io.Reader, error) {
	if c == None {
		return r, nil
	}
	for _, known := range compressions {
		if known.is == c {
			return known.open(bufio.NewReaderSize(r, 64<<10))
		}
	}
	return nil, fmt.Errorf("unknown compression %d", c)
}

func newZstd(r *bufio.Reader) (io.Reader, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxZstdWindow))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// gzipReader reads the members of a gzip file up to what is no member: padding,
// which gzip(1) ignores too.
type gzipReader struct {
	src *bufio.Reader
	z   *gzip.Reader
}

func newGzip(r *bufio.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gzipReader{r, z}, nil
}

// Read implements io.Reader.
func (g *gzipReader) Read(p []byte) (int, error) {
	n, err := g.z.Read(p)
	switch {
	case err != io.EOF:
		return n, err
	case n > 0:
		return n, nil
	}
	magic, err := g.src.Peek(2)
	if err != nil && err != io.EOF {
		return 0, err
	}
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return 0, io.EOF
	}
	if err := g.z.Reset(g.src); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	g.z.Multistream(false)
	return g.Read(p)
}

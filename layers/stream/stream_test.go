package stream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
)

// noise is n bytes that do not compress.
func noise(n int) string {
	b := make([]byte, n)
	rand.New(rand.NewSource(1)).Read(b)
	return string(b)
}

func testTar() []byte {
	return tartest.Of(tartest.Dir("d"), tartest.File("d/f", noise(5<<18)), tartest.File("d/g", "g"), tartest.File("zeros", string(make([]byte, 1<<18))))
}

func compressed(t *testing.T, c index.Compression, tar []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w interface {
		Write([]byte) (int, error)
		Close() error
	}
	var err error
	switch c {
	case index.Gzip:
		w = gzip.NewWriter(&out)
	case index.Zstd:
		w, err = zstd.NewWriter(&out)
	case index.Xz:
		w, err = xz.NewWriter(&out)
	default:
		return tar
	}
	if err == nil {
		_, err = w.Write(tar)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// memSink keeps the tar, or fails.
type memSink struct {
	compression index.Compression
	data        []byte
	err         error
}

func (s *memSink) Begin(c index.Compression) { s.compression = c }

func (s *memSink) Write(p []byte, off int64) error {
	if off != int64(len(s.data)) {
		return errors.New("not what follows")
	}
	s.data = append(s.data, p...)
	return s.err
}

var options = Options{Algorithm: digest.SHA256, Tail: 5}

func TestIndex(t *testing.T) {
	tar := testTar()
	for _, c := range []index.Compression{index.Uncompressed, index.Gzip, index.Zstd, index.Xz} {
		for _, other := range []bool{false, true} {
			blob := compressed(t, c, tar)
			opt := options
			opt.Other = other
			var sink memSink
			l, err := Index(t.Context(), iotest.HalfReader(bytes.NewReader(blob)), opt, &sink)
			if err != nil {
				t.Fatalf("%v: %v", c, err)
			}
			if l.Compression != c || sink.compression != c || l.Digest != digest.FromBytes(blob) || l.Size != int64(len(blob)) || !bytes.Equal(l.Tail, blob[len(blob)-5:]) {
				t.Errorf("%v: another blob: %+v", c, l.Blob)
			}
			if l.DiffID != digest.FromBytes(tar) || l.TarSize != int64(len(tar)) || !bytes.Equal(sink.data, tar) {
				t.Errorf("%v: another tar: %v, %d bytes", c, l.DiffID, l.TarSize)
			}
			checkSpans(t, l)
		}
	}
}

// checkSpans checks that the spans lie side by side and have what verifies them.
func checkSpans(t *testing.T, l *Layer) {
	t.Helper()
	at := int64(0)
	for i, s := range l.Spans {
		if s.Out != at || s.DigestOf == index.DigestNone {
			t.Errorf("%v: span %d: %+v", l.Compression, i, s)
		}
		at += s.OutLen
	}
	if at != l.TarSize {
		t.Errorf("%v: the spans end at %d of %d bytes", l.Compression, at, l.TarSize)
	}
}

func TestAFaultLeavesTheBlobKnown(t *testing.T) {
	tar := testTar()
	good := compressed(t, index.Gzip, tar)
	for name, c := range map[string]struct {
		blob      []byte
		undecoded bool
	}{
		"cut gzip":       {good[:len(good)/2], true},
		"garbage":        {[]byte(noise(5 << 18)), false},
		"garbage, gzip":  {compressed(t, index.Gzip, []byte(noise(5<<18))), false},
		"cut tar, gzip":  {compressed(t, index.Gzip, tar[:1<<20]), false},
		"both":           {compressed(t, index.Gzip, []byte(noise(5<<18)))[:1<<20], true},
		"garbage behind": {append(bytes.Clone(good[:len(good)-8]), noise(1<<20)...), true},
	} {
		l, err := Index(t.Context(), bytes.NewReader(c.blob), options, nil)
		var f *Fault
		if !errors.As(err, &f) || !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		if l.Digest != digest.FromBytes(c.blob) || l.Size != int64(len(c.blob)) {
			t.Errorf("%s: another blob: %+v", name, l.Blob)
		}
		if f.Undecoded != c.undecoded {
			t.Errorf("%s: undecoded %v: %v", name, f.Undecoded, err)
		}
	}
}

func TestErrorsThatAreNotTheLayers(t *testing.T) {
	blob := compressed(t, index.Gzip, testTar())
	lost := errkind.New(errkind.Corrupt, "a proxy's page")
	broken := func() *bytes.Reader { return bytes.NewReader(blob[:1<<19]) }
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	full := errors.New("full")
	for name, run := range map[string]func() error{
		"source": func() error {
			_, err := Index(t.Context(), &failing{broken(), lost}, options, nil)
			return err
		},
		"source, decoding": func() error {
			_, err := Decode(t.Context(), &failing{broken(), lost}, options, nil)
			return err
		},
		"sink": func() error {
			_, err := Index(t.Context(), bytes.NewReader(blob), options, &memSink{err: full})
			return err
		},
		"context": func() error {
			_, err := Index(canceled, bytes.NewReader(blob), options, nil)
			return err
		},
	} {
		err := run()
		var f *Fault
		if errors.As(err, &f) || !errors.Is(err, lost) && !errors.Is(err, full) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// failing ends with an error instead of io.EOF.
type failing struct {
	*bytes.Reader
	err error
}

func (r *failing) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil {
		err = r.err
	}
	return n, err
}

func TestDecode(t *testing.T) {
	tar := testTar()
	blob := compressed(t, index.Xz, tar)
	var sink memSink
	b, err := Decode(t.Context(), bytes.NewReader(blob), options, &sink)
	if err != nil || b.Digest != digest.FromBytes(blob) || !bytes.Equal(sink.data, tar) {
		t.Errorf("%v, %+v, %d bytes", err, b, len(sink.data))
	}
}

type testRoom struct{ max, used int64 }

func (r *testRoom) Outgrows(n int64) bool { return n > r.max }
func (r *testRoom) Used(n int64)          { r.used += n }

func (r *testRoom) MakeRoom(write func() error) error { return write() }

func TestSparse(t *testing.T) {
	data := append(append([]byte(noise(100<<10)), make([]byte, 1<<20)...), noise(70<<10)...)
	data = append(data, make([]byte, 300<<10)...)
	for _, c := range []struct {
		compression index.Compression
		max         int64
		err         error
	}{
		{index.Gzip, 10 << 20, nil},
		{index.Gzip, 1 << 20, unix.EFBIG},
		{index.Xz, 1 << 20, nil},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "data"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		room := &testRoom{max: c.max}
		s := NewSparse(f, room)
		s.Begin(c.compression)
		for off := 0; off < len(data); off += 200 << 10 {
			if err := s.Write(data[off:min(off+200<<10, len(data))], int64(off)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Finish(int64(len(data))); err != c.err {
			t.Fatalf("%+v: %v", c, err)
		}
		got, err := os.ReadFile(f.Name())
		if c.err == nil && (err != nil || !bytes.Equal(got, data)) {
			t.Errorf("%+v: %d other bytes, %v", c, len(got), err)
		}
		if c.err != nil && len(got) > 0 {
			t.Errorf("%+v: %d bytes stay", c, len(got))
		}
		var st unix.Stat_t
		if err := unix.Stat(f.Name(), &st); err != nil || st.Blocks*512 > 400<<10 || room.used > 400<<10 {
			t.Errorf("%+v: %d bytes on disk, %d written, %v", c, st.Blocks*512, room.used, err)
		}
	}
}

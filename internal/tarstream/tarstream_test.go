package tarstream

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
)

// pack compresses data in one go.
func pack(t testing.TB, data string, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := open(&out)
	if err == nil {
		_, err = io.WriteString(w, data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, data string) []byte {
	return pack(t, data, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
}

func zstded(t testing.TB, data string) []byte {
	return pack(t, data, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
}

// Every compression is found by its first bytes, and decoded whole.
func TestDetectAndDecode(t *testing.T) {
	const text = "some text that is no tar, "
	long := strings.Repeat(text, 1000)
	for _, c := range []struct {
		want Compression
		data []byte
	}{
		{None, []byte(long)}, {Gzip, gzipped(t, long)}, {Zstd, zstded(t, long)},
		{Xz, pack(t, long, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })},
		{Gzip, append(gzipped(t, long[:100]), gzipped(t, long[100:])...)},
		{Gzip, append(gzipped(t, long), "padding"...)},
		{Zstd, append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, zstded(t, long)...)},
	} {
		if got := Detect(c.data[:min(len(c.data), HeadSize)]); got != c.want {
			t.Errorf("%q instead of %q", got, c.want)
			continue
		}
		for name, r := range map[string]io.Reader{"whole": bytes.NewReader(c.data), "byte by byte": iotest.OneByteReader(bytes.NewReader(c.data))} {
			plain, err := c.want.NewReader(r)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(plain); err != nil || string(got) != long {
				t.Errorf("%s, %s: %d bytes instead of %d, %v", c.want, name, len(got), len(long), err)
			}
		}
	}
}

// A tar is one whatever its first file is called, and what only looks like the
// beginning of a tar is none.
func TestATarIsNoCompressedFile(t *testing.T) {
	for _, magic := range []string{"\x1f\x8b", "\x1f\x8b\x08", "BZh", "BZh91AY&SY", "(\xb5/\xfd", "\xfd7zXZ", "Q*M\x18"} {
		tar := tartest.Of(tartest.File(magic+"name", "x"))
		if tar[156] == 'x' { // the name needs a PAX header: put it into the header block itself
			tar = tartest.Of(tartest.File("placeholder", "x"))
			copy(tar, magic+"\x00")
			clear(tar[len(magic):100])
			checksum(tar[:blockSize])
		}
		if got := Detect(tar[:HeadSize]); got != None {
			t.Errorf("%q is taken for %s", magic, got)
		}
		tar[200] ^= 1
		if got := Detect(tar[:HeadSize]); got == None && magic != "\xfd7zXZ" {
			t.Errorf("%q without a right checksum is taken for a tar", magic)
		}
	}
	if got := Detect([]byte("\x1f\x8b")); got != Gzip {
		t.Errorf("the shortest head is %q", got)
	}
	if got := Detect(nil); got != None {
		t.Errorf("nothing is %q", got)
	}
}

func checksum(b []byte) {
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	for i := range 6 {
		b[153-i] = '0' + byte(sum>>(3*i)&7)
	}
	b[154] = 0
}

func TestEntriesAndTheirPlaces(t *testing.T) {
	tar := tartest.Of(tartest.File("a", "first"), tartest.Dir("d"), tartest.File("b", "second"))
	r := NewReader(bytes.NewReader(tar))
	got := ""
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Size > 0 {
			got += e.Name + "=" + string(tar[e.Data:e.Data+e.Size]) + " "
		}
	}
	if got != "a=first b=second " {
		t.Error(got)
	}
	_, err := NewReader(strings.NewReader(strings.Repeat("no tar ", 200))).Next()
	if !errkind.Is(err, errkind.Corrupt) {
		t.Errorf("no tar: %v", err)
	}
	_, err = NewReader(iotest.ErrReader(errkind.New(errkind.Unavailable, "gone"))).Next()
	if !errkind.Is(err, errkind.Unavailable) {
		t.Errorf("a source that fails: %v", err)
	}
}

package tartest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"testing"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	data := Of(
		Global(map[string]string{"comment": "c"}),
		Dir("d/", Mode(0o1777)),
		File("d/f", "content", Owner(3000000000, 7), MTime(-1, 5e8), Xattr("user.x", "\x00\n")),
		Whiteout("d/gone"), Opaque("d"), Opaque(""),
		Char("c", 1, 3),
	)
	want := []struct {
		name, content string
		kind          byte
	}{
		{"pax_global_header", "", tar.TypeXGlobalHeader}, {"d/", "", tar.TypeDir}, {"d/f", "content", tar.TypeReg},
		{"d/.wh.gone", "", tar.TypeReg}, {"d/.wh..wh..opq", "", tar.TypeReg}, {".wh..wh..opq", "", tar.TypeReg}, {"c", "", tar.TypeChar},
	}
	r := tar.NewReader(bytes.NewReader(data))
	for i, w := range want {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil || string(content) != w.content || h.Typeflag != w.kind || i > 0 && h.Name != w.name {
			t.Errorf("%s (%c) %q: %v, want %+v", h.Name, h.Typeflag, content, err, w)
		}
		if h.Name == "d/f" && (h.Uid != 3000000000 || h.ModTime.UnixNano() != -5e8 || h.PAXRecords["SCHILY.xattr.user.x"] != "\x00\n") {
			t.Errorf("options are lost: %+v", h)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the last entry: %v", err)
	}
}

func TestGzipMembers(t *testing.T) {
	data := Of(File("f", "content"))
	for n, members := range map[int]int{512: len(data) / 512, 1 << 20: 1} {
		z := GzipMembers(data, n)
		if got := bytes.Count(z, []byte{0x1f, 0x8b, 8}); got != members {
			t.Errorf("%d members, want %d", got, members)
		}
		r, err := gzip.NewReader(bytes.NewReader(z))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
			t.Errorf("in pieces of %d: %d bytes, %v", n, len(got), err)
		}
	}
}

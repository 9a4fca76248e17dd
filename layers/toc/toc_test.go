package toc

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/layers/index"
)

var sum = digest.FromString("x").String()

// reg is a regular file's entry of one chunk.
func reg(name string, size, offset int64, more string) string {
	return fmt.Sprintf(`{"name":%q,"type":"reg","size":%d,"offset":%d,"chunkDigest":%q%s}`, name, size, offset, sum, more)
}

func chunk(name string, at, size, offset int64) string {
	return fmt.Sprintf(`{"name":%q,"type":"chunk","chunkOffset":%d,"chunkSize":%d,"offset":%d,"chunkDigest":%q}`, name, at, size, offset, sum)
}

func table(entries ...string) *Table {
	return &Table{Source: index.EStargz, end: 1000, json: []byte(`{"version":1,"entries":[` + strings.Join(entries, ",") + `]}`)}
}

func TestBuildRefusesWhatCannotBeTrusted(t *testing.T) {
	for name, tb := range map[string]*Table{
		"gap between chunks":        table(reg("a", 10, 0, `,"chunkSize":4`), chunk("a", 5, 5, 20)),
		"overlapping chunks":        table(reg("a", 10, 0, `,"chunkSize":4`), chunk("a", 3, 7, 20)),
		"chunks beyond the file":    table(reg("a", 10, 0, `,"chunkSize":4`), chunk("a", 4, 7, 20)),
		"chunks end early":          table(reg("a", 10, 0, `,"chunkSize":4`), `{"name":"b","type":"dir"}`),
		"chunk of nothing":          table(chunk("a", 0, 4, 0)),
		"offset outside":            table(reg("a", 10, 1000, "")),
		"negative offset":           table(reg("a", 10, -1, "")),
		"offsets go backwards":      table(reg("a", 10, 500, ""), reg("b", 10, 400, "")),
		"huge chunk":                table(reg("a", MaxChunk+1, 0, "")),
		"deep inner offset":         table(reg("a", 10, 0, fmt.Sprintf(`,"innerOffset":%d`, MaxChunk))),
		"negative inner offset":     table(reg("a", 10, 0, `,"innerOffset":-1`)),
		"negative size":             table(reg("a", -1, 0, "")),
		"no digest":                 table(`{"name":"a","type":"reg","size":5,"offset":0}`),
		"no digest of second chunk": table(reg("a", 10, 0, `,"chunkSize":4`), `{"name":"a","type":"chunk","chunkOffset":4,"offset":20}`),
		"unknown type":              table(`{"name":"a","type":"socket"}`),
		"unknown chunk type":        table(reg("a", 10, 0, `,"chunkType":"raw"`)),
		"time":                      table(`{"name":"a","type":"dir","modtime":"yesterday"}`),
		"end before the start":      table(reg("a", 10, 500, `,"endOffset":2000`)),
		"not JSON":                  {json: []byte("{"), end: 9},
		"no entries":                {json: []byte(`{"version":1}`), end: 9},
	} {
		if _, _, err := tb.Build(index.NewBuilder()); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBuildLaysOutContents(t *testing.T) {
	spans, size, err := table(
		`{"name":"d/","type":"dir","mode":493}`,
		reg("d/a", 10, 100, `,"chunkSize":4`), chunk("d/a", 4, 6, 150),
		reg("d/b", 3, 200, `,"innerOffset":0`), reg("d/c", 5, 200, `,"innerOffset":600`),
		`{"name":"d/z","type":"reg","size":9,"chunkType":"zeros"}`,
		`{"name":"d/e","type":"reg"}`,
	).Build(index.NewBuilder())
	if err != nil {
		t.Fatal(err)
	}
	want := []index.Span{
		{Out: 0, OutLen: 4, In: 100, InLen: 50},
		{Out: 4, OutLen: 6, In: 150, InLen: 50},
		{Out: 4096, OutLen: 3, In: 200, InLen: 800},
		{Out: 8192, OutLen: 5, In: 200, InLen: 800, Skip: 600},
		{Out: 12288, OutLen: 9, Flags: index.SpanZeros},
	}
	if len(spans) != len(want) || size != 16384 {
		t.Fatalf("%d spans, size %d", len(spans), size)
	}
	for i, s := range spans {
		s.Digest, s.DigestOf = [32]byte{}, 0
		if s != want[i] {
			t.Errorf("span %d: %+v, want %+v", i, s, want[i])
		}
	}
}

// estargz is a blob of nothing but a table and a footer.
func estargz(json, footer string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	w.WriteHeader(&tar.Header{Name: tocName, Size: int64(len(json))})
	w.Write([]byte(json))
	w.Close()
	z.Close()
	return append(b.Bytes(), footer...)
}

func footerOf(off int) string {
	return fmt.Sprintf(gzipMember+"\x1a\x00SG\x16\x00%016xSTARGZ\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00", off)
}

func load(blob []byte, ann map[string]string) (*Table, int, error) {
	requests := 0
	t, err := Load(context.Background(), Blob{Annotations: ann, Size: int64(len(blob)), Read: func(_ context.Context, off, n int64) ([]byte, error) {
		requests++
		return bytes.Clone(blob[off : off+n]), nil
	}})
	return t, requests, err
}

func TestFooters(t *testing.T) {
	json := `{"version":1,"entries":[]}`
	ann := map[string]string{tocDigest: digest.FromString(json).String()}
	front := strings.Repeat("c", 300<<10) // more than the guess holds
	legacy := fmt.Sprintf(gzipMember+"\x16\x00%016xSTARGZ\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00", 0)
	for name, c := range map[string]struct {
		blob     []byte
		requests int
		ok       bool
	}{
		"51 bytes":       {estargz(json, footerOf(0)), 1, true},
		"47 bytes":       {estargz(json, legacy), 1, true},
		"far from start": {append([]byte(front), estargz(json, footerOf(len(front)))...), 1, true},
		"beyond blob":    {estargz(json, footerOf(1<<40)), 1, false},
		"negative":       {estargz(json, strings.Replace(footerOf(0), "0000000000000000", "-000000000000001", 1)), 1, false},
		"none":           {estargz(json, strings.Repeat("\x00", 51)), 1, false},
		"other digest":   {estargz(json+" ", footerOf(0)), 1, false},
		"cut":            {[]byte(footerOf(0)[3:]), 1, false},
	} {
		tb, requests, err := load(c.blob, ann)
		if c.ok != (err == nil) || requests != c.requests || (err == nil && string(tb.json) != json) {
			t.Errorf("%s: %v after %d requests", name, err, requests)
		}
		if err != nil && !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v is not ErrNone", name, err)
		}
	}
}

func TestATableLongerThanTheGuessCostsASecondRequest(t *testing.T) {
	var pad strings.Builder // does not compress
	for i := range 20000 {
		pad.WriteString(digest.FromString(fmt.Sprint(i)).Encoded())
	}
	json := `{"version":1,"pad":"` + pad.String() + `","entries":[]}`
	tb, requests, err := load(estargz(json, footerOf(0)), map[string]string{tocDigest: digest.FromString(json).String()})
	if err != nil || requests != 2 || string(tb.json) != json {
		t.Errorf("%v after %d requests", err, requests)
	}
}

func FuzzBuild(f *testing.F) {
	f.Add([]byte(`{"version":1,"entries":[` + reg("a", 10, 0, `,"chunkSize":4`) + "," + chunk("a", 4, 6, 20) + `]}`))
	f.Add([]byte(`{"entries":[{"name":"l","type":"hardlink","linkName":"l"},{"name":"../x","type":"symlink","linkName":"/"}]}`))
	f.Fuzz(func(t *testing.T, json []byte) {
		tb := &Table{json: json, end: 1 << 20}
		b := index.NewBuilder()
		spans, size, err := tb.Build(b)
		if err != nil {
			return
		}
		for i, s := range spans {
			if s.Out < 0 || s.OutLen <= 0 || s.OutLen > MaxChunk || s.Out+s.OutLen > size || i > 0 && s.Out < spans[i-1].Out+spans[i-1].OutLen {
				t.Fatalf("span %d: %+v of %d", i, s, size)
			}
			if s.Flags&index.SpanZeros == 0 && (s.In < 0 || s.InLen <= 0 || s.In+s.InLen > tb.end || s.DigestOf == index.DigestNone) {
				t.Fatalf("span %d: %+v", i, s)
			}
		}
		var out bytes.Buffer
		h := index.Header{Source: index.EStargz, Space: index.Packed, Compression: index.Gzip, BlobSize: 1 << 20, SpaceSize: size}
		if err := b.Write(&out, h, spans, nil); err != nil {
			return
		}
		if _, err := index.OpenBytes(out.Bytes()); err != nil {
			t.Fatalf("what was built cannot be opened: %v", err)
		}
	})
}

func FuzzFooter(f *testing.F) {
	f.Add([]byte(footerOf(5)))
	f.Add(append(bytes.Repeat([]byte{1}, 56), "GNUlInUx"...))
	f.Fuzz(func(t *testing.T, tail []byte) {
		if foot, ok := findFooter(tail); ok && !foot.external && foot.off < 0 {
			t.Fatalf("%+v", foot)
		}
	})
}

func TestLandmark(t *testing.T) {
	tb := table(reg("a", 10, 0, ""), reg("b", 10, 100, ""), reg(landmarkName, 1, 200, ""), reg("c", 10, 300, ""))
	if _, _, err := tb.Build(index.NewBuilder()); err != nil || tb.Landmark != 2 {
		t.Errorf("landmark %d, %v", tb.Landmark, err)
	}
}

func TestTablesLeadThroughTheLayersOwnLinks(t *testing.T) {
	tb := table(`{"name":"lib","type":"symlink","linkName":"usr/lib","mode":420}`, reg("lib/x", 0, 0, ""))
	b := index.NewBuilder()
	if _, _, err := tb.Build(b); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.Write(&out, index.Header{Source: tb.Source, Space: index.Packed, BlobSize: -1}, nil, nil); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for id := range uint32(x.Len()) {
		got = append(got, fmt.Sprintf("/%s %v %o", x.Path(id), x.Entry(id).Kind, x.Entry(id).Mode))
	}
	const want = "/ dir 755, /lib symlink 777, /usr dir 755, /usr/lib dir 755, /usr/lib/x file 0"
	if got := strings.Join(got, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

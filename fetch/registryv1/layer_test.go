package registryv1

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/testregistryv1"
)

var testTime = time.Unix(0, 0)

func single(t testing.TB, q testregistryv1.Quirks, img testregistryv1.Image) (*testregistryv1.Server, *Session) {
	srv := testregistryv1.New(testregistryv1.NewStore(), q)
	srv.Store.Put("foo/bar", "latest", img)
	return srv, session(t, srv.Start(t))
}

func quirksOfRanges() map[string]testregistryv1.Quirks {
	out := map[string]testregistryv1.Quirks{}
	for name, r := range map[string]testregistryv1.Ranges{"proper": testregistryv1.RangesProper,
		"python": testregistryv1.RangesPython, "ignored": testregistryv1.RangesIgnored} {
		q := testregistryv1.Python()
		q.Ranges = r
		out[name] = q
	}
	return out
}

// Any range of any server is the same bytes, whatever the server makes of it and
// whether or not the size is known.
func TestRanges(t *testing.T) {
	img := chain("a")[0]
	img.Layer = img.Layer[:200]
	img.Checksums = nil
	for name, q := range quirksOfRanges() {
		for _, known := range []bool{true, false} {
			q.NoSize = !known
			_, s := single(t, q, img)
			m, err := s.Resolve(t.Context(), "latest")
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(rt *rapid.T) {
				off := rapid.Int64Range(0, 199).Draw(rt, "off")
				n := rapid.OneOf(rapid.Int64Range(0, 200-off), rapid.Just(int64(1)), rapid.Just(200-off), rapid.Just(int64(-1))).Draw(rt, "n")
				l := s.Layer(m.Layers[0])
				body, at, err := l.ReadRange(t.Context(), off, n)
				if err != nil {
					rt.Fatalf("%s: %v", name, err)
				}
				defer body.Close()
				got, err := io.ReadAll(body)
				if n < 0 {
					n = 200 - off
				}
				all := at == 0 && len(got) == 200
				if err != nil || !all && (at != off || int64(len(got)) != n) {
					rt.Fatalf("%s: %d bytes at %d for %d+%d, %v", name, len(got), at, off, n, err)
				}
				if !bytes.Equal(got, img.Layer[at:at+int64(len(got))]) {
					rt.Fatalf("%s: other bytes", name)
				}
				if size, ok := l.Size(); known && (!ok || size != 200) {
					rt.Fatalf("size %d, %v", size, ok)
				}
			})
		}
	}
}

// Requests are closed, within the layer, and of two bytes at least.
func TestRangeHeaders(t *testing.T) {
	for _, c := range []struct {
		size, off, n int64
		want         string
	}{
		{100, 0, -1, "all"}, {100, 0, 100, "all"}, {100, 10, 20, "10-29"}, {100, 10, -1, "10-99"}, {100, 99, 1, "98-99"},
		{100, 50, 1, "49-50"}, {100, 0, 1, "0-1"}, {100, 0, 2, "0-1"},
		{-1, 0, -1, "all"}, {-1, 5, -1, "all"}, {-1, 5, 10, "5-14"}, {-1, 5, 1, "4-5"},
		{1, 0, 1, "all"},
	} {
		l := &Layer{}
		l.size.Store(c.size)
		sp := l.choose(c.off, c.n)
		got := "all"
		if !sp.all {
			got = strings.TrimPrefix(rangeHeader(sp.lo, sp.hi), "bytes=")
		}
		if got != c.want {
			t.Errorf("%d+%d of %d: %s, want %s", c.off, c.n, c.size, got, c.want)
		}
	}
}

func TestRangesOutside(t *testing.T) {
	_, s := single(t, testregistryv1.Python(), chain("a")[0])
	l := s.Layer(ManifestLayer{ID: id("a"), Size: 10})
	for _, r := range [][2]int64{{-1, 1}, {11, 0}, {5, 6}, {11, -1}} {
		if _, _, err := l.ReadRange(t.Context(), r[0], r[1]); !errkind.Is(err, errkind.Corrupt) {
			t.Errorf("%v: %v", r, err)
		}
	}
}

// The Python server answers 416 when all of an empty layer is asked for.
func TestEmptyLayer(t *testing.T) {
	img := chain("a")[0]
	img.Layer, img.Checksums = nil, nil
	for name, q := range quirksOfRanges() {
		for _, unknown := range []bool{false, true} {
			q.NoSize = unknown
			_, s := single(t, q, img)
			m, err := s.Resolve(t.Context(), "latest")
			if err != nil {
				t.Fatal(err)
			}
			if got, err := readLayer(t, s, m.Layers[0]); err != nil || len(got) != 0 {
				t.Errorf("%s, size unknown %v: %d bytes, %v", name, unknown, len(got), err)
			}
		}
	}
}

func TestParseContentRange(t *testing.T) {
	for v, want := range map[string]contentRange{
		"bytes 0-9/100": {0, 9, 100}, "100-199/10240": {100, 199, 10240}, "100-10240/10240": {100, 10240, 10240},
		" Bytes  5-6/* ": {5, 6, -1},
	} {
		if got, ok := parseContentRange(v); !ok || got != want {
			t.Errorf("%q: %v, %v", v, got, ok)
		}
	}
	for _, v := range []string{"", "bytes", "bytes */100", "bytes 9-0/100", "bytes 0-9", "items 0-9/100", "bytes -5-9/100",
		"bytes +5-9/100", "bytes 0-9/x", "bytes 100-109/100", "0-99999999999999999999/5"} {
		if got, ok := parseContentRange(v); ok {
			t.Errorf("%q: %v", v, got)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-9/100")
	f.Add("100-10240/10240")
	f.Fuzz(func(t *testing.T, v string) {
		r, ok := parseContentRange(v)
		if ok && (r.lo < 0 || r.hi < r.lo || r.total >= 0 && r.lo >= r.total) {
			t.Fatalf("%q: %v", v, r)
		}
	})
}

// A layer that is not what its checksum says never comes out whole, and says so
// before the end.
func TestWrongChecksum(t *testing.T) {
	for name, q := range quirksOfRanges() {
		for _, unknown := range []bool{false, true} {
			q.NoSize = unknown
			img := chain("a")[0]
			srv, s := single(t, q, img)
			m, err := s.Resolve(t.Context(), "latest")
			if err != nil {
				t.Fatal(err)
			}
			srv.Fail("/layer", -1, testregistryv1.Fault{Damage: true})
			got, err := readLayer(t, s, m.Layers[0])
			wantKind(t, err, errkind.Corrupt, "checksum", id("a"))
			if !unknown && len(got) >= len(img.Layer) {
				t.Errorf("%s: all %d bytes escaped", name, len(got))
			}
		}
	}
}

// Of several checksums one must fit; a tarsum proves nothing and is kept.
func TestSeveralChecksums(t *testing.T) {
	img := chain("a")[0]
	img.Checksums = append([]string{"tarsum+sha256:" + id("0"), "sha256:" + id("0")}, img.Checksums...)
	_, s := single(t, testregistryv1.Python(), img)
	m := pull(t, s, []testregistryv1.Image{img})
	if len(m.Layers[0].Checksums) != 3 {
		t.Errorf("checksums %v", m.Layers[0].Checksums)
	}
}

// A size in the headers that is wrong is an error where nothing else proves the
// layer, and none where the checksum does.
func TestWrongSize(t *testing.T) {
	for name, q := range quirksOfRanges() {
		for _, said := range []string{"2990", "3010"} {
			for _, proven := range []bool{false, true} {
				img := chain("a")[0]
				if !proven {
					img.Checksums = nil
				}
				srv, s := single(t, q, img)
				srv.Fail("/json", -1, testregistryv1.Fault{Header: map[string]string{"X-Docker-Size": said}})
				m, err := s.Resolve(t.Context(), "latest")
				if err != nil {
					t.Fatal(err)
				}
				got, err := readLayer(t, s, m.Layers[0])
				switch {
				case proven && err == nil && !bytes.Equal(got, img.Layer):
					t.Errorf("%s, %s: other bytes and no error", name, said)
				case proven && err != nil && q.Ranges != testregistryv1.RangesIgnored:
					t.Errorf("%s, %s: the checksum fits, but %v", name, said, err)
				case !proven && err == nil:
					t.Errorf("%s, %s: %d bytes and no error", name, said, len(got))
				}
			}
		}
	}
}

// Connections that break are made again, behind the last byte.
func TestResume(t *testing.T) {
	img := chain("a")[0]
	for name, q := range quirksOfRanges() {
		for what, fault := range map[string]testregistryv1.Fault{
			"cut": {CutAfter: 1000}, "closed": {Close: true}, "5xx": {Status: 500}, "short": {Drop: 700},
		} {
			srv, s := single(t, q, img)
			m, err := s.Resolve(t.Context(), "latest")
			if err != nil {
				t.Fatal(err)
			}
			if what == "short" && q.Ranges != testregistryv1.RangesIgnored {
				continue // a length that is right for a short body is another layer
			}
			srv.Fail("/layer", 2, fault)
			if got, err := readLayer(t, s, m.Layers[0]); err != nil || !bytes.Equal(got, img.Layer) {
				t.Errorf("%s, %s: %d bytes, %v", name, what, len(got), err)
			}
			if n := srv.Count("/layer"); n != 3 {
				t.Errorf("%s, %s: %d requests", name, what, n)
			}
		}
	}
}

// A server that always breaks off ends in an error, after as many requests as the
// budget has.
func TestResumeIsBounded(t *testing.T) {
	img := chain("a")[0]
	srv, s := single(t, testregistryv1.Python(), img)
	m, err := s.Resolve(t.Context(), "latest")
	if err != nil {
		t.Fatal(err)
	}
	srv.Fail("/layer", -1, testregistryv1.Fault{CutAfter: 10})
	got, err := readLayer(t, s, m.Layers[0])
	wantKind(t, err, errkind.Unavailable, id("a"))
	if n := srv.Count("/layer"); n != 6 || !bytes.HasPrefix(img.Layer, got) {
		t.Errorf("%d requests, %d bytes", n, len(got))
	}
}

// No error is ever mistaken for the end.
func TestErrorsStay(t *testing.T) {
	img := chain("a")[0]
	srv, s := single(t, testregistryv1.Python(), img)
	m, err := s.Resolve(t.Context(), "latest")
	if err != nil {
		t.Fatal(err)
	}
	srv.Fail("/layer", -1, testregistryv1.Fault{Damage: true})
	body, _, err := s.Layer(m.Layers[0]).ReadRange(t.Context(), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	_, first := io.Copy(io.Discard, body)
	if _, again := body.Read(make([]byte, 10)); first == nil || !errors.Is(again, first) {
		t.Errorf("%v, then %v", first, again)
	}
}

func TestAlias(t *testing.T) {
	s := session(t, "old.example:5000")
	if got, want := s.Layer(ManifestLayer{ID: id("a")}).Alias(), "v1:old.example:5000/"+id("a"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

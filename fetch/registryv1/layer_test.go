package registryv1

import (
	"bytes"
	"errors"
	"fmt"
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
		end := c.off + c.n
		if c.n < 0 {
			end = -1
		}
		sp := l.choose(c.off, end)
		got := "all"
		if !sp.all {
			got = fmt.Sprintf("%d-%d", sp.lo, sp.hi)
		}
		if got != c.want {
			t.Errorf("%d+%d of %d: %s, want %s", c.off, c.n, c.size, got, c.want)
		}
	}
}

func TestRangesOutside(t *testing.T) {
	_, s := single(t, testregistryv1.Python(), chain("a")[0])
	l := s.Layer(ManifestLayer{ID: id("a"), Size: 10})
	l.size.Store(10) // an answer has proved it; what the registry says alone refuses nothing
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

// A size in the headers that is wrong, by any amount, never makes a layer empty or
// short. It does not matter where the checksum fits, and is an error where nothing
// else proves the layer; 0 is what servers say that do not know.
func TestWrongSize(t *testing.T) {
	for name, q := range quirksOfRanges() {
		for _, said := range []string{"0", "1", "2990", "2999", "3001", "3010", "99999999", "-5", "x"} {
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
				unsaid := said == "0" || said == "-5" || said == "x"
				switch {
				case (proven || unsaid) && (err != nil || !bytes.Equal(got, img.Layer)):
					t.Errorf("%s, %s, proven %v: %d bytes, %v", name, said, proven, len(got), err)
				case !proven && !unsaid && err == nil:
					t.Errorf("%s, %s: %d bytes and no error", name, said, len(got))
				}
				if proven || unsaid {
					wantStretches(t, s, m.Layers[0], img.Layer)
				}
			}
		}
	}
}

// wantStretches reads ranges of a layer as who has its index does, who never sees
// the whole.
func wantStretches(t *testing.T, s *Session, m ManifestLayer, data []byte) {
	t.Helper()
	for _, r := range [][2]int64{{0, 10}, {1000, 500}, {2980, 20}, {2999, 1}, {100, -1}, {2985, -1}} {
		body, at, err := s.Layer(m).ReadRange(t.Context(), r[0], r[1])
		if err != nil {
			t.Errorf("size %d: range %v: %v", m.Size, r, err)
			continue
		}
		got, err := io.ReadAll(body)
		body.Close()
		want := data[r[0]:]
		if r[1] >= 0 {
			want = want[:r[1]]
		}
		if err != nil || !bytes.Equal(got, want) && !(at == 0 && bytes.Equal(got, data)) {
			t.Errorf("size %d: range %v: %d bytes at %d, %v", m.Size, r, len(got), at, err)
		}
	}
}

// The checksum is looked at where there is nothing to read, too.
func TestEmptyLayerThatShouldNotBe(t *testing.T) {
	for name, q := range quirksOfRanges() {
		for _, unknown := range []bool{false, true} {
			q.NoSize = unknown
			img := chain("a")[0]
			img.Layer = nil // the checksum stays that of 3,000 bytes
			_, s := single(t, q, img)
			m, err := s.Resolve(t.Context(), "latest")
			if err != nil {
				t.Fatal(err)
			}
			_, err = readLayer(t, s, m.Layers[0])
			if err == nil {
				t.Errorf("%s, size unknown %v: an empty layer", name, unknown)
			}
			wantKind(t, err, errkind.Corrupt, "checksum")
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

// A layer's name in caches says what was promised of it: what was read on another
// promise, or on none, is not it.
func TestAlias(t *testing.T) {
	s := session(t, "old.example:5000")
	seen := map[string]bool{}
	for _, m := range []ManifestLayer{
		{ID: id("a")}, {ID: id("a"), Size: 10}, {ID: id("a"), Size: 11}, {ID: id("b"), Size: 10},
		{ID: id("a"), Checksums: []string{"sha256:" + id("1")}}, {ID: id("a"), Checksums: []string{"sha256:" + id("2")}},
		{ID: id("a"), Size: 10, Checksums: []string{"sha256:" + id("1")}},
	} {
		alias := s.Layer(m).Alias()
		if seen[alias] || !strings.HasPrefix(alias, "v1:old.example:5000/"+m.ID) {
			t.Errorf("%+v: %s", m, alias)
		}
		seen[alias] = true
	}
	if got, want := s.Layer(ManifestLayer{ID: id("a"), Size: -1}).Alias(), "v1:old.example:5000/"+id("a"); got != want {
		t.Errorf("nothing promised: %s, want %s", got, want)
	}
	one := s.Layer(ManifestLayer{ID: id("a"), Checksums: []string{"sha256:" + id("1"), "sha256:" + id("2")}})
	two := s.Layer(ManifestLayer{ID: id("a"), Checksums: []string{"sha256:" + id("2"), "sha256:" + id("1")}})
	if one.Alias() != two.Alias() {
		t.Error("the order of checksums makes another layer")
	}
}

package soci

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/inflate"
)

const fixture = "../../testdata/fixture/images/blobs/sha256"

func blob(t testing.TB, d digest.Digest) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixture, d.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ztocs are those of the fixture, by the digest of their layer: v1 and v2.
func ztocs(t testing.TB) map[digest.Digest][]byte {
	t.Helper()
	out := map[digest.Digest][]byte{}
	for _, idx := range []digest.Digest{
		"sha256:21678be9d43967366a9a0a35540acafebb67107c0b65d54b20d1a4fc2690b245",
		"sha256:8a04cb672a442e06d2267d90609f0a5bc5daed45b1c5543de47482accfeaa581",
	} {
		var m ocispec.Manifest
		if err := json.Unmarshal(blob(t, idx), &m); err != nil {
			t.Fatal(err)
		}
		for _, l := range m.Layers {
			out[digest.Digest(l.Annotations["com.amazon.soci.image-layer-digest"])] = blob(t, l.Digest)
		}
	}
	return out
}

func TestEverySpanOfTheFixtureDecodes(t *testing.T) {
	for layer, z := range ztocs(t) {
		l, err := Parse(z)
		if err != nil {
			t.Fatal(err)
		}
		compressed := blob(t, layer)
		r, _ := gzip.NewReader(bytes.NewReader(compressed))
		tar, err := io.ReadAll(r)
		// A ztoc ends with the last entry, the tar with blocks of zeros behind it.
		if err != nil || l.SpaceSize > int64(len(tar)) || l.SpaceSize < int64(len(tar))-10240 || l.BlobSize != int64(len(compressed)) {
			t.Fatalf("%v; %d of %d bytes", err, l.SpaceSize, len(tar))
		}
		var file bytes.Buffer
		h := index.Header{Source: index.SOCI, Compression: index.Gzip, BlobDigest: layer, BlobSize: l.BlobSize, SpaceSize: l.SpaceSize}
		if err := l.Builder.Write(&file, h, l.Spans, l.Windows); err != nil {
			t.Fatal(err)
		}
		x, err := index.OpenBytes(file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		end := int64(0)
		for i := range x.Spans() {
			s := x.Span(i)
			if s.Out != end {
				t.Fatalf("span %d begins at %d instead of %d", i, s.Out, end)
			}
			end += s.OutLen
			src := compressed[s.In : s.In+s.InLen]
			if digest.FromBytes(src).Encoded() != digest.NewDigestFromBytes(digest.SHA256, s.Digest[:]).Encoded() {
				t.Errorf("span %d: digest", i)
			}
			window, err := x.Window(i)
			if err != nil {
				t.Fatal(err)
			}
			out := make([]byte, s.OutLen)
			if err := inflate.DecodeSpan(out, src, window, s.Bits); err != nil || !bytes.Equal(out, tar[s.Out:end]) {
				t.Errorf("span %d: %v", i, err)
			}
		}
		if end != l.SpaceSize {
			t.Errorf("spans end at %d of %d", end, l.SpaceSize)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, z := range ztocs(f) {
		if len(z) < 100<<10 {
			f.Add(z)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse(data)
		if err != nil {
			return
		}
		for i, s := range l.Spans {
			if s.In <= 0 || s.InLen <= 0 || s.OutLen <= 0 || s.OutLen > maxSpanSize || s.Bits > 7 || i > 0 && s.Out != l.Spans[i-1].Out+l.Spans[i-1].OutLen {
				t.Fatalf("span %d: %+v", i, s)
			}
		}
	})
}

package layers

import (
	"os"
	"testing"
)

// Somebody removes the cache while layers of it are open: those go on, with what
// they have and with what they have yet to fetch, others are opened as ever, and
// all of it is kept.
func TestTheCacheIsRemovedUnderOpenLayers(t *testing.T) {
	soci, _ := indexedLayers(t)
	estargz, _ := fixtureLayers(t, "estargz")
	tar, _ := bigTar()
	gzip, _ := sourceOf(tar, gz(tar))
	for name, src := range map[string]Source{"gzip": gzip, "soci": soci[0], "estargz": estargz[0]} {
		t.Run(name, func(t *testing.T) {
			plain := openTestStore(t, t.TempDir(), Options{}).Layer(Source{Digest: src.Digest, Blob: src.Blob})
			x, err := plain.Index(t.Context())
			must(t, err)
			dir := t.TempDir()
			s := openTestStore(t, dir, Options{Size: 1 << 30})
			l := s.Layer(src)
			opened, err := l.Index(t.Context())
			must(t, err)
			for range 2 {
				must(t, os.RemoveAll(dir))
				sameContents(t, l, plain, opened)
				other, _ := sourceOf(tar, gz(append([]byte(nil), tar[:len(tar)-512]...)))
				other.DiffID = ""
				must(t, s.Layer(other).Fill(t.Context()))
				unnamed := Source{Alias: "a layer", Blob: src.Blob}
				sameContents(t, s.Layer(unnamed), plain, x)
				s.room.Clean(1)
			}
			must(t, l.Fill(t.Context()))
			sameContents(t, l, plain, x)
			must(t, s.Pin(src.Digest))
			if p := verifyAll(t, s); len(p) > 0 {
				t.Error(p)
			}
			fresh := openTestStore(t, dir, Options{}).Layer(src)
			must(t, fresh.Fill(t.Context()))
			sameContents(t, fresh, plain, x)
		})
	}
}

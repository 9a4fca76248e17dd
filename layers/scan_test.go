package layers

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Bytes that hold their digest are the same when they are read again. That is done
// only where they do not, or where our own gunzip may be the one that is wrong.
func TestALayerThatStaysWrongIsReadOnce(t *testing.T) {
	tar, _ := bigTar()
	good := gz(tar)
	garbage := []byte(words(9, 5000))
	cut := tar[:len(tar)/2+7]
	for name, c := range map[string]struct {
		blob, sent []byte
		diffID     digest.Digest
		requests   int64
	}{
		"garbage in gzip":            {gz(garbage), nil, "", 1},
		"garbage in zstd":            {zst(garbage), nil, "", 1},
		"garbage":                    {garbage, nil, "", 1},
		"a tar that ends too early":  {gz(cut), nil, "", 1},
		"a plain one":                {cut, nil, "", 1},
		"zstd that ends too early":   {zst(tar)[:9999], nil, "", 1},
		"another tar":                {good, nil, digest.FromString("x"), 1},
		"gzip that ends too early":   {good[:9999], nil, "", 2},
		"other bytes than there are": {good, gz(garbage), "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			b := &memBlob{data: c.blob}
			if c.sent != nil {
				b.data = c.sent
			}
			src := Source{Digest: digest.FromBytes(c.blob), DiffID: c.diffID, Blob: b}
			if _, err := openTestStore(t, t.TempDir(), Options{}).Layer(src).Index(t.Context()); !errkind.Is(err, errkind.Corrupt) {
				t.Fatalf("got %v", err)
			}
			if n := b.requests.Load(); n != c.requests {
				t.Errorf("read %d times, not %d", n, c.requests)
			}
		})
	}
}

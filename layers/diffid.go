package layers

import (
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/atomicfile"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
)

// cachedir.DiffIDPrefix begins the names of files beside an index: "diffid-ALG" has the
// digest of the layer's tar by an algorithm other than the index's own, sha256,
// as a reading of the whole layer has shown it.
const diffIDPrefix = "diffid-"

// maxDiffID is the longest digest that is read from such a file, in bytes.
const maxDiffID = 256

// contradict reports whether a and b cannot both be digests of the same bytes:
// they are of one algorithm and differ. Digests of two algorithms say nothing
// about each other, and neither does "".
func contradict(a, b digest.Digest) bool {
	return a != "" && b != "" && a.Algorithm() == b.Algorithm() && a != b
}

// diffIDProven reports whether the index in dir, with header h, stands for a tar
// that has the image's diffID. An index that nothing can be compared with yet, as
// a table of contents has none, is proven when the layer is read whole. An image
// that names the tar by another algorithm than the index does is believed only if
// a reading has computed that digest too.
func (b *builder) diffIDProven(dir string, h index.Header) bool {
	want := b.src.DiffID
	if want == "" || h.DiffID == "" || cachedir.Unproven(h) || h.DiffID.Algorithm() == want.Algorithm() {
		return true
	}
	f, err := os.Open(filepath.Join(dir, cachedir.DiffIDPrefix+want.Algorithm().String()))
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDiffID))
	return err == nil && digest.Digest(text) == want
}

// writeDiffID keeps beside the index that the tar of the layer in dir has the
// digest d. The index itself has the sha256.
func writeDiffID(dir string, d digest.Digest) error {
	if d == "" || d.Algorithm() == digest.SHA256 {
		return nil
	}
	return atomicfile.Write(filepath.Join(dir, cachedir.DiffIDPrefix+d.Algorithm().String()), []byte(d), 0o600)
}

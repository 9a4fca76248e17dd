package cachedir

import (
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/atomicfile"
)

// maxFact is how much is read of a file with a number or a digest, in bytes.
const maxFact = 256

// readFact reads a small file beside an index; "" if it cannot be read.
func readFact(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFact))
	if err != nil {
		return ""
	}
	return string(b)
}

// Landmark is the number of spans in front of the landmark, which the maker of an
// eStargz layer set behind what is needed at once; 0 without one.
func (f *Files) Landmark() int {
	n, err := strconv.Atoi(readFact(filepath.Join(f.Dir, PrefetchName)))
	if err != nil || n < 0 {
		return 0
	}
	return min(n, f.Index.Spans())
}

// WriteLandmark keeps beside the index in dir that n spans lie in front of the
// landmark; 0 is not written.
func WriteLandmark(dir string, n int) error {
	if n == 0 {
		return nil
	}
	return atomicfile.Write(filepath.Join(dir, PrefetchName), strconv.AppendInt(nil, int64(n), 10), 0o600)
}

// DiffID is the digest by an algorithm of the tar of the layer in dir, as a reading
// of the whole layer has shown it; "" if it is not known. The index itself has the
// sha256.
func DiffID(dir string, by digest.Algorithm) digest.Digest {
	return digest.Digest(readFact(filepath.Join(dir, DiffIDPrefix+by.String())))
}

// WriteDiffID keeps beside the index in dir that the tar has the digest d, unless
// the index has it: a sha256.
func WriteDiffID(dir string, d digest.Digest) error {
	if d == "" || d.Algorithm() == digest.SHA256 {
		return nil
	}
	return atomicfile.Write(filepath.Join(dir, DiffIDPrefix+d.Algorithm().String()), []byte(d), 0o600)
}

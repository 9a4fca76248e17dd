package registryv1

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/peelfs/peelfs/internal/tarstream"
)

// tarSum is docker's checksum of a layer that depends on what is in the tar and
// not on how it is packed: the sums of all entries, header fields and content,
// sorted and summed up behind the image's JSON. It is of use against accidents
// only: the order of entries, which decides what a path is, is not in it, and what
// the field names and values are joined by is nothing. So a wrong one is worth a
// warning and no more.
type tarSum struct {
	version string // "tarsum", "tarsum.v1" or "tarsum.dev"
	json    []byte
	entries []string // hexadecimal SHA-256 of each entry
	paths   map[[sha256.Size]byte]bool
}

// maxTarSummed is how many entries are kept in memory to be sorted.
const maxTarSummed = 1 << 20

// errTwice is of archives in which a path is twice: writers did not agree where
// in the order these stand.
var errTwice = errors.New("a path is in the archive twice")

// tarSumVersion is the version of a checksum that we can compute, "" if it is
// none.
func tarSumVersion(sum string) string {
	version, hexSum, ok := strings.Cut(sum, "+sha256:")
	if !ok || len(hexSum) != 2*sha256.Size {
		return ""
	}
	switch version {
	case "tarsum", "tarsum.v1", "tarsum.dev":
		return version
	}
	return ""
}

// sum reads a layer, packed or not, and returns its checksum.
func (t *tarSum) sum(layer io.Reader) (string, error) {
	unpacked, err := unpack(layer)
	if err != nil {
		return "", err
	}
	tr := tar.NewReader(unpacked)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return t.total(), nil
		}
		if err != nil {
			return "", err
		}
		if err := t.once(h.Name); err != nil {
			return "", err
		}
		entry := sha256.New()
		t.header(entry, h)
		if _, err := io.Copy(entry, tr); err != nil {
			return "", err
		}
		t.entries = append(t.entries, hex.EncodeToString(entry.Sum(nil)))
	}
}

// once notes a path and fails if it was there before, or if there are too many.
func (t *tarSum) once(name string) error {
	path := sha256.Sum256([]byte(strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")))
	switch {
	case t.paths[path]:
		return errTwice
	case len(t.paths) == maxTarSummed:
		return fmt.Errorf("more than %d entries", maxTarSummed)
	case t.paths == nil:
		t.paths = map[[sha256.Size]byte]bool{}
	}
	t.paths[path] = true
	return nil
}

// header writes names and values of the fields that count. Version 0 has the
// time; later ones have extended attributes in its stead.
func (t *tarSum) header(w hash.Hash, h *tar.Header) {
	field := func(name string, value any) { fmt.Fprintf(w, "%s%v", name, value) }
	field("name", h.Name)
	field("mode", h.Mode)
	field("uid", h.Uid)
	field("gid", h.Gid)
	field("size", h.Size)
	if t.version == "tarsum" {
		field("mtime", h.ModTime.Unix())
	}
	field("typeflag", string(h.Typeflag))
	field("linkname", h.Linkname)
	field("uname", h.Uname)
	field("gname", h.Gname)
	field("devmajor", h.Devmajor)
	field("devminor", h.Devminor)
	if t.version == "tarsum" {
		return
	}
	const attribute = "SCHILY.xattr."
	var names []string
	for key := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, attribute); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		field(name, h.PAXRecords[attribute+name])
	}
}

func (t *tarSum) total() string {
	slices.Sort(t.entries)
	all := sha256.New()
	all.Write(t.json)
	for _, e := range t.entries {
		io.WriteString(all, e)
	}
	return t.version + "+sha256:" + hex.EncodeToString(all.Sum(nil))
}

// unpack undoes the layer's compression, told by the first bytes.
func unpack(layer io.Reader) (io.Reader, error) {
	br := bufio.NewReader(layer)
	head, err := br.Peek(tarstream.HeadSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return tarstream.Detect(head).NewReader(br)
}

// tarSumming computes the checksum of what is written to it, in a goroutine that
// ends with finish or stop.
type tarSumming struct {
	w    *io.PipeWriter
	done chan struct{}
	got  string
	err  error
}

func startTarSum(version string, json []byte) *tarSumming {
	r, w := io.Pipe()
	t := &tarSumming{w: w, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.got, t.err = (&tarSum{version: version, json: json}).sum(r)
		io.Copy(io.Discard, r) // what follows the archive, or an error: the writer must not wait
	}()
	return t
}

func (t *tarSumming) Write(p []byte) (int, error) { return t.w.Write(p) }

// finish is the checksum of all that was written.
func (t *tarSumming) finish() (string, error) {
	t.w.Close()
	<-t.done
	return t.got, t.err
}

func (t *tarSumming) stop() { t.finish() }

package toc

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/layers/index"
)

// MaxChunk is the longest chunk, and the deepest place of one in its compressed
// range, that a table may ask for, in bytes: a chunk is decoded in memory.
const MaxChunk = 32 << 20

// align is where the content of a file may start in the packed address space.
const align = 4096

// entry is one element of the table's "entries". Names are those of the JSON of
// both formats; see the package comment.
type entry struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Size        int64             `json:"size"`
	ModTime     string            `json:"modtime"`
	LinkName    string            `json:"linkName"`
	Mode        int64             `json:"mode"`
	UID         int64             `json:"uid"`
	GID         int64             `json:"gid"`
	Offset      int64             `json:"offset"`
	InnerOffset int64             `json:"innerOffset"`
	EndOffset   int64             `json:"endOffset"`
	DevMajor    int64             `json:"devMajor"`
	DevMinor    int64             `json:"devMinor"`
	Xattrs      map[string][]byte `json:"xattrs"`
	Digest      string            `json:"digest"`
	ChunkOffset int64             `json:"chunkOffset"`
	ChunkSize   int64             `json:"chunkSize"`
	ChunkDigest string            `json:"chunkDigest"`
	ChunkType   string            `json:"chunkType"`
}

var kinds = map[string]index.Kind{
	"dir": index.Dir, "reg": index.File, "symlink": index.Symlink, "hardlink": index.Link,
	"char": index.Char, "block": index.Block, "fifo": index.Fifo,
}

// Build adds the entries to b and returns the spans of their contents in the
// packed address space, and the length of that space. A table that does not
// cover every byte with a digest, or passes a limit, is ErrNone.
func (t *Table) Build(b *index.Builder) (spans []index.Span, size int64, err error) {
	w := &writer{table: t, b: b}
	if err := w.run(); err != nil {
		return nil, 0, err
	}
	if err := w.setEnds(); err != nil {
		return nil, 0, err
	}
	t.Landmark = w.landmark
	return w.spans, w.pos, nil
}

// landmarkName is the entry behind the files that are needed at once.
const landmarkName = ".prefetch.landmark"

// writer turns entries into records and spans.
type writer struct {
	table *Table
	b     *index.Builder
	pos   int64 // end of the packed address space so far
	spans []index.Span

	file entry // the regular file at hand, whose chunks follow
	open bool
	done int64 // bytes of it that chunks cover
	data int64 // where it begins in the address space

	landmark int
}

func (w *writer) run() error {
	d := json.NewDecoder(bytes.NewReader(w.table.json))
	if err := enterEntries(d); err != nil {
		return none("%v", err)
	}
	for d.More() {
		var e entry
		if err := d.Decode(&e); err != nil {
			return none("%v", err)
		}
		if err := w.add(e); err != nil {
			return err
		}
	}
	return w.finish()
}

// enterEntries moves d into the array "entries" of the top object.
func enterEntries(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if key == "entries" {
			_, err := d.Token()
			return err
		}
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			return err
		}
	}
	return none("it has no entries")
}

func (w *writer) add(e entry) error {
	if e.Type == "chunk" {
		return w.chunk(e)
	}
	if err := w.finish(); err != nil {
		return err
	}
	if e.Name == landmarkName {
		w.landmark = len(w.spans)
	}
	r, err := e.record()
	if err != nil {
		return err
	}
	if r.Kind != index.File {
		return w.b.Add(r)
	}
	w.pos = (w.pos + align - 1) / align * align
	w.file, w.open, w.done, w.data = e, true, 0, w.pos
	r.Data = w.pos
	if err := w.b.Add(r); err != nil {
		return err
	}
	if e.Size == 0 {
		return nil
	}
	if e.ChunkDigest == "" && (e.ChunkSize == 0 || e.ChunkSize == e.Size) {
		e.ChunkDigest = e.Digest // the one chunk of the file
	}
	return w.chunk(e)
}

func (e entry) record() (index.Record, error) {
	r := index.Record{Name: e.Name, Kind: kinds[e.Type], LinkName: e.LinkName, Size: e.Size,
		Mode: uint32(e.Mode) & 0o7777, UID: uint32(e.UID), GID: uint32(e.GID), Major: uint32(e.DevMajor), Minor: uint32(e.DevMinor)}
	if r.Kind == 0 {
		return r, none("%q has the type %q", e.Name, e.Type)
	}
	if e.Size < 0 || e.Size > index.MaxSize || r.Kind != index.File && e.Size != 0 && r.Kind != index.Symlink && r.Kind != index.Link {
		return r, none("%q has the size %d", e.Name, e.Size)
	}
	if r.Kind != index.File {
		r.Size = 0
	}
	if e.ModTime != "" {
		at, err := time.Parse(time.RFC3339Nano, e.ModTime)
		if err != nil {
			return r, none("%q has the time %q", e.Name, e.ModTime)
		}
		r.Sec, r.Nsec = at.Unix(), uint32(at.Nanosecond())
	}
	for name, value := range e.Xattrs {
		r.Xattrs = append(r.Xattrs, index.Xattr{Name: name, Value: value})
	}
	return r, nil
}

// chunk adds the next stretch of the file at hand.
func (w *writer) chunk(e entry) error {
	n := e.ChunkSize
	if n == 0 {
		n = w.file.Size - e.ChunkOffset
	}
	switch {
	case !w.open:
		return none("a chunk of %q follows no file", e.Name)
	case e.ChunkOffset != w.done || n <= 0 || n > w.file.Size-w.done:
		return none("the chunks of %q leave gaps or overlap", w.file.Name)
	case n > MaxChunk || e.InnerOffset < 0 || e.InnerOffset > MaxChunk-n:
		return none("a chunk of %q is larger than %d bytes", w.file.Name, MaxChunk)
	case len(w.spans) >= index.MaxSpans:
		return none("it has more than %d chunks", index.MaxSpans)
	}
	s := index.Span{Out: w.data + w.done, OutLen: n}
	w.done += n
	w.pos = w.data + w.done
	if e.ChunkType == "zeros" {
		s.Flags = index.SpanZeros
		w.spans = append(w.spans, s)
		return nil
	}
	sum, err := digest.Parse(e.ChunkDigest)
	if err != nil || sum.Algorithm() != digest.SHA256 || e.ChunkType != "" {
		return none("a chunk of %q has no digest", w.file.Name)
	}
	_, _ = hex.Decode(s.Digest[:], []byte(sum.Encoded())) // parsed above
	s.DigestOf, s.In, s.Skip = index.DigestOutput, e.Offset, e.InnerOffset
	if e.Offset < 0 || e.Offset >= w.table.end {
		return none("a chunk of %q lies outside the layer", w.file.Name)
	}
	if e.EndOffset > 0 && e.Type == "reg" {
		w.file.EndOffset = e.EndOffset
	}
	w.spans = append(w.spans, s)
	return nil
}

// finish closes the file at hand.
func (w *writer) finish() error {
	if w.open && w.done != w.file.Size {
		return none("the chunks of %q cover %d of %d bytes", w.file.Name, w.done, w.file.Size)
	}
	if n := len(w.spans); w.open && n > 0 && w.file.EndOffset > w.spans[n-1].In {
		w.spans[n-1].InLen = w.file.EndOffset - w.spans[n-1].In
	}
	w.open = false
	return nil
}

// setEnds finds where the compressed range of each chunk ends: where the next one
// at another offset begins, or with the contents.
func (w *writer) setEnds() error {
	end, next := w.table.end, int64(-1)
	for i := len(w.spans) - 1; i >= 0; i-- {
		s := &w.spans[i]
		if s.Flags&index.SpanZeros != 0 {
			continue
		}
		if next >= 0 && next != s.In {
			end = next
		}
		next = s.In
		if s.InLen == 0 {
			s.InLen = end - s.In
		}
		if s.InLen <= 0 || s.InLen > MaxChunk || s.In+s.InLen > w.table.end {
			return none("the chunks are not in the order of the layer")
		}
	}
	return nil
}

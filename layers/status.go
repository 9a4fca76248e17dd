package layers

import (
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/stream"
)

// State is how far a layer has come to this machine.
type State string

// The states, in the order in which a layer takes them.
const (
	Cold     State = "cold"     // nothing is known of it
	Indexing State = "indexing" // it is being read for the first time
	Indexed  State = "indexed"  // its entries are known, none of its data is here
	Partial  State = "partial"  // some of its data is here
	Complete State = "complete" // all of its data is here
	Corrupt  State = "corrupt"  // its bytes do not hold their digests
)

// Format is how a layer's blob is made; "" while unknown.
type Format string

// The formats. The last two have a table of contents of their own.
const (
	FormatTar         Format = "tar"
	FormatGzip        Format = "gzip"
	FormatZstd        Format = "zstd"
	FormatBzip2       Format = "bzip2"
	FormatXz          Format = "xz"
	FormatEStargz     Format = "estargz"
	FormatZstdChunked Format = "zstd:chunked"
)

// Mode is how a layer's content is read.
type Mode string

// The modes.
const (
	ModeStream Mode = "stream" // from the blob's first byte on
	ModeSeek   Mode = "seek"   // from the places that a first reading found
	ModeTOC    Mode = "toc"    // by the table of contents in the layer
	ModeSOCI   Mode = "soci"   // by a ztoc
)

// Proof is how much of what is shown of a layer was compared with its digests.
type Proof string

// The proofs.
const (
	ProofNone     Proof = "none"     // nothing is shown yet
	ProofImported Proof = "imported" // spans were, the index is another machine's word
	ProofSpans    Proof = "spans"    // spans were, the index is its maker's word
	ProofLayer    Proof = "layer"    // all of the layer was
)

// Status tells about a layer. Sizes are in bytes.
type Status struct {
	Digest       digest.Digest // of the blob; "" while unknown
	DiffID       digest.Digest // of the tar; "" while unknown
	MediaType    string
	Size         int64 // of the blob, -1 if unknown
	Format       Format
	Mode         Mode
	State        State
	Fetched      int64 // of the blob, by this process
	Asked        int64 // of its files, by readers in this process
	Requests     int64 // to the source, by this process
	Present      int64 // of the uncompressed layer, in the cache
	Uncompressed int64 // length of the tar, or of what stands for it; 0 while unknown
	Spans        int
	SpansPresent int
	IndexSize    int64 // of the index on disk, 0 while there is none
	Proof        Proof
	Waiting      int64  // callers that wait for bytes now
	Error        string // of the last fetch; "" if it went well
}

// Status tells the layer's state without changing it, from the cache directory
// if this process has not used the layer yet.
func (l *Layer) Status() Status {
	st := Status{Digest: l.Digest(), DiffID: l.src.DiffID, MediaType: l.src.MediaType, Size: l.src.size(),
		State: Cold, Proof: ProofNone, Mode: ModeStream,
		Fetched: l.count.Fetched.Load(), Asked: l.count.Asked.Load(), Requests: l.count.Requests.Load(), Waiting: l.count.Waiting.Load()}
	err := l.healing(func() error {
		l.describe(&st)
		return nil
	})
	if err != nil {
		st.Error = err.Error()
	}
	if l.corrupt.Load() != nil {
		st.State = Corrupt
	}
	if err := l.err.Load(); err != nil {
		st.Error = (*err).Error()
	}
	return st
}

// describe tells what the layer's files, or those of the cache, say.
func (l *Layer) describe(st *Status) {
	if a := l.current.Load(); a != nil {
		tell(a.Files, st)
	} else if a := l.peek(st.Digest); a != nil {
		defer a.Close()
		tell(a, st)
	} else if l.opening.Running(struct{}{}) {
		st.State = Indexing
	}
}

// peek opens the layer as the cache has it, or returns nil.
func (l *Layer) peek(d digest.Digest) *cachedir.Files {
	dir, err := l.store.cache.LayerDir(d)
	if err != nil {
		return nil
	}
	a, err := l.store.cache.Look(dir)
	if err != nil {
		return nil
	}
	if serves, err := l.build.serves(dir, a.Index); !serves || err != nil {
		a.Close()
		return nil
	}
	return a
}

func tell(a *cachedir.Files, st *Status) {
	h := a.Index.Header()
	st.Digest, st.Size = h.BlobDigest, h.BlobSize
	if st.DiffID == "" {
		st.DiffID = h.DiffID
	}
	st.Format, st.Mode = formatOf(h), modeOf(h, a.Index.Spans())
	st.Uncompressed = h.SpaceSize
	tellPresent(a, st)
	if info, err := os.Stat(a.IndexPath()); err == nil {
		st.IndexSize = info.Size()
	}
	switch {
	case h.Imported:
		st.Proof = ProofImported
	case h.Source == index.Scan:
		st.Proof = ProofLayer
	default:
		st.Proof = ProofSpans
	}
}

// tellPresent tells how much of the layer is here. Where the cache cannot be written
// that counts what has not been compared with its checksums yet: it stays so.
func tellPresent(a *cachedir.Files, st *Status) {
	st.Spans = a.Data.Len()
	for i := range st.Spans {
		if a.Data.Has(i) || a.Data.IsReadOnly() && a.Data.Suspect(i) {
			st.SpansPresent++
			st.Present += a.Index.Span(i).OutLen
		}
	}
	switch st.SpansPresent {
	case st.Spans:
		st.State, st.Present = Complete, a.Index.Header().SpaceSize
	case 0:
		st.State = Indexed
	default:
		st.State = Partial
	}
}

func formatOf(h index.Header) Format {
	switch {
	case h.Source == index.EStargz || h.Source == index.ZstdChunked:
		return Format(h.Source.String())
	case h.Compression == index.Uncompressed:
		return FormatTar
	}
	return Format(h.Compression.String())
}

func modeOf(h index.Header, spans int) Mode {
	switch {
	case h.Source == index.EStargz || h.Source == index.ZstdChunked:
		return ModeTOC
	case h.Source == index.SOCI:
		return ModeSOCI
	case spans > 1 || stream.Seekable(h.Compression):
		return ModeSeek
	}
	return ModeStream
}

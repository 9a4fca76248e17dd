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

// Status tells about a layer, for people and programs. Sizes are in bytes.
type Status struct {
	Digest       digest.Digest `json:"digest"`
	DiffID       digest.Digest `json:"diffID"`
	MediaType    string        `json:"mediaType"`
	Size         int64         `json:"size"`         // of the blob, -1 if unknown
	Format       string        `json:"format"`       // gzip, zstd, tar, …; "" while unknown
	Mode         string        `json:"mode"`         // stream, seek, toc, soci: how it is read
	State        State         `json:"state"`        //
	Fetched      int64         `json:"fetched"`      // of the blob, by this process
	Asked        int64         `json:"asked"`        // of its files, by readers in this process
	Requests     int64         `json:"requests"`     // to the source, by this process
	Present      int64         `json:"present"`      // of the uncompressed layer, in the cache
	Uncompressed int64         `json:"uncompressed"` // 0 while unknown
	Spans        int           `json:"spans"`        //
	SpansPresent int           `json:"spansPresent"` //
	IndexSize    int64         `json:"indexSize"`    // of the index on disk, 0 while there is none
	Verified     string        `json:"verified"`     // none, imported, spans, layer
	Waiting      int64         `json:"waiting"`      // callers that wait for bytes now
	Error        string        `json:"error,omitempty"`
}

// Status tells the layer's state without changing it, from the cache directory
// if this process has not used the layer yet.
func (l *Layer) Status() Status {
	st := Status{Digest: l.Digest(), DiffID: l.src.DiffID, MediaType: l.src.MediaType, Size: l.src.size(),
		State: Cold, Verified: "none", Mode: "stream",
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
	a, err := cachedir.Look(dir)
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
	st.Spans, st.SpansPresent = a.Data.Len(), a.Data.Present()
	switch {
	case a.Data.Complete():
		st.State, st.Present = Complete, h.SpaceSize
	case st.SpansPresent == 0:
		st.State = Indexed
	default:
		st.State = Partial
		for i := range st.Spans {
			if a.Data.Has(i) {
				st.Present += a.Index.Span(i).OutLen
			}
		}
	}
	if info, err := os.Stat(a.IndexPath()); err == nil {
		st.IndexSize = info.Size()
	}
	switch {
	case h.Imported:
		st.Verified = "imported"
	case h.Source == index.Scan:
		st.Verified = "layer"
	default:
		st.Verified = "spans"
	}
}

func formatOf(h index.Header) string {
	switch {
	case h.Source == index.EStargz || h.Source == index.ZstdChunked:
		return h.Source.String()
	case h.Compression == index.Uncompressed:
		return "tar"
	}
	return h.Compression.String()
}

func modeOf(h index.Header, spans int) string {
	switch {
	case h.Source == index.EStargz || h.Source == index.ZstdChunked:
		return "toc"
	case h.Source == index.SOCI:
		return "soci"
	case spans > 1 || stream.Seekable(h.Compression):
		return "seek"
	}
	return "stream"
}

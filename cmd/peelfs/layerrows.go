package main

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/layers"
)

// layerRow has the keys of a layer's status. Sizes are in bytes.
type layerRow struct {
	Digest       digest.Digest `json:"digest"`
	DiffID       digest.Digest `json:"diffID"`
	MediaType    string        `json:"mediaType"`
	Size         int64         `json:"size"`
	Format       layers.Format `json:"format"`
	Mode         layers.Mode   `json:"mode"`
	State        layers.State  `json:"state"`
	Fetched      int64         `json:"fetched"`
	Asked        int64         `json:"asked"`
	Requests     int64         `json:"requests"`
	Present      int64         `json:"present"`
	Uncompressed int64         `json:"uncompressed"`
	Spans        int           `json:"spans"`
	SpansPresent int           `json:"spansPresent"`
	IndexSize    int64         `json:"indexSize"`
	Proof        layers.Proof  `json:"verified"`
	Waiting      int64         `json:"waiting"`
	Error        string        `json:"error,omitempty"`
}

// cachedRow has the keys of a layer in `peelfs cache ls`. Sizes are in bytes.
type cachedRow struct {
	Digest digest.Digest `json:"digest"`
	State  layers.State  `json:"state"`
	Format layers.Format `json:"format"`
	Index  int64         `json:"index"`
	Data   int64         `json:"data"`
	Used   time.Time     `json:"used"`
	InUse  bool          `json:"inUse"`
	Pinned bool          `json:"pinned"`
}

func cachedRowOf(c layers.Cached) cachedRow {
	return cachedRow{Digest: c.Digest, State: c.Status.State, Format: c.Status.Format, Index: c.Index, Data: c.Data,
		Used: c.Used, InUse: c.InUse, Pinned: c.Pinned}
}

// prunedRow has the keys of `peelfs cache prune`.
type prunedRow struct {
	Layers []digest.Digest `json:"layers"`
	Bytes  int64           `json:"bytes"`
	InUse  int             `json:"inUse"`
}

// problemRow has the keys of a problem that `peelfs cache verify` found.
type problemRow struct {
	Digest digest.Digest `json:"digest"`
	Spans  []int         `json:"spans"`
	Detail string        `json:"problem"`
}

package tagstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
)

// formatVersion is of the files. A store with newer files is refused record by
// record, and never rewritten.
const formatVersion = 1

// maxRecord is the longest file that is read, in bytes.
const maxRecord = 1 << 20

// maxHistory is how many earlier digests a name remembers.
const maxHistory = 32

// Record is what the store knows about one name.
type Record struct {
	Name     string        `json:"name"`             // canonical: docker.io/library/debian:bookworm
	Digest   digest.Digest `json:"digest,omitempty"` // of what the name names, an index or a manifest; "" if only an old image id is known
	Source   string        `json:"source"`           // the registry's host, or the transport and path
	Resolved time.Time     `json:"resolved"`         // when the source last said so
	Origin   string        `json:"origin,omitempty"` // of a name given by Tag: the name under which its source has it
	Images   []Image       `json:"images,omitempty"` // one for each platform that was asked for, sorted by platform
	History  []Past        `json:"history,omitempty"`
}

// Image is what a name means on one platform.
type Image struct {
	Platform string        `json:"platform"`
	Manifest digest.Digest `json:"manifest,omitempty"`
	Config   digest.Digest `json:"config,omitempty"`
	OldID    string        `json:"oldID,omitempty"` // id of an image from before digests, 64 or 16 hex characters
	Size     int64         `json:"size"`            // sum of the compressed layers, bytes; 0 if unknown
	// Layers are the blobs of the layers, base first; "" where the digest was
	// not known before the layer is read.
	Layers   []digest.Digest `json:"layers,omitempty"`
	Aliases  []string        `json:"aliases,omitempty"` // names in the layer cache of those layers
	Resolved time.Time       `json:"resolved"`          // when this platform was first seen at this digest
}

// Past is a digest that a name had before, newest first in a Record.
type Past struct {
	Digest   digest.Digest `json:"digest"`
	Resolved time.Time     `json:"resolved"` // when the name last had it
	Replaced time.Time     `json:"replaced"` // when another one was seen
}

// ID is what people call the image by: the manifest's digest in hex; where no
// registry was asked yet, the configuration's, or the id that the image had
// before there were digests.
func (i Image) ID() string {
	switch {
	case i.Manifest != "":
		return i.Manifest.Encoded()
	case i.Config != "":
		return i.Config.Encoded()
	}
	return i.OldID
}

// Digests are all blobs that the record needs, its layers included.
func (r Record) Digests() (all []digest.Digest) {
	add := func(d digest.Digest) {
		if d != "" && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	add(r.Digest)
	for _, i := range r.Images {
		add(i.Manifest)
		add(i.Config)
		for _, l := range i.Layers {
			add(l)
		}
	}
	return all
}

// Found is what resolving a name brought.
type Found struct {
	Digest digest.Digest // of what the name names
	Source string
	Image  Image // Resolved is set by the store
}

// Change says what an update did to a name.
type Change struct {
	New bool          // the name was not known
	Was digest.Digest // the digest before, if it was another one; else ""
}

// apply moves r to what was found. confirmed says that the source was asked now,
// which is what makes a digest the name's current one.
func (r *Record) apply(f Found, now time.Time, confirmed bool) (c Change) {
	c.New = r.Digest == "" && len(r.Images) == 0
	if r.Digest != f.Digest {
		c.Was = r.Digest
		r.push(Past{r.Digest, r.Resolved, now})
		r.Digest, r.Images = f.Digest, nil
	}
	if confirmed {
		r.Resolved = now
	}
	r.Source, r.Origin = f.Source, ""
	r.setImage(f.Image, now)
	return c
}

func (r *Record) push(p Past) {
	if p.Digest == "" {
		return
	}
	r.History = slices.Insert(r.History, 0, p)
	r.History = r.History[:min(len(r.History), maxHistory)]
}

// setImage keeps one image for each platform. A platform seen at this digest
// before keeps its date.
func (r *Record) setImage(i Image, now time.Time) {
	at, seen := slices.BinarySearchFunc(r.Images, i.Platform, func(have Image, want string) int {
		return strings.Compare(have.Platform, want)
	})
	i.Resolved = now
	if !seen {
		r.Images = slices.Insert(r.Images, at, i)
		return
	}
	if have := r.Images[at]; have.ID() == i.ID() {
		i.Resolved = have.Resolved
		if i.Size == 0 {
			i.Size = have.Size // old manifests have none: it was asked once
		}
	}
	r.Images[at] = i
}

// envelope is what a file holds: the record's bytes under their checksum.
type envelope struct {
	Version int             `json:"version"`
	Sum     string          `json:"sum"` // sha256 of the record's bytes, hex
	Record  json.RawMessage `json:"record"`
}

func encode(r Record) ([]byte, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(envelope{formatVersion, checksum(raw), raw})
	return append(out, '\n'), err
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// decode reads a file that encode made. Whatever else it is given, it answers
// with a record that passes check, or an error of kind Corrupt or Unsupported.
func decode(data []byte) (Record, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return Record{}, errkind.New(errkind.Corrupt, "record is damaged: %w", err)
	}
	if e.Version > formatVersion {
		return Record{}, errkind.WithHint(
			errkind.New(errkind.Unsupported, "record has format %d, this program knows %d", e.Version, formatVersion),
			"use the newer peelfs that wrote it, or another --cache-dir")
	}
	if e.Version < 1 || e.Sum != checksum(e.Record) {
		return Record{}, errkind.New(errkind.Corrupt, "record is damaged: checksum does not match")
	}
	var r Record
	if err := json.NewDecoder(bytes.NewReader(e.Record)).Decode(&r); err != nil {
		return Record{}, errkind.New(errkind.Corrupt, "record is damaged: %w", err)
	}
	return r, r.check()
}

// check holds what every reader of a record relies on.
func (r Record) check() error {
	if r.Name == "" || len(r.Name) > maxName {
		return errkind.New(errkind.Corrupt, "record has no usable name")
	}
	digests := r.Digests()
	for _, p := range r.History {
		digests = append(digests, p.Digest)
	}
	for _, d := range digests {
		if err := d.Validate(); err != nil {
			return errkind.New(errkind.Corrupt, "record of %s: digest %q: %w", r.Name, d, err)
		}
	}
	for _, i := range r.Images {
		if i.OldID != "" && !isOldID(i.OldID) {
			return errkind.New(errkind.Corrupt, "record of %s: image id %q", r.Name, i.OldID)
		}
	}
	return nil
}

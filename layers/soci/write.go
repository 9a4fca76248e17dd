package soci

import (
	"archive/tar"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/opencontainers/go-digest"
)

// builder writes a ztoc while the layer is read. A flatbuffer is written from its
// leaves to its root.
type builder struct {
	b           *flatbuffers.Builder
	files       []flatbuffers.UOffsetT
	digests     []digest.Digest
	checkpoints []byte
}

// field is the number of a table's field whose slot is given.
func field(slot flatbuffers.VOffsetT) int { return int(slot-4) / 2 }

// addEntry writes one entry, whose content begins at byte pos of the tar.
func (b *builder) addEntry(hdr *tar.Header, pos int64) {
	f := b.b
	xattrs := b.addRecords(hdr.PAXRecords)
	strings := []struct {
		slot flatbuffers.VOffsetT
		text string
	}{
		{fileName, hdr.Name}, {fileType, typeNames[hdr.Typeflag]}, {fileLinkname, hdr.Linkname},
		{fileUname, hdr.Uname}, {fileGname, hdr.Gname}, {fileModTime, hdr.ModTime.Format(time.RFC3339Nano)},
	}
	at := make([]flatbuffers.UOffsetT, len(strings))
	for i, s := range strings {
		at[i] = f.CreateString(s.text)
	}
	f.StartObject(field(fileXattrs) + 1)
	for i, s := range strings {
		f.PrependUOffsetTSlot(field(s.slot), at[i], 0)
	}
	f.PrependInt64Slot(field(fileOffset), pos, 0)
	f.PrependInt64Slot(field(fileSize), hdr.Size, 0)
	f.PrependInt64Slot(field(fileMode), hdr.Mode, 0)
	f.PrependUint32Slot(field(fileUID), uint32(hdr.Uid), 0)
	f.PrependUint32Slot(field(fileGID), uint32(hdr.Gid), 0)
	f.PrependInt64Slot(field(fileDevMajor), hdr.Devmajor, 0)
	f.PrependInt64Slot(field(fileDevMinor), hdr.Devminor, 0)
	f.PrependUOffsetTSlot(field(fileXattrs), xattrs, 0)
	b.files = append(b.files, f.EndObject())
}

// addRecords writes the PAX records of an entry, extended attributes among them.
func (b *builder) addRecords(records map[string]string) flatbuffers.UOffsetT {
	f := b.b
	var at []flatbuffers.UOffsetT
	for _, key := range slices.Sorted(maps.Keys(records)) {
		k, v := f.CreateString(key), f.CreateString(records[key])
		f.StartObject(2)
		f.PrependUOffsetTSlot(field(xattrKey), k, 0)
		f.PrependUOffsetTSlot(field(xattrValue), v, 0)
		at = append(at, f.EndObject())
	}
	return b.vector(at)
}

func (b *builder) vector(items []flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	b.b.StartVector(flatbuffers.SizeUOffsetT, len(items), flatbuffers.SizeUOffsetT)
	for _, at := range slices.Backward(items) {
		b.b.PrependUOffsetT(at)
	}
	return b.b.EndVector(len(items))
}

// finish writes the rest and returns the ztoc.
func (b *builder) finish(tool string, spanSize, blobSize, tarSize int64) []byte {
	f := b.b
	files := b.vector(b.files)
	f.StartObject(1)
	f.PrependUOffsetTSlot(field(tocMetadata), files, 0)
	toc := f.EndObject()

	zinfo := make([]byte, zinfoHeader, zinfoHeader+len(b.checkpoints))
	binary.LittleEndian.PutUint32(zinfo, uint32(len(b.digests)))
	binary.LittleEndian.PutUint64(zinfo[4:], uint64(spanSize))
	checkpoints := f.CreateByteVector(append(zinfo, b.checkpoints...))
	var sums []flatbuffers.UOffsetT
	for _, d := range b.digests {
		sums = append(sums, f.CreateString(d.String()))
	}
	digests := b.vector(sums)
	f.StartObject(field(infoCheckpoints) + 1)
	f.PrependInt8Slot(field(infoAlgorithm), int8(algGzip), int8(algGzip))
	f.PrependInt32Slot(field(infoMaxSpan), int32(len(b.digests)-1), 0)
	f.PrependUOffsetTSlot(field(infoDigests), digests, 0)
	f.PrependUOffsetTSlot(field(infoCheckpoints), checkpoints, 0)
	info := f.EndObject()

	v, by := f.CreateString(version), f.CreateString(tool)
	f.StartObject(field(ztocCompressionInfo) + 1)
	f.PrependUOffsetTSlot(field(ztocVersion), v, 0)
	f.PrependUOffsetTSlot(field(ztocBuildTool), by, 0)
	f.PrependInt64Slot(field(ztocCompressedSize), blobSize, 0)
	f.PrependInt64Slot(field(ztocUncompressedSize), tarSize, 0)
	f.PrependUOffsetTSlot(field(ztocTOC), toc, 0)
	f.PrependUOffsetTSlot(field(ztocCompressionInfo), info, 0)
	f.Finish(f.EndObject())
	return f.FinishedBytes()
}

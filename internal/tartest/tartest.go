// Package tartest writes tars in prose, for tests:
//
//	tartest.Of(tartest.Dir("d/"), tartest.File("d/f", "x", tartest.Mode(0o600)))
//
// It panics where a test could only fail.
package tartest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"path"
	"time"
)

// MTime0 is the modification time of entries that are given none.
const MTime0 = 1_000_000_000

// Entry is one entry of a tar to be.
type Entry struct {
	hdr  tar.Header
	body string
	raw  []byte // instead of all else
}

// Option changes an entry.
type Option func(*tar.Header)

// Mode sets permission, set-id and sticky bits.
func Mode(m int64) Option { return func(h *tar.Header) { h.Mode = m } }

// Owner sets the numeric owner and group.
func Owner(uid, gid int) Option { return func(h *tar.Header) { h.Uid, h.Gid = uid, gid } }

// MTime sets the modification time.
func MTime(sec, nsec int64) Option {
	return func(h *tar.Header) { h.ModTime = time.Unix(sec, nsec) }
}

// Xattr adds an extended attribute; the value may be any bytes.
func Xattr(name, value string) Option {
	return func(h *tar.Header) {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = value
	}
}

// Dir is a directory.
func Dir(name string, opt ...Option) Entry { return entry(tar.TypeDir, name, 0o755, opt) }

// File is a regular file.
func File(name, content string, opt ...Option) Entry {
	e := entry(tar.TypeReg, name, 0o644, opt)
	e.body, e.hdr.Size = content, int64(len(content))
	return e
}

// Link is a hard link to the path target.
func Link(name, target string, opt ...Option) Entry {
	e := entry(tar.TypeLink, name, 0o644, opt)
	e.hdr.Linkname = target
	return e
}

// Symlink is a symbolic link with the text target.
func Symlink(name, target string, opt ...Option) Entry {
	e := entry(tar.TypeSymlink, name, 0o777, opt)
	e.hdr.Linkname = target
	return e
}

// Char is a character device.
func Char(name string, major, minor int64, opt ...Option) Entry {
	return device(tar.TypeChar, name, major, minor, opt)
}

// Block is a block device.
func Block(name string, major, minor int64, opt ...Option) Entry {
	return device(tar.TypeBlock, name, major, minor, opt)
}

// Fifo is a named pipe.
func Fifo(name string, opt ...Option) Entry { return entry(tar.TypeFifo, name, 0o644, opt) }

// Whiteout is the marker that hides name of lower layers.
func Whiteout(name string, opt ...Option) Entry {
	dir, base := path.Split(name)
	return File(dir+".wh."+base, "", opt...)
}

// Opaque is the marker that hides all that lower layers have in dir; "" is the root.
func Opaque(dir string, opt ...Option) Entry {
	return File(path.Join(dir, ".wh..wh..opq"), "", opt...)
}

// Global is a PAX global header.
func Global(records map[string]string) Entry {
	return Entry{hdr: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: records}}
}

// Raw is bytes put into the tar as they are, at a multiple of 512.
func Raw(b []byte) Entry { return Entry{raw: b} }

func entry(kind byte, name string, mode int64, opt []Option) Entry {
	e := Entry{hdr: tar.Header{Typeflag: kind, Name: name, Mode: mode, ModTime: time.Unix(MTime0, 0)}}
	for _, o := range opt {
		o(&e.hdr)
	}
	return e
}

func device(kind byte, name string, major, minor int64, opt []Option) Entry {
	e := entry(kind, name, 0o600, opt)
	e.hdr.Devmajor, e.hdr.Devminor = major, minor
	return e
}

// Of is the tar of the entries, with its end-of-archive blocks.
func Of(entries ...Entry) []byte {
	return append(Unterminated(entries...), make([]byte, 1024)...)
}

// Unterminated is the tar of the entries without end-of-archive blocks.
func Unterminated(entries ...Entry) []byte {
	var out bytes.Buffer
	for _, e := range entries {
		if e.raw != nil {
			out.Write(e.raw)
			continue
		}
		w := tar.NewWriter(&out)
		if e.hdr.Typeflag != tar.TypeXGlobalHeader {
			e.hdr.Format = tar.FormatPAX
		}
		must(w.WriteHeader(&e.hdr))
		_, err := io.WriteString(w, e.body)
		must(err)
		must(w.Flush())
	}
	return out.Bytes()
}

// Gzip is data as one gzip member.
func Gzip(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	must(err)
	must(w.Close())
	return out.Bytes()
}

// GzipMembers is data as gzip members of n bytes each.
func GzipMembers(data []byte, n int) []byte {
	var out []byte
	for len(data) > n {
		out = append(out, Gzip(data[:n])...)
		data = data[n:]
	}
	return append(out, Gzip(data)...)
}

func must(err error) {
	if err != nil {
		panic("tartest: " + err.Error())
	}
}

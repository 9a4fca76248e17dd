// Package treedump prints a directory tree so that two file systems can be
// compared line by line: each object is one JSON object, in depth-first order
// with names sorted by their bytes, and each says all that a reader could see.
//
// It is for tests. The format is that of testdata/fixture/tree.jsonl: keys
// sorted, ASCII only, bytes that are not UTF-8 as lone low surrogates.
package treedump

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Options leave out what two file systems need not agree on.
type Options struct {
	NoMtime, NoContent, NoNlink, NoRoot bool
}

// Dump prints dir and all below it to w. It stops at the first object that
// cannot be read whole.
func Dump(dir string, w io.Writer, opt Options) error {
	out := bufio.NewWriter(w)
	d := dumper{out: out, opt: opt}
	if err := d.walk(dir, "."); err != nil {
		return err
	}
	return out.Flush()
}

type dumper struct {
	out *bufio.Writer
	opt Options
}

func (d *dumper) walk(path, rel string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("lstat %s: %w", rel, err)
	}
	if rel != "." || !d.opt.NoRoot {
		o, err := d.describe(path, rel, &st)
		if err != nil {
			return err
		}
		d.out.WriteString(o.String())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	names, err := namesOf(path)
	if err != nil {
		return fmt.Errorf("list %s: %w", rel, err)
	}
	for _, name := range names {
		child := name
		if rel != "." {
			child = rel + "/" + name
		}
		if err := d.walk(path+"/"+name, child); err != nil {
			return err
		}
	}
	return nil
}

func namesOf(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	sort.Strings(names)
	return names, err
}

var kinds = map[uint32]string{
	unix.S_IFDIR: "dir", unix.S_IFREG: "file", unix.S_IFLNK: "symlink", unix.S_IFCHR: "char",
	unix.S_IFBLK: "block", unix.S_IFIFO: "fifo", unix.S_IFSOCK: "socket",
}

func (d *dumper) describe(path, rel string, st *unix.Stat_t) (object, error) {
	kind := kinds[st.Mode&unix.S_IFMT]
	o := object{
		"path": quote(rel), "type": quote(kind), "mode": quote(fmt.Sprintf("%04o", st.Mode&07777)),
		"uid": fmt.Sprint(st.Uid), "gid": fmt.Sprint(st.Gid),
	}
	if !d.opt.NoMtime {
		o["mtime"] = fmt.Sprint(st.Mtim.Sec)
	}
	switch kind {
	case "file":
		return o, d.describeFile(o, path, rel, st)
	case "symlink":
		target, err := os.Readlink(path)
		if err != nil {
			return nil, err
		}
		o["size"], o["target"] = fmt.Sprint(st.Size), quote(target)
	case "char", "block":
		o["rdev"] = quote(fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	}
	return o, addXattrs(o, path)
}

func (d *dumper) describeFile(o object, path, rel string, st *unix.Stat_t) error {
	o["size"] = fmt.Sprint(st.Size)
	if !d.opt.NoNlink {
		o["nlink"] = fmt.Sprint(st.Nlink)
	}
	if !d.opt.NoContent {
		sum, err := sumOf(path)
		if err != nil {
			return fmt.Errorf("read %s: %w", rel, err)
		}
		o["sha256"] = quote(sum)
	}
	return addXattrs(o, path)
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hidden are attributes that a file system adds by itself.
var hidden = []string{"user.peelfs.", "trusted.overlay.", "user.overlay.", "security.selinux"}

func addXattrs(o object, path string) error {
	list := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		return fmt.Errorf("list xattrs of %s: %w", filepath.Base(path), err)
	}
	values := object{}
	for _, name := range strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 }) {
		if isHidden(name) {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return fmt.Errorf("xattr %s of %s: %w", name, filepath.Base(path), err)
		}
		values[name] = quote(hex.EncodeToString(value[:n]))
	}
	if len(values) > 0 {
		o["xattrs"] = strings.TrimSuffix(values.String(), "\n")
	}
	return nil
}

func isHidden(name string) bool {
	for _, h := range hidden {
		if strings.HasPrefix(name, h) {
			return true
		}
	}
	return false
}

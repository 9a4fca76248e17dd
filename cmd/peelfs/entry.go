package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/view"
)

// entry has the keys that every command has for an object of an image. Names are
// bytes; where they are not text, a second key has them in base64.
type entry struct {
	Path       string `json:"path"`
	PathBytes  string `json:"pathBase64,omitempty"`
	Type       string `json:"type"`
	Mode       string `json:"mode"` // octal, set-id bits included
	UID        uint32 `json:"uid"`
	GID        uint32 `json:"gid"`
	Size       int64  `json:"size"`
	MTime      string `json:"mtime"`
	Target     string `json:"target,omitempty"`
	TargetText string `json:"targetBase64,omitempty"`
	Links      uint32 `json:"links"`
	Layer      int    `json:"layer"` // 0 is the base; -1 if none has it
	Major      uint32 `json:"major,omitempty"`
	Minor      uint32 `json:"minor,omitempty"`
}

func entryOf(ctx context.Context, v *view.View, e query.Entry) (entry, error) {
	a := e.Attr
	out := entry{
		Type: a.Kind.String(), Mode: fmt.Sprintf("%04o", a.Mode), UID: a.UID, GID: a.GID, Size: a.Size,
		MTime: timestamp(a), Links: a.Nlink, Layer: v.LayerOf(a.Ino), Major: a.Major, Minor: a.Minor,
	}
	out.Path, out.PathBytes = text(e.Path())
	if a.Kind != index.Symlink {
		return out, nil
	}
	target, err := v.Readlink(ctx, a.Ino)
	out.Target, out.TargetText = text(string(target))
	return out, err
}

// paint colours what the entry is, as ls does.
func paint(out *output.Screen, e query.Entry, shown string) string {
	var colour output.Colour
	switch a := e.Attr; {
	case a.Kind == index.Dir:
		colour = output.Blue
	case a.Kind == index.Symlink:
		colour = output.Cyan
	case a.Kind == index.File && a.Mode&0o6000 != 0:
		colour = output.WhiteOnRed
	case a.Kind == index.File && a.Mode&0o111 != 0:
		colour = output.Green
	case a.Kind != index.File:
		colour = output.Yellow
	}
	return out.Paint(colour, shown)
}

// sizes is how numbers of bytes are written: for people or exactly.
func sizes(human bool) func(int64) string {
	if human {
		return progress.Size
	}
	return func(n int64) string { return strconv.FormatInt(n, 10) }
}

// text is s for JSON, and in base64 if JSON cannot hold it.
func text(s string) (readable, exact string) {
	if utf8.ValidString(s) {
		return s, ""
	}
	return s, base64.StdEncoding.EncodeToString([]byte(s))
}

// timestamp is a modification time in full. Images may have any year.
func timestamp(a view.Attr) string {
	return time.Unix(a.Sec, int64(a.Nsec)).UTC().Format(time.RFC3339Nano)
}

// amount is the size, or the device number.
func amount(a view.Attr, size func(int64) string) string {
	if a.Kind == index.Char || a.Kind == index.Block {
		return fmt.Sprintf("%d,%d", a.Major, a.Minor)
	}
	return size(a.Size)
}

// permissions are the ten characters of ls -l.
func permissions(a view.Attr) string {
	kind := map[index.Kind]byte{index.Dir: 'd', index.Symlink: 'l', index.Char: 'c', index.Block: 'b', index.Fifo: 'p'}[a.Kind]
	if kind == 0 {
		kind = '-'
	}
	out := []byte{kind}
	for i := range 9 {
		c := byte('-')
		if a.Mode&(1<<(8-i)) != 0 {
			c = "rwx"[i%3]
		}
		out = append(out, c)
	}
	special := func(bit uint32, at int, set, unset byte) {
		if a.Mode&bit == 0 {
			return
		}
		if out[at] == '-' {
			out[at] = unset
		} else {
			out[at] = set
		}
	}
	special(0o4000, 3, 's', 'S')
	special(0o2000, 6, 's', 'S')
	special(0o1000, 9, 't', 'T')
	return string(out)
}

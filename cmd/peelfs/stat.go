package main

import (
	"github.com/peelfs/peelfs/cmd/peelfs/output"

	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
	"github.com/peelfs/peelfs/layers/view"
)

// fullEntry has the keys of `peelfs stat --format json`.
type fullEntry struct {
	entry
	Inode       uint64            `json:"inode"`
	LayerDigest string            `json:"layerDigest,omitempty"`
	CreatedBy   string            `json:"createdBy,omitempty"`
	Xattrs      map[string]string `json:"xattrs,omitempty"` // values in hexadecimal
}

func statCommand(a *app) *cobra.Command {
	var f sessionFlags
	follow := false
	cmd := &cobra.Command{
		Use:   "stat [flags] REF:PATH...",
		Short: "Print all that is known of a file of an image, and its layer",
		Example: `  peelfs stat debian:bookworm:/usr/bin/passwd
  peelfs stat -L --format json debian:bookworm:/bin/sh`,
		Args: takes(1, -1),
		RunE: inSession(a, &f, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			return stat(ctx, c, s, args, follow)
		}),
	}
	cmd.Flags().BoolVarP(&follow, "dereference", "L", false, "follow symbolic links")
	formatFlag(a.console, cmd.Flags())
	lookFlags(cmd, &f)
	cmd.ValidArgsFunction = completeRefs(a, &f)
	return cmd
}

func stat(ctx context.Context, c *output.Console, s *session, args []string, follow bool) error {
	inJSON, err := c.AsJSON()
	if err != nil {
		return err
	}
	out := c.Screen()
	list := out.List()
	look, shown := newLooker(s), 0
	err = eachOf(ctx, c, args, func(arg string) error {
		defer out.Flush()
		st, e, err := look.at(ctx, arg, follow)
		if err != nil {
			return err
		}
		full, err := st.fullEntry(ctx, e)
		if err != nil {
			return err
		}
		if inJSON {
			return list.Add(full)
		}
		if shown++; shown > 1 {
			out.WriteString("\n")
		}
		return printStat(out, e, full)
	})
	if inJSON && (err == nil || list.Len() > 0) {
		err = errors.Join(err, list.Close())
	}
	return errors.Join(err, out.Flush())
}

// fullEntry asks all that there is to know.
func (st *stack) fullEntry(ctx context.Context, e query.Entry) (fullEntry, error) {
	base, err := entryOf(ctx, st.view, e)
	out := fullEntry{entry: base, Inode: uint64(e.Attr.Ino), LayerDigest: st.layerDigest(base.Layer), CreatedBy: st.createdBy(base.Layer)}
	if err != nil {
		return out, err
	}
	names, err := st.view.XattrNames(ctx, e.Attr.Ino)
	if err != nil {
		return out, err
	}
	for _, name := range names {
		value, _, err := st.view.Xattr(ctx, e.Attr.Ino, name)
		if err != nil {
			return out, err
		}
		if out.Xattrs == nil {
			out.Xattrs = map[string]string{}
		}
		out.Xattrs[name] = hex.EncodeToString(value)
	}
	return out, nil
}

func printStat(out *output.Screen, e query.Entry, f fullEntry) error {
	line := func(key, value string) { fmt.Fprintf(out, "%-9s %s\n", key, value) }
	path := paint(out, e, out.Name(f.Path))
	if f.Type == index.Symlink.String() {
		path += " -> " + out.Name(f.Target)
	}
	line("path", path)
	line("type", f.Type)
	line("mode", f.Mode+" "+permissions(e.Attr))
	line("owner", fmt.Sprintf("%d:%d", f.UID, f.GID))
	switch e.Attr.Kind {
	case index.File:
		line("size", sizeInFull(f.Size))
		line("links", fmt.Sprint(f.Links))
	case index.Char, index.Block:
		line("device", amount(e.Attr, nil))
	}
	line("modified", f.MTime)
	line("inode", fmt.Sprint(f.Inode))
	if f.Layer >= 0 {
		line("layer", fmt.Sprintf("%d %s", f.Layer, f.LayerDigest))
	}
	if f.CreatedBy != "" {
		line("made by", output.Printable(strings.Join(strings.Fields(f.CreatedBy), " ")))
	}
	for _, name := range sortedKeys(f.Xattrs) {
		line("xattr", output.Printable(name)+" 0x"+f.Xattrs[name])
	}
	return nil
}

// sizeInFull is a size exactly, and as people read it.
func sizeInFull(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d", n)
	}
	return fmt.Sprintf("%d (%s)", n, sizes(true)(n))
}

// day is a modification time as ls shows it.
func day(a view.Attr) string { return time.Unix(a.Sec, 0).UTC().Format("2006-01-02 15:04") }

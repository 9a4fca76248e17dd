package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

type lsFlags struct{ long, all, recursive, directory bool }

func (a *app) lsCommand() *cobra.Command {
	var f lsFlags
	cmd := &cobra.Command{
		Use:   "ls [flags] REF[:PATH]...",
		Short: "List a directory of an image",
		Long: `List a directory of an image without a mount. Layers are fetched as far as
the listing needs them. PATH begins with a slash; without one the root is listed.`,
		Example: `  peelfs ls debian:bookworm:/etc
  peelfs ls -l --format json oci:./layout:1:/usr/bin`,
		Args: wrong(cobra.MinimumNArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error { return s.ls(ctx, args, f) }),
	}
	cmd.Flags().BoolVarP(&f.long, "long", "l", false, "mode, owner, size and time too")
	cmd.Flags().BoolVarP(&f.all, "all", "a", false, "names that begin with a dot too")
	cmd.Flags().BoolVarP(&f.recursive, "recursive", "R", false, "directories below too, as paths")
	cmd.Flags().BoolVarP(&f.directory, "directory", "d", false, "a directory itself, not what is in it")
	a.formatFlag(cmd.Flags())
	a.registryFlags(cmd.Flags())
	a.storeFlags(cmd.Flags())
	return cmd
}

// lsEntry has the keys of `peelfs ls --format json`.
type lsEntry struct {
	Path   string    `json:"path"`
	Type   string    `json:"type"`
	Mode   string    `json:"mode"` // octal, set-id bits included
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Size   int64     `json:"size"`
	MTime  time.Time `json:"mtime"`
	Target string    `json:"target,omitempty"`
	Layer  int       `json:"layer"` // 0 is the base; -1 if none has it
	Major  uint32    `json:"major,omitempty"`
	Minor  uint32    `json:"minor,omitempty"`

	attr view.Attr
	name string // what a table shows
}

func (s *session) ls(ctx context.Context, args []string, f lsFlags) error {
	inJSON, err := s.app.asJSON()
	if err != nil {
		return err
	}
	all := []lsEntry{}
	err = s.app.eachOf(ctx, args, func(arg string) error {
		ref, path, ok := splitRefPath(arg)
		if !ok {
			path = "/"
		}
		st, err := s.openView(ctx, ref)
		if err != nil {
			return err
		}
		entries, err := list(ctx, st.view, path, f)
		if err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
		if inJSON {
			all = append(all, entries...)
			return nil
		}
		if len(args) > 1 {
			fmt.Fprintf(s.app.out, "%s:\n", arg)
		}
		return s.app.printEntries(entries, f)
	})
	if inJSON && (err == nil || len(all) > 0) {
		return errors.Join(err, writeJSON(s.app.out, all))
	}
	return err
}

// list collects what ls shows of a path. A symbolic link is followed unless its
// own properties are asked for, as ls(1) does.
func list(ctx context.Context, v *view.View, at string, f lsFlags) ([]lsEntry, error) {
	attr, err := v.Resolve(ctx, at, !f.long && !f.directory || strings.HasSuffix(at, "/"))
	if err != nil {
		return nil, err
	}
	clean := path.Clean("/" + at)
	if attr.Kind != index.Dir || f.directory {
		e, err := entryOf(ctx, v, clean, attr)
		e.name = at
		return []lsEntry{e}, err
	}
	l := lister{view: v, flags: f, root: clean}
	err = l.dir(ctx, clean, attr.Ino)
	return l.found, err
}

// lister walks down from a directory.
type lister struct {
	view  *view.View
	flags lsFlags
	root  string
	found []lsEntry
}

func (l *lister) dir(ctx context.Context, at string, ino view.Ino) error {
	dir, err := l.view.ReadDir(ctx, ino)
	if err != nil {
		return err
	}
	for i := range dir.Len() {
		name, _, kind := dir.Entry(i)
		if name[0] == '.' && !l.flags.all {
			continue
		}
		p := path.Join(at, string(name))
		e, err := entryOf(ctx, l.view, p, dir.Attr(i))
		if err != nil {
			return err
		}
		if l.flags.recursive {
			e.name = strings.TrimPrefix(strings.TrimPrefix(p, l.root), "/")
		}
		l.found = append(l.found, e)
		if kind != index.Dir || !l.flags.recursive {
			continue
		}
		if err := l.dir(ctx, p, dir.Attr(i).Ino); err != nil {
			return err
		}
	}
	return nil
}

func entryOf(ctx context.Context, v *view.View, p string, attr view.Attr) (lsEntry, error) {
	e := lsEntry{
		Path: p, Type: attr.Kind.String(), Mode: fmt.Sprintf("%04o", attr.Mode), UID: attr.UID, GID: attr.GID,
		Size: attr.Size, MTime: time.Unix(attr.Sec, int64(attr.Nsec)).UTC(), Layer: v.LayerOf(attr.Ino),
		Major: attr.Major, Minor: attr.Minor, attr: attr, name: path.Base(p),
	}
	if attr.Kind == index.Symlink {
		target, err := v.Readlink(ctx, attr.Ino)
		if err != nil {
			return e, err
		}
		e.Target = string(target)
	}
	return e, nil
}

// printEntries writes names one to a line, or what ls -l has.
func (a *app) printEntries(entries []lsEntry, f lsFlags) error {
	w := bufio.NewWriter(a.out)
	name := func(s string) string { return s }
	if isTerminal(a.out) {
		name = printable
	}
	if !f.long {
		for _, e := range entries {
			fmt.Fprintln(w, name(e.name))
		}
		return w.Flush()
	}
	size := 0
	for _, e := range entries {
		size = max(size, len(e.amount()))
	}
	for _, e := range entries {
		fmt.Fprintf(w, "%s %5d %5d %*s %s %s", permissions(e.attr), e.UID, e.GID, size, e.amount(), e.MTime.Format("2006-01-02 15:04"), name(e.name))
		if e.Target != "" {
			fmt.Fprintf(w, " -> %s", name(e.Target))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// amount is the size, or the device number.
func (e lsEntry) amount() string {
	if e.attr.Kind == index.Char || e.attr.Kind == index.Block {
		return fmt.Sprintf("%d,%d", e.Major, e.Minor)
	}
	return fmt.Sprint(e.Size)
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

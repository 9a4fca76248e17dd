package view

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
)

// maxLinks is how many symbolic links a path may lead through, as in Linux.
const maxLinks = 40

// maxPath is how long a path with its leading slash can be, in bytes: layers have
// none that are longer.
const maxPath = index.MaxPath + 1

func tooLong(path string) error {
	return errkind.New(errkind.Invalid, "%.40s...: a path of %d bytes: no image has one of more than %d", path, len(path), maxPath)
}

// walker goes through directories as a process in a chroot does. Of symbolic
// links it reads the text of the image, whatever Readlink shows.
type walker struct {
	v      *View
	root   Ino
	dir    Ino      // where it is: a real directory
	names  []string // of dir, from where it began, if that was the root
	links  int      // how many symbolic links it has followed
	hidden string   // a name that the root is taken not to have
}

// walker returns one that starts in dir, inside the view, or inside the layer tree
// of a layer if dir is in one.
func (v *View) walker(dir Ino) *walker {
	root := RootIno
	if p, _, err := v.locate(dir); err == nil && dir.inLayerTree() {
		root = v.LayerRoot(int(p.layer))
	}
	return &walker{v: v, root: root, dir: dir}
}

// up goes to the parent directory; at the root it stays.
func (w *walker) up(ctx context.Context) error {
	parent, err := w.v.Parent(ctx, w.dir)
	if err != nil {
		return err
	}
	w.dir = parent
	w.names = w.names[:max(0, len(w.names)-1)]
	return nil
}

// lookup finds a name in the directory where w is.
func (w *walker) lookup(ctx context.Context, name string) (Attr, error) {
	if w.dir == w.v.top() && name == w.hidden && name != "" {
		return Attr{}, ErrNotExist
	}
	return w.v.Lookup(ctx, w.dir, name)
}

// enter goes along a path, following symbolic links, to a directory.
func (w *walker) enter(ctx context.Context, path string) error {
	a, err := w.walk(ctx, path+"/", true)
	if err == nil && a.Kind != index.Dir {
		err = ErrNotDir
	}
	return err
}

// walk goes along a path and returns what is at its end. If that is a directory,
// w is there, else in the directory that it is in. A symbolic link at the end is
// followed with follow, or if a slash comes after it.
func (w *walker) walk(ctx context.Context, path string, follow bool) (Attr, error) {
	for path != "" {
		name, rest, more := strings.Cut(path, "/")
		path = rest
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			if err := w.up(ctx); err != nil {
				return Attr{}, err
			}
			continue
		}
		a, err := w.lookup(ctx, name)
		if errors.Is(err, ErrNotExist) {
			err = fmt.Errorf("%w: %s has no %q", ErrNotExist, w.path(), name)
		}
		switch {
		case err != nil:
			return Attr{}, err
		case a.Kind == index.Dir:
			w.dir, w.names = a.Ino, append(w.names, name)
		case a.Kind == index.Symlink && (more || follow):
			if path, err = w.link(ctx, a.Ino, rest, more); err != nil {
				return Attr{}, err
			}
		case more:
			return Attr{}, fmt.Errorf("%w: %s", ErrNotDir, w.join(name))
		default:
			return a, nil
		}
	}
	return w.v.Attr(ctx, w.dir)
}

// link follows a symbolic link and returns what is left of the path then.
func (w *walker) link(ctx context.Context, ino Ino, rest string, more bool) (string, error) {
	if w.links++; w.links > maxLinks {
		return "", fmt.Errorf("%w: in %s", ErrLoop, w.path())
	}
	_, text, err := w.v.text(ctx, ino)
	if err != nil {
		return "", err
	}
	if len(text) == 0 {
		return "", fmt.Errorf("%w: an empty symbolic link in %s", ErrNotExist, w.path())
	}
	if text[0] == '/' {
		w.dir, w.names = w.root, nil
	}
	if more {
		return string(text) + "/" + rest, nil
	}
	return string(text), nil
}

// path is where w is, and join the path of a name there.
func (w *walker) path() string            { return w.join("") }
func (w *walker) join(name string) string { return joinPath("/"+strings.Join(w.names, "/"), name) }

func joinPath(dir, name string) string {
	if name == "" || dir == "/" {
		return dir + name
	}
	return dir + "/" + name
}

// Resolve finds a path as a process in a chroot at the root would: symbolic
// links are followed inside the view, the last one only with follow. Failures
// are ErrNotExist, ErrNotDir or ErrLoop, and name how far the path goes; Invalid
// is a path that is longer than any that a layer can have.
func (v *View) Resolve(ctx context.Context, path string, follow bool) (Attr, error) {
	if len(path) > maxPath {
		return Attr{}, tooLong(path)
	}
	a, err := v.walker(RootIno).walk(ctx, path, follow)
	if err != nil {
		return Attr{}, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

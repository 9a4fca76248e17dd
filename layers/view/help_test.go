package view

import (
	"bytes"
	"context"
	"fmt"
	gopath "path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/tarindex"
)

// memLayer is a layer in memory that counts how often its index is asked for.
type memLayer struct {
	tar  []byte
	make func() (*index.Index, error)

	asked atomic.Int32
	fault func(ctx context.Context) error // called first, if set
}

func tarLayer(tar []byte) *memLayer {
	return &memLayer{tar: tar, make: sync.OnceValues(func() (*index.Index, error) { return indexOf(tar) })}
}

func indexOf(tar []byte) (*index.Index, error) {
	b := index.NewBuilder()
	if err := tarindex.Tar(bytes.NewReader(tar), b); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := b.Write(&out, index.Header{SpaceSize: int64(len(tar)), BlobSize: -1}, nil, nil); err != nil {
		return nil, err
	}
	return index.OpenBytes(out.Bytes())
}

func (l *memLayer) Index(ctx context.Context) (*index.Index, error) {
	l.asked.Add(1)
	if l.fault != nil {
		if err := l.fault(ctx); err != nil {
			return nil, err
		}
	}
	return l.make()
}

func (l *memLayer) ReadAt(_ context.Context, id uint32, p []byte, off int64) (int, error) {
	x, err := l.make()
	if err != nil {
		return 0, err
	}
	e := x.Entry(id)
	if e.Kind != index.File || off >= e.Size {
		return 0, errkind.New(errkind.Internal, "read of %v at %d", e.Kind, off)
	}
	p = p[:min(int64(len(p)), e.Size-off)]
	if e.Flags&index.Sparse == 0 {
		return copy(p, l.tar[e.Data+off:]), nil
	}
	clear(p)
	for _, ext := range x.Extents(id) {
		for i := range ext.Len {
			if at := ext.Logical + i - off; at >= 0 && at < int64(len(p)) {
				p[at] = l.tar[ext.Data+i]
			}
		}
	}
	return len(p), nil
}

type tarball = []tartest.Entry

// stack returns memory layers of tars, base first.
func stack(tars ...tarball) []*memLayer {
	var layers []*memLayer
	for _, t := range tars {
		layers = append(layers, tarLayer(tartest.Of(t...)))
	}
	return layers
}

func viewOf(layers []*memLayer, opt Options) *View {
	var list []Layer
	for _, l := range layers {
		list = append(list, l)
	}
	return New(list, opt)
}

func rawView(tars ...tarball) *View { return viewOf(stack(tars...), Options{Symlinks: Raw}) }

// content is all of a regular file.
func content(t testing.TB, v *View, a Attr) string {
	t.Helper()
	p := make([]byte, a.Size+10)
	n, err := v.ReadAt(t.Context(), a.Ino, p, 0)
	if err != nil || int64(n) != a.Size {
		t.Fatalf("ReadAt(%#x) = %d, %v; the file has %d bytes", a.Ino, n, err, a.Size)
	}
	return string(p[:n])
}

// show is a name with what matters of its object: "d/", "f=text", "l->target".
func show(t testing.TB, v *View, path string, a Attr) string {
	t.Helper()
	switch a.Kind {
	case index.Dir:
		return strings.TrimSuffix(path, "/") + "/"
	case index.File:
		return path + "=" + content(t, v, a)
	case index.Symlink:
		text, err := v.Readlink(t.Context(), a.Ino)
		if err != nil {
			t.Fatalf("Readlink(%s): %v", path, err)
		}
		if int64(len(text)) != a.Size {
			t.Errorf("%s: size %d, but target %q", path, a.Size, text)
		}
		return path + "->" + string(text)
	case index.Char, index.Block:
		return fmt.Sprintf("%s=%v:%d:%d", path, a.Kind, a.Major, a.Minor)
	}
	return path + "=" + a.Kind.String()
}

// tree is everything below the root but the root, in order.
func tree(t testing.TB, v *View) string {
	t.Helper()
	var all []string
	err := walk(t.Context(), v, "/", func(path string, a Attr) error {
		if path != "/" {
			all = append(all, show(t, v, strings.TrimPrefix(path, "/"), a))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// get resolves a path that must be there.
func get(t testing.TB, v *View, path string) Attr {
	t.Helper()
	a, err := v.Resolve(t.Context(), path, false)
	if err != nil {
		t.Fatalf("Resolve(%s): %v", path, err)
	}
	return a
}

// asked is how often each layer's index was asked for, base first.
func asked(layers []*memLayer) string {
	var out strings.Builder
	for _, l := range layers {
		fmt.Fprint(&out, l.asked.Load())
	}
	return out.String()
}

// tester is a test, or one run of a property.
type tester interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// walk calls fn for path and everything below it, a directory before its children.
func walk(ctx context.Context, v *View, path string, fn func(path string, a Attr) error) error {
	a, err := v.Resolve(ctx, path, false)
	if err != nil {
		return err
	}
	return walkFrom(ctx, v, gopath.Join("/", path), a, fn)
}

func walkFrom(ctx context.Context, v *View, path string, a Attr, fn func(string, Attr) error) error {
	if err := fn(path, a); err != nil || a.Kind != index.Dir {
		return err
	}
	d, err := v.ReadDir(ctx, a.Ino)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for i := range d.Len() {
		if err := walkFrom(ctx, v, joinPath(path, string(d.Name(i))), d.Attr(i), fn); err != nil {
			return err
		}
	}
	return nil
}

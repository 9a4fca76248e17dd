package view

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
	tt "github.com/peelfs/peelfs/internal/tartest"
)

// Which calls ask which layers for their index. Digits are layers, base first.
func TestLaziness(t *testing.T) {
	base := tarball{tt.Dir("./"), tt.Dir("d/", tt.Mode(0o700)), tt.File("d/low", "1"), tt.File("f", "1"), tt.File("a", "1")}
	mid := tarball{tt.Dir("d/"), tt.File("d/mid", "2"), tt.File("i/f", "2")}
	top := tarball{tt.Dir("d/"), tt.File("d/top", "3"), tt.Whiteout("w"), tt.Dir("o/"), tt.Opaque("o"), tt.File("h", "3"), tt.Link("h2", "h")}
	for _, c := range []struct {
		name string
		do   func(ctx context.Context, v *View) error
		want string
	}{
		{"nothing", func(context.Context, *View) error { return nil }, "000"},
		{"file in the top layer", resolve("d/top"), "001"},
		{"hard-linked file in the top layer", resolve("h2"), "001"},
		{"explicit directory in the top layer", resolve("d"), "001"},
		{"file in the middle layer", resolve("d/mid"), "011"},
		{"file in the base", resolve("d/low"), "111"},
		{"whiteout", absent("w/x"), "001"},
		{"absent below an opaque directory", absent("o/x"), "001"},
		{"absent", absent("x"), "111"},
		{"implied directory needs those below", resolve("i"), "111"},
		{"listing an opaque directory", list("o"), "001"},
		{"listing a merged directory", list("d"), "111"},
		{"root attributes", func(ctx context.Context, v *View) error { _, err := v.Root(ctx); return err }, "111"},
		{"provisional root attributes", func(_ context.Context, v *View) error {
			if _, final := v.Provisional(RootIno); final {
				return errors.New("final without any layer")
			}
			return nil
		}, "000"},
		{"one layer tree", func(ctx context.Context, v *View) error { _, err := v.ReadDir(ctx, v.LayerRoot(1)); return err }, "010"},
		{"reading a file in the top layer", func(ctx context.Context, v *View) error {
			a, err := v.Resolve(ctx, "d/top", false)
			if err != nil {
				return err
			}
			_, err = v.ReadAt(ctx, a.Ino, make([]byte, 1), 0)
			return err
		}, "001"},
	} {
		t.Run(c.name, func(t *testing.T) {
			layers := stack(base, mid, top)
			if err := c.do(t.Context(), viewOf(layers, Options{})); err != nil {
				t.Fatal(err)
			}
			if got := asked(layers); got != c.want {
				t.Errorf("asked %s, want %s", got, c.want)
			}
		})
	}
}

func resolve(path string) func(context.Context, *View) error {
	return func(ctx context.Context, v *View) error {
		_, err := v.Resolve(ctx, path, false)
		return err
	}
}

func absent(path string) func(context.Context, *View) error {
	return func(ctx context.Context, v *View) error {
		if _, err := v.Resolve(ctx, path, false); !errors.Is(err, ErrNotExist) {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}
}

func list(path string) func(context.Context, *View) error {
	return func(ctx context.Context, v *View) error {
		a, err := v.Resolve(ctx, path, false)
		if err != nil {
			return err
		}
		_, err = v.ReadDir(ctx, a.Ino)
		return err
	}
}

// A number from an earlier process costs the layers that decide, no others.
func TestLazinessByNumber(t *testing.T) {
	tars := []tarball{{tt.File("z", "")}, {tt.File("d/f", "2")}, {tt.File("x", "3")}}
	old := rawView(tars...)
	layers := stack(tars...)
	v := viewOf(layers, Options{})
	if _, err := v.Attr(t.Context(), get(t, old, "d/f").Ino); err != nil {
		t.Fatal(err)
	}
	if got := asked(layers); got != "011" {
		t.Errorf("asked %s, want 011", got)
	}
	if _, err := v.Lookup(t.Context(), get(t, old, "d").Ino, "f"); err != nil { // its attributes are in the base, its number is not
		t.Fatal(err)
	}
	if got := asked(layers); got != "011" {
		t.Errorf("asked %s, want 011", got)
	}
}

func TestStaleNumbers(t *testing.T) {
	v := rawView(tarball{tt.File("a", ""), tt.File("b", ""), tt.Link("c", "a")}, tarball{tt.Whiteout("b")})
	for _, ino := range []Ino{
		0, 2, 1<<NarrowShift - 1, 3 << NarrowShift, 1 << NarrowShift, 1<<NarrowShift + 99, 2<<NarrowShift + 1,
		1<<WideShift + 1, 1<<63 + 1<<NarrowShift + 1, layerTreeBit, layerTreeBit + 1<<NarrowShift, layerTreeBit | 9<<WideShift, 1<<NarrowShift + 3,
		1<<WideShift | 3<<MarkerShift,
	} {
		if a, err := v.Attr(t.Context(), ino); !errors.Is(err, ErrStale) {
			t.Errorf("Attr(%#x) = %+v, %v", ino, a, err)
		}
		if _, err := v.ReadDir(t.Context(), ino); !errors.Is(err, ErrStale) && !errors.Is(err, ErrNotDir) {
			t.Errorf("ReadDir(%#x): %v", ino, err)
		}
		if _, err := v.Readlink(t.Context(), ino); err == nil {
			t.Errorf("Readlink(%#x) worked", ino)
		}
	}
}

func TestWideNumbers(t *testing.T) {
	tars := make([]tarball, narrowLayers)
	tars[0] = tarball{tt.File("d/a", "1"), tt.File("z", "1")}
	tars[narrowLayers-1] = tarball{tt.File("d/b", "2"), tt.Link("z2", "z")}
	v := rawView(tars...)
	if got, want := tree(t, v), "d/ d/a=1 d/b=2 z=1 z2=1"; got != want {
		t.Errorf("shows %q, want %q", got, want)
	}
	checkView(t, v)
	if ino := get(t, v, "z").Ino; ino>>WideShift != 1 {
		t.Errorf("z is %#x", ino)
	}
	narrow := rawView(tars[1:]...)
	if ino := get(t, narrow, "d/b").Ino; ino >= 1<<32 || ino>>NarrowShift != narrowLayers-1 {
		t.Errorf("d/b of 127 layers is %#x", ino)
	}
	for _, p := range []place{{0, 1}, {126, 1<<NarrowShift - 1}, {126, 1 << NarrowShift}, {0, 1<<32 - 1}} {
		if got, _, err := narrow.locate(narrow.number(p)); got != p || err != nil {
			t.Errorf("place %v becomes %v, %v", p, got, err)
		}
	}
}

var errDown = errkind.New(errkind.Unavailable, "registry is down")

// A layer that cannot be had fails what needs it, once, and nothing else.
func TestFailureIsNotRemembered(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(context.Context, *View) error
	}{
		{"lookup", resolve("d/low")},
		{"absent", absent("x")},
		{"listing", list("d")},
		{"root", func(ctx context.Context, v *View) error { _, err := v.Root(ctx); return err }},
	} {
		t.Run(c.name, func(t *testing.T) {
			layers := stack(tarball{tt.File("d/low", "1")}, tarball{tt.File("y", "")}, tarball{tt.Dir("d/"), tt.File("d/top", "")})
			down := true
			layers[0].fault = func(context.Context) error {
				if down {
					return errDown
				}
				return nil
			}
			v := viewOf(layers, Options{})
			for range 2 {
				err := c.do(t.Context(), v)
				if !errors.Is(err, errDown) || errkind.Of(err) != errkind.Unavailable {
					t.Fatalf("got %v", err)
				}
				if err := resolve("d/top")(t.Context(), v); err != nil {
					t.Fatalf("the top layer alone: %v", err)
				}
			}
			down = false
			if err := c.do(t.Context(), v); err != nil {
				t.Fatal(err)
			}
			if got, want := tree(t, v), "d/ d/low=1 d/top= y="; got != want {
				t.Errorf("shows %q, want %q", got, want)
			}
		})
	}
}

// A listing asks for all layers that may matter before any has answered.
func TestListingFetchesInParallel(t *testing.T) {
	layers := stack(tarball{tt.File("a", "")}, tarball{tt.File("b", "")}, tarball{tt.File("c", "")})
	var all sync.WaitGroup
	all.Add(len(layers))
	for _, l := range layers {
		l.fault = func(context.Context) error { all.Done(); all.Wait(); return nil }
	}
	v := viewOf(layers, Options{})
	if d, err := v.ReadDir(t.Context(), RootIno); err != nil || d.Len() != 3 {
		t.Errorf("%v, %v", d, err)
	}
}

// A layer that is hidden is not waited for, nor does its failure matter.
func TestListingDoesNotNeedWhatIsHidden(t *testing.T) {
	layers := stack(tarball{tt.File("a", "")}, tarball{tt.File("b", "")}, tarball{tt.Dir("./"), tt.Opaque(""), tt.File("c", "")})
	layers[0].fault = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	layers[1].fault = func(context.Context) error { return errDown }
	v := viewOf(layers, Options{})
	if got := tree(t, v); got != "c=" {
		t.Errorf("shows %q", got)
	}
}

// A waiter that gives up leaves the layer to the others.
func TestContextEndsTheWaiterOnly(t *testing.T) {
	layers := stack(tarball{tt.File("a", "1")}, tarball{tt.File("b", "")})
	release, waiting := make(chan struct{}), make(chan struct{}, 2)
	layers[0].fault = func(ctx context.Context) error {
		waiting <- struct{}{}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-release:
			return nil
		}
	}
	v := viewOf(layers, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	go func() { errs <- resolve("a")(ctx, v) }()
	<-waiting
	cancel()
	if err := <-errs; errkind.Of(err) != errkind.Canceled {
		t.Fatalf("the canceled one: %v", err)
	}
	go func() { errs <- resolve("a")(t.Context(), v) }()
	<-waiting
	close(release)
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
}

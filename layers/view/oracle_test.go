package view

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	tt "github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/index"
)

// The oracle applies layers one after the other to a map of paths, as an
// unpacker would: first what the layer hides, then what it has.

// thing is one object; names of the same object share it.
type thing struct {
	kind  index.Kind
	mode  uint32
	sec   int64
	text  string // content or target
	layer int    // the layer of the entry that decides
}

type oracle map[string]*thing

// layerSpec is what a random layer has. Paths are clean; "" is the root.
type layerSpec struct {
	things    map[string]*thing // explicit entries
	links     map[string]string // hard links to things of this layer
	borrows   map[string]string // hard links to what lower layers may have
	whiteouts []string
	opaque    []string
}

func (o oracle) apply(l layerSpec, layer int) {
	before := maps.Clone(o)
	for _, dir := range l.opaque {
		if before[dir] != nil && before[dir].kind == index.Dir {
			o.remove(dir, false)
		}
	}
	for _, p := range l.whiteouts {
		o.remove(p, true)
	}
	for _, p := range slices.Sorted(maps.Keys(l.things)) {
		o.place(p, l.things[p], layer)
	}
	for p, target := range l.links {
		o.place(p, l.things[target], layer)
	}
	for p, target := range l.borrows {
		o.imply(path.Dir(p), layer)
		if got := before[target]; got != nil && got.kind != index.Dir {
			o.place(p, got, layer)
		}
	}
}

// remove takes away what is below p, and p itself.
func (o oracle) remove(p string, itself bool) {
	for name := range o {
		if name == p && itself || name != "" && (p == "" && name != p || strings.HasPrefix(name, p+"/")) {
			delete(o, name)
		}
	}
}

func (o oracle) place(p string, t *thing, layer int) {
	o.imply(path.Dir(p), layer)
	if had := o[p]; had == nil || had.kind != index.Dir || t.kind != index.Dir {
		o.remove(p, true)
	}
	o[p] = t
}

// imply makes the directory p if there is none.
func (o oracle) imply(p string, layer int) {
	if p == "." {
		return
	}
	o.imply(path.Dir(p), layer)
	if o[p] == nil || o[p].kind != index.Dir {
		o.remove(p, true)
		o[p] = &thing{kind: index.Dir, mode: 0o755, layer: layer}
	}
}

var oraclePaths = []string{"a", "b", "c", "a/a", "a/b", "a/c", "b/a", "b/b", "a/a/a", "a/a/b", "a/b/a", "b/a/a", "a/a/a/a"}

// drawLayer draws a layer in which no two entries contradict each other: what
// one layer makes of that is not the view's affair.
func drawLayer(t *rapid.T, layer int) layerSpec {
	l := layerSpec{things: map[string]*thing{}, links: map[string]string{}, borrows: map[string]string{}}
	anyPath := rapid.SampledFrom(oraclePaths)
	for i := range rapid.IntRange(0, 7).Draw(t, "entries") {
		p := anyPath.Draw(t, "path")
		if !l.free(p) {
			continue
		}
		serial := layer*100 + i
		kind := rapid.SampledFrom([]index.Kind{index.Dir, index.Dir, index.File, index.File, index.Symlink, index.Fifo, index.Link, index.Link, index.Whiteout}).Draw(t, "kind")
		if kind != index.Dir && (l.hasBelow(p) || l.borrowsBelow(p)) {
			continue
		}
		switch kind {
		case index.Link:
			l.drawLink(t, p)
		case index.Whiteout: // drawn below
		default:
			l.things[p] = &thing{kind: kind, mode: uint32(0o400 + serial%0o100), sec: int64(1000 + serial), layer: layer}
			if kind == index.Symlink {
				l.things[p].mode = 0o777 // whatever the tar says, see tar
			}
			if kind == index.File || kind == index.Symlink {
				l.things[p].text = fmt.Sprintf("%d", serial)
			}
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "root") == 0 {
		l.things[""] = &thing{kind: index.Dir, mode: 0o500 + uint32(layer), sec: int64(layer), layer: layer}
	}
	for range rapid.IntRange(0, 3).Draw(t, "markers") {
		p := anyPath.Draw(t, "marked")
		if l.solid(path.Dir(p)) {
			continue
		}
		if rapid.Bool().Draw(t, "opaque") && !l.solid(p) {
			l.opaque = append(l.opaque, p)
		} else {
			l.whiteouts = append(l.whiteouts, p)
		}
	}
	return l
}

func (l layerSpec) drawLink(t *rapid.T, p string) {
	target := rapid.SampledFrom(oraclePaths).Draw(t, "target")
	if own := l.things[target]; own != nil && own.kind != index.Dir {
		l.links[p] = target
	} else if !strings.HasPrefix(p+"/", target+"/") && !l.has(target) && !l.hasBelow(target) && !l.solid(target) {
		l.borrows[p] = target
	}
}

// borrowsBelow says whether a link counts on something of the layers below that is
// below p. Such a path does not lead through a link of this layer.
func (l layerSpec) borrowsBelow(p string) bool {
	for _, target := range l.borrows {
		if strings.HasPrefix(target, p+"/") {
			return true
		}
	}
	return false
}

func (l layerSpec) has(p string) bool {
	return l.things[p] != nil || l.links[p] != "" || l.borrows[p] != ""
}

// free says whether an entry can be at p: nothing is, and all above it can be
// directories. A target that a link counts on not to be here is not free either.
func (l layerSpec) free(p string) bool {
	for _, target := range l.borrows {
		if target == p || strings.HasPrefix(p, target+"/") {
			return false
		}
	}
	return !l.has(p) && !l.solid(path.Dir(p))
}

// solid says whether the layer has something at p, or above, that is no directory.
func (l layerSpec) solid(p string) bool {
	for ; p != "."; p = path.Dir(p) {
		if l.has(p) && (l.things[p] == nil || l.things[p].kind != index.Dir) {
			return true
		}
	}
	return false
}

func (l layerSpec) hasBelow(p string) bool {
	for _, q := range oraclePaths {
		if strings.HasPrefix(q, p+"/") && l.has(q) {
			return true
		}
	}
	return false
}

// tar is the layer in an order drawn at random.
func (l layerSpec) tar(t *rapid.T) tarball {
	var out tarball
	for p, x := range l.things {
		opt := []tt.Option{tt.Mode(int64(x.mode)), tt.MTime(x.sec, 0)}
		switch x.kind {
		case index.Dir:
			out = append(out, tt.Dir("./"+p, opt...))
		case index.File:
			out = append(out, tt.File(p, x.text, opt...))
		case index.Symlink:
			out = append(out, tt.Symlink(p, x.text, tt.Mode(x.sec%0o1000), tt.MTime(x.sec, 0)))
		case index.Fifo:
			out = append(out, tt.Fifo(p, opt...))
		}
	}
	for p, target := range l.links {
		out = append(out, tt.Link(p, target))
	}
	for p, target := range l.borrows {
		out = append(out, tt.Link(p, target))
	}
	for _, p := range l.whiteouts {
		out = append(out, tt.Whiteout(p))
	}
	for _, p := range l.opaque {
		out = append(out, tt.Opaque(p))
	}
	r := rand.New(rand.NewSource(rapid.Int64().Draw(t, "order")))
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func TestViewAgreesWithSequentialUnpacking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := oracle{"": {kind: index.Dir, mode: 0o755, layer: -1}}
		var layers []*memLayer
		for i := range rapid.IntRange(1, 5).Draw(t, "layers") {
			l := drawLayer(t, i)
			want.apply(l, i)
			m := tarLayer(tt.Of(l.tar(t)...))
			m.fault = failTimes(rapid.IntRange(0, 2).Draw(t, "faults"))
			layers = append(layers, m)
		}
		v := viewOf(layers, Options{Symlinks: Raw})
		seeds := rapid.SliceOfN(rapid.Int64(), 4, 4).Draw(t, "seeds")
		var wg sync.WaitGroup
		errs := make([]error, len(seeds))
		for i, seed := range seeds {
			wg.Go(func() { errs[i] = want.check(t.Context(), v, rand.New(rand.NewSource(seed))) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		checkView(t, v)
	})
}

// failTimes is a fault that goes away after n calls.
func failTimes(n int) func(context.Context) error {
	var calls atomic.Int32
	return func(context.Context) error {
		if int(calls.Add(1)) <= n {
			return errDown
		}
		return nil
	}
}

// again repeats what fails because a layer is down.
func again(do func() error) error {
	for {
		if err := do(); !errors.Is(err, errDown) {
			return err
		}
	}
}

// check compares every path and every listing, in random order.
func (o oracle) check(ctx context.Context, v *View, r *rand.Rand) error {
	var checks []func() error
	for _, p := range append([]string{""}, oraclePaths...) {
		checks = append(checks,
			func() error { return o.checkPath(ctx, v, p) },
			func() error { return o.checkListing(ctx, v, p) },
			func() error { return o.checkWhich(ctx, v, p) })
	}
	r.Shuffle(len(checks), func(i, j int) { checks[i], checks[j] = checks[j], checks[i] })
	for _, check := range checks {
		if err := again(check); err != nil {
			return err
		}
	}
	return nil
}

func (o oracle) checkPath(ctx context.Context, v *View, p string) error {
	if o.throughSymlink(p) {
		return nil
	}
	a, err := v.Resolve(ctx, p, false)
	want := o[p]
	if errors.Is(err, errDown) {
		return err
	}
	if want == nil {
		if !leadsNowhere(err) {
			return fmt.Errorf("%q: %+v, %v; want nothing", p, a, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	got := thing{kind: a.Kind, mode: a.Mode, sec: a.Sec, layer: want.layer}
	switch a.Kind {
	case index.File:
		buf := make([]byte, 100)
		n, err := v.ReadAt(ctx, a.Ino, buf, 0)
		if err != nil {
			return err
		}
		got.text = string(buf[:n])
	case index.Symlink:
		text, err := v.Readlink(ctx, a.Ino)
		if err != nil {
			return err
		}
		got.text = string(text)
	}
	if got != *want || a.Nlink != o.nlink(want) {
		return fmt.Errorf("%q: %+v nlink %d, want %+v nlink %d", p, got, a.Nlink, *want, o.nlink(want))
	}
	return o.checkNames(ctx, v, a, want)
}

// checkNames checks that names have the same number if they are the same object.
func (o oracle) checkNames(ctx context.Context, v *View, a Attr, want *thing) error {
	for p, other := range o {
		if o.throughSymlink(p) {
			continue
		}
		b, err := v.Resolve(ctx, p, false)
		if err != nil {
			return err
		}
		if (other == want) != (b.Ino == a.Ino) {
			return fmt.Errorf("%q: %+v and %+v share %#x: %v", p, *other, *want, a.Ino, b.Ino == a.Ino)
		}
	}
	return nil
}

func (o oracle) checkListing(ctx context.Context, v *View, p string) error {
	if o[p] == nil || o[p].kind != index.Dir {
		return nil
	}
	var want []string
	for name := range o {
		if dir, base := path.Split(name); name != "" && strings.TrimSuffix(dir, "/") == p {
			want = append(want, base)
		}
	}
	slices.Sort(want)
	a, err := v.Resolve(ctx, p, false)
	if err != nil {
		return err
	}
	d, err := v.ReadDir(ctx, a.Ino)
	if err != nil {
		return err
	}
	var got []string
	for i := range d.Len() {
		got = append(got, string(d.Name(i)))
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("%q lists %q, want %q", p, got, want)
	}
	return nil
}

func (o oracle) checkWhich(ctx context.Context, v *View, p string) error {
	if p == "" || o.throughSymlink(p) {
		return nil
	}
	real, effects, err := v.Which(ctx, p)
	if err != nil {
		return err
	}
	if len(effects) != v.Len() || real != "/"+p {
		return fmt.Errorf("%q: %s, effects of %d layers", p, real, len(effects))
	}
	decides := -1
	for _, e := range effects {
		if e.Decides {
			decides = e.Layer
		}
	}
	want := o[p]
	if (want != nil) != (decides >= 0) {
		return fmt.Errorf("%q: layer %d decides, but the image has %v: %+v", p, decides, want, effects)
	}
	if want != nil && want.kind == index.Dir && want.sec != 0 && want.layer != decides {
		return fmt.Errorf("%q: layer %d decides, want %d: %+v", p, decides, want.layer, effects)
	}
	return nil
}

func (o oracle) nlink(t *thing) (n uint32) {
	if t.kind == index.Dir {
		return 1
	}
	for _, other := range o {
		if other == t {
			n++
		}
	}
	return n
}

// throughSymlink says whether a path leads through a symbolic link; Resolve
// follows those, the oracle does not.
func (o oracle) throughSymlink(p string) bool {
	for p = path.Dir(p); p != "."; p = path.Dir(p) {
		if o[p] != nil && o[p].kind == index.Symlink {
			return true
		}
	}
	return false
}

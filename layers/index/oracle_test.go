package index_test

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/peelfs/peelfs/layers/index"
)

// oracle applies the rules within a layer the slow way: a map of whole paths,
// searched from end to end for each question.
type oracle struct {
	at      map[string]*object // by cleaned path; the root is "."
	markers []string           // cleaned paths of markers
	refused int
}

type object struct {
	kind   index.Kind
	flags  index.Flags
	serial int64  // that of the record it is from
	target string // of a link that waits, or of a symlink
	waits  bool
}

func newOracle() *oracle {
	return &oracle{at: map[string]*object{".": {kind: index.Dir, flags: index.Implied}}}
}

const plnkDir = ".wh..wh.plnk"

func (o *oracle) add(r index.Record) {
	p, ok := inside(r.Name)
	switch {
	case !ok:
		o.refused++
		return
	case p == plnkDir || strings.HasPrefix(p, plnkDir+"/") && strings.Contains(p[1:], "/.wh."):
		return
	case strings.HasPrefix(p, plnkDir+"/"):
	default:
		if i := slices.IndexFunc(strings.Split(p, "/"), func(s string) bool { return strings.HasPrefix(s, ".wh.") }); i >= 0 {
			o.addMarker(p, i)
			return
		}
	}
	if p == "." && r.Kind != index.Dir {
		o.refused++
		return
	}
	p = o.real(p)
	obj := &object{kind: r.Kind, serial: r.Sec, target: r.LinkName}
	if r.Kind == index.Link {
		if obj = o.linked(p, r.LinkName); obj == nil {
			o.refused++
			return
		}
	}
	o.put(p, obj)
}

func inside(name string) (string, bool) {
	depth := 0
	for s := range strings.SplitSeq(name, "/") {
		switch s {
		case "", ".":
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return "", false
		}
	}
	p := path.Clean("/" + name)[1:]
	if p == "" {
		p = "."
	}
	return p, name != ""
}

func (o *oracle) addMarker(p string, i int) {
	parts := strings.Split(p, "/")
	m := parts[i]
	switch {
	case strings.HasPrefix(m, ".wh..wh.") && m != ".wh..wh..opq":
	case i < len(parts)-1 || m == ".wh." || m == ".wh.." || m == ".wh...":
		o.refused++
	default:
		o.markers = append(o.markers, p)
	}
}

func (o *oracle) linked(p, name string) *object {
	t, ok := inside(name)
	hidden := strings.HasPrefix(t, plnkDir+"/") && !strings.Contains(t[1:], "/.wh.")
	if !ok || t == "." || strings.Contains("/"+t, "/.wh.") && !hidden {
		return nil
	}
	if t = o.real(t); t == p {
		return nil
	}
	if obj := o.at[t]; obj == nil {
		return &object{kind: index.Link, target: t, waits: true}
	} else if obj.kind != index.Dir {
		return obj
	}
	return nil
}

// real is a path with the layer's own symbolic links above its last element
// followed, as far as they lead to a directory or to nothing.
func (o *oracle) real(p string) string {
	if p == "." {
		return p
	}
	at, read := ".", 0
	for part := range strings.SplitSeq(path.Dir(p), "/") {
		next := path.Join(at, part)
		if obj := o.at[next]; obj != nil && obj.kind == index.Symlink {
			if to, ok := o.read(at, obj.target, &read); ok {
				at = to
				continue
			}
		}
		at = next
	}
	return path.Join(at, path.Base(p))
}

// read is where the text of a symbolic link in a directory leads.
func (o *oracle) read(dir, text string, read *int) (string, bool) {
	if *read++; *read > 40 {
		return "", false
	}
	if text[0] == '/' {
		dir = "."
	}
	for part := range strings.SplitSeq(text, "/") {
		if strings.HasPrefix(part, ".wh.") {
			return "", false
		}
		if part == ".." {
			dir = path.Dir(dir)
			continue
		}
		next := path.Join(dir, part)
		obj, ok := o.at[next], true
		switch {
		case obj == nil || obj.kind == index.Dir:
			dir = next
		case obj.kind == index.Symlink:
			if dir, ok = o.read(dir, obj.target, read); !ok {
				return "", false
			}
		default:
			return "", false
		}
	}
	return dir, true
}

func (o *oracle) remove(p string) {
	maps.DeleteFunc(o.at, func(q string, _ *object) bool { return q == p || strings.HasPrefix(q, p+"/") })
}

func (o *oracle) put(p string, obj *object) {
	for _, dir := range above(p) {
		if o.at[dir] == nil || o.at[dir].kind != index.Dir {
			o.at[dir] = &object{kind: index.Dir, flags: index.Implied}
		}
	}
	if obj.kind != index.Dir || o.at[p] == nil || o.at[p].kind != index.Dir {
		o.remove(p)
	}
	o.at[p] = obj
}

// above are the directories above p, the root first.
func above(p string) []string {
	var list []string
	for p != "." {
		p = path.Dir(p)
		list = append([]string{p}, list...)
	}
	return list
}

func (o *oracle) finish() {
	end := map[*object]*object{}
	for _, obj := range o.at {
		end[obj] = o.follow(obj, 0)
	}
	for p, obj := range o.at {
		if o.at[p] = end[obj]; end[obj] == nil {
			o.refused++
			delete(o.at, p)
		}
	}
	for i, m := range o.markers {
		o.markers[i] = o.real(m)
	}
	slices.SortFunc(o.markers, func(p, q string) int { return len(p) - len(q) }) // the order does not matter
	for _, m := range o.markers {
		o.mark(m)
	}
	o.remove(plnkDir)
}

func (o *oracle) follow(obj *object, steps int) *object {
	if !obj.waits {
		return obj
	}
	target := o.real(obj.target)
	next := o.at[target]
	switch {
	case next == nil:
		c := *obj
		c.target = target
		return &c
	case next.kind == index.Dir || steps > 1000:
		return nil
	}
	return o.follow(next, steps+1)
}

func (o *oracle) mark(m string) {
	dir, name := path.Dir(m), strings.TrimPrefix(path.Base(m), ".wh.")
	for _, d := range append(above(dir), dir) {
		if o.at[d] == nil {
			o.at[d] = &object{kind: index.Dir, flags: index.Implied | index.MarkersOnly}
		}
		if o.at[d].kind != index.Dir {
			return
		}
	}
	p := path.Join(dir, name)
	switch was := o.at[p]; {
	case name == ".wh..opq":
		o.at[dir].flags |= index.Opaque
	case was == nil || was.flags&index.MarkersOnly != 0:
		o.remove(p)
		o.at[p] = &object{kind: index.Whiteout}
	case was.kind == index.Dir:
		was.flags |= index.Replaces
	case was.kind == index.Link:
		c := *was
		c.flags |= index.Replaces
		o.at[p] = &c
	}
}

// order lists the paths as entries are numbered.
func (o *oracle) order() []string {
	list := []string{"."}
	var visit func(dir string)
	visit = func(dir string) {
		var kids []string
		for p := range o.at {
			if p != "." && path.Dir(p) == dir {
				kids = append(kids, p)
			}
		}
		slices.Sort(kids)
		list = append(list, kids...)
		for _, k := range kids {
			if o.at[k].kind == index.Dir {
				visit(k)
			}
		}
	}
	visit(".")
	return list
}

// lines says of each entry what it is, and which entries are the same object.
func (o *oracle) lines() []string {
	var out []string
	first := map[*object]int{}
	for i, p := range o.order() {
		obj := o.at[p]
		line := fmt.Sprintf("%s %v %x", p, obj.kind, obj.flags)
		switch obj.kind {
		case index.Dir, index.Whiteout:
		case index.Link:
			line += " -> " + obj.target
		default:
			if _, ok := first[obj]; !ok {
				first[obj] = i
			}
			line += fmt.Sprintf(" %d = %d", obj.serial, first[obj])
		}
		if obj.kind == index.Dir && obj.flags&index.Implied == 0 {
			line += fmt.Sprintf(" %d", obj.serial)
		}
		out = append(out, line)
	}
	return out
}

// linesOf is the same of an index.
func linesOf(x *index.Index) []string {
	var out []string
	for id := range uint32(x.Len()) {
		e := x.Entry(id)
		p := path.Clean(x.Path(id))
		line := fmt.Sprintf("%s %v %x", p, e.Kind, e.Flags&^(index.HardLink|index.Linked))
		switch e.Kind {
		case index.Dir, index.Whiteout:
		case index.Link:
			line += " -> " + string(x.Target(id))
		default:
			first := id
			if e.Flags&index.HardLink != 0 {
				first = e.Link
			}
			line += fmt.Sprintf(" %d = %d", e.Sec, first)
		}
		if e.Kind == index.Dir && e.Flags&index.Implied == 0 {
			line += fmt.Sprintf(" %d", e.Sec)
		}
		out = append(out, line)
	}
	return out
}

var (
	anyName = rapid.SampledFrom([]string{"a", "a", "b", "b", "c", "d", ".", "..", "", ".wh.a", ".wh.b", ".wh.c",
		".wh..wh..opq", ".wh.", ".wh..", ".wh...", ".wh..wh.x", plnkDir})
	anyPath = rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(anyName, 1, 4).Draw(t, "path"), "/")
	})
	anyText = rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"", "", "/", "../"}).Draw(t, "from") + rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "first") +
			rapid.SampledFrom([]string{"", "", "/", "/a", "/c", "/..", "/../b", "/./d", "/.wh.a"}).Draw(t, "rest")
	})
	anyKind = rapid.SampledFrom([]index.Kind{index.Dir, index.Dir, index.File, index.File, index.Symlink, index.Symlink, index.Symlink, index.Link, index.Link, index.Link, index.Fifo})
)

func anyLayer(t *rapid.T) []index.Record {
	n := rapid.IntRange(0, 30).Draw(t, "records")
	var list []index.Record
	for i := range n {
		r := index.Record{Name: anyPath.Draw(t, "name"), Kind: anyKind.Draw(t, "kind"), Sec: int64(i + 1)}
		if r.Kind == index.Link {
			r.LinkName = anyPath.Draw(t, "target")
		}
		if r.Kind == index.Symlink {
			r.LinkName = anyText.Draw(t, "text")
		}
		list = append(list, r)
	}
	return list
}

func build(t testing.TB, layer []index.Record) *index.Builder {
	b := index.NewBuilder()
	for _, r := range layer {
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestBuilderAgreesWithOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		layer := anyLayer(rt)
		o := newOracle()
		for _, r := range layer {
			o.add(r)
		}
		o.finish()
		b := build(t, layer)
		x := reopen(t, b, 0)
		if got, want := linesOf(x), o.lines(); !slices.Equal(got, want) {
			rt.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if n, _ := b.Refused(); n != o.refused {
			rt.Fatalf("%d refused, want %d", n, o.refused)
		}
		checkLinks(rt, x)
	})
}

// checkLinks compares Links with what the entries say of themselves.
func checkLinks(t *rapid.T, x *index.Index) {
	want := map[uint32][]uint32{}
	var unresolved []uint32
	for id := range uint32(x.Len()) {
		e := x.Entry(id)
		if e.Flags&index.HardLink != 0 {
			want[e.Link] = append(want[e.Link], id)
		}
		if e.Kind == index.Link {
			unresolved = append(unresolved, id)
		}
	}
	for id := range uint32(x.Len()) {
		if got := x.Links(id); !slices.Equal(got, want[id]) {
			t.Fatalf("links of %d: %d, want %d", id, got, want[id])
		}
	}
	if got := x.Unresolved(); !slices.Equal(got, unresolved) {
		t.Fatalf("unresolved %d, want %d", got, unresolved)
	}
}

// Records of distinct paths that do not contradict each other make the same
// entries in any order, and wherever their contents are.
func TestNumbersDoNotDependOnTheSource(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		paths := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-c]/[a-c]/[a-d]|[a-c]/[d-f]|[d-f]`), 0, 20, rapid.ID[string]).Draw(rt, "paths")
		var layer []index.Record
		for i, p := range paths {
			layer = append(layer, index.Record{Name: p, Kind: index.File, Sec: int64(i), Size: 10, Data: int64(512 * i)})
		}
		for i, p := range paths[:len(paths)/2] {
			layer = append(layer, index.Record{Name: "./z/" + fmt.Sprint(i), Kind: index.Link, LinkName: "/" + p})
		}
		other := rapid.Permutation(layer).Draw(rt, "order")
		for i := range other {
			other[i].Data *= 8
		}
		got, want := linesOf(reopen(t, build(t, other), 1<<20)), linesOf(reopen(t, build(t, layer), 1<<20))
		if !slices.Equal(got, want) {
			rt.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

package fusefs

import (
	"context"
	"io"
	"os/exec"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/view"
)

// testLibrary has the images "h/a:1" and so on that it is told of; opening one
// waits at its gate.
type testLibrary struct {
	t     *testing.T
	layer view.Layer // of every image; nil for one that has the image's id in it
	gate  atomic.Pointer[gate]

	resolved, opened, closed atomic.Int64
	mu                       struct {
		sync.Mutex
		images map[string]string // path -> id, which is also what its file says
		known  []string
		now    time.Time
	}
}

func newTestLibrary(t *testing.T, images map[string]string, known ...string) *testLibrary {
	l := &testLibrary{t: t}
	l.mu.images, l.mu.known = images, known
	return l
}

func (l *testLibrary) set(image, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.images[image] = id
	l.mu.known, l.mu.now = append(l.mu.known, image), time.Now()
}

func (l *testLibrary) Kind(p string) PathKind {
	switch {
	case strings.HasPrefix(p, "bad"):
		return NotAPath
	case strings.Contains(path.Base(p), ":"):
		return ImagePath
	}
	return FolderPath
}

func (l *testLibrary) List(folder string) (names []string, _ time.Time, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range l.mu.known {
		if path.Dir(name) == folder {
			names = append(names, path.Base(name))
		}
	}
	return names, l.mu.now, nil
}

func (l *testLibrary) Known(image string) bool {
	names, _, _ := l.List(path.Dir(image))
	for _, name := range names {
		if name == path.Base(image) {
			return true
		}
	}
	return false
}

func (l *testLibrary) Resolve(ctx context.Context, image string) (string, error) {
	l.resolved.Add(1)
	if err := l.gate.Load().pass(ctx); err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if id := l.mu.images[image]; id != "" {
		return id, nil
	}
	return "", errkind.New(errkind.NotFound, "nobody has %s", image)
}

func (l *testLibrary) Open(_ context.Context, image, id string) (*Opened, error) {
	l.opened.Add(1)
	v := viewOf(layerOf(l.t, tartest.File("f", id), tartest.File("d/g", "in "+id), tartest.Symlink("l", "d/g")))
	if l.layer != nil {
		v = view.New([]view.Layer{l.layer}, view.Options{Symlinks: view.Raw})
	}
	return &Opened{View: v, Options: Options{Image: image}, Close: func() error { l.closed.Add(1); return nil }}, nil
}

func mountedLibrary(t *testing.T, lib *testLibrary, idle time.Duration) string {
	t.Helper()
	needFUSE(t)
	dir := t.TempDir()
	before := countLeftovers()
	s, err := MountLibrary(dir, lib, idle, Options{FSName: "peelfs:test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Unmount(false); err != nil {
			t.Errorf("unmount: %v", err)
			s.Unmount(true)
		}
		s.Wait()
		checkLeaks(t, dir, before)
		if o, c := lib.opened.Load(), lib.closed.Load(); o != c {
			t.Errorf("%d images were opened, and %d closed", o, c)
		}
	})
	return dir
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestLibraryOpensOnce(t *testing.T) {
	lib := newTestLibrary(t, map[string]string{"h/a:1": "one"})
	g := newGate()
	lib.gate.Store(g)
	dir := mountedLibrary(t, lib, time.Hour)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			if got, err := outputOf("cat", dir+"/h/a:1/f"); err != nil || got != "one" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	<-g.waiting
	close(g.open)
	readers.Wait()
	if r, o := lib.resolved.Load(), lib.opened.Load(); r != 1 || o != 1 {
		t.Errorf("resolved %d times, opened %d times", r, o)
	}
	if got := run(t, "sh", "-c", "cd "+dir+"/h/a:1/d && pwd -P && cd .. && cat l"); got != dir+"/h/a:1/d\nin one" {
		t.Errorf("%q", got)
	}
}

func TestLibraryListsAndLooksForNothing(t *testing.T) {
	lib := newTestLibrary(t, map[string]string{"h/a:1": "one"}, "h/a:1", "h/b:1")
	dir := mountedLibrary(t, lib, time.Hour)
	list := func() string { return run(t, "sh", "-c", "ls -lU --time-style=+ "+dir+"/h | sed 's/.* //'") }
	if got := list(); got != "0\na:1\nb:1\n" {
		t.Errorf("%q", got)
	}
	lib.set("h/c:1", "three")
	until(t, "a new name is listed", func() bool { return strings.Contains(list(), "c:1") })
	if n := lib.resolved.Load() + lib.opened.Load(); n != 0 {
		t.Errorf("a listing resolved or opened %d times", n)
	}
	if _, err := outputOf("ls", dir+"/h/b:1"); err == nil {
		t.Error("a name that is known and means nothing can be listed")
	}
}

// A name that does not exist may exist later.
func TestLibraryForgetsAbsence(t *testing.T) {
	lib := newTestLibrary(t, map[string]string{})
	dir := mountedLibrary(t, lib, time.Hour)
	for _, name := range []string{"/h/new:1", "/bad", "/bad/x:1"} {
		if said, err := outputOf("stat", dir+name); err == nil || !strings.Contains(said, "No such file") {
			t.Errorf("%s: %s, %v", name, said, err)
		}
	}
	lib.mu.Lock()
	lib.mu.images["h/new:1"] = "new"
	lib.mu.Unlock()
	until(t, "it is there", func() bool { _, err := outputOf("stat", dir+"/h/new:1"); return err == nil })
}

// While idle images are closed and opened again, readers see nothing of it; and a
// name that moves is another image, with other numbers.
func TestLibraryClosesWhatIsIdle(t *testing.T) {
	lib := newTestLibrary(t, map[string]string{"h/a:1": "one"})
	dir := mountedLibrary(t, lib, 10*time.Millisecond)
	holder := exec.Command("sh", "-c", "cd "+dir+"/h/a:1/d && read line && ls -f && cat g")
	line, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	holder.Stdout = &seen
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if got := run(t, "cat", dir+"/h/a:1/f", dir+"/h/a:1/l"); got != "onein one" {
			t.Errorf("%q", got)
		}
		if got := run(t, "getfattr", "--absolute-names", "--only-values", "-n", "user.peelfs.image", dir+"/h/a:1/f"); got != "h/a:1" {
			t.Errorf("its image is %q", got) // which the kernel does not remember: it opens the image again
		}
		until(t, "closed", func() bool { return lib.closed.Load() == lib.opened.Load() })
	}
	if n := lib.opened.Load(); n < 2 {
		t.Errorf("it was opened %d times: nothing was closed between", n)
	}
	lib.set("h/a:1", "two")
	until(t, "it has moved", func() bool { got, err := outputOf("cat", dir+"/h/a:1/f"); return err == nil && got == "two" })
	if _, err := io.WriteString(line, "go on\n"); err != nil {
		t.Fatal(err)
	}
	if err := holder.Wait(); err != nil || seen.String() != ".\n..\ng\nin one" {
		t.Errorf("who was in the old image sees %q, %v", seen.String(), err)
	}
}

// outputOf runs a program: the reader is another process, as ever.
func outputOf(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}

package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/treedump"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
	"golang.org/x/sys/unix"
)

func init() {
	children["dump"] = func(args []string) error { return treedump.Dump(args[0], os.Stdout, treedump.Options{}) }
	children["readall"] = readAll
	children["mmap"] = mapAndCompare
	children["seekdir"] = seekDir
	children["getxattr"] = getXattr
	children["byhandle"] = openByHandle
	children["size"] = func(args []string) error {
		st, err := os.Stat(args[0])
		if err == nil {
			fmt.Print(st.Size())
		}
		return err
	}
}

// runChild returns what a child printed.
func runChild(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := child(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, errs.String())
	}
	return out.String()
}

func TestFixtureTree(t *testing.T) {
	dir, _ := mounted(t, viewOf(fixture(t)...), Options{})
	want, err := os.ReadFile("../testdata/fixture/tree.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"cold", "warm"} {
		if got := runChild(t, "dump", dir); got != string(want) {
			t.Errorf("%s: %s", when, firstDifference(got, string(want)))
		}
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d:\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// Two mounts at a time, each read by processes with many threads.
func TestConcurrentReaders(t *testing.T) {
	layers := fixture(t)
	a, _ := mounted(t, viewOf(layers...), Options{})
	b, _ := mounted(t, viewOf(layers...), Options{})
	sums := make([]string, 6)
	var group sync.WaitGroup
	for i := range sums {
		dir := []string{a, b}[i%2]
		group.Go(func() { sums[i] = runChild(t, "readall", dir) })
	}
	group.Wait()
	for _, s := range sums {
		if s != sums[0] || s == "" {
			t.Errorf("readers saw %q and %q", s, sums[0])
		}
	}
}

// readAll reads all files below args[0] in 8 threads and prints how much it was.
func readAll(args []string) error {
	paths := make(chan string)
	var mu sync.Mutex
	var bytes int64
	var failed error
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for p := range paths {
				data, err := os.ReadFile(p)
				mu.Lock()
				bytes, failed = bytes+int64(len(data)), errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	err := filepath.WalkDir(args[0], func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			paths <- p
		}
		return err
	})
	close(paths)
	group.Wait()
	fmt.Print(bytes)
	return errors.Join(err, failed)
}

// pattern is n bytes in which each place looks different.
func pattern(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*31 + i>>16*101)
	}
	return string(b)
}

func TestReadIsExact(t *testing.T) {
	var entries []tartest.Entry
	sizes := []int{0, 1, 511, 4095, 4096, 4097, 131071, 131073, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3<<20 + 17}
	for _, n := range sizes {
		entries = append(entries, tartest.File(fmt.Sprint(n), pattern(n)))
	}
	dir, _ := mounted(t, viewOf(layerOf(t, entries...)), Options{})
	for _, n := range sizes {
		for range 2 { // from the server, then from the page cache
			if got := run(t, "cat", fmt.Sprint(dir, "/", n)); got != pattern(n) {
				t.Errorf("file of %d bytes: got %d", n, len(got))
			}
		}
		if got := run(t, "dd", "status=none", "iflag=direct", "bs=1M", fmt.Sprint("if=", dir, "/", n)); got != pattern(n) {
			t.Errorf("file of %d bytes, direct: got %d", n, len(got))
		}
	}
}

// A layer that answers short must not shrink a file.
func TestShortAnswerIsAnError(t *testing.T) {
	l := layerOf(t, tartest.File("f", pattern(8192)))
	l.data = l.data[:len(l.data)-8192] // of the content, 2560 bytes are left
	dir, _ := mounted(t, viewOf(l), Options{})
	if out, err := exec.Command("cat", dir+"/f").CombinedOutput(); err == nil {
		t.Errorf("cat went well, with %d bytes", len(out))
	}
	if got := runChild(t, "size", dir+"/f"); got != "8192" {
		t.Errorf("size is now %s", got)
	}
}

func TestMmap(t *testing.T) {
	text := pattern(2<<20 + 5)
	dir, _ := mounted(t, viewOf(layerOf(t, tartest.File("f", text))), Options{})
	plain := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(plain, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	runChild(t, "mmap", dir+"/f", plain)
}

func mapAndCompare(args []string) error {
	want, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if !bytes.Equal(m, want) {
		return errors.New("the mapping differs")
	}
	return nil
}

func TestExec(t *testing.T) {
	program, err := os.ReadFile("/bin/echo")
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := mounted(t, viewOf(layerOf(t, tartest.File("bin/echo", string(program), tartest.Mode(0o755)))), Options{})
	// By a shell: a process that serves the mount must not fork and exec from it.
	if got := run(t, "sh", "-c", dir+"/bin/echo from a layer"); got != "from a layer\n" {
		t.Errorf("echo said %q", got)
	}
}

// manyFiles is a layer with n files in the directory d.
func manyFiles(t testing.TB, n int) *memLayer {
	t.Helper()
	b := index.NewBuilder()
	for i := range n {
		r := index.Record{Name: fmt.Sprintf("d/file-%07d", i), Kind: index.File, Mode: 0o644, Size: int64(i % 3)}
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	return seal(t, b, make([]byte, 4096))
}

func TestHugeDirectory(t *testing.T) {
	const n = 200_000
	dir, s := mounted(t, viewOf(manyFiles(t, n)), Options{})
	for range 2 {
		if got := strings.Count(run(t, "find", dir+"/d", "-type", "f", "-size", "-2c"), "\n"); got != n*2/3+1 {
			t.Errorf("find found %d", got)
		}
	}
	if got := strings.Count(run(t, "ls", "-f", dir+"/d"), "\n"); got != n+2 {
		t.Errorf("ls listed %d", got)
	}
	if r := s.Stats().Requests; r["LOOKUP"] > 2 || r["GETATTR"] > 5 {
		t.Errorf("listing with attributes took %v", r)
	}
	runChild(t, "seekdir", dir+"/d")
}

// seekDir remembers the place behind each 1000th entry of args[0], and goes back
// to those, last first: what follows must be the same again.
func seekDir(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	type place struct {
		off  int64
		next string
	}
	var places []place
	var last int64
	buf := make([]byte, 32<<10)
	for i := 0; ; {
		n, err := unix.Getdents(int(f.Fd()), buf)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		for _, e := range direntsOf(buf[:n]) {
			if i%1000 == 0 {
				places = append(places, place{last, e.name})
			}
			last = e.off
			i++
		}
	}
	for i := len(places) - 1; i >= 0; i-- {
		if _, err := unix.Seek(int(f.Fd()), places[i].off, io.SeekStart); err != nil {
			return err
		}
		n, err := unix.Getdents(int(f.Fd()), buf)
		if err != nil {
			return err
		}
		if got := direntsOf(buf[:n])[0].name; got != places[i].next {
			return fmt.Errorf("at %d is %q, was %q", places[i].off, got, places[i].next)
		}
	}
	return nil
}

type dirent struct {
	off  int64
	name string
}

func direntsOf(b []byte) (list []dirent) {
	for len(b) > 0 {
		size := int(b[16]) | int(b[17])<<8
		name, _, _ := bytes.Cut(b[19:size], []byte{0})
		var off int64
		for i := range 8 {
			off |= int64(b[8+i]) << (8 * i)
		}
		list = append(list, dirent{off, string(name)})
		b = b[size:]
	}
	return list
}

func TestKernelRemembers(t *testing.T) {
	dir, s := mounted(t, viewOf(layerOf(t,
		tartest.File("a/f", "text", tartest.Xattr("user.x", "1")), tartest.Symlink("a/ln", "f"), tartest.Dir("a/sub/"))), Options{})
	for range 5 {
		run(t, "cat", dir+"/a/f")
		run(t, "readlink", dir+"/a/ln")
		run(t, "ls", "-lR", dir+"/a")
		exec.Command("cat", dir+"/a/none").Run()
	}
	r := s.Stats().Requests
	for op, most := range map[string]uint64{
		"LOOKUP": 4, "READ": 1, "READLINK": 1, "OPEN": 1, "OPENDIR": 1, "FLUSH": 1, "GETATTR": 2, "READDIRPLUS": 4,
	} {
		if r[op] > most {
			t.Errorf("%d times %s", r[op], op)
		}
	}
	for _, op := range []string{"RELEASE", "RELEASEDIR", "READDIR"} {
		if r[op] > 0 {
			t.Errorf("%d times %s", r[op], op)
		}
	}
}

func TestNothingCanBeWritten(t *testing.T) {
	dir, _ := mounted(t, viewOf(layerOf(t, tartest.File("f", "text"))), Options{})
	for _, c := range [][]string{
		{"touch", dir + "/new"}, {"mkdir", dir + "/new"}, {"rm", dir + "/f"}, {"mv", dir + "/f", dir + "/g"},
		{"chmod", "600", dir + "/f"}, {"ln", dir + "/f", dir + "/g"}, {"ln", "-s", "x", dir + "/g"},
		{"mknod", dir + "/p", "p"}, {"truncate", "-s", "0", dir + "/f"}, {"setfattr", "-n", "user.a", "-v", "b", dir + "/f"},
	} {
		out, err := exec.Command(c[0], c[1:]...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "Read-only file system") {
			t.Errorf("%q: %v, %s", c, err, out)
		}
	}
}

// getXattr prints attribute args[1] of args[0], or the errno.
func getXattr(args []string) error {
	buf := make([]byte, 1<<16)
	n, err := unix.Lgetxattr(args[0], args[1], buf)
	if err != nil {
		fmt.Print(unix.ErrnoName(err.(unix.Errno)))
		return nil
	}
	fmt.Printf("%q", buf[:n])
	return nil
}

func TestXattrs(t *testing.T) {
	base := layerOf(t, tartest.File("low", ""), tartest.File("f", "", tartest.Xattr("user.bin", "\x00=\n"), tartest.Xattr("user.empty", "")))
	top := layerOf(t, tartest.File("high", ""))
	dir, _ := mounted(t, viewOf(base, top), Options{
		Image:     "docker.io/library/x@sha256:12",
		LayerName: func(i int) string { return fmt.Sprint("sha256:layer", i) },
		CreatedBy: func(i int) string { return []string{"", "RUN make"}[i] },
	})
	for _, c := range []struct{ file, name, want string }{
		{"f", "user.bin", `"\x00=\n"`},
		{"f", "user.empty", `""`},
		{"f", "user.other", "ENODATA"},
		{"f", "security.capability", "ENODATA"},
		{"f", "security.selinux", "ENOTSUP"},
		{"f", "system.posix_acl_access", "ENOTSUP"},
		{"f", "system.posix_acl_default", "ENOTSUP"},
		{"low", "user.peelfs.layer", `"sha256:layer0"`},
		{"high", "user.peelfs.layer", `"sha256:layer1"`},
		{"high", "user.peelfs.created_by", `"RUN make"`},
		{"low", "user.peelfs.created_by", "ENODATA"},
		{"low", "user.peelfs.image", `"docker.io/library/x@sha256:12"`},
		{"low", "user.peelfs.nothing", "ENODATA"},
	} {
		if got := runChild(t, "getxattr", dir+"/"+c.file, c.name); got != c.want {
			t.Errorf("%s of %s = %s, want %s", c.name, c.file, got, c.want)
		}
	}
	if got := run(t, "getfattr", "--absolute-names", "-m", "-", "-h", dir+"/f"); !strings.Contains(got, "user.bin\nuser.empty\n") || strings.Contains(got, "peelfs.") {
		t.Errorf("listed: %s", got)
	}
}

// A listing that needs no room of its own for each entry.
func TestListingDoesNotAllocate(t *testing.T) {
	v := viewOf(manyFiles(t, 1000))
	a, err := v.Lookup(t.Context(), 1, "d")
	if err != nil {
		t.Fatal(err)
	}
	d, err := v.ReadDir(t.Context(), a.Ino)
	if err != nil {
		t.Fatal(err)
	}
	files := &tree{numbers: numbers{top: view.RootIno}, hidden: &hidden{top: view.RootIno}, opt: &Options{}}
	out := newEntryList(256 << 10)
	if n := testing.AllocsPerRun(20, func() {
		l := lister{numbers: files.numbers, out: out(), plus: true}
		files.listEntries(&l, d, 0, false)
	}); n > 5 {
		t.Errorf("%v allocations for 1000 entries", n)
	}
}

func TestOpenByHandle(t *testing.T) {
	needRoot(t)
	dir, _ := mounted(t, viewOf(layerOf(t, tartest.File("a/b/f", "text"))), Options{})
	for _, path := range []string{"/a/b/f", "/a/b"} {
		runChild(t, "byhandle", dir, dir+path)
	}
}

// openByHandle opens args[1] by its handle once the kernel has forgotten it.
func openByHandle(args []string) error {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, args[1], 0)
	if err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
		return err
	}
	top, err := os.Open(args[0])
	if err != nil {
		return err
	}
	fd, err := unix.OpenByHandleAt(int(top.Fd()), h, unix.O_RDONLY)
	if err != nil {
		return fmt.Errorf("open by handle: %w", err)
	}
	return unix.Close(fd)
}

func TestReadAheadIsRaisedWhenComplete(t *testing.T) {
	needRoot(t)
	complete := false
	_, s := mounted(t, viewOf(layerOf(t)), Options{Complete: func() bool { return complete }})
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", s.info.Major, s.info.Minor)
	if got := run(t, "cat", path); got != "128\n" {
		t.Errorf("read-ahead at first: %s", got)
	}
	s.LayersComplete()
	complete = true
	s.LayersComplete()
	if got := run(t, "cat", path); got != "1024\n" {
		t.Errorf("read-ahead in the end: %s", got)
	}
}

func TestFailuresDoNotStick(t *testing.T) {
	base, top := layerOf(t, tartest.File("low", "text")), layerOf(t, tartest.File("high", "text"))
	base.fails.Store(failing(errkind.Unavailable))
	var log syncBuffer
	dir, s := mounted(t, viewOf(base, top), Options{Logger: log.logger()})
	if got := run(t, "cat", dir+"/high"); got != "text" {
		t.Errorf("above the layer that fails: %q", got)
	}
	out, err := exec.Command("cat", dir+"/low").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Input/output error") {
		t.Errorf("below: %v, %s", err, out)
	}
	if !strings.Contains(log.String(), "as the test wants it") || s.Stats().Failed == 0 {
		t.Errorf("log without the failure: %s", log.String())
	}
	base.fails.Store(nil)
	if got := run(t, "cat", dir+"/low"); got != "text" {
		t.Errorf("afterwards: %q", got)
	}
	top.fails.Store(failing(errkind.Timeout))
	if out, _ := exec.Command("dd", "iflag=direct", "if="+dir+"/high").CombinedOutput(); !strings.Contains(string(out), "timed out") {
		t.Errorf("a timeout is shown as: %s", out)
	}
}

// After a failed read-ahead the kernel asks for the page alone; that must not
// be tried anew.
func TestFailedReadIsNotRepeatedAtOnce(t *testing.T) {
	l := layerOf(t, tartest.File("f", pattern(300_000)))
	dir, _ := mounted(t, viewOf(l), Options{})
	run(t, "stat", dir+"/f")
	l.fails.Store(failing(errkind.Unavailable))
	exec.Command("cat", dir+"/f").Run()
	if n := l.reads.Load(); n > 2 {
		t.Errorf("%d tries", n)
	}
	l.fails.Store(nil)
	eventually(t, "the file can be read again", func() bool {
		out, err := exec.Command("cat", dir+"/f").Output()
		return err == nil && string(out) == pattern(300_000)
	})
}

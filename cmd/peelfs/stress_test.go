package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/cmd/peelfs/mounttab"
	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/internal/testregistry"
)

// Many processes use one cache that is too small for what they read, verify it,
// empty it, prove layers and are killed, all at once: no reader ever gets a wrong
// byte, and nobody finds damage. STRESS says for how long, 2 seconds without.
func TestStressOnOneCache(t *testing.T) {
	stress(t, durationOf(t, "STRESS", 2*time.Second))
}

// The same for as long as PEELFS_SOAK says.
func TestSoakOnOneCache(t *testing.T) {
	if os.Getenv("PEELFS_SOAK") == "" {
		t.Skip("set PEELFS_SOAK to a duration, or use make soak")
	}
	stress(t, durationOf(t, "PEELFS_SOAK", 0))
}

func durationOf(t *testing.T, env string, otherwise time.Duration) time.Duration {
	t.Helper()
	if os.Getenv(env) == "" {
		return otherwise
	}
	d, err := time.ParseDuration(os.Getenv(env))
	if err != nil {
		t.Fatalf("$%s: %v", env, err)
	}
	return d
}

// stressSize is what mounts let the cache have: a third of what is read.
const stressSize = "3MiB"

// stressed are the images that a stress mounts, by what they are.
var stressed = []string{"own", "gzip", "estargz", "zstdchunked"}

// A stressor is a cache, and processes that use it.
type stressor struct {
	t       *testing.T
	reg     *testregistry.Registry
	cache   string
	runtime string
	mounts  []*stressMount

	reads, verifies, kills, proofs, lost atomic.Int64
}

// stressMount is a mount of an image, and what must be read there.
type stressMount struct {
	dir, ref string
	files    map[string][]byte
	names    []string
}

func stress(t *testing.T, d time.Duration) {
	if ok, err := condition("fuse"); !ok {
		if err != nil {
			t.Fatal(err)
		}
		t.Skip("no /dev/fuse")
	}
	s := newStressor(t)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var wg sync.WaitGroup
	for n, work := range []func(context.Context, *rand.Rand){
		s.read, s.read, s.read, s.verify, s.verify, s.prune, s.prove, s.kill,
	} {
		wg.Go(func() {
			r := rand.New(rand.NewSource(int64(n)))
			for ctx.Err() == nil {
				work(ctx, r)
			}
		})
	}
	wg.Wait()
	if out, code := s.run("cache", "verify"); code != 0 {
		t.Errorf("at rest: exit code %d: %s", code, out)
	}
	t.Logf("%d files read, %d by mounts that died; %d verified, %d proven, %d killed", s.reads.Load(), s.lost.Load(), s.verifies.Load(), s.proofs.Load(), s.kills.Load())
	if s.reads.Load() == 0 || s.verifies.Load() == 0 {
		t.Error("nothing was read or verified")
	}
}

func newStressor(t *testing.T) *stressor {
	t.Helper()
	s := &stressor{t: t, reg: testregistry.New(t, testregistry.Options{}), cache: t.TempDir(), runtime: t.TempDir()}
	s.reg.PushLayout("fixture", "../../testdata/fixture/images")
	s.reg.Push("fixture:own", manySpans())
	truth := &stressor{t: t, reg: s.reg, cache: t.TempDir(), runtime: s.runtime}
	for _, form := range stressed {
		m := &stressMount{dir: t.TempDir(), ref: s.reg.Ref("fixture:" + form), files: map[string][]byte{}}
		truth.mount(m)
		m.learn(t)
		truth.unmount(m)
		s.mounts = append(s.mounts, m)
		s.mount(m)
		t.Cleanup(func() { s.unmount(m) })
	}
	return s
}

// manySpans is an image of two layers with files that lie across spans.
func manySpans() testregistry.Image {
	var tars [][]byte
	for l := range 2 {
		r := rand.New(rand.NewSource(int64(l)))
		var entries []tartest.Entry
		for i := range 60 {
			b := make([]byte, 1+r.Intn(120_000))
			for k := range b {
				b[k] = "0123456789abcdef"[r.Intn(16)]
			}
			entries = append(entries, tartest.File(fmt.Sprintf("f%d-%d", l, i), string(b)))
		}
		tars = append(tars, tartest.Of(entries...))
	}
	return testregistry.Image{Layers: testregistry.Layers(tars...)}
}

// learn notes what all files of a mount hold, of which no process has ever
// dropped anything.
func (m *stressMount) learn(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(m.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, _ := filepath.Rel(m.dir, path)
		m.names = append(m.names, name)
		m.files[name], err = os.ReadFile(path)
		return err
	})
	if err != nil || len(m.names) == 0 {
		t.Fatalf("%d files of %s: %v", len(m.names), m.ref, err)
	}
}

// run runs peelfs as a process of its own.
func (s *stressor) run(args ...string) (out string, code int) {
	s.t.Helper()
	path, err := exec.LookPath("peelfs")
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Args[0] = "peelfs"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.runtime, "PEELFS_CACHE=" + s.cache, "PEELFS_RUNTIME=" + s.runtime, "NO_COLOR=1"}
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Errorf("%v: %v", args, err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

func (s *stressor) mount(m *stressMount) {
	out, code := s.run("mount", "-q", "--prefetch=none", "--symlinks=raw", "--cache-size", stressSize, "--log-file", filepath.Join(s.runtime, "log"), m.ref, m.dir)
	if code != 0 {
		s.t.Errorf("mount %s: exit code %d: %s", m.ref, code, out)
	}
}

func (s *stressor) unmount(m *stressMount) {
	if out, code := s.run("umount", m.dir); code != 0 {
		s.t.Errorf("umount %s: exit code %d: %s", m.ref, code, out)
	}
}

// read compares one file, past the kernel's cache.
func (s *stressor) read(_ context.Context, r *rand.Rand) {
	m := s.mounts[r.Intn(len(s.mounts))]
	name := m.names[r.Intn(len(m.names))]
	got, err := readDirect(filepath.Join(m.dir, name))
	switch {
	case err == nil && bytes.Equal(got, m.files[name]):
		s.reads.Add(1)
	case err == nil:
		s.t.Errorf("%s of %s: %d wrong bytes", name, m.ref, len(got))
	case errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.ECONNABORTED), errors.Is(err, fs.ErrNotExist):
		s.lost.Add(1) // the mount was killed just now, and is not there again yet
	default:
		s.t.Errorf("%s of %s: %v", name, m.ref, err)
	}
}

func readDirect(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var all []byte
	buf := aligned(1 << 17)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil || n == 0 {
			return all, err
		}
		all = append(all, buf[:n]...)
	}
}

// aligned is a buffer of n bytes at the start of a page, as O_DIRECT wants it.
func aligned(n int) []byte {
	const page = 4096
	b := make([]byte, n+page)
	off := page - int(uintptr(unsafe.Pointer(&b[0]))%page)
	return b[off:][:n]
}

func (s *stressor) verify(context.Context, *rand.Rand) {
	if out, code := s.run("cache", "verify"); code != 0 {
		s.t.Errorf("verify: exit code %d: %s", code, out)
	}
	s.verifies.Add(1)
}

func (s *stressor) prune(ctx context.Context, r *rand.Rand) {
	pause(ctx, r)
	args := []string{"cache", "prune"}
	if r.Intn(3) > 0 {
		args = append(args, "--data")
	}
	if out, code := s.run(args...); code != 0 {
		s.t.Errorf("%v: exit code %d: %s", args, code, out)
	}
}

// prove pulls an image: its layers are read whole, and take the place of those
// that its tables and SOCI indexes tell of.
func (s *stressor) prove(ctx context.Context, r *rand.Rand) {
	pause(ctx, r)
	m := s.mounts[r.Intn(len(s.mounts))]
	if out, code := s.run("pull", "-q", m.ref); code != 0 {
		s.t.Errorf("pull: exit code %d: %s", code, out)
	}
	s.proofs.Add(1)
}

// kill ends the process of a mount at any time, removes its layers if nobody else
// has them open, and mounts again.
func (s *stressor) kill(ctx context.Context, r *rand.Rand) {
	pause(ctx, r)
	m := s.mounts[r.Intn(len(s.mounts))]
	table, err := mounttab.Open(s.runtime)
	if err != nil {
		s.t.Error(err)
		return
	}
	e, ok, err := table.At(m.dir)
	if err != nil || !ok || !e.Alive { // a number of a dead process may be another's
		s.t.Errorf("no process serves %s: %v", m.ref, err)
		return
	}
	if err := syscall.Kill(e.PID, syscall.SIGKILL); err != nil {
		s.t.Error(err)
	}
	s.kills.Add(1)
	s.unmount(m)
	s.run("cache", "prune")
	s.mount(m)
}

// pause lets the others go on for a while, of any length.
func pause(ctx context.Context, r *rand.Rand) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(r.Intn(300)) * time.Millisecond):
	}
}

package fusefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/view"
	"pgregory.net/rapid"
)

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{fmt.Errorf("read: %w", context.Canceled), syscall.EINTR},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), syscall.ETIMEDOUT},
		{errkind.New(errkind.Unavailable, "reset"), syscall.EIO},
		{errors.New("what"), syscall.EIO},
		{fmt.Errorf("look up: %w", view.ErrNotExist), syscall.EIO},
		{fmt.Errorf("look up: %w", view.ErrNotDir), syscall.ENOTDIR},
		{fmt.Errorf("look up: %w", view.ErrStale), syscall.ESTALE},
		{fmt.Errorf("open: %w", syscall.ENOSYS), syscall.EIO},
		{fmt.Errorf("open: %w", syscall.ENOENT), syscall.EIO},
	} {
		if got := statusOf(c.err); got != fuse.Status(c.want) {
			t.Errorf("statusOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

// Whatever an error is made of, the kernel is told nothing that it remembers.
func TestStatusOfNeverSticks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		err := error(syscall.Errno(rapid.IntRange(1, 133).Draw(t, "errno")))
		for range rapid.IntRange(0, 3).Draw(t, "wraps") {
			err = errkind.Wrap(errkind.Kind(rapid.IntRange(0, 20).Draw(t, "kind")), fmt.Errorf("more: %w", err))
		}
		if got := statusOf(err); got == fuse.ENOSYS || got == fuse.ENOENT || got == fuse.OK {
			t.Errorf("statusOf(%v) = %v", err, got)
		}
	})
}

func TestStopPending(t *testing.T) {
	status := func(pending, shared, blocked string) []byte {
		return []byte("Name:\tx\nSigQ:\t0/1\nSigPnd:\t" + pending + "\nShdPnd:\t" + shared + "\nSigBlk:\t" + blocked + "\nSigIgn:\t0\n")
	}
	const none, intr, alarm, kill = "0000000000000000", "0000000000000002", "0000000000002000", "0000000000000100"
	for _, c := range []struct {
		name string
		text []byte
		want bool
	}{
		{"nothing", status(none, none, none), false},
		{"timer", status(none, alarm, none), false},
		{"SIGURG of the Go runtime", status("0000000000400000", none, none), false},
		{"Ctrl-C", status(none, intr, none), true},
		{"Ctrl-C blocked", status(none, intr, intr), false},
		{"kill -9 of this thread", status(kill, none, none), true},
		{"timer and kill", status(kill, alarm, none), true},
		{"not a status", []byte("gone"), true},
		{"not a number", status("zz", none, none), true},
	} {
		if got := stopPending(c.text); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if !wantsToStop(0) {
		t.Error("a caller without a process cannot be asked")
	}
}

func FuzzStopPending(f *testing.F) {
	f.Add([]byte("SigPnd:\t0\nShdPnd:\t2\nSigBlk:\t0\n"))
	f.Add([]byte("SigPnd:"))
	f.Fuzz(func(t *testing.T, text []byte) { stopPending(text) })
}

// The fuzzer's workers live, although tests run in a mount namespace of their own.
func TestFuzzingWorks(t *testing.T) {
	if fuzzing() {
		t.Skip("it is fuzzed already")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$", "-test.fuzz=^FuzzStopPending$", "-test.fuzztime=10x", "-test.fuzzcachedir="+t.TempDir())
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, isolatedEnv+"=") })
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestFailuresAreShortlyRemembered(t *testing.T) {
	var f failures
	now := time.Unix(1000, 0)
	at := func(d time.Duration) func() time.Time { return func() time.Time { return now.Add(d) } }
	f.record(7, 5<<20, fuse.EIO, now)
	if got := f.recall(7, 5<<20+4096, at(0)); got != fuse.EIO {
		t.Errorf("next page: %v", got)
	}
	if got := f.recall(7, 6<<20, at(0)); got != fuse.OK {
		t.Errorf("next MiB: %v", got)
	}
	if got := f.recall(8, 5<<20, at(0)); got != fuse.OK {
		t.Errorf("other file: %v", got)
	}
	if got := f.recall(7, 5<<20, at(failureTime)); got != fuse.OK {
		t.Errorf("a second later: %v", got)
	}
	f.record(7, 0, fuse.EIO, now)
	f.forgive(7, 0)
	if got := f.recall(7, 0, at(0)); got != fuse.OK {
		t.Errorf("after a read that went well: %v", got)
	}
}

func TestFailuresAreFew(t *testing.T) {
	var f failures
	for i := range uint64(5 * maxFailures) {
		f.record(i, 0, fuse.EIO, time.Unix(0, 0))
		if n := len(f.mu.at); n > maxFailures {
			t.Fatalf("%d failures are remembered", n)
		}
	}
	if got := f.recall(5*maxFailures-1, 0, func() time.Time { return time.Unix(0, 0) }); got != fuse.EIO {
		t.Error("the last one is not")
	}
}

func TestLimiter(t *testing.T) {
	var l limiter
	now := time.Unix(1000, 0)
	logged := 0
	for range 100 {
		if _, ok := l.allow(now); ok {
			logged++
		}
	}
	if logged != logBurst {
		t.Errorf("%d logged", logged)
	}
	if skipped, ok := l.allow(now.Add(time.Second)); !ok || skipped != 100-logBurst {
		t.Errorf("then %v, %d skipped", ok, skipped)
	}
}

func TestAllowsOther(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                false,
		"#user_allow_other\n":             false,
		"mount_max = 5\nuser_allow_other": true,
		" user_allow_other # yes\n":       true,
		"user_allow_others\n":             false,
	} {
		if got := allowsOther([]byte(text)); got != want {
			t.Errorf("allowsOther(%q) = %v", text, got)
		}
	}
}

func TestOldKernels(t *testing.T) {
	var n refusals
	n.init(&fuse.InitIn{Flags: fuse.CAP_NO_OPEN_SUPPORT})
	tr := &tree{refusals: n, hidden: &hidden{files: []*hiddenFile{{File: File{Live: true}}}}}
	var out fuse.OpenOut
	if got := tr.Open(nil, &fuse.OpenIn{}, &out); got != fuse.ENOSYS {
		t.Errorf("OPEN: %v", got)
	}
	if got := tr.OpenDir(nil, &fuse.OpenIn{}, &out); got != fuse.OK || out.OpenFlags != fuse.FOPEN_CACHE_DIR|fuse.FOPEN_KEEP_CACHE {
		t.Errorf("OPENDIR: %v, %x", got, out.OpenFlags)
	}
	tr.openless, out = false, fuse.OpenOut{}
	if got := tr.Open(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: 99}}, &out); got != fuse.OK || out.OpenFlags != fuse.FOPEN_KEEP_CACHE {
		t.Errorf("OPEN: %v, %x", got, out.OpenFlags)
	}
	out = fuse.OpenOut{}
	if got := tr.Open(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: nodeFiles}}, &out); got != fuse.OK || out.OpenFlags != 0 {
		t.Errorf("OPEN of a live file: %v, %x", got, out.OpenFlags)
	}
}

func TestRequestIsQuietUntilAsked(t *testing.T) {
	s := &session{budget: time.Hour, closing: make(chan struct{}), device: -1}
	r := s.begin(nil, &fuse.InHeader{})
	if r.Err() != nil || s.waits.Load() != 0 {
		t.Error("a request waits before anyone asked")
	}
	done := r.Done()
	s.close()
	<-done
	if r.Err() != context.Canceled {
		t.Errorf("at the end: %v", r.Err())
	}
	r.finish()
	s.watchers.Wait()
}

func TestRequestRunsOutOfTime(t *testing.T) {
	s := &session{budget: 1, closing: make(chan struct{}), device: -1}
	r := s.begin(nil, &fuse.InHeader{})
	<-r.Done()
	if !errors.Is(r.Err(), context.DeadlineExceeded) {
		t.Errorf("out of time: %v", r.Err())
	}
	r.finish()
	s.watchers.Wait()
}

// Errors become answers in statusOf alone; what the kernel remembers is said on
// purpose, in the two places that are meant to.
func TestAnswersThatStickHaveTheirPlace(t *testing.T) {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for word, place := range map[string]string{
			"fuse.ENOSYS": "refusals.go", "syscall.ENOSYS": "", "fuse.ENOENT": "errno.go", "syscall.ENOENT": "",
			"ToStatus(": "", "ToErrno(": "", "errkind.Of(": "errno.go",
		} {
			if path != place && strings.Contains(string(text), word) {
				t.Errorf("%s has %s", path, word)
			}
		}
	}
}

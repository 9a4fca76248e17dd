package fusefs

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/tartest"
)

// blocked is a mount of a file "f" that cannot be read until the gate opens. With
// index the layer is not even known before.
func blocked(t *testing.T, index bool, opt Options) (dir string, g *gate, s *Server) {
	l := layerOf(t, tartest.File("f", pattern(300_000)))
	dir, s = mounted(t, viewOf(l), opt)
	if !index {
		run(t, "stat", dir+"/f")
	}
	g = newGate()
	l.gate.Store(g)
	return dir, g, s
}

// start runs the command until the gate holds it.
func start(t *testing.T, g *gate, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout = new(bytes.Buffer)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-g.waiting
	return cmd
}

func TestStopSignalsEndAWait(t *testing.T) {
	for _, c := range []struct {
		name  string
		index bool
		args  []string
	}{
		{"lookup", true, []string{"stat", "/f"}},
		{"list", true, []string{"ls", "/"}},
		{"read", false, []string{"cat", "/f"}},
		{"direct read", false, []string{"dd", "iflag=direct", "if=/f"}},
	} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGHUP} {
			t.Run(c.name+" "+sig.String(), func(t *testing.T) {
				dir, g, _ := blocked(t, c.index, Options{})
				last := len(c.args) - 1
				path := strings.Replace(c.args[last], "/", dir+"/", 1)
				cmd := start(t, g, c.args[0], append(append([]string{}, c.args[1:last]...), path)...)
				cmd.Process.Signal(sig)
				var exit *exec.ExitError
				if err := cmd.Wait(); !errors.As(err, &exit) {
					t.Fatalf("ended with %v", err)
				}
				if got := exit.Sys().(syscall.WaitStatus); !got.Signaled() || got.Signal() != sig {
					t.Errorf("ended by itself: %v", exit)
				}
				close(g.open)
			})
		}
	}
}

// A program with a timer must not see its calls fail.
func TestTimersDoNotBreakCalls(t *testing.T) {
	for _, call := range []string{"os.stat(path + '/f')", "os.listdir(path)"} {
		dir, g, s := blocked(t, true, Options{})
		cmd := start(t, g, "python3", "-c", `
import os, signal, sys
path = sys.argv[1]
signal.signal(signal.SIGALRM, lambda *a: None)
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
print(`+call+`)
signal.setitimer(signal.ITIMER_REAL, 0)`, dir)
		eventually(t, "the kernel reports signals", func() bool { return s.Stats().Signals > 2 })
		close(g.open)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
}

func TestKillAfterTimerEndsAWait(t *testing.T) {
	dir, g, s := blocked(t, true, Options{})
	cmd := start(t, g, "python3", "-c", `
import os, signal, sys
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 0.01)
os.stat(sys.argv[1] + '/f')`, dir)
	eventually(t, "the kernel reports a signal", func() bool { return s.Stats().Signals > 0 })
	cmd.Process.Kill()
	if err := cmd.Wait(); err == nil {
		t.Error("it ended well")
	}
	close(g.open)
}

func TestWaitEndsWithItsBudget(t *testing.T) {
	var log syncBuffer
	dir, _, _ := blocked(t, false, Options{IOTimeout: 50 * time.Millisecond, Logger: log.logger()})
	out, err := exec.Command("cat", dir+"/f").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "timed out") {
		t.Errorf("cat: %v, %s", err, out)
	}
	if !strings.Contains(log.String(), "READ") {
		t.Errorf("log: %s", log.String())
	}
}

func TestSlowWaitIsLogged(t *testing.T) {
	var log syncBuffer
	dir, g, s := blocked(t, false, Options{Logger: log.logger()})
	cmd := start(t, g, "dd", "status=none", "iflag=direct", "if="+dir+"/f")
	eventually(t, "the wait is logged", func() bool { return s.Stats().Slow > 0 && strings.Contains(log.String(), "waiting") })
	if want := "dd (" + strconv.Itoa(cmd.Process.Pid) + ")"; !strings.Contains(log.String(), want) || !strings.Contains(log.String(), "path=/f ") {
		t.Errorf("log says %s, not %s and /f", log.String(), want)
	}
	close(g.open)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Many reads that wait must not hold up one that need not.
func TestWaitingReadsDoNotStallOthers(t *testing.T) {
	slow, fast := layerOf(t, files(40, 300_000)...), layerOf(t, tartest.File("fast", pattern(3<<20)))
	dir, _ := mounted(t, viewOf(slow, fast), Options{})
	run(t, "ls", "-l", dir)
	g := newGate()
	slow.gate.Store(g)
	var readers []*exec.Cmd
	for i := range 40 {
		readers = append(readers, start(t, g, "cat", dir+"/"+strconv.Itoa(i)))
	}
	if got := run(t, "cat", dir+"/fast"); got != pattern(3<<20) {
		t.Error("the fast file is wrong")
	}
	close(g.open)
	for i, r := range readers {
		if err := r.Wait(); err != nil || r.Stdout.(*bytes.Buffer).String() != pattern(300_000) {
			t.Errorf("reader %d: %v", i, err)
		}
	}
}

func files(n, size int) (list []tartest.Entry) {
	for i := range n {
		list = append(list, tartest.File(strconv.Itoa(i), pattern(size)))
	}
	return list
}

func TestForcedUnmountEndsWaits(t *testing.T) {
	needRoot(t)
	dir, g, s := blocked(t, false, Options{})
	cmd := start(t, g, "cat", dir+"/f")
	if err := s.Unmount(true); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the reader ended well")
	}
	s.Wait()
	if m, _ := mountAt(dir); m != nil {
		t.Error("still mounted")
	}
}

// Nothing that mounts or unmounts may look at the mount: it may not answer.
func TestUnmountOfWhatDoesNotAnswer(t *testing.T) {
	dir, g, s := blocked(t, true, Options{})
	if path, err := Canonical(dir); err != nil || path != dir {
		t.Errorf("canonical: %q, %v", path, err)
	}
	wantKind(t, CheckMountpoint(dir), errkind.Mountpoint, "mountpoint already")
	wantDead(t, dir, false)
	if err := s.Unmount(false); err != nil {
		t.Error(err)
	}
	if len(g.waiting) > 0 {
		t.Error("somebody looked")
	}
}

// Tools do look, and must get an answer all the same.
func TestToolsUnmountWhatDoesNotAnswer(t *testing.T) {
	needRoot(t)
	for _, command := range [][]string{{"umount"}, {"fusermount3", "-u"}} {
		for _, other := range []bool{false, true} {
			dir, _, s := blocked(t, true, Options{IOTimeout: 10 * time.Millisecond, AllowOther: other})
			if got := run(t, "stat", "-c", "%A %u %g", dir); got != "drwxr-xr-x 0 0\n" {
				t.Errorf("the root is %s", got)
			}
			run(t, "df", dir)
			run(t, command[0], append(command[1:], dir)...)
			s.Wait()
		}
	}
}

// A root's attributes that were given for want of better ones do not last.
func TestProvisionalRootDoesNotStick(t *testing.T) {
	l := layerOf(t, tartest.Dir("./", tartest.Mode(0o711), tartest.Owner(7, 8)), tartest.File("f", ""))
	l.fails.Store(failing(errkind.Unavailable))
	dir, _ := mounted(t, viewOf(l), Options{})
	if got := run(t, "stat", "-c", "%A %u %g", dir); got != "drwxr-xr-x 0 0\n" {
		t.Errorf("at first: %s", got)
	}
	l.fails.Store(nil)
	eventually(t, "the root is as its layer says", func() bool {
		return run(t, "stat", "-c", "%A %u %g", dir) == "drwx--x--x 7 8\n"
	})
}

func TestAbortedConnectionEndsWaits(t *testing.T) {
	needRoot(t)
	dir, g, s := blocked(t, true, Options{})
	cmd := start(t, g, "stat", dir+"/f")
	if err := os.WriteFile("/sys/fs/fuse/connections/"+strconv.Itoa(s.info.Minor)+"/abort", []byte("1"), 0); err != nil {
		t.Skip("needs fusectl: ", err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the caller ended well")
	}
	s.Wait()
	wantDead(t, dir, true)
	if err := ClearDead(dir); err != nil {
		t.Error(err)
	}
}

package tagstore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peelfs/peelfs/internal/errkind"
)

// The test binary is also the processes that share a store in these tests.
func TestMain(m *testing.M) {
	if role := os.Getenv("TAGSTORE_TEST_ROLE"); role != "" {
		os.Exit(runRole(role, os.Getenv("TAGSTORE_TEST_DIR"), os.Getenv("TAGSTORE_TEST_NAME")))
	}
	os.Exit(m.Run())
}

func runRole(role, dir, name string) int {
	s := Open(dir, Options{})
	ctx := context.Background()
	switch role {
	case "writer": // moves its own name on, one digest at a time, and the shared name too
		for i := 0; ; i++ {
			for _, n := range []string{name, "reg.example/shared:1"} {
				if _, err := s.Set(ctx, n, found(fmt.Sprint(name, i))); err != nil {
					fmt.Println("error", err)
					return 1
				}
			}
			fmt.Println(i) // said only after it was stored
		}
	case "puller": // pulls until it is told to stop
		_, err := s.Once(ctx, name, func() { fmt.Println("waiting") }, func() error {
			fmt.Println("pulling")
			_, err := bufio.NewReader(os.Stdin).ReadString('\n')
			if err != nil {
				return err
			}
			return errkind.New(errkind.Denied, "said no")
		})
		fmt.Println("result", err)
	}
	return 0
}

type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	stdin io.WriteCloser
}

func start(t *testing.T, role, dir, name string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TAGSTORE_TEST_ROLE="+role, "TAGSTORE_TEST_DIR="+dir, "TAGSTORE_TEST_NAME="+name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return &child{cmd, bufio.NewScanner(out), in}
}

func (c *child) expect(t *testing.T, want string) {
	t.Helper()
	if !c.lines.Scan() || c.lines.Text() != want {
		t.Fatalf("said %q, want %q", c.lines.Text(), want)
	}
}

// kill ends a writer in the middle of things and returns the last number it
// said it had stored, -1 if none.
func (c *child) kill(t *testing.T, afterLines int) int {
	t.Helper()
	last := -1
	read := func() bool {
		if !c.lines.Scan() {
			return false
		}
		if _, err := fmt.Sscan(c.lines.Text(), &last); err != nil {
			t.Errorf("writer said %q", c.lines.Text())
		}
		return true
	}
	for range afterLines {
		read()
	}
	c.cmd.Process.Kill()
	for read() { // what it had said before it died
	}
	c.cmd.Wait()
	return last
}

// Eight processes write for as long as the test lasts, each is killed again and
// again; no update that a process reported as stored is lost, and the store is
// readable at every moment.
func TestKilledWriters(t *testing.T) { killWriters(t, time.Second) }

// The same for as long as PEELFS_SOAK says.
func TestSoakKilledWriters(t *testing.T) {
	if os.Getenv("PEELFS_SOAK") == "" {
		t.Skip("set PEELFS_SOAK to a duration, or use make soak")
	}
	d, err := time.ParseDuration(os.Getenv("PEELFS_SOAK"))
	must(t, err)
	killWriters(t, d)
}

func killWriters(t *testing.T, d time.Duration) {
	dir := t.TempDir()
	s := Open(dir, Options{})
	deadline := time.Now().Add(d)
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			name := fmt.Sprintf("reg.example/w%d:1", w)
			for round := 0; round == 0 || time.Now().Before(deadline); round++ {
				last := start(t, "writer", dir, name).kill(t, 1+(round*7+w)%13)
				checkWriter(t, s, name, last)
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		case <-time.After(time.Millisecond):
		}
		if _, err := s.List(); err != nil {
			t.Errorf("the store was unreadable: %v", err)
			break
		}
	}
	<-done
	checkNoOtherFiles(t, dir)
}

// checkWriter holds that the name is at the digest last reported, or at the next
// one, which may have been stored without a chance to say so.
func checkWriter(t *testing.T, s *Store, name string, last int) {
	t.Helper()
	r, err := s.Get(name)
	if err != nil {
		t.Errorf("after %d: %v", last, err)
		return
	}
	if r.Digest != dg(fmt.Sprint("index ", name, last)) && r.Digest != dg(fmt.Sprint("index ", name, last+1)) {
		t.Errorf("%s: the update to %d was lost", name, last)
	}
}

// checkNoOtherFiles holds that killed writers leave nothing but temporary files.
func checkNoOtherFiles(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir + "/" + namesDir)
	must(t, err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "reg.example%2F") && !strings.HasPrefix(e.Name(), ".atomic-") {
			t.Errorf("file %s", e.Name())
		}
	}
}

// Updates of one name by many processes and goroutines are all in its history.
func TestNoUpdateIsLost(t *testing.T) {
	s, _ := newStore(t)
	var all sync.WaitGroup
	const n = maxHistory / 2
	for w := range n {
		all.Go(func() {
			other := Open(s.dir, Options{})
			if _, err := other.Set(context.Background(), "reg.example/app:1", found(fmt.Sprint(w))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	r, err := s.Get("reg.example/app:1")
	must(t, err)
	if len(r.History) != n-1 {
		t.Errorf("%d updates are remembered, of %d", len(r.History)+1, n)
	}
}

// A second process waits for the pull of the first and gets its error.
func TestPullResultCrossesProcesses(t *testing.T) {
	dir := t.TempDir()
	first := start(t, "puller", dir, "k")
	first.expect(t, "pulling")
	second := start(t, "puller", dir, "k")
	second.expect(t, "waiting")
	fmt.Fprintln(first.stdin)
	first.expect(t, "result said no")
	second.expect(t, "result said no")
}

// When the first one is killed, the second pulls.
func TestKilledPullPassesTheTurn(t *testing.T) {
	dir := t.TempDir()
	first := start(t, "puller", dir, "k")
	first.expect(t, "pulling")
	second := start(t, "puller", dir, "k")
	second.expect(t, "waiting")
	must(t, first.cmd.Process.Kill())
	second.expect(t, "pulling")
}

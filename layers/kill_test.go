package layers

import (
	"bufio"
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"testing"
)

// killEnv tells the test binary to be the process that gets killed.
const killEnv = "PEELFS_TEST_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		victim(dir)
		return
	}
	os.Exit(m.Run())
}

// victim reads a layer here and there in a cache that is too small for it, and
// says a word after each read, until it is killed.
func victim(dir string) {
	tar, _ := bigTar()
	src, _ := sourceOf(tar, gz(tar))
	s, err := OpenStore(dir, Options{Size: 3 << 20})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	l := s.Layer(src)
	r := rand.New(rand.NewSource(int64(os.Getpid())))
	fmt.Println("opened")
	for {
		x, err := l.Index(context.Background())
		if err != nil {
			fmt.Println("error", err)
			return
		}
		id := uint32(1 + r.Intn(x.Len()-1))
		p := make([]byte, 1+r.Intn(1<<20))
		if _, err := l.ReadAt(context.Background(), id, p, r.Int63n(x.Entry(id).Size)); err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("read")
	}
}

// Whatever a process was doing when it was killed, the next one finds a cache in
// which every byte holds its digest.
func TestKilledProcessesLeaveARightCache(t *testing.T) {
	tar, files := bigTar()
	dir := t.TempDir()
	rounds := 15
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		words := bufio.NewScanner(out)
		for n := 0; n <= round%8 && words.Scan(); n++ {
			if w := words.Text(); len(w) > 6 {
				t.Errorf("round %d: %s", round, w)
			}
		}
		cmd.Process.Kill()
		cmd.Wait()

		s := openTestStore(t, dir, Options{})
		if _, err := s.Verify(t.Context(), func(p Problem) { t.Errorf("round %d: %+v", round, p) }); err != nil {
			t.Fatal(err)
		}
		if round%5 == 0 {
			src, _ := sourceOf(tar, gz(tar))
			mustHave(t, s.Layer(src), files)
		}
		s.Close()
	}
}

package layers

import (
	"bufio"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"testing"

	"github.com/peelfs/peelfs/layers/index"
)

// These tell the test binary to be the process that gets killed: its cache and
// what it reads there.
const (
	killEnv   = "PEELFS_TEST_VICTIM"
	victimEnv = "PEELFS_TEST_VICTIM_READS"
)

// victims are the layers that victims read, in a cache that is too small for them.
var victims = map[string]struct {
	size   int64
	source func(*testing.T) Source
}{
	"gzip": {3 << 20, func(*testing.T) Source {
		tar, _ := bigTar()
		src, _ := sourceOf(tar, gz(tar))
		return src
	}},
	"estargz":     {1 << 20, func(t *testing.T) Source { s, _ := fixtureLayers(t, "estargz"); return s[0] }},
	"zstdchunked": {1 << 20, func(t *testing.T) Source { s, _ := fixtureLayers(t, "zstdchunked"); return s[0] }},
	"soci":        {1 << 20, func(t *testing.T) Source { s, _ := indexedLayers(t); return s[0] }},
}

// TestVictim reads a layer here and there, and sometimes all of it, and says a
// word after each step, until it is killed.
func TestVictim(t *testing.T) {
	dir, what := os.Getenv(killEnv), os.Getenv(victimEnv)
	if dir == "" {
		t.Skip("it is for processes that are to be killed")
	}
	v := victims[what]
	s, err := OpenStore(dir, Options{Size: v.size})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	l := s.Layer(v.source(t))
	r := rand.New(rand.NewSource(int64(os.Getpid())))
	fmt.Println("opened")
	for err == nil {
		if r.Intn(6) == 0 {
			err = l.Fill(t.Context())
		} else {
			err = readSomething(t, l, r)
		}
		if r.Intn(3) == 0 {
			s.room.Clean(v.size / 4)
		}
		fmt.Println("step")
	}
	fmt.Println("error", err)
}

func readSomething(t *testing.T, l *Layer, r *rand.Rand) error {
	x, err := l.Index(t.Context())
	if err != nil {
		return err
	}
	for {
		id := uint32(r.Intn(x.Len()))
		if e := x.Entry(id); e.Kind == index.File && e.Size > 0 {
			_, err := l.ReadAt(t.Context(), id, make([]byte, 1+r.Intn(1<<20)), r.Int63n(e.Size))
			return err
		}
	}
}

// Whatever a process was doing when it was killed, the next one finds a cache in
// which every byte holds its digest.
func TestKilledProcessesLeaveARightCache(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 4
	}
	for what, v := range victims {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			src := v.source(t)
			plain := openTestStore(t, t.TempDir(), Options{}).Layer(Source{Digest: src.Digest, Blob: src.Blob})
			x, err := plain.Index(t.Context())
			must(t, err)
			dir := t.TempDir()
			for round := range rounds {
				kill(t, dir, what, round)
				s := openTestStore(t, dir, Options{})
				if _, err := s.Verify(t.Context(), func(p Problem) { t.Errorf("round %d: %+v", round, p) }); err != nil {
					t.Fatal(err)
				}
				if round%4 == 3 {
					sameContents(t, s.Layer(src), plain, x)
				}
				s.Close()
			}
		})
	}
}

// kill starts a victim and kills it after some of its steps.
func kill(t *testing.T, dir, what string, round int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir, victimEnv+"="+what)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	said := bufio.NewScanner(out)
	for n := 0; n <= round*3 && said.Scan(); n++ {
		if w := said.Text(); w != "opened" && w != "step" {
			t.Errorf("round %d: %s", round, w)
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
}

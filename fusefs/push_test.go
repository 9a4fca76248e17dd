package fusefs

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/peelfs/peelfs/internal/tartest"
	"github.com/peelfs/peelfs/layers/view"
)

func TestPusherFollowsOneReader(t *testing.T) {
	p := newCachePusher(nil)
	for i, c := range []struct{ ino, window, next view.Ino }{
		{1000, 0, 1001}, // who reads one file may read any other next
		{1001, 4, 1002},
		{1006, 8, 1007},
		{1008, 16, 1009},
		{1025, 32, 1026},
		{1060, 64, 1061},
		{1141, 0, 1142}, // too far
		{1157, 4, 1158},
		{1157, 0, 1158}, // again
		{900, 0, 901},   // back
	} {
		p.adapt(c.ino)
		if p.window != c.window || p.next != c.next {
			t.Errorf("%d: after %d the window is %d from %d, want %d from %d", i, c.ino, p.window, p.next, c.window, c.next)
		}
	}
}

func TestPushedFilesAreRight(t *testing.T) {
	var entries []tartest.Entry
	var want strings.Builder
	for i := range 2000 {
		text := pattern(i * 41 % 20_000)
		entries = append(entries, tartest.File(fmt.Sprintf("d/%05d", i), text))
		want.WriteString(text)
	}
	for range 3 {
		dir, s := mounted(t, viewOf(layerOf(t, entries...)), Options{Complete: func() bool { return true }})
		out, err := exec.Command("sh", "-c", "cd "+dir+"/d && ls -l >/dev/null && cat *").Output()
		if err != nil || string(out) != want.String() {
			t.Errorf("read %d bytes, want %d: %v", len(out), want.Len(), err)
		}
		if st := s.Stats(); st.Pushed == 0 {
			t.Errorf("nothing was pushed: %+v", st)
		}
	}
}

// Nothing is pushed while it might have to be downloaded.
func TestNothingIsPushedBeforeAllIsLocal(t *testing.T) {
	dir, s := mounted(t, viewOf(smallLayer(t)), Options{Complete: func() bool { return false }})
	run(t, "sh", "-c", "cat "+dir+"/*")
	if st := s.Stats(); st.Pushed != 0 || st.Requests["READ"] != 50 {
		t.Errorf("%+v", st)
	}
}

func smallLayer(t *testing.T) *memLayer { return layerOf(t, files(50, 1000)...) }

package atomicfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Whatever fails, at whatever byte, the old content stays whole and no litter
// is left.
func TestFaultsLeaveTheOldFile(t *testing.T) {
	old, next := []byte("the old content"), []byte("what should come instead")
	for _, c := range faults(len(next)) {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if err := Write(path, old, 0o600); err != nil {
				t.Fatal(err)
			}
			err := Writer{Sync: true, Fault: c.fault}.Write(path, next, 0o600)
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("error %v, want ENOSPC", err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := old
			if c.renamed {
				want = next
			}
			if !bytes.Equal(got, want) {
				t.Errorf("content %q, want %q", got, want)
			}
			if names := list(t, dir); len(names) != 1 {
				t.Errorf("files left: %q", names)
			}
		})
	}
}

type faultCase struct {
	name    string
	fault   Fault
	renamed bool
}

func faults(size int) (cases []faultCase) {
	for _, at := range []Step{StepCreate, StepSync, StepClose, StepRename, StepSyncDir} {
		cases = append(cases, faultCase{string(at), func(s Step, n int) (int, error) {
			if s == at {
				return 0, syscall.ENOSPC
			}
			return n, nil
		}, at == StepSyncDir})
	}
	for n := range size {
		cases = append(cases, faultCase{"byte", func(s Step, size int) (int, error) {
			if s == StepWrite {
				return n, syscall.ENOSPC
			}
			return size, nil
		}, false})
	}
	return cases
}

// Readers beside a writer see only whole contents.
func TestReadersSeeWholeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	whole := func(b byte) []byte { return bytes.Repeat([]byte{b}, 1<<16) }
	if err := Write(path, whole('a'), 0o644); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for range 40 {
				if err := Write(path, whole(byte('a'+w)), 0o644); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		got, err := os.ReadFile(path)
		if err != nil || len(got) != 1<<16 || !bytes.Equal(got, whole(got[0])) {
			t.Fatalf("a mixed or short file of %d bytes, %v", len(got), err)
		}
	}
	<-done
}

func TestPermissionsAreExact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Write(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestSweepTakesOldTemporariesOnly(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{tempMark + "1", tempMark + "2", "kept"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * time.Hour)
	for _, n := range []string{tempMark + "1", "kept"} {
		if err := os.Chtimes(filepath.Join(dir, n), past, past); err != nil {
			t.Fatal(err)
		}
	}
	if n := Sweep(dir, time.Hour); n != 1 {
		t.Errorf("swept %d", n)
	}
	if got := list(t, dir); len(got) != 2 || got[0] != tempMark+"2" || got[1] != "kept" {
		t.Errorf("left %q", got)
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

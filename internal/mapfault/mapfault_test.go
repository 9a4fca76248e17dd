package mapfault

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/errkind"
)

// mapped is a file of two pages, mapped for reading.
func mapped(t *testing.T) (path string, m []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err = unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	return path, m
}

func TestACutFileIsAnErrorThatNamesIt(t *testing.T) {
	path, m := mapped(t)
	var got byte
	touch := func() error { got += m[5000]; return nil }
	if err := Catch(touch); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and again: the goroutine lives
		err := Catch(touch)
		var f *Fault
		if !errors.As(err, &f) || f.Path != path || !errkind.Is(err, errkind.Corrupt) {
			t.Fatalf("%v, want a fault at %s", err, path)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	var f *Fault
	if err := Catch(touch); !errors.As(err, &f) || f.Path != path {
		t.Fatalf("%v, want a fault at the removed %s", err, path)
	}
}

func TestOtherPanicsPass(t *testing.T) {
	var none *struct{ n int }
	for name, fn := range map[string]func() error{
		"a word":        func() error { panic("a word") },
		"nil":           func() error { none.n++; return nil },
		"out of bounds": func() error { return []error{nil}[len(os.Args)+1] },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = Catch(fn)
		})
	}
}

func TestErrorsAndRaisedFaultsComeBack(t *testing.T) {
	want := errors.New("an error")
	if err := Catch(func() error { return want }); err != want {
		t.Errorf("%v, want %v", err, want)
	}
	var f *Fault
	if err := Catch(func() error { Raise("/x"); return nil }); !errors.As(err, &f) || f.Path != "/x" {
		t.Errorf("%v, want the raised fault", err)
	}
}

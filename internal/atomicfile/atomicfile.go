// Package atomicfile replaces files so that nobody ever sees half of one.
//
// The invariant: at every moment, through every crash of the writer and with
// the disk filling up at any byte, a path written here holds either the whole
// old content or the whole new one. With Sync that holds through a power cut
// as well.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Step names one thing that Write asks of the disk.
type Step string

// The steps of a write, in their order.
const (
	StepCreate  Step = "create"
	StepWrite   Step = "write"
	StepSync    Step = "sync"
	StepClose   Step = "close"
	StepRename  Step = "rename"
	StepSyncDir Step = "sync directory"
)

// A Fault stands between a Writer and the disk in tests. It is asked before
// every step; at StepWrite size is how many bytes come. It returns how many of
// them reach the disk and the error that the step then fails with.
type Fault func(step Step, size int) (written int, err error)

// Writer says how files are written. The zero Writer survives crashes of the
// process; it does not wait for the disk.
type Writer struct {
	Sync  bool  // wait for the disk: survive a power cut too
	Fault Fault // nil but in tests
}

// tempMark is in the name of every temporary file, so that Sweep knows them.
const tempMark = ".atomic-"

// Write replaces the file at path by data without waiting for the disk.
func Write(path string, data []byte, perm fs.FileMode) error {
	return Writer{}.Write(path, data, perm)
}

// Write replaces the file at path by data, with exactly the permissions perm.
// The directory must exist. After an error the old file is still there, but
// for an error of the directory's sync, where it may be either.
func (w Writer) Write(path string, data []byte, perm fs.FileMode) error {
	temp, err := w.writeTemp(filepath.Dir(path), data, perm)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := w.rename(temp, path); err != nil {
		os.Remove(temp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := w.syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeTemp makes a complete temporary file in dir, or none.
func (w Writer) writeTemp(dir string, data []byte, perm fs.FileMode) (name string, err error) {
	if _, err := w.ask(StepCreate, 0); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, tempMark+"*")
	if err != nil {
		return "", err
	}
	err = errors.Join(w.fill(f, data, perm), w.close(f))
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

func (w Writer) fill(f *os.File, data []byte, perm fs.FileMode) error {
	if err := f.Chmod(perm); err != nil {
		return err
	}
	n, fault := w.ask(StepWrite, len(data))
	if _, err := f.Write(data[:n]); err != nil {
		return err
	}
	if fault != nil || !w.Sync {
		return fault
	}
	if _, err := w.ask(StepSync, 0); err != nil {
		return err
	}
	return f.Sync()
}

func (w Writer) close(f *os.File) error {
	_, fault := w.ask(StepClose, 0)
	return errors.Join(fault, f.Close())
}

func (w Writer) rename(from, to string) error {
	if _, err := w.ask(StepRename, 0); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (w Writer) syncDir(dir string) error {
	if !w.Sync {
		return nil
	}
	if _, err := w.ask(StepSyncDir, 0); err != nil {
		return err
	}
	return SyncDir(dir)
}

func (w Writer) ask(step Step, size int) (int, error) {
	if w.Fault == nil {
		return size, nil
	}
	return w.Fault(step, size)
}

// SyncDir waits until the names in dir are on the disk, which a rename or a
// removal alone does not do.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// IsTemp reports whether a file of this base name is a temporary one, which
// whoever lists a directory of such files leaves out.
func IsTemp(base string) bool { return strings.HasPrefix(base, tempMark) }

// Sweep removes temporary files in dir that killed writers left there, if they
// are older than age, and says how many. Younger ones may still be in use.
func Sweep(dir string, age time.Duration) (removed int) {
	entries, _ := os.ReadDir(dir) // what can't be read can't be swept
	for _, e := range entries {
		if !IsTemp(e.Name()) {
			continue
		}
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < age {
			continue
		}
		if os.Remove(filepath.Join(dir, e.Name())) == nil {
			removed++
		}
	}
	return removed
}

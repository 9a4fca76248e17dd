// Package mapfault turns a fault at a mapped file into an error.
//
// A file that is mapped may be cut short by somebody else, or lie on a disk that
// cannot read it. Touching such a page is a signal, SIGBUS, that would end the
// process. Under Catch it is an error instead, which names the file.
package mapfault

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
)

// Fault is the error of touching a mapped file at a place that cannot be read.
// Its kind is errkind.Corrupt.
type Fault struct {
	Path string // of the file
}

// Error says which file could not be read.
func (f *Fault) Error() string {
	return fmt.Sprintf("%s was cut short while it was in use, or cannot be read", f.Path)
}

// Is reports whether err comes from a Fault.
func Is(err error) bool {
	var f *Fault
	return errors.As(err, &f)
}

// Catch runs fn and returns its error. A fault of fn at a mapped file comes back
// as a Fault; any other panic goes on. Catch covers the goroutine that calls it
// and not those that fn starts.
func Catch(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if f := faultOf(r); f != nil {
			err = errkind.WithHint(errkind.Wrap(errkind.Corrupt, f), "try again: a damaged file of the cache is made anew")
			return
		}
		panic(r)
	}()
	return fn()
}

// Raise panics as a fault at the mapped file path does, for code that has found
// out about it in another way. The caller runs under Catch.
func Raise(path string) { panic(&Fault{Path: path}) }

// faultOf is the fault that a panic stands for, nil if it is another one.
func faultOf(r any) *Fault {
	switch r := r.(type) {
	case *Fault:
		return r
	case interface {
		runtime.Error
		Addr() uintptr
	}:
		if path := mappedFile(r.Addr()); path != "" {
			return &Fault{Path: path}
		}
	}
	return nil
}

// mappedFile is the path of the file that is mapped at addr, "" if none is.
func mappedFile(addr uintptr) string {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n != 2 || addr < from || addr >= to {
			continue
		}
		if i := strings.IndexByte(lines.Text(), '/'); i >= 0 {
			return strings.TrimSuffix(lines.Text()[i:], " (deleted)")
		}
	}
	return ""
}

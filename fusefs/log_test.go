package fusefs

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// syncBuffer is a log that a test can read while it is written.
type syncBuffer struct {
	mu struct {
		sync.Mutex
		b bytes.Buffer
	}
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.b.String()
}

func (s *syncBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }

// eventually waits for what is bound to happen.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 4000 {
		if happened() {
			return
		}
		<-tick.C
	}
	t.Fatalf("it never came that %s", what)
}

// newEntryList returns empty lists of n bytes, the same place each time.
func newEntryList(n int) func() *fuse.DirEntryList {
	buf := make([]byte, n)
	return func() *fuse.DirEntryList { return fuse.NewDirEntryList(buf, 0) }
}

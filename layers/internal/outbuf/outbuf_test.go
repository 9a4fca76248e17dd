package outbuf

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/peelfs/peelfs/internal/errkind"
)

// decoder gives the words one by one, then err.
func decoder(p *Pool, err error, words ...string) func() (*Buffer, error) {
	return func() (*Buffer, error) {
		if len(words) == 0 {
			return nil, err
		}
		b := p.Get()
		b.N += copy(b.Mem[b.N:], words[0])
		words = words[1:]
		return b, nil
	}
}

func TestReader(t *testing.T) {
	words := []string{"one ", "two ", "three"}
	whole := strings.Join(words, "")
	for _, front := range []int{0, 3} {
		p := NewPool(front, 16)
		r := NewReader(decoder(p, io.EOF, words...))
		if err := iotest.TestReader(&r, []byte(whole)); err != nil {
			t.Error(err)
		}
		r = NewReader(decoder(p, io.EOF, words...))
		for _, want := range words {
			b, err := r.Next()
			if err != nil || string(b.Bytes()) != want {
				t.Fatalf("got %v, want %q", err, want)
			}
			b.Release()
		}
		if _, err := r.Next(); err != io.EOF {
			t.Error(err)
		}
	}
}

func TestWriteToGoesOnWhereReadStopped(t *testing.T) {
	p := NewPool(2, 16)
	failed := errors.New("failed")
	for _, end := range []error{io.EOF, failed} {
		r := NewReader(decoder(p, end, "one ", "two"))
		if _, err := io.ReadFull(&r, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); !errkind.Is(err, errkind.Internal) {
			t.Errorf("Next skips bytes: %v", err)
		}
		var out bytes.Buffer
		n, err := r.WriteTo(&out)
		if out.String() != "e two" || n != 5 || end == io.EOF && err != nil || end == failed && err != failed {
			t.Errorf("%q, %d, %v", out.String(), n, err)
		}
	}
}

func TestWriteToStopsAtTheWritersError(t *testing.T) {
	r := NewReader(decoder(NewPool(0, 16), io.EOF, "one", "two"))
	if n, err := r.WriteTo(errWriter{}); n != 1 || err != io.ErrClosedPipe {
		t.Errorf("%d, %v", n, err)
	}
}

type errWriter struct{}

func (errWriter) Write([]byte) (int, error) { return 1, io.ErrClosedPipe }

func TestBuffersAreUsedAgain(t *testing.T) {
	p := NewPool(3, 16)
	b := p.Get()
	b.N = 9
	b.Release()
	if again := p.Get(); again != b || len(again.Bytes()) != 0 {
		t.Errorf("another buffer, or one with %d bytes", len(again.Bytes()))
	}
	for range 3 * spare { // more than are kept
		(&Buffer{pool: p}).Release()
	}
}

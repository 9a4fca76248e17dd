package inflate

import (
	"bytes"
	"testing"
)

// The start of a blob, to any length, comes without the cost of a Reader; what
// is cut or no gzip is refused.
func TestDecodeMembers(t *testing.T) {
	for _, s := range streams(t, 20_000) {
		for _, n := range []int{0, min(1, len(s.out)), len(s.out) / 3, len(s.out)} {
			dst := make([]byte, n)
			if err := DecodeMembers(dst, s.gz); err != nil || !bytes.Equal(dst, s.out[:n]) {
				t.Fatalf("%s: the first %d bytes of %d: %v", s.name, n, len(s.out), err)
			}
		}
		if err := DecodeMembers(make([]byte, len(s.out)+1), s.gz); err == nil {
			t.Errorf("%s: more than there is", s.name)
		}
		if err := DecodeMembers(make([]byte, 1), s.gz[:5]); err == nil {
			t.Errorf("%s: half a header", s.name)
		}
	}
	if err := DecodeMembers(make([]byte, 1), []byte("no gzip at all")); err == nil {
		t.Error("no gzip at all")
	}
}

package fetch

import (
	"testing"

	"github.com/peelfs/peelfs/internal/errkind"
)

func TestAnImageOfOnePlatform(t *testing.T) {
	c := newClient(t, Config{})
	ref, err := ParseReference("oci:../testdata/fixture/images:gzip")
	if err != nil {
		t.Fatal(err)
	}
	for arch, ok := range map[string]bool{"": true, "amd64": true, "riscv64": false} {
		p := Platform{}
		if arch != "" {
			p = Platform{OS: "linux", Architecture: arch}
		}
		_, err := c.Resolve(t.Context(), ref, p)
		if ok != (err == nil) || err != nil && !errkind.Is(err, errkind.Platform) {
			t.Errorf("%q: %v", arch, err)
		}
	}
}

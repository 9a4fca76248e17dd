package userns

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOutside(t *testing.T) {
	for _, c := range []struct {
		text      string
		uid, want int
	}{
		{"         0          0 4294967295\n", 7, 7},
		{"0 1000 1\n", 0, 1000},
		{"0 1000 1\n1 100000 65536\n", 5, 100004},
		{"0 1000 1\n", 1, 1},
		{"", 3, 3},
		{"nonsense\n0 1 x\n", 3, 3},
	} {
		if got := outside(parse(c.text), c.uid); got != c.want {
			t.Errorf("user %d by %q is %d outside, want %d", c.uid, c.text, got, c.want)
		}
	}
}

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	if !Writable(filepath.Join(dir, "to/be/made")) {
		t.Error("a directory that can be made counts as none that can be written")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if Writable(filepath.Join(file, "below")) {
		t.Error("nothing can be made below a file")
	}
}

package view

import (
	"bytes"
	"context"
	"path"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
)

// emptyDirs is a layer of empty directories.
type emptyDirs struct{ idx *index.Index }

// EmptyDirs returns a layer that has nothing but directories, with the permissions
// that those of such names usually have. As the base of a view it fills in what an
// image lacks: whatever the image has in their place is what shows. A name that
// cannot be a directory's is an error of kind Invalid.
func EmptyDirs(names []string) (Layer, error) {
	b := index.NewBuilder()
	for _, dir := range names {
		name := strings.Trim(path.Clean("/"+dir), "/")
		if name == "" {
			continue
		}
		if strings.Contains("/"+name, "/.wh.") {
			return nil, errkind.New(errkind.Invalid, "%s is a marker's name", dir)
		}
		mode := uint32(0o755)
		switch name {
		case "tmp", "var/tmp", "dev/shm":
			mode = 0o1777
		case "proc", "sys":
			mode = 0o555
		}
		if err := b.Add(index.Record{Name: name + "/", Kind: index.Dir, Mode: mode}); err != nil {
			return nil, errkind.New(errkind.Invalid, "%w", err)
		}
	}
	if n, sample := b.Refused(); n > 0 {
		return nil, errkind.New(errkind.Invalid, "%s cannot be", strings.Join(sample, ", "))
	}
	var buf bytes.Buffer
	if err := b.Write(&buf, index.Header{}, nil, nil); err != nil {
		return nil, err
	}
	idx, err := index.OpenBytes(buf.Bytes())
	return &emptyDirs{idx}, err
}

// Index implements Layer.
func (d *emptyDirs) Index(context.Context) (*index.Index, error) { return d.idx, nil }

// ReadAt implements Layer. There is nothing to read.
func (d *emptyDirs) ReadAt(context.Context, uint32, []byte, int64) (int, error) {
	return 0, errkind.New(errkind.Internal, "an empty directory was read as a file")
}

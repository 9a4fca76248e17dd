package findexpr

import (
	"bytes"
	"context"
	"strconv"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

// names are the users or groups of an image.
type names struct {
	byName map[string]uint32
	byID   map[uint32]string
}

// maxAccounts is how much of /etc/passwd is read, in bytes.
const maxAccounts = 4 << 20

// accounts reads /etc/passwd or /etc/group of the image. An image without it has
// none, and lines that make no sense are left out.
func accounts(ctx context.Context, v *view.View, file string) (names, error) {
	out := names{map[string]uint32{}, map[uint32]string{}}
	a, err := v.Resolve(ctx, file, true)
	if errkind.Is(err, errkind.NotFound) || err == nil && a.Kind != index.File {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	text := make([]byte, min(a.Size, maxAccounts))
	n, err := v.ReadAt(ctx, a.Ino, text, 0)
	if err != nil {
		return out, err
	}
	for line := range bytes.Lines(text[:n]) {
		fields := strings.SplitN(strings.TrimSpace(string(line)), ":", 4)
		if len(fields) < 3 || fields[0] == "" {
			continue
		}
		id, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			continue
		}
		if _, have := out.byName[fields[0]]; !have {
			out.byName[fields[0]] = uint32(id)
		}
		if _, have := out.byID[uint32(id)]; !have {
			out.byID[uint32(id)] = fields[0]
		}
	}
	return out, nil
}

// name is what the image calls an id, or the number.
func (n names) name(id uint32) string {
	if name, ok := n.byID[id]; ok {
		return name
	}
	return strconv.FormatUint(uint64(id), 10)
}

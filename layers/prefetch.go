package layers

import (
	"context"
	"os"
	"path/filepath"
	"strconv"

	"github.com/peelfs/peelfs/internal/atomicfile"
	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/toc"
)

// Prefetch brings what the maker of an eStargz layer marked as needed at once:
// the files in front of its landmark. It works below demand: it stops while
// anybody waits for the layer. Layers without a landmark are left alone, and not
// even their index is got.
func (l *Layer) Prefetch(ctx context.Context) error {
	if !toc.Announced(l.src.Annotations) {
		return nil
	}
	return l.healing(func() error {
		a, err := l.use(ctx)
		if err != nil {
			return err
		}
		return a.Background(ctx, landmark(a.Files))
	})
}

// FillInBackground brings the whole layer as Fill does, but below demand.
func (l *Layer) FillInBackground(ctx context.Context) error {
	return l.healing(func() error {
		a, err := l.use(ctx)
		if err != nil {
			return err
		}
		return a.Background(ctx, a.Index.Spans())
	})
}

// landmark is the number of spans in front of the landmark; 0 without one.
func landmark(a *cachedir.Files) int {
	b, err := os.ReadFile(filepath.Join(a.Dir, cachedir.PrefetchName))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(string(b))
	if err != nil || n < 0 {
		return 0
	}
	return min(n, a.Index.Spans())
}

func writeLandmark(dir string, n int) error {
	if n == 0 {
		return nil
	}
	return atomicfile.Write(filepath.Join(dir, cachedir.PrefetchName), strconv.AppendInt(nil, int64(n), 10), 0o600)
}

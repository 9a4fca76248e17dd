package layers

import (
	"context"
	"fmt"
)

// ReadAt reads the content of the file with the given entry number into p, from
// byte off of the file on. It returns min(len(p), size-off) bytes, or an error:
// never less without one. Bytes that are not in the cache are fetched first. A
// caller whose context ends leaves the fetching running for the others.
func (l *Layer) ReadAt(ctx context.Context, entry uint32, p []byte, off int64) (n int, err error) {
	err = l.healing(func() error {
		n, err = l.readAt(ctx, entry, p, off)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (l *Layer) readAt(ctx context.Context, entry uint32, p []byte, off int64) (int, error) {
	a, err := l.acquire(ctx)
	if err != nil {
		return 0, err
	}
	if n, err := a.ReadAt(ctx, entry, p, off); err == nil {
		return n, nil
	} else {
		return 0, fmt.Errorf("layer %s: %w", l.build.name(), err)
	}
}

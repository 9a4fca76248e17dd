package layers

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/peelfs/peelfs/layers/cachedir"
	"github.com/peelfs/peelfs/layers/opened"
)

// Options of a Store. The zero value keeps everything and logs nothing.
type Options struct {
	// Size bounds the disk space of layer data in bytes; 0 means no bound.
	Size int64

	// IndexOnly makes indexes without keeping data. Layers of formats that
	// cannot be entered in the middle keep theirs.
	IndexOnly bool

	Logger *slog.Logger
}

// maxPasses is how many layers are read whole at once. Each takes about 5 MiB of
// buffers, and a listing may want all layers of an image at once.
const maxPasses = 6

// Store is a cache directory, open in one process. Methods are safe for
// concurrent use.
type Store struct {
	cache  *cachedir.Cache
	dir    string
	opt    Options
	log    *slog.Logger
	room   *cachedir.Janitor
	shared opened.Shared
	pass   chan struct{} // a slot for each streaming pass that may run

	mu struct {
		sync.Mutex
		layers map[string]*Layer
	}
}

// OpenStore opens the cache directory dir and makes it if it is missing. If it is
// there and cannot be written, what it has is served, and the rest from memory. It
// fails with LocalFull if it can be neither made nor read, and with Unsupported on
// a network file system, where two machines would not see each other's changes
// in mapped files. Close it when no layer is used any more.
func OpenStore(dir string, opt Options) (*Store, error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	cache, err := cachedir.OpenCache(dir, opt.Logger)
	if err != nil {
		return nil, err
	}
	s := &Store{cache: cache, dir: dir, opt: opt, log: opt.Logger}
	s.room = cache.Janitor(opt.Size)
	s.shared = opened.Shared{Log: s.log, Memory: opened.NewMemcache(), Pace: &opened.Pace{}, Room: s.room,
		IndexOnly: opt.IndexOnly, RoomAgain: 30 * time.Second}
	s.pass = make(chan struct{}, maxPasses)
	s.mu.layers = map[string]*Layer{}
	return s, nil
}

// Writable is nil if the cache can be written, else an error of kind LocalFull that
// says why not and what to do. It was found out when the store was opened.
func (s *Store) Writable() error { return s.cache.Writable() }

// Close ends what runs in the background and closes every layer. Nothing that
// was got from the store may be used after it.
func (s *Store) Close() error {
	s.mu.Lock()
	all := s.mu.layers
	s.mu.layers = nil
	s.mu.Unlock()
	var errs []error
	for _, l := range all {
		errs = append(errs, l.close())
	}
	s.room.Close()
	return errors.Join(errs...)
}

// Layer is a reference to the layer that src describes; Release gives it back. It
// reads and writes nothing yet. Callers that have references to one layer, that is,
// to one digest and diffID, get the same Layer, with the Blob that came first.
func (s *Store) Layer(src Source) *Layer {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.mu.layers[src.key()]
	if l == nil {
		l = newLayer(s, src)
		if s.mu.layers != nil {
			s.mu.layers[src.key()] = l
		}
	}
	l.refs++
	return l
}

// Release gives back a reference that Store.Layer returned, once. With the last one
// the layer is closed: what it has under way ends, and its index is no longer valid.
func (l *Layer) Release() error {
	if !l.store.dropped(l) {
		return nil
	}
	return l.close()
}

// dropped takes a reference to l away and reports whether it was the last one.
func (s *Store) dropped(l *Layer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.refs--; l.refs > 0 {
		return false
	}
	if key := l.src.key(); s.mu.layers[key] == l {
		delete(s.mu.layers, key)
	}
	return true
}

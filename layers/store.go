package layers

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/peelfs/peelfs/internal/atomicfile"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
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
	dir    string
	opt    Options
	log    *slog.Logger
	room   *janitor
	shared opened.Shared
	pass   chan struct{} // a slot for each streaming pass that may run

	mu struct {
		sync.Mutex
		layers map[string]*Layer
	}
}

// OpenStore opens the cache directory dir and makes it if it is missing. It
// fails with LocalFull if nothing can be written there, and with Unsupported on
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
	if err := prepare(dir); cachedir.IsFull(err) {
		opt.Logger.Warn("the cache's disk is full; what cannot be kept is fetched again and again", "error", err)
	} else if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, opt: opt, log: opt.Logger}
	s.room = newJanitor(s)
	s.shared = opened.Shared{Log: s.log, Memory: opened.NewMemcache(), Pace: &opened.Pace{}, Room: s.room,
		IndexOnly: opt.IndexOnly, RoomAgain: 30 * time.Second}
	s.pass = make(chan struct{}, maxPasses)
	s.mu.layers = map[string]*Layer{}
	sweep(filepath.Join(dir, cachedir.TempDir))
	return s, nil
}

// prepare makes the cache's directories and finds out whether they serve.
func prepare(dir string) error {
	for _, d := range []string{cachedir.LayersDir, cachedir.AliasesDir, cachedir.TempDir} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return cacheError(dir, err)
		}
	}
	return checkWritable(dir)
}

func checkWritable(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return cacheError(dir, err)
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.V9FS_MAGIC:
		return errkind.WithHint(errkind.New(errkind.Unsupported, "cache directory %s is on a network file system", dir),
			"name a local directory with --cache-dir or $PEELFS_CACHE")
	}
	f, err := newTempFile(filepath.Join(dir, cachedir.TempDir))
	if err != nil {
		return cacheError(dir, err)
	}
	f.discard()
	return nil
}

func cacheError(dir string, err error) error {
	return errkind.WithHint(errkind.New(errkind.LocalFull, "cache directory %s: %w", dir, err),
		"name a directory that you may write to with --cache-dir or $PEELFS_CACHE")
}

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
	s.room.close()
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

// dirOf is the directory of the layer with blob digest d. A digest that is not
// well-formed has none: it would become a path.
func (s *Store) dirOf(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", errkind.New(errkind.Invalid, "layer digest %q: %w", d, err)
	}
	return filepath.Join(s.dir, cachedir.LayersDir, d.Algorithm().String(), d.Encoded()), nil
}

// alias is what is remembered of a layer whose digest was learned by reading it.
type alias struct {
	Alias  string        `json:"alias"`
	Digest digest.Digest `json:"digest"`
}

func (s *Store) aliasPath(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(s.dir, cachedir.AliasesDir, hex.EncodeToString(sum[:]))
}

// Learned is the digest that the layer with an alias turned out to have when it
// was read; "" if it was not read here.
func (s *Store) Learned(name string) digest.Digest {
	b, err := os.ReadFile(s.aliasPath(name))
	if err != nil {
		return ""
	}
	var a alias
	if json.Unmarshal(b, &a) != nil || a.Alias != name || a.Digest.Validate() != nil {
		return ""
	}
	return a.Digest
}

// aliasLock opens the file whose lock says who reads the layer with an alias.
func (s *Store) aliasLock(name string) (*flock.File, error) {
	path := s.aliasPath(name) + ".lock"
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return flock.Open(path)
}

func (s *Store) learn(name string, d digest.Digest) error {
	b, err := json.Marshal(alias{name, d})
	if err != nil {
		return err
	}
	return atomicfile.Write(s.aliasPath(name), b, 0o600)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove from the cache: %w", err)
	}
	return nil
}

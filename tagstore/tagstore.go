// Package tagstore remembers what names mean: which digest a name named, when
// its source said so, and what it was before.
//
// The invariant: every file in the store is one whole record, at all times and
// for every process. A record is replaced by rename, under a lock on its name,
// so that of two writers none is lost; readers need no lock. A process that is
// killed leaves the old record or the new one, and its locks end with it. So
// does a full disk.
//
// Names are one file each: a lookup reads one file, a damaged record costs one
// name, and writers of different names do not meet.
package tagstore

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/atomicfile"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
)

// Store is the tags directory of a cache. It has no state in memory: any number
// of Stores in any number of processes may use one directory.
type Store struct {
	dir  string
	opts Options
}

// Options are for tests; the zero value is right.
type Options struct {
	Now    func() time.Time // nil for time.Now
	Writer atomicfile.Writer
}

// Files beside the names' own directory.
const (
	namesDir = "names"
	pullsDir = "pulls"
	lockFile = "lock"
	pullLock = "pulls.lock"
)

// sweepAge is how old a temporary file must be to be nobody's.
const sweepAge = time.Hour

// Open returns the store in dir, which is made when something is first written.
func Open(dir string, opts Options) *Store {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	opts.Writer.Sync = true
	return &Store{dir, opts}
}

// Changed is when a name was last added to the store, taken away or given another
// record; zero if it has none yet.
func (s *Store) Changed() (time.Time, error) {
	info, err := os.Stat(filepath.Join(s.dir, namesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// Get returns the record of a canonical name; NotFound if there is none.
func (s *Store) Get(name string) (Record, error) {
	if err := checkText(name); err != nil {
		return Record{}, err
	}
	r, err := s.read(fileName(name))
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, errkind.New(errkind.NotFound, "no image is called %s here", name)
	}
	if err == nil && r.Name != name {
		return Record{}, errkind.New(errkind.Corrupt, "the record of %s is that of %s", name, r.Name)
	}
	return r, err
}

func (s *Store) read(file string) (Record, error) {
	f, err := os.Open(filepath.Join(s.dir, namesDir, file))
	if err != nil {
		return Record{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return Record{}, err
	}
	if len(data) > maxRecord {
		return Record{}, errkind.New(errkind.Corrupt, "record is larger than %d bytes", maxRecord)
	}
	return decode(data)
}

// Set records what resolving a canonical name brought just now.
func (s *Store) Set(ctx context.Context, name string, f Found) (Change, error) {
	return s.apply(ctx, name, f, true)
}

func (s *Store) apply(ctx context.Context, name string, f Found, confirmed bool) (c Change, err error) {
	err = s.update(ctx, name, func(r *Record) error {
		c = r.apply(f, s.now(), confirmed)
		return nil
	})
	return c, err
}

// Tag gives what src names to the name dst as well, or instead of what it had.
// The meaning of dst in a registry does not matter from then on, until Set.
func (s *Store) Tag(ctx context.Context, src Record, dst string) (c Change, err error) {
	err = s.update(ctx, dst, func(r *Record) error {
		c.New = r.Digest == "" && len(r.Images) == 0
		if r.Digest != src.Digest {
			c.Was = r.Digest
			r.push(Past{r.Digest, r.Resolved, s.now()})
		}
		r.Digest, r.Source, r.Resolved = src.Digest, src.Source, src.Resolved
		r.Images = slices.Clone(src.Images)
		if r.Origin = src.Origin; r.Origin == "" {
			r.Origin = src.Name
		}
		return nil
	})
	return c, err
}

// Remove forgets a canonical name; NotFound if it was not known. The image
// stays in the cache until nothing needs it.
func (s *Store) Remove(ctx context.Context, name string) error {
	unlock, err := s.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	names := filepath.Join(s.dir, namesDir)
	err = os.Remove(filepath.Join(names, fileName(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return errkind.New(errkind.NotFound, "no image is called %s here", name)
	}
	if err != nil {
		return err
	}
	return atomicfile.SyncDir(names)
}

// List returns all records, sorted by name. Records that can't be read are left
// out and reported in the error, beside the others: one damaged file hides no
// other name.
func (s *Store) List() ([]Record, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, namesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var records []Record
	var broken []error
	for _, e := range entries {
		if atomicfile.IsTemp(e.Name()) {
			continue
		}
		r, err := s.read(e.Name())
		switch {
		case err == nil:
			records = append(records, r)
		case !errors.Is(err, fs.ErrNotExist): // removed since ReadDir
			broken = append(broken, errkind.New(errkind.Of(err), "tags/names/%s: %w", e.Name(), err))
		}
	}
	slices.SortFunc(records, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	return records, errors.Join(broken...)
}

// Roots are the digests that names need: indexes, manifests, configurations and
// layers.
// After an error the list may lack some, and nothing may be collected by it.
func (s *Store) Roots() ([]digest.Digest, error) {
	records, err := s.List()
	if err != nil {
		return nil, err
	}
	var roots []digest.Digest
	for _, r := range records {
		roots = append(roots, r.Digests()...)
	}
	slices.Sort(roots)
	return slices.Compact(roots), nil
}

// update changes the record of name under its lock. change gets the record as it
// is, or an empty one with the name set.
func (s *Store) update(ctx context.Context, name string, change func(*Record) error) error {
	if err := checkText(name); err != nil {
		return err
	}
	unlock, err := s.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := s.Get(name)
	switch errkind.Of(err) {
	case errkind.NotFound, errkind.Corrupt: // a damaged record is replaced
		r = Record{Name: name}
	default:
		if err != nil {
			return err
		}
	}
	if err := change(&r); err != nil {
		return err
	}
	return s.write(r)
}

func (s *Store) write(r Record) error {
	if err := r.check(); err != nil {
		return errkind.Wrap(errkind.Invalid, err)
	}
	data, err := encode(r)
	if err != nil {
		return err
	}
	return s.opts.Writer.Write(filepath.Join(s.dir, namesDir, fileName(r.Name)), data, 0o644)
}

// lock takes the lock on one name. Every holder has an open file of its own, so
// that goroutines exclude each other as processes do.
func (s *Store) lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := s.makeDirs(); err != nil {
		return nil, err
	}
	l, err := flock.Open(filepath.Join(s.dir, lockFile))
	if err != nil {
		return nil, err
	}
	if err := l.Lock(ctx, lockOffset(name), 1); err != nil {
		l.Close()
		return nil, err
	}
	return func() { l.Close() }, nil
}

func (s *Store) makeDirs() error {
	names := filepath.Join(s.dir, namesDir)
	if _, err := os.Stat(names); err == nil {
		atomicfile.Sweep(names, sweepAge)
		return nil
	}
	return os.MkdirAll(names, 0o755)
}

func (s *Store) now() time.Time { return s.opts.Now().UTC().Truncate(time.Second) }

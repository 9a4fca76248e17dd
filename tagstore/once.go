package tagstore

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/peelfs/peelfs/internal/atomicfile"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/flock"
)

// verdict is how the last pull of a key ended, for those who waited for it.
// Pulls counts the pulls that ended: who saw a smaller number before it waited
// was waiting for this one.
type verdict struct {
	Version int    `json:"version"`
	Pulls   uint64 `json:"pulls"`
	Failed  bool   `json:"failed"`
	Kind    uint8  `json:"kind,omitempty"`
	Message string `json:"message,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// Once runs pull unless a pull of the same key is under way in any process:
// then it calls waiting, waits for that one, and returns its result, the error
// included, with shared set.
//
//	arrive   -> running   the lock was free
//	arrive   -> waiting   somebody has the lock
//	waiting  -> shared    the lock came free, and the count of ended pulls grew
//	waiting  -> running   the lock came free, and it did not: its holder was
//	                      killed or interrupted, so the turn passes on
//	waiting  -> canceled  ctx ended; the running pull goes on
//
// INVARIANT: the count grows only under the lock, after pull has returned.
func (s *Store) Once(ctx context.Context, key string, waiting func(), pull func() error) (shared bool, err error) {
	if err := os.MkdirAll(filepath.Join(s.dir, pullsDir), 0o755); err != nil {
		return false, err
	}
	l, err := flock.Open(filepath.Join(s.dir, pullLock))
	if err != nil {
		return false, err
	}
	defer l.Close() // drops the lock, after the verdict was written
	file := filepath.Join(s.dir, pullsDir, fileName(key))
	before := readVerdict(file)
	free, err := l.TryLock(lockOffset(key), 1)
	if err != nil {
		return false, err
	}
	if !free {
		waiting()
		if err := l.Lock(ctx, lockOffset(key), 1); err != nil {
			return false, err
		}
	}
	now := readVerdict(file)
	if !free && now.Pulls > before.Pulls {
		return true, now.err()
	}
	err = pull()
	return false, s.conclude(file, now, err)
}

// conclude writes the verdict on a pull. One that its user interrupted says
// nothing to others. A verdict that can't be written makes the waiters pull
// themselves, so that is no error of this pull.
func (s *Store) conclude(file string, last verdict, pullErr error) error {
	if errkind.Is(pullErr, errkind.Canceled) {
		return pullErr
	}
	v := verdict{Version: formatVersion, Pulls: last.Pulls + 1, Failed: pullErr != nil}
	if pullErr != nil {
		v.Kind, v.Message, v.Hint = uint8(errkind.Of(pullErr)), pullErr.Error(), errkind.Hint(pullErr)
	}
	if data, err := json.Marshal(v); err == nil {
		w := atomicfile.Writer{Fault: s.opts.Writer.Fault} // no sync: locks do not survive a power cut either
		_ = w.Write(file, data, 0o644)
	}
	return pullErr
}

// readVerdict returns the last verdict, or the zero one when there is none or
// it makes no sense.
func readVerdict(file string) (v verdict) {
	data, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(data, &v) != nil || v.Version != formatVersion {
		return verdict{}
	}
	return v
}

func (v verdict) err() error {
	if !v.Failed {
		return nil
	}
	err := errkind.New(errkind.Kind(v.Kind), "%s", v.Message)
	if v.Hint != "" {
		err = errkind.WithHint(err, "%s", v.Hint)
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/peelfs/peelfs/internal/peers"
	"github.com/peelfs/peelfs/layers/index"
)

// Scripts that use a directory as people do. tar notices a /dev/null behind it
// and reads nothing; a pipe hides it.
const (
	findScript = `find "$1" -ls | wc -l`
	tarScript  = `tar -C "$1" -cf - . | cat >/dev/null`
)

// measureFind lists everything with attributes.
func measureFind(ctx context.Context, l *lab) error {
	lower, err := l.overlay(ctx, l.many)
	if err != nil {
		return err
	}
	var dir string
	fresh := func() error {
		if dir, err = l.freshMount(ctx, l.many); err != nil {
			return err
		}
		return forget(false)
	}
	ours, err := l.median(fresh, func() error { return sh(ctx, findScript, dir) })
	if err != nil {
		return err
	}
	again, err := l.median(nil, func() error { return sh(ctx, findScript, dir) })
	if err != nil {
		return err
	}
	theirs, err := l.median(func() error { return forget(false) }, func() error { return sh(ctx, findScript, lower) })
	if err != nil {
		return err
	}
	theirsAgain, err := l.median(nil, func() error { return sh(ctx, findScript, lower) })
	if err != nil {
		return err
	}
	names, err := countNames(ctx, dir)
	if err != nil {
		return err
	}
	l.table.note("names in the image with many files", fmt.Sprint(names))
	l.table.within(fmt.Sprintf("find -ls, first time, %d names", names), ours, time.Second*time.Duration(names)/87151)
	l.table.compare("the same beside overlayfs without its dentries", ours, "overlayfs", theirs, 0)
	l.table.compare("find -ls, second time", again, "overlayfs", theirsAgain, 0.9)
	return nil
}

func countNames(ctx context.Context, dir string) (int, error) {
	out, err := peers.Run(ctx, nil, "find", dir, "-printf", ".")
	return len(out), err
}

// measureTar reads everything: with nothing in memory; through a new mount, when
// the cache's files are in memory; and through a mount that has been read before.
func measureTar(ctx context.Context, l *lab) error {
	lower, err := l.overlay(ctx, l.many)
	if err != nil {
		return err
	}
	var dir string
	fresh := func() (err error) {
		dir, err = l.freshMount(ctx, l.many)
		return err
	}
	ours := func() error { return sh(ctx, tarScript, dir) }
	theirs := func() error { return sh(ctx, tarScript, lower) }
	for _, c := range []struct {
		what          string
		before, below func() error
		limit         float64
	}{
		{"tar, nothing in memory", func() error { return errors.Join(fresh(), forget(true)) }, func() error { return forget(true) }, 1.0},
		{"tar, content in memory, a new mount", fresh, func() error { return errors.Join(theirs(), forget(false)) }, 0},
		{"tar, once more", nil, nil, 1.3},
	} {
		mine, err := l.median(c.before, ours)
		if err != nil {
			return err
		}
		peer, err := l.median(c.below, theirs)
		if err != nil {
			return err
		}
		l.table.compare(c.what, mine, "overlayfs", peer, c.limit)
	}
	return nil
}

// measureRead reads the largest file through a new mount, its bytes in the page
// cache of the data file, as root and as an ordinary user.
func measureRead(ctx context.Context, l *lab) error {
	s, err := l.warmSession(ctx)
	if err != nil {
		return err
	}
	rate, size, err := l.readLargest(ctx, s)
	if err != nil {
		return err
	}
	l.table.add(row{work: fmt.Sprintf("sequential read of %s, root", megabytes(size)), ours: speed(size, rate),
		target: ">= 2.50 GB/s", met: judge(float64(size)/rate.Seconds() >= 2.5e9)})
	restore, err := peers.ShareFUSE()
	if err != nil {
		return err
	}
	defer restore()
	u, err := l.newUserSession()
	if err != nil {
		return err
	}
	defer u.close()
	if _, err := u.run(ctx, "pull", l.ref(l.big)); err != nil {
		return err
	}
	if rate, size, err = l.readLargest(ctx, u); err != nil {
		return err
	}
	l.table.add(row{work: "the same as an ordinary user", ours: speed(size, rate),
		target: ">= 1.50 GB/s", met: judge(float64(size)/rate.Seconds() >= 1.5e9)})
	return nil
}

func (l *lab) readLargest(ctx context.Context, s *session) (time.Duration, int64, error) {
	var size int64
	var path string
	fresh := func() error {
		if err := s.unmountAll(ctx); err != nil {
			return err
		}
		dir, err := s.mount(ctx, l.ref(l.big))
		if err != nil {
			return err
		}
		if path, size, err = s.largest(ctx, dir); err != nil {
			return err
		}
		return nil
	}
	read := func() error {
		cmd := exec.CommandContext(ctx, "dd", "if="+path, "of=/dev/null", "bs=1M")
		s.adopt(cmd)
		_, err := peers.Finish(cmd)
		return err
	}
	// The first run brings the bytes into the page cache.
	if err := fresh(); err != nil {
		return 0, 0, err
	}
	if err := read(); err != nil {
		return 0, 0, err
	}
	d, err := l.median(fresh, read)
	return d, size, err
}

// largest finds the largest file below dir as the session's user.
func (s *session) largest(ctx context.Context, dir string) (string, int64, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", `find "$1" -type f -size +20M -printf '%s %p\n' | sort -n | tail -1`, "sh", dir)
	s.adopt(cmd)
	out, err := peers.Finish(cmd)
	if err != nil {
		return "", 0, err
	}
	var size int64
	var path string
	if _, err := fmt.Sscan(out, &size, &path); err != nil {
		return "", 0, fmt.Errorf("the largest file: %w", err)
	}
	return path, size, nil
}

// measureMemory walks both images whole and asks what the servers hold.
func measureMemory(ctx context.Context, l *lab) error {
	s, err := l.warmSession(ctx)
	if err != nil {
		return err
	}
	if err := s.unmountAll(ctx); err != nil {
		return err
	}
	var total, anonymous, before int64
	names := 0
	for _, i := range []*image{l.many, l.big} {
		dir, err := s.mount(ctx, l.ref(i))
		if err != nil {
			return err
		}
		st, err := s.status(ctx, dir)
		if err != nil {
			return err
		}
		start, err := memoryOf(st.PID, "RssAnon")
		if err != nil {
			return err
		}
		n, err := countNames(ctx, dir)
		if err != nil {
			return err
		}
		if err := sh(ctx, tarScript, dir); err != nil {
			return err
		}
		rss, err := memoryOf(st.PID, "VmRSS")
		if err != nil {
			return err
		}
		anon, err := memoryOf(st.PID, "RssAnon")
		if err != nil {
			return err
		}
		names, total, anonymous, before = names+n, total+rss, anonymous+anon, before+start
	}
	l.table.add(row{work: "memory of two servers, everything walked and read", ours: megabytes(total),
		target: "<= 60 MB", met: judge(total <= 60e6)})
	l.table.note("of that not shared with the page cache", megabytes(anonymous))
	perInode := float64(anonymous-before) / float64(names)
	l.table.add(row{work: fmt.Sprintf("own memory for each of %d inodes", names), ours: fmt.Sprintf("%.0f bytes", perInode),
		target: "<= 100 bytes", met: judge(perInode <= 100)})
	return nil
}

// measureDisk compares what is kept.
func measureDisk(ctx context.Context, l *lab) error {
	s, err := l.warmSession(ctx)
	if err != nil {
		return err
	}
	for _, i := range []*image{l.many, l.big} {
		if _, err := l.overlay(ctx, i); err != nil {
			return err
		}
	}
	ours, err := diskUse(ctx, s.cache())
	if err != nil {
		return err
	}
	theirs, err := diskUse(ctx, filepath.Join(l.podman.Dir(), "store"))
	if err != nil {
		return err
	}
	ratio := float64(ours) / float64(theirs)
	l.table.add(row{work: "disk, both images complete", ours: megabytes(ours), peer: "podman " + megabytes(theirs),
		ratio: fmt.Sprintf("%.2f", ratio), target: "<= 1.02 x", met: judge(ratio <= 1.02)})
	return nil
}

// measureIndex compares index files, and what of them is seek points, with the
// layers that they are of.
func measureIndex(ctx context.Context, l *lab) error {
	s, err := l.warmSession(ctx)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(s.cache(), "layers", "*", "*", "index"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := l.measureOneIndex(file); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) measureOneIndex(file string) error {
	x, err := index.Open(file)
	if err != nil {
		return err
	}
	defer x.Close()
	layer := x.Header().SpaceSize
	share := float64(len(x.Bytes())) / float64(layer)
	points := float64(x.SeekPoints()) / float64(layer)
	l.table.add(row{work: "index of layer " + filepath.Base(filepath.Dir(file))[:12],
		ours:   fmt.Sprintf("%.2f %% of %s, seek points %.2f %%", 100*share, megabytes(layer), 100*points),
		target: "<= 1 %, <= 0.25 %", met: judge(share <= 0.01 && points <= 0.0025)})
	return nil
}

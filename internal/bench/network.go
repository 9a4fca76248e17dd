package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/peelfs/peelfs/internal/peers"
	"github.com/peelfs/peelfs/internal/slownet"
)

// wan is the network of the cold starts.
var wan = slownet.Link{RTT: 40 * time.Millisecond, Bandwidth: 25e6}

// measurePull fetches an image whole, nothing known before.
func measurePull(ctx context.Context, l *lab) error {
	for _, i := range []*image{l.big, l.many} {
		m, err := l.manifest(ctx, i)
		if err != nil {
			return err
		}
		var s *session
		ours, err := l.median(func() (err error) {
			if s != nil {
				s.close()
			}
			s, err = l.newSession()
			return err
		}, func() error {
			_, err := s.run(ctx, "pull", l.ref(i))
			return err
		})
		s.close()
		if err != nil {
			return err
		}
		theirs, err := l.median(func() error { return l.forgetImages(ctx) }, func() error { return l.podman.Pull(ctx, l.ref(i)) })
		if err != nil {
			return err
		}
		work := fmt.Sprintf("full fetch of %s, %s", strings.TrimSuffix(i.name, ":1"), megabytes(m.size()))
		l.table.compare(work, ours, "podman pull", theirs, 0.18)
	}
	return nil
}

// forgetImages empties podman's storage.
func (l *lab) forgetImages(ctx context.Context) error {
	if _, err := l.podman.Run(ctx, "podman", "image", "umount", "-a", "-f"); err != nil {
		return err
	}
	_, err := l.podman.Run(ctx, "podman", "rmi", "-a", "-f")
	return err
}

// measureMount mounts through the slow network with an empty cache.
func measureMount(ctx context.Context, l *lab) error {
	proxy, err := slownet.Start(l.reg.Backend(), wan)
	if err != nil {
		return err
	}
	defer proxy.Close()
	var s *session
	ours, err := l.median(func() (err error) {
		if s != nil {
			s.close()
		}
		s, err = l.newSession()
		return err
	}, func() error {
		_, err := s.mount(ctx, proxy.Addr()+"/"+l.big.name)
		return err
	})
	s.close()
	if err != nil {
		return err
	}
	l.table.within("mount until usable, 40 ms round trip", ours, 3*wan.RTT+50*time.Millisecond)
	return nil
}

// enterScript runs a command in a root with this machine's devices, which mounts
// of peelfs, being nodev, do not give, in a mount namespace of its own.
const enterScript = `mount --rbind /dev "$1/dev" && exec chroot "$@"`

// importTorch starts a real program in an image's root.
func importTorch(ctx context.Context, root string) error {
	out, err := peers.Run(ctx, nil, "unshare", "-m", "sh", "-ec", enterScript, "sh",
		root, "/usr/bin/python3", "-c", "import torch; print(torch.ones(2).sum())")
	if err == nil && out != "tensor(2.)\n" {
		return fmt.Errorf("python printed %q", out)
	}
	return err
}

// measureStart goes from nothing to a running program over the slow network.
func measureStart(ctx context.Context, l *lab) error {
	proxy, err := slownet.Start(l.reg.Backend(), wan)
	if err != nil {
		return err
	}
	defer proxy.Close()
	ref := proxy.Addr() + "/" + l.big.name
	s, err := l.newSession()
	if err != nil {
		return err
	}
	defer s.close()

	before := proxy.Stats()
	cold, coldRequests, err := s.startProgram(ctx, ref)
	if err != nil {
		return err
	}
	coldBytes := proxy.Stats().Down - before.Down
	if err := s.unmountAll(ctx); err != nil {
		return err
	}
	if _, err := s.run(ctx, "cache", "prune", "--data"); err != nil {
		return err
	}
	before = proxy.Stats()
	indexed, indexedRequests, err := s.startProgram(ctx, ref)
	if err != nil {
		return err
	}
	indexedBytes := proxy.Stats().Down - before.Down

	if err := l.forgetImages(ctx); err != nil {
		return err
	}
	before = proxy.Stats()
	started := time.Now()
	if err := l.podman.Pull(ctx, ref); err != nil {
		return err
	}
	root, err := l.podman.Mount(ctx, ref)
	if err != nil {
		return err
	}
	if err := importTorch(ctx, root); err != nil {
		return err
	}
	podman := time.Since(started)
	l.table.compare("import torch from nothing, 40 ms, 25 MB/s a connection", cold, "podman pull + chroot", podman, 0.41)
	l.table.compare("the same with the indexes known", indexed, "podman pull + chroot", podman, 0.20)
	l.table.note("over the network, from nothing", fmt.Sprintf("%s in %d requests", megabytes(coldBytes), coldRequests))
	l.table.note("over the network, indexes known", fmt.Sprintf("%s in %d requests", megabytes(indexedBytes), indexedRequests))
	l.table.note("over the network, podman", megabytes(proxy.Stats().Down-before.Down))
	return nil
}

// startProgram mounts ref and runs the program in it.
func (s *session) startProgram(ctx context.Context, ref string) (d time.Duration, requests int64, err error) {
	started := time.Now()
	dir, err := s.mount(ctx, ref)
	if err != nil {
		return 0, 0, err
	}
	if err := importTorch(ctx, dir); err != nil {
		return 0, 0, err
	}
	d = time.Since(started)
	st, err := s.status(ctx, dir)
	return d, st.Requests, err
}

// measureWarm runs the program with everything cached.
func measureWarm(ctx context.Context, l *lab) error {
	lower, err := l.overlay(ctx, l.big)
	if err != nil {
		return err
	}
	if err := importTorch(ctx, lower); err != nil {
		return err
	}
	dir, err := l.freshMount(ctx, l.big)
	if err != nil {
		return err
	}
	if err := importTorch(ctx, dir); err != nil {
		return err
	}
	ours, err := l.median(nil, func() error { return importTorch(ctx, dir) })
	if err != nil {
		return err
	}
	theirs, err := l.median(nil, func() error { return importTorch(ctx, lower) })
	if err != nil {
		return err
	}
	l.table.compare("import torch, all cached", ours, "overlayfs", theirs, 1.05)
	return nil
}

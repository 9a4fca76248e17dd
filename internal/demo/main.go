// Command demo shows peelfs to somebody who has never seen it.
//
// It starts a registry in its own process, puts into it an image made on the
// spot, and walks through a session: each command as one would type it, its
// output, how long it took, and what the registry was asked for. It needs no
// network, leaves nothing behind, and takes well under a minute.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	peelfs := flag.String("peelfs", "bin/peelfs", "the program to show")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, *peelfs); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, peelfs string) (err error) {
	reg, err := startRegistry()
	if err != nil {
		return err
	}
	defer reg.close()
	s, err := newStage(peelfs, reg, os.Stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.leave(context.WithoutCancel(ctx), "mnt", "mnt2")) }()

	fmt.Println("peelfs: a container image is a directory. Making an image to show that ...")
	set, err := buildImages(reg, s.dir)
	if err != nil {
		return err
	}
	s.say("%s/demo/hello:1 has %d layers, %s compressed, and is in a registry on this machine.",
		reg.addr, len(set.layers), size(set.size))
	if why := noFUSE(); why != "" {
		s.say("No mounts here: %s. These commands need none:", why)
		withoutMount(ctx, s)
	} else {
		mountAndLook(ctx, s, set)
		runPrograms(ctx, s)
		shareAndLeave(ctx, s)
	}
	if s.failed == nil {
		s.say("That was all. Next: README.md, or bin/peelfs --help")
	}
	return s.failed
}

// noFUSE says why nothing can be mounted here, or "".
func noFUSE() string {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	f.Close()
	if os.Getuid() == 0 {
		return ""
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		return "fusermount3 is missing (Debian's package fuse3)"
	}
	return ""
}

func mountAndLook(ctx context.Context, s *stage, set *imageSet) {
	s.say("Mount it. Only the manifest and the config are fetched:")
	s.run(ctx, "mkdir mnt mnt2")
	s.run(ctx, "peelfs mount "+s.reg.addr+"/demo/hello:1 mnt")
	s.say("A file of the topmost layer. No other layer is asked, so no other is fetched:")
	s.run(ctx, "cat mnt/opt/hello/README")
	s.run(ctx, "peelfs status mnt")
	if s.failed == nil {
		s.say("%s of %s so far.", size(s.fetched()), size(set.size))
	}
}

// runPrograms starts programs out of the image, straight from the mount: they
// are static, so they need no chroot. (In one, even they look for /sys, and only
// the lowest layer can say that there is none.)
func runPrograms(ctx context.Context, s *stage) {
	s.say("Run a program in it; it is in the same layer:")
	s.run(ctx, "mnt/opt/hello/hello")
	s.say("A program from the layer below: that layer comes now, those below it still do not:")
	s.run(ctx, "mnt/usr/local/go/bin/go version")
	s.say("A directory that several layers may have something in needs them all, and all at once:")
	s.run(ctx, "ls mnt")
	s.run(ctx, "find mnt | wc -l")
	s.say("From here on this image needs no network:")
	s.run(ctx, "grep -rl 'func Println' mnt/usr/local/go/src/fmt")
	if os.Getuid() == 0 {
		s.run(ctx, "chroot mnt /opt/hello/hello")
	}
}

func shareAndLeave(ctx context.Context, s *stage) {
	s.say("Another image that shares all layers but one costs that one layer:")
	s.run(ctx, "peelfs mount "+s.reg.addr+"/demo/hello:2 mnt2")
	s.run(ctx, "cat mnt2/opt/hello/README; ls mnt2 | wc -l")
	s.run(ctx, "diff -rq mnt/opt mnt2/opt || true")
	s.run(ctx, "peelfs mounts")
	s.say("Done. What was fetched stays in the cache ($PEELFS_CACHE) for the next time:")
	s.run(ctx, "peelfs umount mnt mnt2")
	s.run(ctx, "peelfs cache du")
}

// withoutMount is the demo for machines without FUSE.
func withoutMount(ctx context.Context, s *stage) {
	image := s.reg.addr + "/demo/hello:1"
	s.run(ctx, "peelfs cat "+image+":/opt/hello/README")
	s.run(ctx, "peelfs ls "+image+":/usr/local/go/bin")
	s.run(ctx, "peelfs pull "+image)
	s.run(ctx, "peelfs ls "+image+":/")
	s.run(ctx, "peelfs cache du")
}

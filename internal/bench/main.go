// Command bench measures peelfs beside the programs people use today, on the
// same machine in the same run, and prints ratios.
//
// Machines are shared and noisy, so a figure means little and a ratio something;
// counts of requests and bytes mean most, for they depend on no machine. The
// images are made from Debian packages on first use and kept, with the peers'
// storage, below the folder given; nothing else is written.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	var opt options
	flag.StringVar(&opt.peelfs, "peelfs", "bin/peelfs", "the program to measure")
	flag.StringVar(&opt.cache, "cache", ".cache/bench", "where images and storage are kept")
	flag.StringVar(&opt.only, "only", "", "measure only these, by name, separated by commas")
	flag.IntVar(&opt.runs, "runs", 3, "how often to measure each thing; the median counts")
	list := flag.Bool("list", false, "list what can be measured")
	flag.Parse()
	if *list {
		for _, m := range measurements {
			fmt.Printf("%-12s %s\n", m.name, m.about)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, opt); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	peelfs, cache, only string
	runs                int
}

// wanted says whether a measurement was asked for.
func (o options) wanted(name string) bool {
	if o.only == "" {
		return true
	}
	for _, n := range strings.Split(o.only, ",") {
		if n == name {
			return true
		}
	}
	return false
}

// A measurement adds rows to the table.
type measurement struct {
	name, about string
	run         func(context.Context, *lab) error
}

var measurements = []measurement{
	{"inflate", "our inflater beside klauspost's and the standard library's, on the images' layers", measureInflate},
	{"formats", "requests and bytes for a listing and small reads, in every layer format", measureFormats},
	{"index", "size of the layer indexes", measureIndex},
	{"pull", "full fetch from a registry on loopback, beside podman pull", measurePull},
	{"find", "find -ls, first and second time, beside overlayfs", measureFind},
	{"tar", "tar of everything, cold and warm, beside overlayfs", measureTar},
	{"read", "sequential read of a large file, root and ordinary user", measureRead},
	{"memory", "the server's memory after walking everything", measureMemory},
	{"disk", "the cache beside podman's storage", measureDisk},
	{"mount", "mount until usable, 40 ms round trip", measureMount},
	{"start", "a Python program that imports torch, from nothing, 40 ms and 25 MB/s", measureStart},
	{"warm", "the same with everything cached, beside overlayfs", measureWarm},
}

func bench(ctx context.Context, opt options) error {
	if os.Getuid() != 0 {
		return fmt.Errorf("needs root: overlayfs, chroot, and dropping the kernel's caches")
	}
	b, err := prepare(ctx, opt)
	if err != nil {
		return err
	}
	defer b.close()
	for _, m := range measurements {
		if !opt.wanted(m.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s: %s\n", m.name, m.about)
		if err := m.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return b.table.print(os.Stdout)
}

// prepare starts the peers and makes what is missing of the images.
func prepare(ctx context.Context, opt options) (*lab, error) {
	peelfs, err := filepath.Abs(opt.peelfs)
	if err != nil {
		return nil, err
	}
	cache, err := filepath.Abs(opt.cache)
	if err != nil {
		return nil, err
	}
	b := &lab{options: opt}
	b.peelfs, b.cache = peelfs, cache
	if err := b.start(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

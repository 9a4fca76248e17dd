package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peelfs/peelfs/fusefs"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

// presentation says what of an image is mounted, and how it looks.
type presentation struct {
	subpath, upTo           string
	extraDirs               []string
	uid, gid                string
	umask, fmask, dmask     string
	suid, dev, noexec, fake bool
}

// runtimeDirs are what container runtimes mount things on: --extra-dirs=usual.
const runtimeDirs = "proc,sys,dev,run,tmp"

// contentFlags are those of a mount of one image.
func (s *presentation) contentFlags(f *pflag.FlagSet) {
	f.StringVar(&s.subpath, "subpath", "", "only the directory `PATH` of the image")
	f.StringVar(&s.upTo, "layers", "", "only the layers up to `N`, or a digest")
	f.StringSliceVar(&s.extraDirs, "extra-dirs", nil, "empty directories, where it has none")
	f.Lookup("extra-dirs").NoOptDefVal = "usual"
}

// appearanceFlags are those of all mounts.
func (s *presentation) appearanceFlags(f *pflag.FlagSet) {
	f.StringVar(&s.uid, "uid", "", "show all as user `N`'s")
	f.StringVar(&s.gid, "gid", "", "show all as group `N`'s")
	f.StringVar(&s.umask, "umask", "", "permissions as if made anew, less `MASK`")
	f.StringVar(&s.fmask, "fmask", "", "the same for files, `MASK`")
	f.StringVar(&s.dmask, "dmask", "", "the same for directories, `MASK`")
	f.BoolVar(&s.suid, "suid", false, "honour set-id bits")
	f.BoolVar(&s.dev, "dev", false, "honour device nodes")
	f.BoolVar(&s.noexec, "noexec", false, "nothing may be executed")
	f.BoolVar(&s.fake, "fake", false, "do everything but mount")
	_ = f.MarkHidden("fake")
}

// describe adds what was chosen to the options in the record of a mount.
func (s *presentation) describe(options map[string]string) {
	for name, value := range map[string]string{
		"subpath": s.subpath, "layers": s.upTo, "extraDirs": strings.Join(s.extraDirs, ","), "uid": s.uid, "gid": s.gid,
		"umask": s.umask, "fmask": s.fmask, "dmask": s.dmask,
	} {
		if value != "" {
			options[name] = value
		}
	}
	for name, on := range map[string]bool{"suid": s.suid, "dev": s.dev, "noexec": s.noexec} {
		if on {
			options[name] = "true"
		}
	}
}

// squash reads the flags about owners and permissions.
func (s *presentation) squash() (q fusefs.Squash, err error) {
	files, dirs := s.fmask, s.dmask
	if files == "" {
		files = s.umask
	}
	if dirs == "" {
		dirs = s.umask
	}
	for _, n := range []struct {
		flag, text string
		base, bits int
		to         **uint32
	}{
		{"uid", s.uid, 10, 32, &q.UID}, {"gid", s.gid, 10, 32, &q.GID},
		{"umask", s.umask, 8, 9, new(*uint32)}, {"fmask", files, 8, 9, &q.FMask}, {"dmask", dirs, 8, 9, &q.DMask},
	} {
		if n.text == "" {
			continue
		}
		v, err := strconv.ParseUint(n.text, n.base, n.bits)
		if err != nil {
			return q, errkind.WithHint(errkind.New(errkind.Invalid, "--%s=%s is no number that can be", n.flag, n.text),
				"ids are decimal, masks are octal and at most 777")
		}
		id := uint32(v)
		*n.to = &id
	}
	return q, nil
}

// presented is a stack of layers as the flags ask for it.
type presented struct {
	view  *view.View
	top   view.Ino // 0: the whole
	extra int      // layers of the view that are not the image's
}

// present cuts st to what the flags say and makes the view of it. For a subpath it
// may have to list layers: what is not there is to be known now.
func (f *presentation) present(ctx context.Context, st *stack, links view.Symlinks) (out presented, err error) {
	if f.upTo != "" {
		n, err := st.layerNumber(f.upTo)
		if err != nil {
			return out, err
		}
		st.layers = st.layers[:n+1]
	}
	var parts []view.Layer
	if len(f.extraDirs) > 0 {
		dirs, err := view.EmptyDirs(expandUsual(f.extraDirs))
		if err != nil {
			return out, fmt.Errorf("--extra-dirs: %w", err)
		}
		parts, out.extra = append(parts, dirs), 1
	}
	for _, l := range st.layers {
		parts = append(parts, l)
	}
	opt := view.Options{Symlinks: links}
	if f.subpath != "" {
		if opt.Subtree, err = subtree(ctx, parts, f.subpath); err != nil {
			return out, fmt.Errorf("--subpath: %w", err)
		}
		out.top = opt.Subtree.Ino
	}
	out.view = view.New(parts, opt)
	st.view = out.view
	return out, nil
}

// subtree finds the directory at a path, where the image's links lead.
func subtree(ctx context.Context, parts []view.Layer, path string) (view.Subtree, error) {
	v := view.New(parts, view.Options{Symlinks: view.Raw})
	a, err := v.Resolve(ctx, path, true)
	if err != nil {
		return view.Subtree{}, err
	}
	if a.Kind != index.Dir {
		return view.Subtree{}, errkind.New(errkind.Invalid, "%s is not a directory but a %s", path, a.Kind)
	}
	if a.Ino == view.RootIno {
		return view.Subtree{}, nil
	}
	return view.Subtree{Path: v.Path(a.Ino), Ino: a.Ino}, nil
}

// expandUsual puts the directories of container runtimes in the place of "usual".
func expandUsual(dirs []string) []string {
	if i := slices.Index(dirs, "usual"); i >= 0 {
		return slices.Replace(slices.Clone(dirs), i, i+1, strings.Split(runtimeDirs, ",")...)
	}
	return dirs
}

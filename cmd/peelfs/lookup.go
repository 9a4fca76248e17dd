package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/query"
)

// looker opens images once for all arguments that name them.
type looker struct {
	s    *session
	open map[string]*stack
}

func newLooker(s *session) *looker { return &looker{s: s, open: map[string]*stack{}} }

func (l *looker) stack(ctx context.Context, ref string) (*stack, error) {
	if st := l.open[ref]; st != nil {
		return st, nil
	}
	st, err := l.s.openView(ctx, ref)
	if err == nil {
		l.open[ref] = st
	}
	return st, err
}

// at opens REF[:PATH] and finds what is there; without a PATH that is the root.
func (l *looker) at(ctx context.Context, arg string, follow bool) (*stack, query.Entry, error) {
	ref, path, ok := splitRefPath(arg)
	if !ok {
		path = "/"
	}
	st, err := l.stack(ctx, ref)
	if err != nil {
		return nil, query.Entry{}, err
	}
	e, err := query.Find(ctx, st.view, path, follow)
	if err != nil {
		return nil, e, fmt.Errorf("%s: %w", ref, err)
	}
	return st, e, nil
}

// history is what made each layer, as far as the image tells.
func (st *stack) history(layer int) *ocispec.History {
	made := st.image.LayerHistory()
	if layer < 0 || layer >= len(made) {
		return nil
	}
	return made[layer]
}

// createdBy is the command that made a layer, "" if nobody says.
func (st *stack) createdBy(layer int) string {
	if h := st.history(layer); h != nil {
		return h.CreatedBy
	}
	return ""
}

// layerDigest is the digest of a layer's blob, "" while it is unknown.
func (st *stack) layerDigest(layer int) string {
	if layer < 0 || layer >= len(st.layers) {
		return ""
	}
	return st.layers[layer].Digest().String()
}

// layerNumber reads a layer's number, or the beginning of its digest.
func (st *stack) layerNumber(text string) (int, error) {
	if n, err := strconv.Atoi(text); err == nil && len(text) < 4 {
		if n < 0 || n >= len(st.layers) {
			return 0, errkind.New(errkind.Invalid, "no layer %d: the image has 0 to %d", n, len(st.layers)-1)
		}
		return n, nil
	}
	found := -1
	for i := range st.layers {
		_, hex, _ := strings.Cut(st.layerDigest(i), ":")
		if text == "" || !strings.HasPrefix(hex, strings.TrimPrefix(text, "sha256:")) {
			continue
		}
		if found >= 0 {
			return 0, errkind.New(errkind.Invalid, "layers %d and %d both begin with %s", found, i, text)
		}
		found = i
	}
	if found < 0 {
		return 0, errkind.WithHint(errkind.New(errkind.Invalid, "no layer %q", text), "see: peelfs history %s", st.image.Reference.Familiar())
	}
	return found, nil
}

// identities say which layers these are, for comparisons.
func (st *stack) identities() []query.Identity {
	out := make([]query.Identity, len(st.layers))
	for i, l := range st.layers {
		out[i].Blob = l.Digest()
		if s := l.Status(); s.Proof == layers.ProofLayer && s.State != layers.Cold {
			out[i].Tar = s.DiffID
		}
	}
	return out
}

// needFile says that an entry is no regular file, and what to do instead.
func needFile(ref string, e query.Entry) error {
	switch e.Attr.Kind {
	case index.File:
		return nil
	case index.Dir:
		return errkind.WithHint(errkind.New(errkind.Invalid, "%s: %s is a directory", ref, e.Path()), "list it with: peelfs ls %s:%s", ref, e.Path())
	}
	return errkind.New(errkind.Invalid, "%s: %s is a %s", ref, e.Path(), noun(e.Attr.Kind))
}

// noun is what people call a kind.
func noun(k index.Kind) string {
	word := map[index.Kind]string{
		index.Dir: "directory", index.Symlink: "symbolic link", index.Char: "character device", index.Block: "block device", index.Link: "hard link",
	}[k]
	if word == "" {
		return k.String()
	}
	return word
}

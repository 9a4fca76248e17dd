package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/view"
)

// whichReport has the keys of `peelfs which --format json`.
type whichReport struct {
	Path   string       `json:"path"`
	Real   string       `json:"real"`   // with the symbolic links above the last element followed
	Exists bool         `json:"exists"` // in the image
	Layers []whichLayer `json:"layers"` // that do something to the path, top first
}

type whichLayer struct {
	Layer     int        `json:"layer"`
	Digest    string     `json:"digest,omitempty"`
	Act       string     `json:"act"`
	Kind      string     `json:"kind,omitempty"`
	At        string     `json:"at"`
	Decides   bool       `json:"decides"`
	Hidden    bool       `json:"hidden"` // an upper layer hides what this one has
	Created   *time.Time `json:"created,omitempty"`
	CreatedBy string     `json:"createdBy,omitempty"`

	does string // in words
}

func whichCommand(a *app) *cobra.Command {
	var f sessionFlags
	whole := false
	cmd := &cobra.Command{
		Use:   "which [flags] REF PATH | REF:PATH",
		Short: "Tell which layers have a path, which one decides, and what made it",
		Example: `  peelfs which debian:bookworm /etc/os-release
  peelfs which --no-trunc myapp:2:/app/config.json`,
		Args: takes(1, 2),
		RunE: inSession(a, &f, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			ref, path, err := refPathArgs(args)
			if err != nil {
				return err
			}
			st, err := s.openView(ctx, ref)
			if err != nil {
				return err
			}
			report, err := st.which(ctx, path)
			if err != nil {
				return fmt.Errorf("%s: %w", ref, err)
			}
			return c.Emit(report, func(out *output.Screen) { whichTable(out, report, whole) })
		}),
	}
	cmd.Flags().BoolVar(&whole, "no-trunc", false, "whole commands")
	formatFlag(a.console, cmd.Flags())
	lookFlags(cmd, &f)
	cmd.ValidArgsFunction = firstThen(completeRefs(a, &f), nothing)
	return cmd
}

// refPathArgs reads REF PATH, or both as one.
func refPathArgs(args []string) (ref, path string, err error) {
	if len(args) == 1 {
		return refAndPath(args[0])
	}
	return args[0], "/" + strings.TrimPrefix(args[1], "/"), nil
}

func (st *stack) which(ctx context.Context, path string) (*whichReport, error) {
	real, effects, err := st.view.Which(ctx, path)
	if err != nil {
		return nil, err
	}
	r := &whichReport{Path: path, Real: real, Layers: []whichLayer{}}
	for _, e := range effects {
		if e.Act == view.Nothing {
			continue
		}
		l := whichLayer{
			Layer: e.Layer, Digest: st.layerDigest(e.Layer), Act: e.Act.String(), At: e.At,
			Decides: e.Decides, Hidden: e.Hidden, CreatedBy: st.createdBy(e.Layer), does: does(e, real),
		}
		if e.Kind != 0 {
			l.Kind = e.Kind.String()
		}
		if h := st.history(e.Layer); h != nil {
			l.Created = h.Created
		}
		r.Exists = r.Exists || e.Decides
		r.Layers = append(r.Layers, l)
	}
	if len(r.Layers) == 0 { // nobody ever had it: say how far the path goes
		_, err := st.view.Resolve(ctx, path, false)
		if err == nil && real != "/" {
			err = errkind.New(errkind.Internal, "no layer has %s, yet it is there", real)
		}
		return r, err
	}
	return r, nil
}

// does is an effect in words.
func does(e view.Effect, path string) string {
	at := ""
	if e.At != path {
		at = " " + e.At
	}
	switch e.Act {
	case view.Has:
		return "has a " + noun(e.Kind)
	case view.Implied:
		return "has something in it"
	case view.Traces:
		return "deletes something in it"
	case view.Whiteout:
		return "deletes" + at
	case view.Opaque:
		return "empties " + e.At
	case view.Replaced:
		return "has a " + noun(e.Kind) + at
	case view.Dangling:
		return "has a link to nothing"
	}
	return e.Act.String()
}

func whichTable(out *output.Screen, r *whichReport, whole bool) {
	if whole {
		out.Whole()
	}
	if r.Real != r.Path {
		fmt.Fprintf(out, "%s is %s\n", out.Name(r.Path), out.Name(r.Real))
	}
	if !r.Exists {
		fmt.Fprintf(out, "%s is not in the image: an upper layer takes it away\n", out.Name(r.Real))
	}
	rows := [][]string{{"", "LAYER", "DIGEST", "WHAT IT DOES", "CREATED BY"}}
	for _, l := range r.Layers {
		mark := ""
		if l.Decides {
			mark = ">"
		}
		what := l.does
		if l.Hidden {
			what += ", hidden"
		}
		rows = append(rows, []string{mark, strconv.Itoa(l.Layer), output.ShortDigest(l.Digest), what, shorten(l.CreatedBy, whole)})
	}
	out.Table(rows)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

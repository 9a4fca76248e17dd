package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/layers/index"
	"github.com/peelfs/peelfs/layers/view"
)

func (a *app) catCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cat [flags] REF:PATH...",
		Short: "Print files of an image",
		Long: `Print files of an image without a mount. Only the layers are fetched that must
be looked at to find them. Symbolic links are followed inside the image.`,
		Example: `  peelfs cat debian:bookworm:/etc/os-release`,
		Args:    wrong(cobra.MinimumNArgs(1)),
		RunE: a.runE(func(ctx context.Context, s *session, args []string) error {
			return a.eachOf(ctx, args, func(arg string) error { return s.cat(ctx, arg) })
		}),
	}
	a.registryFlags(cmd.Flags())
	a.storeFlags(cmd.Flags())
	return cmd
}

func (s *session) cat(ctx context.Context, arg string) error {
	ref, path, err := refAndPath(arg)
	if err != nil {
		return err
	}
	st, err := s.openView(ctx, ref)
	if err != nil {
		return err
	}
	attr, err := st.view.Resolve(ctx, path, true)
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	if attr.Kind != index.File {
		return errkind.New(errkind.Invalid, "%s: %s is a %s", ref, path, attr.Kind)
	}
	return copyFile(ctx, s.app.out, st.view, attr)
}

// copyBuffer is how much is read at once: a span of the usual size.
const copyBuffer = 1 << 20

func copyFile(ctx context.Context, w io.Writer, v *view.View, attr view.Attr) error {
	buf := make([]byte, min(copyBuffer, attr.Size))
	for off := int64(0); off < attr.Size; {
		n, err := v.ReadAt(ctx, attr.Ino, buf, off)
		if err != nil {
			return err
		}
		if n == 0 {
			return errkind.New(errkind.Internal, "%w after %d of %d bytes", io.ErrUnexpectedEOF, off, attr.Size)
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		off += int64(n)
	}
	return nil
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/peelfs/peelfs/cmd/peelfs/output"
	"github.com/peelfs/peelfs/cmd/peelfs/progress"
	"github.com/peelfs/peelfs/fetch"
	"github.com/peelfs/peelfs/internal/errkind"
)

type inspectFlags struct {
	sessionFlags
	raw, config, layers bool
}

// inspected has the keys of `peelfs inspect`.
type inspected struct {
	Reference string          `json:"reference"`
	Digest    string          `json:"digest"`
	Manifest  string          `json:"manifest"`
	MediaType string          `json:"mediaType"`
	Platform  string          `json:"platform"`
	OldID     string          `json:"oldID,omitempty"` // of images from before digests
	Size      int64           `json:"size"`
	Created   *time.Time      `json:"created,omitempty"`
	Config    json.RawMessage `json:"config"`
	Layers    []layerRow      `json:"layers"`
}

func inspectCommand(a *app) *cobra.Command {
	var f inspectFlags
	cmd := &cobra.Command{
		Use:   "inspect [flags] REF|ID",
		Short: "Print what is known of an image, as JSON",
		Example: `  peelfs inspect debian:bookworm | jq .config.config.Env
  peelfs inspect --raw debian:bookworm | sha256sum
  peelfs inspect --layers debian:bookworm`,
		Args: takes(1, 1),
		RunE: inSession(a, &f.sessionFlags, func(ctx context.Context, c *output.Console, s *session, args []string) error {
			if f.raw && f.config || f.raw && f.layers || f.config && f.layers {
				return errkind.New(errkind.Invalid, "only one of --raw, --config and --layers")
			}
			img, err := s.resolve(ctx, args[0])
			if err != nil {
				return err
			}
			return inspect(c, s, img, f)
		}),
	}
	cmd.Flags().BoolVar(&f.raw, "raw", false, "the manifest, byte by byte")
	cmd.Flags().BoolVar(&f.config, "config", false, "the configuration, byte by byte")
	cmd.Flags().BoolVar(&f.layers, "layers", false, "a table of the layers and what is here of each")
	formatFlag(a.console, cmd.Flags())
	lookFlags(cmd, &f.sessionFlags)
	cmd.ValidArgsFunction = completeRefs(a, &f.sessionFlags)
	return cmd
}

func inspect(c *output.Console, s *session, img *fetch.Image, f inspectFlags) error {
	switch {
	case f.raw:
		return document(c, img.RawManifest)
	case f.config:
		return document(c, img.RawConfig)
	}
	st, err := s.stack(img)
	if err != nil {
		return err
	}
	statuses := st.status()
	if f.layers {
		return c.Emit(statuses, func(out *output.Screen) { inspectTable(out, statuses) })
	}
	config := json.RawMessage(img.RawConfig)
	if !json.Valid(config) {
		config = json.RawMessage("null")
	}
	out := c.Screen()
	err = out.JSON(inspected{
		Reference: img.Reference.String(), Digest: img.Digest.String(), Manifest: img.ManifestDigest.String(),
		MediaType: img.MediaType, Platform: fetch.FormatPlatform(img.Platform), OldID: img.OldID, Size: sizeOf(statuses),
		Created: img.Config.Created, Config: compact(config), Layers: statuses,
	})
	return errors.Join(err, out.Flush())
}

// document writes what an image has, byte by byte.
func document(c *output.Console, text []byte) error {
	out := c.Screen()
	return errors.Join(out.Document(text), out.Flush())
}

// sizeOf adds up what is known of the compressed sizes: that is more than the
// manifest says where that is old, and the layers were read.
func sizeOf(all []layerRow) (total int64) {
	for _, l := range all {
		total += max(l.Size, 0)
	}
	return total
}

func compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return json.RawMessage("null")
	}
	return b.Bytes()
}

// inspectTable tells of each layer how it is read and what is here of it, the
// topmost first.
func inspectTable(out *output.Screen, all []layerRow) {
	table := [][]string{{"LAYER", "DIGEST", "SIZE", "FORMAT", "READ BY", "INDEX", "STATE", "HERE", "VERIFIED"}}
	for i := len(all) - 1; i >= 0; i-- {
		l := all[i]
		format, mode, index := "-", "-", "-"
		if l.Format != "" {
			format, mode, index = string(l.Format), string(l.Mode), progress.Size(l.IndexSize)
		}
		table = append(table, []string{
			strconv.Itoa(i), output.ShortDigest(l.Digest.String()), progress.Size(l.Size), format, mode, index,
			string(l.State), share(l.Present, l.Uncompressed), string(l.Proof),
		})
	}
	out.Table(table, 2, 5, 7)
}

package tagstore

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/imagename"
)

// maxImport is the longest file that Import reads, in bytes.
const maxImport = 64 << 20

// Imported says what Import did with the names of a file.
type Imported struct {
	Added    []string // canonical names, sorted
	Known    []string // names that have a digest already: what is newer stays
	Rejected []string // "repo:tag: reason"
}

// dockerTags is the file repositories-DRIVER of docker 1.x.
type dockerTags struct {
	Repositories map[string]map[string]string
}

// Import reads the names in docker's repositories-DRIVER file (repositories.json
// since 1.10). Its ids are of images from before digests, or digests of
// configurations; neither says what a registry has. Such names are listed and
// found by id, and get their digest when they are first resolved. from says
// where the file is from.
func (s *Store) Import(ctx context.Context, r io.Reader, from string) (out Imported, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxImport+1))
	if err != nil {
		return out, err
	}
	file, err := parseDockerTags(data)
	if err != nil {
		return out, err
	}
	for _, repo := range slices.Sorted(maps.Keys(file.Repositories)) {
		for _, tag := range slices.Sorted(maps.Keys(file.Repositories[repo])) {
			err := s.importName(ctx, &out, repo, tag, file.Repositories[repo][tag], from)
			if err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

func parseDockerTags(data []byte) (file dockerTags, err error) {
	if len(data) > maxImport {
		return file, errkind.New(errkind.Unsupported, "file is larger than %d bytes", maxImport)
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return file, errkind.New(errkind.Invalid, "not a repositories file of docker: %w", err)
	}
	if file.Repositories == nil {
		return file, errkind.New(errkind.Invalid, `not a repositories file of docker: no "Repositories" in it`)
	}
	return file, nil
}

func (s *Store) importName(ctx context.Context, out *Imported, repo, tag, id, from string) error {
	given := repo + ":" + tag
	if strings.Contains(tag, ":") { // repo@sha256:… entries of docker >= 1.6
		given = repo + "@" + tag
	}
	name, err := imagename.Parse(given)
	image := Image{Platform: "linux/amd64", OldID: id, Resolved: s.now()}
	if hex, ok := strings.CutPrefix(id, "sha256:"); ok {
		image.OldID, image.Config, id = "", digest.Digest(id), hex
	}
	switch {
	case err != nil:
		out.Rejected = append(out.Rejected, given+": "+err.Error())
		return nil
	case !isOldID(id):
		out.Rejected = append(out.Rejected, given+fmt.Sprintf(": image id %q is not 64 hex characters", id))
		return nil
	}
	known := false
	err = s.update(ctx, name.String(), func(r *Record) error {
		if known = r.Digest != ""; known {
			return nil
		}
		r.Source, r.Resolved = from, s.now()
		r.Images = []Image{image}
		return nil
	})
	if known {
		out.Known = append(out.Known, name.String())
	} else if err == nil {
		out.Added = append(out.Added, name.String())
	}
	return err
}

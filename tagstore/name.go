package tagstore

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"regexp"
	"strings"

	"github.com/peelfs/peelfs/internal/errkind"
	"github.com/peelfs/peelfs/internal/imagename"
)

// maxName is the longest name, in bytes: a path may be part of it.
const maxName = 4096 + 512

// NewName is the canonical form of a name that is being given now: completed as
// docker does, by today's grammar only, without a digest and in no file. Errors are of
// kind Invalid.
func NewName(name string) (string, error) {
	n, err := imagename.ParseStrict(strings.TrimPrefix(name, "docker://"))
	if err != nil {
		return "", errkind.New(errkind.Invalid, "name %q: %w", name, err)
	}
	if n.Digest != "" {
		return "", errkind.WithHint(errkind.New(errkind.Invalid, "name %q has a digest", name),
			"a name is given without one, as in debian:mine")
	}
	return n.String(), nil
}

func checkText(name string) error {
	if name == "" {
		return errkind.New(errkind.Invalid, "name is empty")
	}
	if len(name) > maxName || strings.ContainsAny(name, "\x00\n\r") {
		return errkind.New(errkind.Invalid, "name is too long or has control characters")
	}
	return nil
}

var oldID = regexp.MustCompile(`^([a-f0-9]{16}|[a-f0-9]{64})$`)

// isOldID reports whether s is the id of an image of docker 1.x.
func isOldID(s string) bool { return oldID.MatchString(s) }

// maxEscaped keeps file names below NAME_MAX with room for a suffix.
const maxEscaped = 180

// fileName is the base name of a canonical name's file: the name with every
// byte escaped that is not plain, or, where that is too long, its beginning
// and its digest. No two names share one: "~" is never left unescaped.
func fileName(name string) string {
	escaped := escape(name)
	if len(escaped) <= maxEscaped {
		return escaped
	}
	sum := sha256.Sum256([]byte(name))
	return escaped[:maxEscaped/2] + "~" + hex.EncodeToString(sum[:])
}

func escape(name string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:@"
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; strings.IndexByte(plain, c) >= 0 && (c != '.' || i > 0) {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{name[i]})))
	}
	return b.String()
}

// lockOffset spreads keys over the offsets of a lock file. Two keys that meet
// at one byte wait for each other without need, and nothing worse.
func lockOffset(key string) int64 {
	sum := sha256.Sum256([]byte(key))
	return int64(binary.LittleEndian.Uint64(sum[:]) >> 2)
}

package registryv1

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"slices"

	"github.com/peelfs/peelfs/fetch/transport/ranges"
	"github.com/peelfs/peelfs/internal/errkind"
)

// layerCheck follows a body that is a whole layer. It implements ranges.Check.
//
// What the registry promises is worth, in this order: a checksum of JSON and layer,
// which decides alone; the size in X-Docker-Size, where there is no checksum; a
// checksum of the tar, which leads to a warning.
type layerCheck struct {
	l   *Layer
	sum hash.Hash   // of JSON, newline and layer so far; nil if nothing is to be checked
	tar *tarSumming // the checksum of the tar so far; nil if nothing is to be compared
}

func (l *Layer) check() *layerCheck {
	c := &layerCheck{l: l}
	switch {
	case len(l.sums) > 0:
		c.sum = sha256.New()
		c.sum.Write(l.json)
		c.sum.Write([]byte{'\n'})
	case len(l.tars) > 0:
		c.tar = startTarSum(tarSumVersion(l.tars[0]), l.json)
	}
	return c
}

// Write implements ranges.Check.
func (c *layerCheck) Write(p []byte) (int, error) {
	if c.sum != nil {
		c.sum.Write(p)
	}
	if c.tar != nil {
		c.tar.Write(p)
	}
	return len(p), nil
}

// Ended implements ranges.Check: a checksum that fits proves the end; else it is
// where an answer without a length ends, unless more was promised.
func (c *layerCheck) Ended(n int64, announced bool) bool {
	return c.sum != nil && c.fits() || !announced && n >= c.l.said
}

func (c *layerCheck) fits() bool {
	return slices.Contains(c.l.sums, hex.EncodeToString(c.sum.Sum(nil)))
}

// Verify implements ranges.Check.
func (c *layerCheck) Verify(n int64) error {
	switch {
	case c.sum != nil && !c.fits():
		return errkind.New(errkind.Corrupt, "layer %s does not have the checksum that the registry gives for it, sha256:%s",
			c.l.id, c.l.sums[0])
	case c.sum == nil && c.l.said > 0 && n != c.l.said:
		return c.l.otherSize(n)
	}
	c.l.size.Store(n)
	if c.tar != nil {
		c.compareTar()
	}
	return nil
}

// compareTar tells whether the layer has the registry's checksum of the tar.
func (c *layerCheck) compareTar() {
	got, err := c.tar.finish()
	log := c.l.s.log.With("layer", c.l.id, "host", c.l.s.opt.Host, "checksum", c.l.tars[0])
	switch {
	case err != nil:
		log.Warn("a layer's checksum could not be computed", "reason", err)
	case !slices.Contains(c.l.tars, got):
		log.Warn("a layer does not have the checksum that the registry gives for it", "has", got)
	default:
		log.Info("a layer has the checksum that the registry gives for it")
	}
}

// checkedBody is a body with its check, which may have work under way, and with
// the layer's name in its errors.
type checkedBody struct {
	*ranges.Body
	check *layerCheck
	l     *Layer
}

func (b *checkedBody) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	if err != nil && err != io.EOF && !errkind.Is(err, errkind.Corrupt) {
		err = errkind.New(errkind.Of(err), "layer %s, after %d bytes: %w", b.l.id, b.Pos(), err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *checkedBody) Close() error {
	if b.check != nil && b.check.tar != nil {
		b.check.tar.stop()
	}
	return b.Body.Close()
}

package registryv1

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"slices"

	"github.com/peelfs/peelfs/fetch/transport"
	"github.com/peelfs/peelfs/internal/errkind"
)

// progress is how many bytes must arrive between two failures for the second to
// count as a first: the budget bounds what is spent without result.
const progress = 1 << 20

// body is a layer or a part of it on its way, over as many connections as it
// takes. Bytes are counted, not believed: it ends where what was asked for ends,
// whatever the server does then, and ends early only with an error.
type body struct {
	ctx    context.Context // of the one read that this body is
	l      *Layer
	budget *budget

	src    io.ReadCloser
	pos    int64       // offset in the layer of the next byte
	end    int64       // offset after the last byte, -1 until the server ends
	whole  bool        // began as all of the layer
	sum    hash.Hash   // of JSON, newline and layer so far; nil if nothing is to be checked
	tar    *tarSumming // the checksum of the tar so far; nil if nothing is to be compared
	broken error       // of the connection: to be repaired by the next Read
	since  int64       // pos at the last repair
	err    error       // what every further Read returns
}

func (b *body) begin(sp span) error {
	p, err := b.l.open(b.ctx, b.budget, sp)
	if err != nil {
		return err
	}
	b.src, b.pos, b.end, b.whole = p.src, p.at, p.end, p.whole
	if b.whole && len(b.l.sums) > 0 {
		b.sum = sha256.New()
		b.sum.Write(b.l.json)
		b.sum.Write([]byte{'\n'})
	}
	if b.whole && len(b.l.sums) == 0 && len(b.l.tars) > 0 {
		b.tar = startTarSum(tarSumVersion(b.l.tars[0]), b.l.json)
	}
	return nil
}

// trim makes a part what was asked for: servers that cannot send a single byte
// were asked for one more, before or behind it.
func (b *body) trim(off, n int64) error {
	if b.whole {
		return nil
	}
	if n >= 0 {
		b.end = min(b.end, off+n)
	}
	if _, err := io.CopyN(io.Discard, b, off-b.pos); err != nil {
		return errkind.New(errkind.Of(transport.Classify(err, b.l.s.opt.Host)), "layer %s: %w", b.l.id, err)
	}
	return nil
}

// Close ends the connection.
func (b *body) Close() error {
	if b.tar != nil {
		b.tar.stop()
	}
	return b.src.Close()
}

// Read returns bytes of the layer. The last of them do not leave if the whole
// turns out to be wrong.
func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for b.err == nil {
		n, err := b.read(p)
		b.err = err
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// read is one step: a repair, or one read from the connection.
func (b *body) read(p []byte) (int, error) {
	if b.pos == b.end {
		return 0, io.EOF // an empty one; others are complete in the step that ends them
	}
	if b.broken != nil {
		return 0, b.repair()
	}
	if b.end >= 0 {
		p = p[:min(int64(len(p)), b.end-b.pos)]
	}
	n, err := b.src.Read(p)
	b.pos += int64(n)
	if b.sum != nil {
		b.sum.Write(p[:n])
	}
	if b.tar != nil {
		b.tar.Write(p[:n])
	}
	switch {
	case b.pos == b.end, err == io.EOF && b.mayEnd():
		if err := b.complete(err); err != nil {
			return 0, err
		}
		return n, io.EOF
	case err == io.EOF:
		b.broken = io.ErrUnexpectedEOF
	case err != nil:
		b.broken = err
	}
	return n, nil
}

// mayEnd says whether the server's end is to be believed: nobody said where it
// is, or the checksum proves it.
func (b *body) mayEnd() bool { return b.end < 0 || b.sum != nil && b.fits() }

func (b *body) fits() bool {
	return slices.Contains(b.l.sums, hex.EncodeToString(b.sum.Sum(nil)))
}

// complete proves, now that the last byte is here, what can be proved. err is
// what the connection said along with that byte.
func (b *body) complete(err error) error {
	if b.sum != nil && !b.fits() {
		return errkind.New(errkind.Corrupt, "layer %s does not have the checksum that the registry gives for it, sha256:%s",
			b.l.id, b.l.sums[0])
	}
	if b.whole && b.sum == nil && err == nil {
		// The size came from a header: nothing may follow.
		if n, _ := io.ReadFull(b.src, make([]byte, 1)); n > 0 {
			return errkind.New(errkind.Corrupt, "layer %s has more than the %d bytes that X-Docker-Size says", b.l.id, b.end)
		}
	}
	if b.whole {
		b.l.learn(b.pos)
	}
	if b.tar != nil {
		b.compareTar()
	}
	return nil
}

// compareTar tells whether the layer has the registry's checksum of the tar.
func (b *body) compareTar() {
	got, err := b.tar.finish()
	log := b.l.s.log.With("layer", b.l.id, "host", b.l.s.opt.Host, "checksum", b.l.tars[0])
	switch {
	case err != nil:
		log.Warn("a layer's checksum could not be computed", "reason", err)
	case !slices.Contains(b.l.tars, got):
		log.Warn("a layer does not have the checksum that the registry gives for it", "has", got)
	default:
		log.Info("a layer has the checksum that the registry gives for it")
	}
}

// repair makes the connection again, behind the bytes that were read.
func (b *body) repair() error {
	b.src.Close()
	cause := transport.Classify(b.broken, b.l.s.opt.Host)
	if b.pos-b.since >= progress {
		b.budget = b.l.s.newBudget()
	}
	b.since = b.pos
	for b.ctx.Err() == nil && errkind.Of(cause).Retryable() && b.budget.wait(b.ctx, 0) {
		err := b.reopen()
		if err == nil {
			b.broken = nil
			return nil
		}
		cause = transport.Classify(err, b.l.s.opt.Host)
	}
	if err := b.ctx.Err(); err != nil {
		cause = err
	}
	return errkind.New(errkind.Of(cause), "layer %s, after %d bytes: %w", b.l.id, b.pos, cause)
}

// reopen asks for the rest and passes over what is here already.
func (b *body) reopen() error {
	sp := span{all: true}
	if b.end >= 0 && b.pos > 0 {
		sp = closed(b.pos, b.end)
	}
	p, err := b.l.open(b.ctx, b.budget, sp)
	if err != nil {
		return err
	}
	if p.at > b.pos {
		err = errkind.New(errkind.Unsupported, "the server sends from %d, not from %d", p.at, b.pos)
	} else if _, err = io.CopyN(io.Discard, p.src, b.pos-p.at); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		p.src.Close()
		return err
	}
	b.src = p.src
	return nil
}

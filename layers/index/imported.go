package index

import (
	"bytes"
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// Import checks the index data, which came from anywhere, and returns a copy of
// it that is marked as Imported. Errors are as those of Open.
func Import(data []byte) ([]byte, Header, error) {
	x, err := OpenBytes(data)
	if err != nil {
		return nil, Header{}, err
	}
	h := x.Header()
	h.Imported = true
	data = bytes.Clone(data)
	data[hdSource+3] |= flagImported
	binary.LittleEndian.PutUint64(data[hdSum:], xxh3.Hash(data[hdSource:]))
	return data, h, nil
}

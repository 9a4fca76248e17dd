package index

import (
	"github.com/zeebo/xxh3"

	"github.com/peelfs/peelfs/internal/errkind"
)

// slots is a hash table of ids whose keys live elsewhere: four bytes for each
// place, no pointers, at most half full. A place holds id+1, or 0.
type slots struct {
	at   []uint32
	used int
}

// find returns the place of the id with this hash that same accepts, or the
// place where it would go.
func (s *slots) find(hash uint64, same func(id uint32) bool) (place int, ok bool) {
	if len(s.at) == 0 {
		return 0, false
	}
	mask := len(s.at) - 1
	for i := int(hash) & mask; ; i = (i + 1) & mask {
		if s.at[i] == 0 {
			return i, false
		}
		if same(s.at[i] - 1) {
			return i, true
		}
	}
}

// grow makes sure that one more id fits; hash is that of an id already in.
func (s *slots) grow(hash func(id uint32) uint64) {
	if s.used*2 < len(s.at) {
		return
	}
	old := s.at
	s.at = make([]uint32, max(64, 2*len(old)))
	mask := len(s.at) - 1
	for _, v := range old {
		if v == 0 {
			continue
		}
		i := int(hash(v-1)) & mask
		for s.at[i] != 0 {
			i = (i + 1) & mask
		}
		s.at[i] = v
	}
}

// arena interns strings: each distinct one is kept once and has a number.
type arena struct {
	what  string // what the strings are, for errors
	data  []byte
	ends  []uint32 // string i is data[ends[i-1]:ends[i]]
	slots slots
}

func (a *arena) get(id uint32) []byte {
	from := uint32(0)
	if id > 0 {
		from = a.ends[id-1]
	}
	return a.data[from:a.ends[id]]
}

func (a *arena) hashOf(id uint32) uint64 { return xxh3.Hash(a.get(id)) }

func (a *arena) find(s string) (id uint32, ok bool) {
	place, ok := a.place(s)
	if !ok {
		return 0, false
	}
	return a.slots.at[place] - 1, true
}

func (a *arena) place(s string) (int, bool) {
	return a.slots.find(xxh3.HashString(s), func(id uint32) bool { return string(a.get(id)) == s })
}

func (a *arena) intern(s string) (uint32, error) {
	a.slots.grow(a.hashOf)
	place, ok := a.place(s)
	if ok {
		return a.slots.at[place] - 1, nil
	}
	if len(a.data)+len(s) > MaxText {
		return 0, errkind.New(errkind.Unsupported, "layer has more than %d bytes of %s", MaxText, a.what)
	}
	id := uint32(len(a.ends))
	a.data = append(a.data, s...)
	a.ends = append(a.ends, uint32(len(a.data)))
	a.slots.at[place] = id + 1
	a.slots.used++
	return id, nil
}

// attr is what many entries of a layer share.
type attr struct {
	mode, uid, gid, nsec uint32
	sec                  int64
	xattrs               uint32 // set number + 1; 0 for none
}

func (a attr) hash() uint64 {
	h := uint64(a.mode)<<32 | uint64(a.nsec)
	h = mix(h ^ uint64(a.sec))
	h = mix(h ^ uint64(a.uid)<<32 ^ uint64(a.gid))
	return mix(h ^ uint64(a.xattrs))
}

// mix spreads every bit of h over all of the result (the finalizer of MurmurHash3).
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// attrs interns attributes.
type attrs struct {
	all   []attr
	slots slots
}

func (a *attrs) intern(v attr) uint32 {
	a.slots.grow(func(id uint32) uint64 { return a.all[id].hash() })
	place, ok := a.slots.find(v.hash(), func(id uint32) bool { return a.all[id] == v })
	if !ok {
		a.all = append(a.all, v)
		a.slots.at[place] = uint32(len(a.all))
		a.slots.used++
	}
	return a.slots.at[place] - 1
}

// renumber gives the numbers of an interner that are in use new ones, in order
// of first use, so that what was interned for nothing leaves no trace.
type renumber struct {
	to    []uint32 // old number -> new number + 1
	order []uint32 // new number -> old number
}

func newRenumber(n int) *renumber { return &renumber{to: make([]uint32, n)} }

func (r *renumber) of(old uint32) uint32 {
	if r.to[old] == 0 {
		r.order = append(r.order, old)
		r.to[old] = uint32(len(r.order))
	}
	return r.to[old] - 1
}

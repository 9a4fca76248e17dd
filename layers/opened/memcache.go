package opened

import (
	"container/list"
	"sync"
)

// maxMemory is how many bytes of spans are kept in memory because the disk has no
// room for them, and also the longest span that is ever decoded in memory.
const maxMemory = 32 << 20

// Memcache keeps the spans that could not be written, last used first.
type Memcache struct {
	mu struct {
		sync.Mutex
		byKey map[memkey]*list.Element
		order *list.List
		size  int
	}
}

type memkey struct {
	of   *Layer
	span int
	part int64 // of a span that is too large: the number of the window; else 0
}

// window is how much of a span that is too large for memory is kept there when the
// disk has no room for it, in bytes, and what the bounds of these parts are
// multiples of.
const window = 8 << 20

// keyOf is the key of what holds byte off of the address space, which is of span i
// or before it.
func (l *Layer) keyOf(i int, off int64) (k memkey, at int64) {
	s := l.Index.Span(i)
	if !TooLarge(s) {
		return memkey{l, i, 0}, s.Out
	}
	part := max(off, s.Out) / window
	return memkey{l, i, part}, max(part*window, s.Out)
}

// inMemory returns the bytes of span i, or of the window of it that byte off lies
// in, and where they begin; nil if they are not in memory.
func (l *Layer) inMemory(i int, off int64) (b []byte, at int64) {
	k, at := l.keyOf(i, off)
	return l.host.Memory.get(k), at
}

type memspan struct {
	key   memkey
	bytes []byte
}

// NewMemcache returns an empty one.
func NewMemcache() *Memcache {
	c := &Memcache{}
	c.mu.byKey = map[memkey]*list.Element{}
	c.mu.order = list.New()
	return c
}

// put keeps b, which the cache owns from now on.
func (c *Memcache) put(k memkey, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.mu.byKey[k]; ok {
		return
	}
	c.mu.byKey[k] = c.mu.order.PushFront(&memspan{k, b})
	c.mu.size += len(b)
	for c.mu.size > maxMemory && c.mu.order.Len() > 1 {
		last := c.mu.order.Remove(c.mu.order.Back()).(*memspan)
		delete(c.mu.byKey, last.key)
		c.mu.size -= len(last.bytes)
	}
}

// forget drops the spans of a layer.
func (c *Memcache) forget(l *Layer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, e := range c.mu.byKey {
		if k.of == l {
			c.mu.order.Remove(e)
			delete(c.mu.byKey, k)
			c.mu.size -= len(e.Value.(*memspan).bytes)
		}
	}
}

// get returns the bytes of a span, not to be changed, or nil.
func (c *Memcache) get(k memkey) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.mu.byKey[k]
	if e == nil {
		return nil
	}
	c.mu.order.MoveToFront(e)
	return e.Value.(*memspan).bytes
}

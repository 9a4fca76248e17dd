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

package layers

import (
	"container/list"
	"sync"
)

// maxHeld is how many bytes of spans are kept in memory because the disk has no
// room for them, and also the longest span that is ever decoded in memory.
const maxHeld = 32 << 20

// spanCache keeps the spans that could not be written, last used first.
type spanCache struct {
	mu struct {
		sync.Mutex
		byKey map[heldKey]*list.Element
		order *list.List
		size  int
	}
}

type heldKey struct {
	of   *acquired // spans of another index of the layer have other bounds
	span int
}

type heldSpan struct {
	key   heldKey
	bytes []byte
}

func newSpanCache() *spanCache {
	c := &spanCache{}
	c.mu.byKey = map[heldKey]*list.Element{}
	c.mu.order = list.New()
	return c
}

// put keeps b, which the cache owns from now on.
func (c *spanCache) put(k heldKey, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.mu.byKey[k]; ok {
		return
	}
	c.mu.byKey[k] = c.mu.order.PushFront(&heldSpan{k, b})
	c.mu.size += len(b)
	for c.mu.size > maxHeld && c.mu.order.Len() > 1 {
		last := c.mu.order.Remove(c.mu.order.Back()).(*heldSpan)
		delete(c.mu.byKey, last.key)
		c.mu.size -= len(last.bytes)
	}
}

// get returns the bytes of a span, not to be changed, or nil.
func (c *spanCache) get(k heldKey) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.mu.byKey[k]
	if e == nil {
		return nil
	}
	c.mu.order.MoveToFront(e)
	return e.Value.(*heldSpan).bytes
}

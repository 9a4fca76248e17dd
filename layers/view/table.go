package view

import "sync"

const shards = 64

// table maps places and inode numbers to values that are remembered for them. A
// value never changes, so the first one for a key stays. The zero table is empty.
type table[V any] struct {
	shard [shards]struct {
		mu struct {
			sync.RWMutex
			m map[uint64]V
		}
	}
}

// shardOf spreads neighbours over the shards.
func shardOf(key uint64) uint64 { return (key * 0x9e3779b97f4a7c15) >> (64 - 6) }

func (t *table[V]) get(key uint64) (V, bool) {
	s := &t.shard[shardOf(key)]
	s.mu.RLock()
	val, ok := s.mu.m[key]
	s.mu.RUnlock()
	return val, ok
}

// put remembers val unless there is a value, and returns what is remembered.
func (t *table[V]) put(key uint64, val V) V {
	s := &t.shard[shardOf(key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if had, ok := s.mu.m[key]; ok {
		return had
	}
	if s.mu.m == nil {
		s.mu.m = make(map[uint64]V)
	}
	s.mu.m[key] = val
	return val
}

// each calls fn with every value, under the lock of its shard.
func (t *table[V]) each(fn func(V)) {
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.RLock()
		for _, val := range s.mu.m {
			fn(val)
		}
		s.mu.RUnlock()
	}
}

// clear forgets every value.
func (t *table[V]) clear() {
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		s.mu.m = nil
		s.mu.Unlock()
	}
}

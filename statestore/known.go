// SPDX-License-Identifier: Apache-2.0

package statestore

// known is what a table knows of Pebble's entries that its cache lacks. While
// the state of a task fits into memory from its first record on, there are none:
// then a miss says that the key has no value, and Pebble, which would have to
// search its memtables for that, is not asked. A window store knows more: its
// timeline says the same of all times above its frontier.
type known struct {
	looked bool
	// partial says that Pebble may have an entry which no range delete covers
	// and the cache lacks. It holds from the moment on when an entry with a
	// value is evicted, an abort drops a change or brings back what a range
	// delete had hidden, or a replay writes to Pebble.
	partial bool
}

// mayBeStored says whether Pebble may have entries at key or later that the
// cache lacks.
func (t *table[V]) mayBeStored(key []byte) (bool, error) {
	if !t.known.looked {
		if err := t.look(); err != nil {
			return true, err
		}
	}
	if t.times != nil {
		return timeOf(key) <= t.times.frontier, nil
	}
	return t.known.partial, nil
}

// look finds out, once, whether Pebble has entries at all, and of a window store
// its last time.
func (t *table[V]) look() error {
	if t.known.looked {
		return nil
	}
	it, err := t.db.iterate(t.id, nil, nil)
	if err != nil {
		return err
	}
	defer it.close()
	if tail, _, ok := it.last(); ok {
		t.left(tail)
	}
	t.known.looked = it.err() == nil
	return it.err()
}

// left is told that an entry of the key is not in the cache while Pebble may
// have a value.
func (t *table[V]) left(key []byte) {
	t.known.partial = true
	if t.times != nil {
		t.times.left(timeOf(key))
	}
}

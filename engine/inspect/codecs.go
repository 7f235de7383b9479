// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// Codecs shows keys and values that the codecs of a pipeline have written: of records, and of entries as they are stored.
type Codecs struct {
	views  views
	stores map[uint16]*Store
}

// NewCodecs returns the codecs of a pipeline. In a decoded topology they are the built-in ones.
func NewCodecs(t *topology.Topology) *Codecs {
	c := &Codecs{views{known: t.Views}, map[uint16]*Store{}}
	for _, sub := range t.SubTopologies {
		for _, st := range sub.Stores {
			c.stores[st.ID] = newStore(st, true, nil, c.views)
		}
	}
	return c
}

// Store finds a store by its id, which SplitKey takes from the key of an entry; nil if there is none.
func (c *Codecs) Store(id uint16) *Store { return c.stores[id] }

// Value returns what a codec has written, and the bytes themselves if it does not read them. Nil is nil.
func (c *Codecs) Value(id string, src []byte) any {
	if src == nil {
		return nil
	}
	var r Row
	return r.decode(c.views.decoder(id), src)
}

// Stored is Value for a value behind the number of one of the codecs, as it is in a repartition topic.
func (c *Codecs) Stored(ids []string, src []byte) any {
	version, value, err := codec.SplitStored(src)
	if err != nil || version >= len(ids) {
		return c.Value(codec.Bytes.ID(), src)
	}
	return c.Value(ids[version], value)
}

// Encode returns the key that a text stands for, as Store.EncodeKey does.
func (c *Codecs) Encode(id, text string) ([]byte, error) { return c.views.encode(id, text) }

// Row decodes an entry of the store, given as it is stored. The error wraps checkpoint.ErrCorrupt.
func (s *Store) Row(task partition.TaskID, entryKey, value []byte) (Row, error) {
	return s.row(task, entryKey, value)
}

// Raw is the same store with keys, sub-keys and values as bytes: values with the number of their codec, and without the
// time in front of them.
func (s *Store) Raw() *Store {
	bytes, _ := basic(codec.Bytes.ID())
	raw := *s
	raw.layout, raw.Plain, raw.kept = single, true, nil
	raw.key, raw.subKey, raw.values = bytes, bytes, []decoder{bytes}
	return &raw
}

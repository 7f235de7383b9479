// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
)

// To writes every change of the table to a topic of the user's: the new value, or null where a row was deleted. So the
// topic can be compacted, and read back with TableFrom. The value codec is needed if the table has none.
func (t Table[K, V]) To[Topic ~string](topic Topic, value ...codec.Codec[V]) {
	t.n.wantOld() // Without the old side a row that was not there would be deleted.
	n := t.p.add(topology.KindSink, "", t.n.id)
	n.Label = "to:" + string(topic)
	n.Writes = []string{string(topic)}
	c := choose(t.p, n.Label, value, t.value)
	need(t.p, n.Label, "the value", c, fmt.Sprintf("give it to To(%q, codec)", string(topic)))
	w := &writer[K, optional[V]]{label: n.Label, topic: string(topic), rules: t.p.stepRules(t.rules, n), key: t.key, value: optionalCodec[V]{c}}
	null := nullOf(c)
	t.n.children = append(t.n.children, func(tk *task) (emitChange[K, V], error) {
		g := tk.guard(w.label, w.rules)
		write, err := w.write(tk, g)
		if err != nil {
			return nil, err
		}
		return guardedChanges(g, true, func(k K, c Change[V], tm operators.Time) error {
			has := c.HasNew && (null == nil || !null(c.New))
			return write(k, optional[V]{value: c.New, has: has}, tm)
		}), nil
	})
}

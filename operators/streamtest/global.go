// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"slices"

	"github.com/streamd/streamd/operators"
)

// global is the copy of a global table that the process has.
type global struct {
	topic   *topic
	store   operators.GlobalStore
	applied int // how many of the topic's records, in the order of arrival
}

// startGlobals begins with empty tables. What there is of their topics is read before the first record is processed.
func (d *Driver) startGlobals() {
	d.globals = nil
	for i := range d.topology.Globals {
		g := &d.topology.Globals[i]
		d.globals = append(d.globals, &global{
			topic: d.topic(g.Topic, false),
			store: g.New(&operators.Listener{Skipped: d.skipGlobal}),
		})
	}
}

// skipGlobal notes a record of a global table that does not decode: once, however often a process reads it.
func (d *Driver) skipGlobal(f operators.Failure) {
	if !slices.ContainsFunc(d.skipped, func(s operators.Failure) bool {
		return s.Topic == f.Topic && s.Partition == f.Partition && s.Offset == f.Offset
	}) {
		d.skipped = append(d.skipped, f)
	}
}

// globalStores returns the tables by topic.
func (d *Driver) globalStores() map[string]operators.GlobalStore {
	stores := map[string]operators.GlobalStore{}
	for _, g := range d.globals {
		stores[g.topic.name] = g.store
	}
	return stores
}

// applyGlobals brings the tables up to the end of their topics.
func (d *Driver) applyGlobals() error {
	for _, g := range d.globals {
		for ; g.applied < len(g.topic.arrived); g.applied++ {
			at := g.topic.arrived[g.applied]
			e := g.topic.at(at)
			if err := g.store.Apply(&operators.Record{
				Topic: g.topic.name, Partition: at.partition, Offset: at.offset,
				Time: e.time, Key: cloneBytes(e.key), Value: cloneBytes(e.value), Headers: e.headers,
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

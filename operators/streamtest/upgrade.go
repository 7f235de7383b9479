// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// Upgrade stops the process, as a deployment does, and starts another pipeline on its state and its topics: the next
// release. What was not committed waits again. It fails the test if the engine would refuse the pipeline.
func (d *Driver) Upgrade(p *stream.Pipeline) {
	d.t.Helper()
	if err := d.TryUpgrade(p); err != nil {
		d.fail("upgrade to pipeline %q: %v", p.Name(), err)
	}
}

// TryUpgrade is Upgrade for a pipeline that is expected to be refused: it returns the error, topology.ErrIncompatible
// in it, and the former pipeline runs on.
func (d *Driver) TryUpgrade(p *stream.Pipeline) error {
	d.t.Helper()
	was := d.topology
	d.build(p)
	if err := topology.Compatible(was, d.topology); err != nil {
		d.topology = was
		return err
	}
	d.close()
	former := map[partition.TaskID]*runner{}
	for _, r := range d.tasks {
		former[r.id] = r
	}
	d.tasks = nil
	d.makeTasks()
	for _, r := range d.tasks {
		if f := former[r.id]; f != nil {
			r.changelog, r.committed = f.changelog, f.committed
		}
	}
	d.share()
	d.start()
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// rig runs a pipeline with one partition per topic, in memory: what a task does, without Kafka. Records on
// repartition topics are handed on at once, in order.
type rig struct {
	topo  *topology.Topology
	res   *statestore.Resources
	tasks []*rigTask
	out   []output // what went to user topics
	epoch uint64
	next  map[string]int64 // next offset by topic
	queue []output         // on repartition topics
	skips []operators.Failure
	late  []string // steps that were given a late record

	globals map[string]operators.GlobalStore
}

type rigTask struct {
	sub  *topology.SubTopology
	db   *statestore.DB
	ctx  operators.Context
	proc operators.Processor
	rig  *rig
	buf  []byte
}

// output is one emitted record.
type output struct {
	topic      string
	internal   bool
	key, value []byte
	time       operators.Time
	headers    []operators.Header
}

// newRig builds the pipeline. Its panics are for examples, which have no testing.T.
func newRig(p *stream.Pipeline) *rig {
	r, err := tryRig(p)
	if err != nil {
		panic(err)
	}
	return r
}

func tryRig(p *stream.Pipeline) (*rig, error) {
	topo, err := p.Build()
	if err != nil {
		return nil, err
	}
	res, err := statestore.NewResources(256 << 20)
	if err != nil {
		return nil, err
	}
	r := &rig{topo: topo, res: res, next: make(map[string]int64), globals: make(map[string]operators.GlobalStore)}
	for _, g := range topo.Globals {
		r.globals[g.Topic] = g.New(nil)
	}
	fs := vfs.NewMem()
	for i := range topo.SubTopologies {
		t := &rigTask{sub: &topo.SubTopologies[i], rig: r}
		id := partition.TaskID{SubTopology: t.sub.ID}
		if t.sub.Stateful() {
			t.db, err = statestore.Open(statestore.Options{
				Dir: "/" + id.String(), FS: fs, Resources: res,
				Identity: statestore.Identity{App: topo.App, Task: id},
			})
			if err != nil {
				return nil, err
			}
		}
		t.proc, err = t.sub.New(&operators.Runtime{
			Task: id, DB: t.db, Output: t, Partitions: slices.Repeat([]int32{1}, len(t.sub.Outputs)), Context: &t.ctx, Globals: r.globals,
			Now: func() time.Time { return time.UnixMilli(1000) },
			Listener: &operators.Listener{
				Skipped: func(f operators.Failure) { r.skips = append(r.skips, f) },
				Late:    func(step string) { r.late = append(r.late, step) },
			},
		})
		if err != nil {
			return nil, err
		}
		r.tasks = append(r.tasks, t)
	}
	return r, nil
}

func (r *rig) close() {
	var errs []error
	for _, t := range r.tasks {
		if t.db != nil {
			errs = append(errs, t.db.Close())
		}
	}
	if err := errors.Join(append(errs, r.res.Close())...); err != nil {
		panic(err)
	}
}

// Buffer and Emit are the task's operators.Output.
func (t *rigTask) Buffer() []byte { return t.buf[:0] }

func (t *rigTask) Emit(e operators.Emission) {
	t.buf = e.Buf
	sink := t.sub.Outputs[e.Topic]
	o := output{topic: sink.Topic, internal: sink.Internal, time: e.Time, headers: slices.Clone(e.Headers),
		key: slices.Clone(e.Key()), value: slices.Clone(e.Value())}
	if o.internal {
		t.rig.queue = append(t.rig.queue, o)
		return
	}
	t.rig.out = append(t.rig.out, o)
}

// feed processes one record and all that follows from it on repartition topics.
func (r *rig) feed(rec operators.Record, internal bool) error {
	for _, t := range r.tasks {
		for i, src := range t.sub.Sources {
			if src.Topic != rec.Topic || src.Internal != internal {
				continue
			}
			rec.Offset = r.next[rec.Topic]
			r.next[rec.Topic]++
			if err := t.proc.Process(i, &rec); err != nil {
				return err
			}
			return r.drain()
		}
	}
	if g := r.globals[rec.Topic]; g != nil {
		return g.Apply(&rec)
	}
	return fmt.Errorf("no source reads %q", rec.Topic)
}

func (r *rig) drain() error {
	for len(r.queue) > 0 {
		o := r.queue[0]
		r.queue = r.queue[1:]
		rec := operators.Record{Topic: o.topic, Key: o.key, Value: o.value, Time: o.time, Headers: o.headers}
		if err := r.feed(rec, true); err != nil {
			return err
		}
	}
	return nil
}

// send feeds records of text, given as key, value, key, value; their times are 1, 2, and so on.
func (r *rig) send(topic string, keysAndValues ...string) {
	for i := 0; i < len(keysAndValues); i += 2 {
		rec := operators.Record{Topic: topic, Time: r.next[topic] + 1,
			Key: []byte(keysAndValues[i]), Value: []byte(keysAndValues[i+1])}
		if err := r.feed(rec, false); err != nil {
			panic(err)
		}
	}
}

// commit flushes and confirms all tasks.
func (r *rig) commit() {
	r.epoch++
	for _, t := range r.tasks {
		if err := errors.Join(t.proc.Flush(), r.drain()); err != nil {
			panic(err)
		}
	}
	for _, t := range r.tasks {
		if t.db == nil {
			continue
		}
		_, err := t.db.Prepare(1 << 20)
		if err := errors.Join(err, t.db.Confirm(statestore.Position{Epoch: r.epoch, Offset: int64(r.epoch)})); err != nil {
			panic(err)
		}
	}
}

// abort drops what was not committed.
func (r *rig) abort() {
	for _, t := range r.tasks {
		if t.db != nil {
			t.db.Abort()
		}
	}
}

// print commits, prints what went to user topics, as topic: key=value, and stops the rig.
func (r *rig) print() {
	r.commit()
	for _, o := range r.out {
		fmt.Printf("%s: %s=%s\n", o.topic, show(o.key), show(o.value))
	}
	r.close()
}

// show makes text of what codec.String or codec.Int64 wrote.
func show(b []byte) string {
	if len(b) == 8 && (b[0] >= utf8.RuneSelf || !utf8.Valid(b) || binary.BigEndian.Uint32(b) == 0) {
		if n, err := codec.Int64.Decode(b); err == nil {
			return fmt.Sprint(n)
		}
	}
	return string(b)
}

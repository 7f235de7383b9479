// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// Driver runs one pipeline in one process that can be made to crash. It belongs to one goroutine.
type Driver struct {
	t          TB
	topology   *topology.Topology
	partitions int32
	cache      int64             // bytes for decoded values; -1: no limit of its own
	topics     map[string]*topic // by name
	tasks      []*runner         // by id
	resources  *statestore.Resources
	disk       *vfs.MemFS
	standbys   *vfs.MemFS                       // where State keeps its copies
	kept       map[partition.TaskID]*checkpoint // the last Checkpoint
	frozen     int                              // checkpoints of tasks made so far
	generation int32                            // of processes
	round      int64                            // newest that was begun
	complete   *pipelineCut                     // of the last complete round; nil: there is none
	now        time.Time
	sequence   int64
	skipped    []operators.Failure
	globals    []*global       // of the process
	choose     func(n int) int // nil: the task whose next record is the oldest
	faults     *faults         // nil: none but those asked for
	run        string          // names the bounded run, once Finish was called
	finishing  bool
}

// startOfTime is what Now returns at first: any fixed time would do.
var startOfTime = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

// New builds the pipeline and starts it on empty topics. It ends with the test.
func New(t TB, p *stream.Pipeline, opts ...Option) *Driver {
	t.Helper()
	return newDriver(t, p, newOptions(opts))
}

func newDriver(t TB, p *stream.Pipeline, o options) *Driver {
	t.Helper()
	d := &Driver{
		t: t, partitions: o.partitions, cache: o.cache, topics: map[string]*topic{}, now: startOfTime, choose: o.choose,
		disk: vfs.NewCrashableMem(), standbys: vfs.NewMem(),
	}
	if o.partitions < 1 {
		d.fail("Partitions(%d): at least 1 is needed", o.partitions)
	}
	d.build(p)
	d.makeTasks()
	d.share()
	t.Cleanup(d.close)
	d.start()
	return d
}

// build compiles a pipeline and makes it ready to run.
func (d *Driver) build(p *stream.Pipeline) {
	d.t.Helper()
	var err error
	if d.topology, err = p.Build(); err != nil {
		d.fail("pipeline %q does not build:\n%v", p.Name(), err)
	}
	for _, g := range d.topology.Globals {
		d.topic(g.Topic, false)
	}
	for _, open := range d.topology.Openings {
		if err := open(context.Background()); err != nil {
			d.fail("start pipeline %q: %v", p.Name(), err)
		}
	}
}

// share gives every task and its standby a share of a budget, which is a limit and not taken at once.
func (d *Driver) share() {
	d.t.Helper()
	var err error
	if d.resources, err = statestore.NewResources(max(256<<20, int64(len(d.tasks))*8<<20)); err != nil {
		d.fail("%v", err)
	}
	if d.cache >= 0 {
		d.resources.LimitDecoded(d.cache)
	}
}

// fail ends the test.
func (d *Driver) fail(format string, args ...any) {
	d.t.Helper()
	d.t.Fatalf("streamtest: %s", fmt.Sprintf(format, args...))
}

// topicName is the name of a topic of the topology, as it is on a cluster.
func (d *Driver) topicName(name string, internal bool) string {
	if internal {
		return fmt.Sprintf("%s-1-%s-repartition", d.topology.App, name)
	}
	return name
}

// topic returns a topic and creates it if need be.
func (d *Driver) topic(name string, internal bool) *topic {
	name = d.topicName(name, internal)
	if d.topics[name] == nil {
		d.topics[name] = newTopic(name, d.partitions)
	}
	return d.topics[name]
}

// makeTasks makes the tasks without what a process holds of them.
func (d *Driver) makeTasks() {
	for i := range d.topology.SubTopologies {
		sub := &d.topology.SubTopologies[i]
		for p := range d.partitions {
			r := &runner{d: d, id: partition.TaskID{SubTopology: sub.ID, Partition: p}, sub: sub}
			r.committed = commit{changelogOffset: -1, position: map[partition.TopicPartition]int64{}}
			for _, src := range sub.Sources {
				tp := d.topic(src.Topic, src.Internal).partition(p)
				r.inputs = append(r.inputs, tp)
				r.committed.position[tp] = 0
			}
			d.tasks = append(d.tasks, r)
		}
	}
	slices.SortFunc(d.tasks, func(a, b *runner) int { return a.id.Compare(b.id) })
}

// nextSequence numbers records in the order in which they come to be.
func (d *Driver) nextSequence() int64 {
	d.sequence++
	return d.sequence
}

// start begins a process on what is on the disk.
func (d *Driver) start() {
	d.t.Helper()
	d.generation++
	d.startGlobals()
	for _, r := range d.tasks {
		if err := r.start(); err != nil {
			d.fail("restart: %v", err)
		}
	}
}

// stop ends the process. Closing a database flushes it, to a disk that nobody looks at any more.
func (d *Driver) stop() error {
	var errs []error
	for _, r := range d.tasks {
		errs = append(errs, r.stop())
	}
	return errors.Join(errs...)
}

func (d *Driver) close() {
	errs := []error{d.stop()}
	for _, r := range d.tasks {
		errs = append(errs, r.standby.close())
	}
	if err := errors.Join(append(errs, d.resources.Close())...); err != nil {
		d.t.Logf("streamtest: close: %v", err)
	}
}

// Now returns the time of the test, which the pipeline sees as the wall clock and Send stamps records with.
func (d *Driver) Now() time.Time { return d.now }

// Advance moves the time forward.
func (d *Driver) Advance(by time.Duration) {
	d.t.Helper()
	if by < 0 {
		d.fail("Advance(%v): time does not go back", by)
	}
	d.now = d.now.Add(by)
}

// Process processes up to n waiting records and commits nothing. It returns how many there were.
func (d *Driver) Process(n int) int {
	d.t.Helper()
	for done := 0; done < n; {
		more, counts, err := d.step()
		if err != nil {
			d.fail("%v", err)
		}
		if !more {
			return done
		}
		if counts {
			done++
		}
	}
	return n
}

// Commit ends the epoch: what was processed since the last commit becomes visible and its state durable. Without any
// such record it does nothing.
func (d *Driver) Commit() {
	d.t.Helper()
	for touched := 1; touched > 0; { // while a round is in progress, some tasks may commit later than others
		var err error
		if touched, err = d.commit(); err != nil {
			d.fail("%v", err)
		}
	}
}

// Run processes and commits until no record waits in any stage of the pipeline. Then every input counts as idle: event
// time has come to the newest record that was sent, in all stages, and what is due by then has happened.
func (d *Driver) Run() {
	d.t.Helper()
	if err := d.runAll(); err != nil {
		d.fail("%v", err)
	}
}

// TryRun is Run for records that are expected to fail: it returns the error that ends the epoch, as
// *operators.UserError, *operators.DecodeError or *task.PanicError. The epoch is aborted, what it processed waits
// again, and a further Run meets the same record.
func (d *Driver) TryRun() error {
	d.t.Helper()
	err := d.runAll()
	if err != nil {
		for _, r := range d.tasks {
			if err := r.rewind(); err != nil {
				d.fail("rewind: %v", err)
			}
		}
	}
	return err
}

// Finish ends the user's topics and runs until every stage has finished: all windows close. It is what a bounded run
// does at the end of its input. Nothing may be sent afterwards.
func (d *Driver) Finish() {
	d.t.Helper()
	d.Run()
	d.run, d.finishing = "the one", true
	d.restart(d.disk)
	d.Run()
	for _, r := range d.tasks {
		if r.task.Status() != task.Finished {
			d.fail("finish: task %v has not finished", r.id)
		}
	}
}

func (d *Driver) runAll() error {
	for crashed := false; ; {
		if err := d.drain(); err != nil {
			return err
		}
		touched, err := d.commit()
		if err != nil {
			return err
		}
		if touched > 0 {
			continue
		}
		settled, err := d.settle()
		if err != nil || !settled {
			return err
		}
		if d.faults != nil && !crashed {
			crashed = true
			d.Crash() // what time has brought about is lost, and comes about again
		}
		// Before the next record, after which a crash would take it away again.
		if _, err := d.commit(); err != nil {
			return err
		}
	}
}

// settle lets time pass, since no record waits anywhere. It says whether there is anything to be committed.
func (d *Driver) settle() (bool, error) {
	for i := range d.topology.SubTopologies {
		d.follow(d.topology.SubTopologies[i].ID)
	}
	any := false
	for _, r := range d.tasks {
		acted, err := r.settle()
		if err != nil {
			return false, err
		}
		any = any || acted
	}
	return any, nil
}

// follow tells the tasks of a sub-topology how far they have come together.
func (d *Driver) follow(subTopology int32) {
	together := task.NewProgress()
	for _, r := range d.tasks {
		if r.id.SubTopology == subTopology {
			together.Add(r.task.Watermark(), r.task.Status())
		}
	}
	for _, r := range d.tasks {
		if r.id.SubTopology == subTopology {
			r.task.Follow(together.Watermark())
		}
	}
}

// outputPartitions are those of the topics that a sub-topology writes: all have as many.
func (d *Driver) outputPartitions(sub *topology.SubTopology) []int32 {
	return slices.Repeat([]int32{d.partitions}, len(sub.Outputs))
}

// drain processes what waits.
func (d *Driver) drain() error {
	for {
		more, counts, err := d.step()
		if err != nil || !more {
			return err
		}
		if counts && d.faults != nil {
			if err := d.faults.afterRecord(d); err != nil {
				return err
			}
		}
	}
}

// step processes one record: of the task that the test chooses, else of all that wait the one that came to be first. What
// tasks tell each other of event time does not count as one.
func (d *Driver) step() (more, counts bool, err error) {
	if err := d.applyGlobals(); err != nil {
		return false, false, err
	}
	var waiting []*runner
	var oldest *runner
	var age int64
	for _, r := range d.tasks {
		sequence, ok := r.next()
		if !ok {
			continue
		}
		waiting = append(waiting, r)
		if oldest == nil || sequence < age {
			oldest, age = r, sequence
		}
	}
	if oldest == nil {
		return false, false, nil
	}
	if d.choose != nil {
		oldest = waiting[d.choose(len(waiting))]
	}
	before := oldest.task.Processed()
	err = oldest.step()
	return true, oldest.task.Processed() > before, err
}

// commit is the transaction of all tasks with something to commit. It returns how many there were.
func (d *Driver) commit() (int, error) {
	touched, err := d.transact()
	if err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	for _, r := range touched {
		if err := r.confirm(); err != nil {
			return 0, fmt.Errorf("commit: %w", err)
		}
	}
	return len(touched), nil
}

// committing returns the tasks that take part in a commit: all that have something to commit, or some of them.
func (d *Driver) committing() []*runner {
	var all, some []*runner
	for _, r := range d.tasks {
		if r.touched() {
			all = append(all, r)
			if !d.apart(r) {
				some = append(some, r)
			}
		}
	}
	if len(some) == 0 {
		return all
	}
	return some
}

// apart says whether a task leaves its work to a commit of its own. Where the test chooses the order, tasks commit at times
// of their own while a round is in progress, as on several workers.
func (d *Driver) apart(r *runner) bool {
	return d.choose != nil && d.round > 0 && (r.cut == nil || r.cut.round < d.round) && d.choose(3) == 0
}

// transact does what the broker does of a commit: on return it stands, but the process does not know yet.
func (d *Driver) transact() ([]*runner, error) {
	touched := d.committing()
	for _, r := range touched {
		if err := r.prepare(); err != nil {
			return nil, err
		}
	}
	var records []emitted
	for _, r := range touched {
		records = append(records, r.out.emitted...)
		r.announced = map[partition.TopicPartition]int64{}
		r.publish()
	}
	slices.SortFunc(records, func(a, b emitted) int { return cmp.Compare(a.entry.sequence, b.entry.sequence) })
	type written struct {
		topic     *topic
		partition int32
	}
	var marked []written
	for _, e := range records {
		if e.entry.control {
			d.announced(e)
		}
		e.topic.append(e.partition, e.entry)
		if w := (written{e.topic, e.partition}); !slices.Contains(marked, w) {
			marked = append(marked, w)
		}
	}
	for _, w := range marked {
		w.topic.mark(w.partition, d.nextSequence())
	}
	return touched, nil
}

// announced notes where an announcement of a task will lie.
func (d *Driver) announced(e emitted) {
	for _, r := range d.tasks {
		if r.id == e.entry.origin {
			r.announced[e.topic.partition(e.partition)] = int64(len(e.topic.partitions[e.partition]))
		}
	}
}

// Skipped returns the records that steps with the policy stream.Skip have dropped, in committed epochs.
func (d *Driver) Skipped() []operators.Failure { return slices.Clone(d.skipped) }

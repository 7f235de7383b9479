// SPDX-License-Identifier: Apache-2.0

package core

import (
	"errors"
	"fmt"
	"slices"

	"github.com/streamd/streamd/partition"
)

// ErrFencedRepeatedly ends a worker whose transactional ids are fenced again and again without one commit in
// between: two groups share an application id, or the session timeout is shorter than the pauses of the host.
var ErrFencedRepeatedly = errors.New("fenced again and again without a commit in between: is another group using this application id, or is the session timeout shorter than this host's pauses?")

// maxFences in a row, without a confirmed commit, end the worker.
const maxFences = 10

// Phase is where the epoch stands.
type Phase uint8

// The phases of an epoch, in the order of the drawing in the package comment.
const (
	Idle Phase = iota
	Processing
	Preparing
	Flushing
	CommittingOffsets
	Outrun // the group is in a later generation; the commit waits for the event that tells of it
	Ending
	Aborting
	Resetting
	Draining // the last epoch is committed; checkpoints of the tasks are being stored
	Left
)

var phaseNames = [...]string{"idle", "processing", "preparing", "flushing", "committing offsets", "outrun", "ending", "aborting", "resetting", "draining", "left"}

// String gives the word that logs and metrics use.
func (p Phase) String() string { return phaseNames[p] }

type taskState uint8

const (
	restoring taskState = iota
	anchoring           // restored; its first commit is still to come
	running
	held    // a lane does not come back with it; restored when it does
	leaving // revoked or lost; closed when the epoch that holds its work has ended
)

type task struct {
	state    taskState
	attempt  int
	returned bool // assigned to us again while it was leaving: restored once it is closed
}

// Options of a Machine.
type Options struct {
	// AtLeastOnce leaves transactions out: a commit of offsets is the end of an epoch.
	AtLeastOnce bool
}

// Machine is the state of one worker. Not safe for concurrent use.
type Machine struct {
	opts       Options
	memberID   string
	generation int32
	named      int32 // the generation in the commit of offsets that is in progress
	phase      Phase
	tasks      map[partition.TaskID]*task
	touched    map[partition.TaskID]bool // tasks of which the epoch holds anything
	anchors    map[partition.TaskID]bool // restored: anchored by the next commit
	acks       []uint64                  // revocations that wait for the end of the epoch
	mustAbort  bool                      // a touched task was lost: the epoch must not commit
	stopping   bool                      // a clean end was asked for
	failure    error                     // the worker ends with this error
	attempts   int
	fences     int
	out        []Effect
}

// New returns a machine that holds no task.
func New(opts Options) *Machine {
	return &Machine{
		opts:    opts,
		tasks:   map[partition.TaskID]*task{},
		touched: map[partition.TaskID]bool{},
		anchors: map[partition.TaskID]bool{},
	}
}

// Phase returns where the epoch stands.
func (m *Machine) Phase() Phase { return m.phase }

// MayProcess says whether the shell may process records now.
func (m *Machine) MayProcess() bool {
	return (m.phase == Idle || m.phase == Processing) && !m.stopping && m.failure == nil
}

// Running says whether task may process records.
func (m *Machine) Running(id partition.TaskID) bool {
	t := m.tasks[id]
	return t != nil && t.state == running
}

// Restoring says whether a restore of the task is in progress.
func (m *Machine) Restoring(id partition.TaskID) bool {
	t := m.tasks[id]
	return t != nil && t.state == restoring
}

// Held says whether a lane has not come back with the task.
func (m *Machine) Held(id partition.TaskID) bool {
	t := m.tasks[id]
	return t != nil && t.state == held
}

// Touched says whether the epoch in progress holds anything of the task.
func (m *Machine) Touched(id partition.TaskID) bool { return m.touched[id] }

// AnchorsWait says whether restored tasks wait for others whose restores are still in progress. The shell gives a
// CommitDue when they have waited long enough.
func (m *Machine) AnchorsWait() bool { return len(m.anchors) > 0 && m.phase == Idle }

// Counts returns how many tasks are held and how many of them are running.
func (m *Machine) Counts() (held, ready int) {
	for _, t := range m.tasks {
		if t.state == running {
			ready++
		}
	}
	return len(m.tasks), ready
}

// Step takes one event and returns what must be done, in this order. The slice is valid until the next call.
func (m *Machine) Step(ev Event) []Effect {
	m.out = m.out[:0]
	if m.phase == Left {
		if r, ok := ev.(Revoked); ok {
			m.emit(Ack{r.Ack})
		}
		return m.out
	}
	switch ev := ev.(type) {
	case Assigned:
		m.assigned(ev)
	case Revoked:
		m.revoked(ev)
	case Lost:
		m.lost(ev)
	case Restored:
		m.restored(ev)
	case Touched:
		m.touch(ev)
	case Overdue:
		m.overdue(ev)
	case Returned:
		m.returned(ev)
	case CommitDue:
		m.commitDue()
	case Prepared:
		m.prepared(ev)
	case Flushed:
		m.flushed(ev)
	case OffsetsCommitted:
		m.offsetsCommitted(ev)
	case NoGeneration:
		if m.phase == Outrun {
			m.abort()
		}
	case Ended:
		m.ended(ev)
	case ProducerReady:
		m.expect(ev, Resetting)
		m.rewind()
	case TaskFailed:
		m.fail(ev.Err)
	case Stop:
		m.stop()
	case Checkpointed:
		m.expect(ev, Draining)
		m.leave()
	default:
		panic(fmt.Sprintf("core: event %T is not known", ev))
	}
	return m.out
}

func (m *Machine) emit(e Effect) { m.out = append(m.out, e) }

// expect holds the shell to its contract: a reply comes once, in the phase that asked for it.
func (m *Machine) expect(ev Event, phases ...Phase) {
	if !slices.Contains(phases, m.phase) {
		panic(fmt.Sprintf("core: event %T in phase %q, expected in %v", ev, m.phase, phases))
	}
}

func (m *Machine) assigned(ev Assigned) {
	m.memberID = ev.MemberID
	m.enter(ev.Generation)
	m.catchUp()
	if len(ev.Added) == 0 || m.stopping {
		return
	}
	m.emit(Fence{ev.Live})
	for _, id := range sorted(ev.Added) {
		if t := m.tasks[id]; t != nil {
			if t.state != leaving {
				panic(fmt.Sprintf("core: task %v assigned twice", id))
			}
			t.returned = true
			continue
		}
		m.tasks[id] = &task{}
		m.restore(id)
	}
}

// enter takes over the generation of a membership event. If a revocation is not acknowledged yet, the group has
// gone on without us (the client waits for an ack only so long): in the new generation the revoked tasks may be
// someone else's, and the broker would accept their offsets from us.
func (m *Machine) enter(generation int32) {
	if generation != m.generation && len(m.acks) > 0 {
		m.mustAbort = true
	}
	m.generation = generation
}

// catchUp commits the offsets again that were refused because of a generation that has become known now. Their tasks are
// still this worker's: one that is revoked in it is given to nobody before the acknowledgement.
func (m *Machine) catchUp() {
	switch {
	case m.phase != Outrun || m.generation == m.named:
	case m.mustAbort || m.failure != nil:
		m.abort()
	default:
		m.commitOffsets()
	}
}

func (m *Machine) commitOffsets() {
	m.phase, m.named = CommittingOffsets, m.generation
	m.emit(CommitOffsets{m.memberID, m.generation, m.touchedTasks()})
}

func (m *Machine) restore(id partition.TaskID) {
	m.attempts++
	t := m.tasks[id]
	t.state, t.attempt = restoring, m.attempts
	m.emit(Restore{id, t.attempt})
}

func (m *Machine) revoked(ev Revoked) {
	m.enter(ev.Generation)
	wait := m.release(ev.Tasks)
	if len(wait) == 0 {
		m.emit(Ack{ev.Ack})
	} else {
		m.acks = append(m.acks, ev.Ack)
		m.commitDue()
	}
	m.catchUp()
}

func (m *Machine) lost(ev Lost) {
	if len(m.release(ev.Tasks)) == 0 {
		return
	}
	m.mustAbort = true
	if m.phase == Processing || m.phase == Outrun {
		m.abort()
	}
}

// release closes the tasks that the epoch does not hold and returns those which must wait for its end.
func (m *Machine) release(ids []partition.TaskID) (wait []partition.TaskID) {
	var closed []partition.TaskID
	for _, id := range sorted(ids) {
		t := m.tasks[id]
		switch {
		case t == nil:
		case m.touched[id]:
			t.state, t.returned = leaving, false // what came back in the meantime is gone again
			wait = append(wait, id)
		default:
			delete(m.tasks, id)
			delete(m.anchors, id)
			closed = append(closed, id)
		}
	}
	if len(closed) > 0 {
		m.emit(Close{closed})
	}
	return wait
}

func (m *Machine) restored(ev Restored) {
	t := m.tasks[ev.Task]
	if t == nil || t.state != restoring || t.attempt != ev.Attempt {
		return // answered after the task was closed or restored again
	}
	if ev.Err != nil {
		m.fail(ev.Err)
		return
	}
	t.state = anchoring
	m.anchors[ev.Task] = true
	m.anchor()
}

// anchor commits the unchanged positions of freshly restored tasks: from then on the group's generation fences
// whatever an earlier owner still has in flight. One commit serves all tasks that are restored together, so it waits
// for restores in progress; a commit that is due anyway takes along what is there.
func (m *Machine) anchor() {
	if len(m.anchors) == 0 {
		return
	}
	for _, t := range m.tasks {
		if t.state == restoring {
			return
		}
	}
	m.commitDue()
}

func (m *Machine) touch(ev Touched) {
	m.expect(ev, Idle, Processing)
	for _, id := range ev.Tasks {
		if t := m.tasks[id]; t == nil || t.state != running {
			panic(fmt.Sprintf("core: task %v processed records while it was not running", id))
		}
		m.touched[id] = true
	}
	m.phase = Processing
}

// overdue ends an epoch in which lanes are stuck, before its transaction times out. What such a lane still emits goes to
// a producer that is closed; its task is restored once it comes back.
func (m *Machine) overdue(ev Overdue) {
	m.expect(ev, Processing)
	for _, id := range ev.Tasks {
		if !m.touched[id] || m.tasks[id].state != running {
			panic(fmt.Sprintf("core: task %v is overdue and was not processing", id))
		}
		m.tasks[id].state = held
	}
	m.reset()
}

func (m *Machine) returned(ev Returned) {
	if !m.Held(ev.Task) {
		return // closed meanwhile
	}
	if m.touched[ev.Task] { // its epoch has not ended yet: it is rewound with the others
		m.tasks[ev.Task].state = running
		return
	}
	m.emit(Rewind{[]partition.TaskID{ev.Task}})
	m.restore(ev.Task)
}

func (m *Machine) commitDue() {
	if m.phase != Processing && !m.AnchorsWait() {
		return
	}
	for id := range m.anchors {
		m.touched[id] = true
	}
	clear(m.anchors)
	m.phase = Preparing
	m.emit(Prepare{m.touchedTasks()})
}

func (m *Machine) prepared(ev Prepared) {
	m.expect(ev, Preparing)
	m.failWith(ev.Err)
	if m.mustAbort || m.failure != nil {
		m.abort()
		return
	}
	m.phase = Flushing
	m.emit(Flush{})
}

func (m *Machine) flushed(ev Flushed) {
	m.expect(ev, Flushing)
	m.failWith(ev.Err)
	switch {
	case ev.Outcome == Fenced:
		m.fenced()
	case ev.Outcome == Unknown && !m.opts.AtLeastOnce:
		m.reset()
	case ev.Outcome != Confirmed || m.mustAbort || m.failure != nil:
		m.abort()
	default:
		m.commitOffsets()
	}
}

func (m *Machine) offsetsCommitted(ev OffsetsCommitted) {
	m.expect(ev, CommittingOffsets)
	switch {
	case ev.Outcome == Fenced:
		m.fenced()
	case ev.Outcome == Outdated && !m.mustAbort && m.failure == nil:
		m.phase = Outrun
		m.catchUp()
	case m.opts.AtLeastOnce && ev.Outcome == Confirmed:
		m.confirmed()
	case m.opts.AtLeastOnce:
		m.rewind()
	case ev.Outcome == Unknown:
		m.reset()
	case ev.Outcome != Confirmed || m.mustAbort || m.failure != nil:
		m.abort()
	default:
		m.phase = Ending
		m.emit(EndTransaction{Commit: true})
	}
}

func (m *Machine) ended(ev Ended) {
	m.expect(ev, Ending, Aborting)
	switch {
	case ev.Outcome == Fenced:
		m.fenced()
	case ev.Outcome != Confirmed:
		m.reset()
	case m.phase == Ending:
		m.confirmed()
	default:
		m.rewind()
	}
}

func (m *Machine) abort() {
	if m.opts.AtLeastOnce {
		m.rewind()
		return
	}
	m.phase = Aborting
	m.emit(EndTransaction{Commit: false})
}

// reset takes a new producer epoch, which also ends the transaction. A plain abort would not do: a request whose
// outcome is not known may still be on its way, and where the broker does not raise the epoch with each end of a
// transaction (transaction.version 1) it would join the next one.
func (m *Machine) reset() {
	m.phase = Resetting
	m.emit(NewProducer{})
}

// confirmed ends a committed epoch.
func (m *Machine) confirmed() {
	m.fences = 0
	ids := m.touchedTasks()
	m.emit(Apply{ids})
	var started, closed []partition.TaskID
	for _, id := range ids {
		switch t := m.tasks[id]; t.state {
		case anchoring:
			t.state = running
			started = append(started, id)
		case leaving:
			closed = append(closed, id)
		}
	}
	if len(started) > 0 {
		m.emit(Start{started})
	}
	m.endEpoch(closed, true)
}

// rewind ends an epoch that was not committed, or of which it is not known: what it touched starts again from
// what the broker says is committed.
func (m *Machine) rewind() {
	ids := m.touchedTasks()
	var again, closed []partition.TaskID
	for _, id := range ids {
		switch m.tasks[id].state {
		case leaving:
			closed = append(closed, id)
		case held:
		default:
			again = append(again, id)
		}
	}
	if len(again) > 0 {
		m.emit(Rewind{again})
	}
	m.endEpoch(closed, false)
	if m.phase == Left {
		return
	}
	for _, id := range again {
		m.restore(id)
	}
}

// endEpoch closes what waited for the end of the epoch and goes on, or leaves.
func (m *Machine) endEpoch(closed []partition.TaskID, committed bool) {
	m.phase, m.mustAbort = Idle, false
	clear(m.touched)
	var returned []partition.TaskID
	if len(closed) > 0 {
		m.emit(Close{closed})
		for _, id := range closed {
			if m.tasks[id].returned {
				returned = append(returned, id)
			}
			delete(m.tasks, id)
		}
	}
	for _, a := range m.acks {
		m.emit(Ack{a})
	}
	m.acks = nil
	switch {
	case m.failure != nil || m.stopping && !committed:
		m.leave()
		return
	case m.stopping:
		m.drain()
		return
	}
	for _, id := range returned {
		m.tasks[id] = &task{}
		m.restore(id)
	}
	m.anchor()
}

// fenced drops everything and begins a new membership under a new transactional id.
func (m *Machine) fenced() {
	m.fences++
	if m.fences > maxFences && m.failure == nil {
		m.failure = ErrFencedRepeatedly
	}
	m.closeAll()
	m.endEpoch(nil, false)
	if m.phase != Left {
		m.emit(Rejoin{})
	}
}

func (m *Machine) closeAll() {
	clear(m.anchors)
	if len(m.tasks) == 0 {
		return
	}
	ids := make([]partition.TaskID, 0, len(m.tasks))
	for id := range m.tasks {
		ids = append(ids, id)
	}
	m.emit(Close{sorted(ids)})
	clear(m.tasks)
	clear(m.touched)
}

// fail ends the worker: at once where no epoch is in progress, else once the epoch has been aborted.
func (m *Machine) fail(err error) {
	m.failWith(err)
	switch m.phase {
	case Idle, Draining:
		m.leave()
	case Processing, Outrun:
		m.abort()
	}
}

func (m *Machine) failWith(err error) {
	if m.failure == nil {
		m.failure = err
	}
}

func (m *Machine) stop() {
	m.stopping = true
	switch m.phase {
	case Idle:
		m.drain()
	case Processing:
		m.commitDue()
	}
}

// drain lets the shell store what the next owners of the tasks would otherwise replay. What is still being restored
// has changed nothing.
func (m *Machine) drain() {
	var ids []partition.TaskID
	for id, t := range m.tasks {
		if t.state == running {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		m.leave()
		return
	}
	m.phase = Draining
	m.emit(Checkpoint{sorted(ids)})
}

func (m *Machine) leave() {
	m.closeAll()
	m.phase = Left
	m.emit(Leave{m.failure})
}

func (m *Machine) touchedTasks() []partition.TaskID {
	ids := make([]partition.TaskID, 0, len(m.touched))
	for id := range m.touched {
		ids = append(ids, id)
	}
	return sorted(ids)
}

func sorted(ids []partition.TaskID) []partition.TaskID {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, partition.TaskID.Compare)
	return ids
}

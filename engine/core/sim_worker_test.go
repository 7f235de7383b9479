// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"

	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/partition"
)

// This file is the simulation's shell: what engine/worker does with the effects of a machine, without its I/O.

// mutation breaks the shell's contract in one way, to show that the simulation would notice.
type mutation uint8

const (
	none mutation = iota
	applyEarly
	newestGeneration
	skipFence
	skipRestore
	unstableFetch
	replayToStableEnd
	replayUncommitted
	unknownIsConfirmed
	keepProducerEpoch
	keepDirtyState
	plainAnchors
	lateMembership
	abortInFlight
)

// localState is a task's state on a worker's disk.
type localState struct {
	input     int
	epoch     uint64
	changelog int64
	counts    counts
}

type disk struct {
	has   uint32
	tasks [8]localState
}

type callKind uint8

const (
	produceCall callKind = iota
	offsetsCall
	endCall
	initCall
	fenceCall
	fetchCall
)

var callNames = [...]string{"produce", "commit offsets", "end transaction", "init producer", "fence", "fetch offsets"}

// call is a request on its way, or its reply.
type call struct {
	p          *process
	kind       callKind
	abandoned  bool // nobody waits for the reply; the request may still be executed
	executed   bool
	retried    bool // after an attempt that was given up
	name       string
	epoch      int
	seq        int
	log        *log
	batch      []entry
	memberID   string
	generation int32
	offsets    []pendingOffset
	plain      bool
	commit     bool
	task       *liveTask
	fence      *fenceJob

	code   code
	base   int
	gave   int // producer epoch
	offset commit
}

type taskStep uint8

const (
	waitFence taskStep = iota
	fetching
	replaying
	restored
)

// liveTask is the volatile state of a task that the worker holds.
type liveTask struct {
	id        int
	attempt   int
	step      taskStep
	fence     *fenceJob
	named     commit
	confirmed localState
	counts    counts
	input     int
	dirty     uint32 // keys
	prepared  localState
	started   bool
}

type fenceJob struct {
	live   []string
	own    string
	ids    []string
	listed bool
	busy   bool
	done   bool
}

// outgoing is what waits to be produced to one log.
type outgoing struct {
	log      *log
	waiting  []entry
	inFlight bool
	seq      int
}

// process is one life of a worker.
type process struct {
	s       *sim
	slot    int
	machine *core.Machine
	alive   bool
	inbox   []core.Event // replies of the shell's own work
	tasks   [8]*liveTask
	stuck   []*liveTask // their lanes do not come back
	fence   *fenceJob

	// The transactional producer.
	txnID    string
	epoch    int
	hasEpoch bool
	resets   bool // a NewProducer effect waits
	outs     []outgoing
	sent     bool
	unknown  bool
	fenced   bool
	refused  bool
	outrun   bool // the group has refused the epoch's offsets for a stale generation
	flushing bool

	// The group's client.
	memberID string
	gen      int32
	live     []string
	owned    uint32
	joining  bool
	rejoin   bool
	sync     *syncReply
	events   []core.Event
	deaf     bool // membership events take long to reach the machine
	slow     bool // so do the replies of the shell
	nextAck  uint64
	waitAck  uint64
	after    *syncReply
}

func taskID(t int) partition.TaskID { return partition.TaskID{Partition: int32(t)} }

func taskIDs(mask uint32) []partition.TaskID {
	var ids []partition.TaskID
	for ; mask != 0; mask &= mask - 1 {
		ids = append(ids, taskID(bits.TrailingZeros32(mask)))
	}
	return ids
}

func (p *process) rng() *rand.Rand { return p.s.rng }
func (p *process) disk() *disk     { return &p.s.disks[p.slot] }

// begin is the start of a membership: a transactional id of its own, then the group.
func (p *process) begin() {
	p.s.nextTxnID++
	p.txnID = fmt.Sprintf("app-%d", p.s.nextTxnID)
	p.hasEpoch, p.resets = false, false
	p.clearEpoch()
	p.memberID, p.owned, p.joining, p.rejoin, p.sync, p.waitAck, p.after = "", 0, false, false, nil, 0, nil
	if p.s.mutation != lateMembership {
		p.events = nil
	}
	p.s.send(&call{p: p, kind: initCall, name: p.txnID})
}

// clearEpoch forgets what was produced.
func (p *process) clearEpoch() {
	for i := range p.outs {
		p.outs[i].waiting, p.outs[i].inFlight = nil, false
	}
	p.sent, p.unknown, p.fenced, p.refused, p.outrun, p.flushing = false, false, false, false, false, false
	p.s.abandon(p, func(c *call) bool { return c.kind == produceCall || c.kind == offsetsCall || c.kind == endCall })
}

// step gives the machine one event.
func (p *process) step(ev core.Event) {
	if p.s.trace != nil && (p.machine.Phase() == core.Processing || !isCommitDue(ev)) {
		p.s.log("p%d <- %T%+v", p.slot, ev, ev)
	}
	for _, e := range p.machine.Step(ev) {
		if p.s.trace != nil {
			p.s.log("p%d -> %T%+v", p.slot, e, e)
		}
		p.do(e)
	}
}

func isCommitDue(ev core.Event) bool {
	_, is := ev.(core.CommitDue)
	return is
}

func (p *process) reply(ev core.Event) { p.inbox = append(p.inbox, ev) }

func (p *process) do(e core.Effect) {
	switch e := e.(type) {
	case core.Fence:
		p.fence = &fenceJob{live: e.Live, own: p.txnID, done: p.s.mutation == skipFence}
	case core.Restore:
		p.restore(int(e.Task.Partition), e.Attempt)
	case core.Start:
		for _, id := range e.Tasks {
			p.tasks[id.Partition].started = true
		}
	case core.Prepare:
		p.prepare(e.Tasks)
	case core.Flush:
		p.flushing = true
		p.flush()
	case core.CommitOffsets:
		p.commitOffsets(e)
	case core.EndTransaction:
		p.end(e.Commit)
	case core.Apply:
		for _, id := range e.Tasks {
			p.apply(p.tasks[id.Partition])
		}
	case core.Rewind:
		for _, id := range e.Tasks {
			p.rewind(p.tasks[id.Partition])
		}
	case core.NewProducer:
		p.clearEpoch()
		if p.s.mutation == keepProducerEpoch {
			p.reply(core.ProducerReady{})
			return
		}
		p.hasEpoch, p.resets = false, true
		p.s.send(&call{p: p, kind: initCall, name: p.txnID})
	case core.Close:
		for _, id := range e.Tasks {
			p.tasks[id.Partition] = nil
		}
	case core.Ack:
		if e.Ack == p.waitAck {
			p.finishSync()
		}
	case core.Checkpoint:
		p.s.hit("checkpointed before leaving")
		p.reply(core.Checkpointed{})
	case core.Rejoin:
		p.s.hit("rejoined after being fenced")
		p.leaveGroup()
		p.s.abandon(p, func(*call) bool { return true })
		p.begin()
	case core.Leave:
		p.leaveGroup()
		p.s.hit("left")
		p.s.kill(p)
	}
}

func (p *process) leaveGroup() {
	if p.rng().IntN(4) > 0 { // else the request is lost and the session expires
		p.s.broker.removeMember(p.memberID)
	}
}

func (p *process) restore(t, attempt int) {
	rt := p.tasks[t]
	if rt != nil && (p.s.mutation == skipRestore || p.s.mutation == keepDirtyState) && rt.step == restored {
		rt.attempt = attempt
		p.reply(core.Restored{Task: taskID(t), Attempt: attempt})
		return
	}
	p.tasks[t] = &liveTask{id: t, attempt: attempt, fence: p.fence}
}

// advance does the next piece of a restore that needs no message, if there is one.
func (p *process) advance(rt *liveTask) bool {
	switch rt.step {
	case waitFence:
		if !rt.fence.done {
			return p.advanceFence(rt.fence)
		}
		rt.step = fetching
		p.s.send(&call{p: p, kind: fetchCall, task: rt})
		return true
	case replaying:
		return p.replay(rt)
	}
	return false
}

func (p *process) advanceFence(f *fenceJob) bool {
	switch {
	case f.busy:
		return false
	case !f.listed:
		f.listed = true
		for _, id := range p.s.broker.openIDs() {
			if id != f.own && !slices.Contains(f.live, id) {
				f.ids = append(f.ids, id)
			}
		}
	case len(f.ids) == 0:
		f.done = true
	default:
		f.busy = true
		p.s.hit("fenced an open transaction of another")
		p.s.send(&call{p: p, kind: fenceCall, name: f.ids[0], fence: f})
	}
	return true
}

func (p *process) replay(rt *liveTask) bool {
	l, at := p.s.broker.changelog[rt.id], rt.named.meta.ChangelogOffset
	end := int(at) + 1
	if l.stableEnd() < end {
		switch p.s.mutation {
		case replayToStableEnd:
			end = l.stableEnd()
		case replayUncommitted:
		default:
			p.s.hit("changelog marker after the offsets marker")
			return false
		}
	}
	if p.s.faults && p.rng().IntN(100) == 0 {
		p.s.hit("restore failed for good")
		p.reply(core.Restored{Task: taskID(rt.id), Attempt: rt.attempt, Err: errors.New("restore failed")})
		rt.step = restored
		return true
	}
	s := localState{changelog: -1}
	d := p.disk()
	if d.has&(1<<rt.id) != 0 {
		s = d.tasks[rt.id]
		p.s.hit("restored from local state")
		p.s.check.local(rt.id, s)
		if s.changelog > at {
			violate(ruleLead, "task %d: local state at changelog record %d, committed is %d", rt.id, s.changelog, at)
		}
	}
	if s.changelog < at {
		var found bool
		s, found = replay(l, s, end, p.s.mutation != replayUncommitted)
		if p.s.mutation == replayToStableEnd || p.s.mutation == replayUncommitted {
			s.input, s.epoch, s.changelog = rt.named.input, rt.named.meta.Epoch, at
			found = true
		}
		if !found {
			violate(ruleRestore, "task %d: record %d is not a committed position record", rt.id, at)
		}
		p.s.hit("replayed the changelog")
	}
	if s.input != rt.named.input || s.epoch != rt.named.meta.Epoch {
		violate(ruleRestore, "task %d: position record %d says input %d epoch %d, offset says %d and %d", rt.id, at, s.input, s.epoch, rt.named.input, rt.named.meta.Epoch)
	}
	p.s.check.local(rt.id, s)
	d.tasks[rt.id], d.has = s, d.has|1<<rt.id
	rt.confirmed, rt.counts, rt.input, rt.step = s, s.counts, s.input, restored
	p.reply(core.Restored{Task: taskID(rt.id), Attempt: rt.attempt})
	return true
}

// process runs some records of the running tasks.
func (p *process) process() bool {
	if !p.machine.MayProcess() || !p.hasEpoch {
		return false
	}
	var touched []partition.TaskID
	for t := range p.s.broker.inputs {
		rt := p.tasks[t]
		if rt == nil || !rt.started || !p.machine.Running(taskID(t)) || rt.input >= p.s.visible[t] || p.rng().IntN(3) == 0 {
			continue
		}
		for n := 1 + p.rng().IntN(2); n > 0 && rt.input < p.s.visible[t]; n-- {
			k := p.s.broker.inputs[t][rt.input]
			rt.counts[k]++
			rt.dirty |= 1 << k
			p.append(p.s.broker.outputs[t%len(p.s.broker.outputs)], entry{kind: outputEntry, task: t, key: k, count: rt.counts[k], input: rt.input})
			rt.input++
		}
		touched = append(touched, taskID(t))
	}
	if len(touched) == 0 {
		return false
	}
	if p.rng().IntN(3) == 0 {
		p.sendSome()
	}
	p.step(core.Touched{Tasks: touched})
	if p.s.faults && p.rng().IntN(100) == 0 {
		p.s.hit("lane overdue")
		p.stuck = append(p.stuck, p.tasks[touched[0].Partition])
		p.step(core.Overdue{Tasks: touched[:1]})
	}
	return true
}

// comeBack lets a stuck lane come back.
func (p *process) comeBack() {
	if len(p.stuck) == 0 {
		return
	}
	rt := p.stuck[0]
	p.stuck = p.stuck[1:]
	if p.tasks[rt.id] == rt {
		p.s.hit("stuck lane came back")
		p.step(core.Returned{Task: taskID(rt.id)})
	}
}

func (p *process) append(l *log, e entry) {
	for i := range p.outs {
		if p.outs[i].log == l {
			p.outs[i].waiting = append(p.outs[i].waiting, e)
			return
		}
	}
	p.outs = append(p.outs, outgoing{log: l, waiting: []entry{e}})
}

// sendSome produces what waits, one request per log at a time.
func (p *process) sendSome() {
	for i := range p.outs {
		o := &p.outs[i]
		if o.inFlight || len(o.waiting) == 0 || p.unknown || p.fenced || p.refused {
			continue
		}
		o.seq++
		o.inFlight, p.sent = true, true
		p.s.send(&call{p: p, kind: produceCall, name: p.txnID, epoch: p.epoch, seq: o.seq, log: o.log, batch: o.waiting})
		o.waiting = nil
	}
}

func (p *process) out(l *log) *outgoing {
	for i := range p.outs {
		if p.outs[i].log == l {
			return &p.outs[i]
		}
	}
	return nil
}

func (p *process) prepare(ids []partition.TaskID) {
	for _, id := range ids {
		rt := p.tasks[id.Partition]
		l := p.s.broker.changelog[rt.id]
		if rt.dirty != 0 {
			e := entry{kind: deltaEntry, task: rt.id}
			for k := range e.delta {
				e.delta[k] = -1
				if rt.dirty&(1<<k) != 0 {
					e.delta[k] = rt.counts[k]
				}
			}
			p.append(l, e)
		}
		rt.prepared = localState{input: rt.input, epoch: rt.confirmed.epoch + 1, changelog: -1, counts: rt.counts}
		p.append(l, entry{kind: positionEntry, task: rt.id, epoch: rt.prepared.epoch, input: rt.input})
	}
	if p.s.faults && p.rng().IntN(100) == 0 {
		p.s.hit("prepare failed")
		p.reply(core.Prepared{Err: errors.New("prepare failed")})
		return
	}
	p.reply(core.Prepared{})
}

// flush answers the Flush effect as soon as that can be done.
func (p *process) flush() {
	if !p.flushing {
		return
	}
	p.sendSome()
	out := core.Confirmed
	switch {
	case p.fenced:
		out = core.Fenced
	case p.unknown:
		out = core.Unknown
	case p.refused:
		out = core.Refused
	default:
		for i := range p.outs {
			if p.outs[i].inFlight || len(p.outs[i].waiting) > 0 {
				return
			}
		}
	}
	p.flushing = false
	p.reply(core.Flushed{Outcome: out})
}

func (p *process) commitOffsets(e core.CommitOffsets) {
	c := &call{p: p, kind: offsetsCall, name: p.txnID, epoch: p.epoch, memberID: e.MemberID, generation: e.Generation}
	if p.s.mutation == newestGeneration {
		c.memberID, c.generation = p.memberID, p.gen
	}
	c.plain = p.s.mutation == plainAnchors
	for _, id := range e.Tasks {
		rt := p.tasks[id.Partition]
		c.plain = c.plain && rt.prepared.input == rt.confirmed.input
		c.offsets = append(c.offsets, pendingOffset{rt.id, commit{rt.prepared.input, core.Metadata{
			Incarnation: 1, Epoch: rt.prepared.epoch, ChangelogOffset: rt.prepared.changelog, TransactionalID: p.txnID,
		}}})
	}
	if p.outrun {
		p.s.hit("committed in a later generation than at first")
	}
	p.sent = true
	p.s.send(c)
}

func (p *process) end(commit bool) {
	if !commit {
		waiting := p.unknown
		for i := range p.outs {
			waiting = waiting || p.outs[i].inFlight
			p.outs[i].waiting = nil
		}
		switch {
		case !p.sent:
			p.ended(core.Confirmed)
			return
		case waiting && !p.s.broker.bumps && p.s.mutation != abortInFlight:
			// A request that may still arrive would join the next transaction of this epoch.
			p.ended(core.Unknown)
			return
		}
	}
	if commit && p.s.mutation == applyEarly {
		for _, rt := range p.tasks {
			if rt != nil && rt.prepared.epoch > rt.confirmed.epoch {
				p.apply(rt)
			}
		}
	}
	p.s.send(&call{p: p, kind: endCall, name: p.txnID, epoch: p.epoch, commit: commit})
}

// ended answers an EndTransaction; the next epoch starts with an empty producer.
func (p *process) ended(out core.Outcome) {
	p.clearEpoch()
	p.reply(core.Ended{Outcome: out})
}

func (p *process) apply(rt *liveTask) {
	d := p.disk()
	p.s.check.local(rt.id, rt.prepared)
	if d.has&(1<<rt.id) != 0 && d.tasks[rt.id].changelog > rt.prepared.changelog {
		violate(ruleState, "task %d: local state goes back from record %d to %d", rt.id, d.tasks[rt.id].changelog, rt.prepared.changelog)
	}
	d.tasks[rt.id], d.has = rt.prepared, d.has|1<<rt.id
	rt.confirmed, rt.dirty = rt.prepared, 0
}

func (p *process) rewind(rt *liveTask) {
	rt.started = false
	if p.s.mutation == keepDirtyState {
		rt.input = rt.confirmed.input
		return
	}
	rt.counts, rt.input, rt.dirty = rt.confirmed.counts, rt.confirmed.input, 0
}

// goOn lets the client end a rebalance although the machine has not acknowledged its revocation.
func (p *process) goOn() bool {
	if p.waitAck == 0 {
		return false
	}
	p.s.hit("rebalance went on without an ack")
	p.finishSync()
	return true
}

// heartbeat is what the group's client does in its own time.
func (p *process) heartbeat() bool {
	if p.s.impatient && p.s.faults && p.rng().IntN(3) == 0 && p.goOn() {
		return true
	}
	switch m := p.s.broker.member(p.memberID); {
	case !p.hasEpoch && p.memberID == "" || p.waitAck != 0 || p.sync != nil:
		return false
	case p.memberID != "" && m == nil:
		p.s.hit("found itself expelled")
		if p.owned != 0 {
			p.events = append(p.events, core.Lost{Tasks: taskIDs(p.owned)})
		}
		p.memberID, p.owned, p.joining = "", 0, false
		return true
	case p.joining:
		return false
	case p.memberID == "" || p.rejoin || p.s.broker.rebalancing:
		p.rejoin, p.joining = false, true
		p.memberID, _ = p.s.broker.joinGroup(p.memberID, p, p.owned)
		return true
	}
	return false
}

// takeSync handles the reply of a rebalance.
func (p *process) takeSync() bool {
	r := p.sync
	if r == nil || p.waitAck != 0 {
		return false
	}
	p.sync, p.joining = nil, false
	if r.memberID != p.memberID {
		return true
	}
	p.gen, p.live, p.after = r.generation, r.live, r
	if lost := p.owned &^ r.assigned; lost != 0 {
		p.nextAck++
		p.waitAck = p.nextAck
		p.events = append(p.events, core.Revoked{Generation: r.generation, Tasks: taskIDs(lost), Ack: p.waitAck})
		p.rejoin = true
		return true
	}
	p.finishSync()
	return true
}

// finishSync is the end of a rebalance in the client, after the ack of a revocation if there was one.
func (p *process) finishSync() {
	r := p.after
	p.waitAck, p.after = 0, nil
	added := r.assigned &^ p.owned
	p.owned = r.assigned
	p.events = append(p.events, core.Assigned{MemberID: r.memberID, Generation: r.generation, Added: taskIDs(added), Live: r.live})
}

// answered takes the reply of a call.
func (p *process) answered(c *call) {
	if c.code == concurrent || c.code == unstable || c.code == refused && c.kind != offsetsCall && c.kind != produceCall {
		p.s.hit("retried: " + c.code.String())
		p.s.resend(c)
		return
	}
	switch c.kind {
	case produceCall:
		p.produced(c)
	case offsetsCall:
		switch c.code {
		case refused:
			p.s.hit("stale member refused")
		case outdated:
			p.s.hit("stale generation refused")
			p.outrun = true
		}
		p.reply(core.OffsetsCommitted{Outcome: outcome(c.code)})
	case endCall:
		if c.code == ok {
			p.epoch = c.gave
		}
		p.ended(outcome(c.code))
	case initCall:
		p.epoch, p.hasEpoch = c.gave, true
		if p.resets {
			p.resets = false
			p.reply(core.ProducerReady{})
		}
	case fenceCall:
		c.fence.busy = false
		c.fence.ids = c.fence.ids[1:]
	case fetchCall:
		if p.tasks[c.task.id] == c.task {
			c.task.named, c.task.step = c.offset, replaying
		}
	}
}

func outcome(c code) core.Outcome {
	switch c {
	case ok:
		return core.Confirmed
	case fenced:
		return core.Fenced
	case refused:
		return core.Refused
	case outdated:
		return core.Outdated
	}
	return core.Unknown
}

func (p *process) produced(c *call) {
	p.out(c.log).inFlight = false
	switch c.code {
	case ok:
		for i, e := range c.batch {
			if e.kind == positionEntry && p.tasks[e.task] != nil {
				p.tasks[e.task].prepared.changelog = int64(c.base + i)
			}
		}
	case fenced:
		p.fenced = true
	case refused:
		// An attempt that was given up may still be appended.
		p.refused, p.unknown = p.refused || !c.retried, p.unknown || c.retried
	default:
		p.unknown = true
	}
	p.flush()
}

// timedOut gives a call up, whether or not it has been or will be executed.
func (p *process) timedOut(c *call) {
	retry := p.rng().IntN(2) == 0
	switch c.kind {
	case produceCall:
		if retry {
			c.retried = true
			p.s.resend(c)
			return
		}
		p.unknown = true
		p.flush()
	case offsetsCall:
		if retry && p.s.broker.bumps && !c.plain {
			p.s.resend(c)
			return
		}
		p.s.hit("unknown outcome of an offset commit")
		p.reply(core.OffsetsCommitted{Outcome: core.Unknown})
	case endCall:
		if retry && p.s.broker.bumps {
			p.s.resend(c)
			return
		}
		if p.s.mutation == unknownIsConfirmed {
			p.ended(core.Confirmed)
			return
		}
		p.s.hit("unknown outcome of an end of transaction, executed: " + fmt.Sprint(c.executed))
		p.ended(core.Unknown)
	default:
		p.s.resend(c)
	}
}

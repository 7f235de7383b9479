// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"fmt"
	"math/bits"
	"math/rand/v2"

	"github.com/streamd/streamd/engine/core"
)

// This file is the simulation's Kafka: logs, the transaction coordinator and the group coordinator, as far as
// exactly-once depends on them. What it does not model: replication, compaction, sequence gaps.

const keys = 3

type counts [keys]int

type entryKind uint8

const (
	outputEntry entryKind = iota
	deltaEntry
	positionEntry
	controlEntry
)

// entry is one record of a log.
type entry struct {
	kind   entryKind
	txn    *txn
	task   int
	key    int
	count  int
	delta  counts // deltaEntry: -1 where unchanged
	epoch  uint64 // positionEntry
	input  int    // positionEntry: next input offset; outputEntry: offset of its input record
	commit bool   // controlEntry
}

type decision uint8

const (
	undecided decision = iota
	committed
	aborted
)

// txn is one transaction.
type txn struct {
	id       *transactionalID
	decision decision
	logs     []*log
	outputs  []entry
	offsets  []pendingOffset
	markers  int // still to be written
}

type pendingOffset struct {
	task int
	at   commit
}

// commit is a committed input offset with its metadata.
type commit struct {
	input int
	meta  core.Metadata
}

// log is one partition.
type log struct {
	entries []entry
	open    []openTxn // no marker yet, by first offset
	read    int       // how far the read_committed verifier has come
	ends    map[appendKey]int
}

type appendKey struct {
	id    *transactionalID
	epoch int
	seq   int
}

type openTxn struct {
	t     *txn
	first int
}

func (l *log) stableEnd() int {
	if len(l.open) == 0 {
		return len(l.entries)
	}
	return l.open[0].first
}

type transactionalState uint8

const (
	empty transactionalState = iota
	ongoing
	preparing
	complete
)

// transactionalID is what the transaction coordinator knows of one id.
type transactionalID struct {
	name  string
	epoch int
	state transactionalState
	last  decision
	t     *txn
}

// code is an error code of a reply.
type code uint8

const (
	ok code = iota
	concurrent
	fenced
	refused
	unstable
	invalidState
	outdated
)

var codeNames = [...]string{"ok", "concurrent transactions", "fenced", "refused", "unstable offset", "invalid state", "illegal generation"}

func (c code) String() string { return codeNames[c] }

// marker is the end of a transaction on its way to one partition; a nil log is the offsets partition.
type marker struct {
	t   *txn
	log *log
}

type member struct {
	id       string
	p        *process
	txnID    string
	joined   bool
	claims   uint32
	assigned uint32
}

type syncReply struct {
	memberID   string
	generation int32
	assigned   uint32
	live       []string
}

// broker is the whole cluster.
type broker struct {
	rng       *rand.Rand
	check     *checker
	bumps     bool // transaction.version 2: the epoch grows with the end of each transaction
	ids       []*transactionalID
	inputs    [][]int // keys
	outputs   []*log  // task t writes to t % len
	changelog []*log
	committed []commit
	pending   [][]*txn // per task: transactions with an offset commit that has no marker yet
	markers   []marker

	members     []*member
	nextMember  int
	generation  int32
	rebalancing bool
	churn       bool
}

func (b *broker) id(name string) *transactionalID {
	for _, x := range b.ids {
		if x.name == name {
			return x
		}
	}
	x := &transactionalID{name: name, epoch: -1}
	b.ids = append(b.ids, x)
	return x
}

// initProducer gives a new epoch; an open transaction is aborted first.
func (b *broker) initProducer(name string) (int, code) {
	x := b.id(name)
	switch x.state {
	case ongoing:
		x.epoch++ // fences the holder at once; the caller's own epoch comes with the retry
		b.decide(x, aborted)
		if x.state == preparing {
			return 0, concurrent
		}
	case preparing:
		return 0, concurrent
	}
	x.epoch++
	x.state = empty
	return x.epoch, ok
}

// join adds the request to the transaction of the id, which it opens where there is none.
func (b *broker) join(name string, epoch int) (*txn, code) {
	x := b.id(name)
	switch {
	case epoch != x.epoch:
		return nil, fenced
	case x.state == preparing:
		return nil, concurrent
	case x.state != ongoing:
		x.state = ongoing
		x.t = &txn{id: x}
	}
	return x.t, ok
}

func (b *broker) produce(name string, epoch, seq int, l *log, batch []entry) (int, code) {
	key := appendKey{b.id(name), epoch, seq}
	if at, seen := l.ends[key]; seen {
		return at, ok
	}
	t, c := b.join(name, epoch)
	if c != ok {
		return 0, c
	}
	base := len(l.entries)
	if t.adds(l) {
		l.open = append(l.open, openTxn{t, base})
	}
	for _, e := range batch {
		e.txn = t
		l.entries = append(l.entries, e)
		if e.kind == outputEntry {
			t.outputs = append(t.outputs, e)
		}
	}
	l.ends[key] = base
	return base, ok
}

func (t *txn) adds(l *log) bool {
	for _, x := range t.logs {
		if x == l {
			return false
		}
	}
	t.logs = append(t.logs, l)
	return true
}

// admits says whether the group takes offsets from a member that names a generation.
func (b *broker) admits(memberID string, generation int32) code {
	switch {
	case b.member(memberID) == nil:
		return refused
	case generation != b.generation:
		return outdated
	}
	return ok
}

func (b *broker) commitInTxn(c *call) code {
	if res := b.admits(c.memberID, c.generation); res != ok {
		return res
	}
	t, res := b.join(c.name, c.epoch)
	if res != ok {
		return res
	}
	for _, o := range c.offsets {
		t.setOffset(o)
		b.pending[o.task] = append(b.pending[o.task], t)
	}
	return ok
}

func (t *txn) setOffset(o pendingOffset) {
	for i := range t.offsets {
		if t.offsets[i].task == o.task {
			t.offsets[i] = o
			return
		}
	}
	t.offsets = append(t.offsets, o)
}

// commitPlain is an offset commit outside any transaction.
func (b *broker) commitPlain(c *call) code {
	if res := b.admits(c.memberID, c.generation); res != ok {
		return res
	}
	for _, o := range c.offsets {
		b.setCommitted(o)
	}
	return ok
}

func (b *broker) endTxn(name string, epoch int, commit bool) (int, code) {
	x := b.id(name)
	want := aborted
	if commit {
		want = committed
	}
	if b.bumps && epoch == x.epoch-1 && x.last == want && x.state != ongoing && x.state != empty {
		if x.state == preparing {
			return 0, concurrent
		}
		return x.epoch, ok // a retry of what has been done
	}
	if epoch != x.epoch {
		return 0, fenced
	}
	switch x.state {
	case preparing:
		return 0, concurrent // of the transaction before
	case empty, complete:
		if commit || !b.bumps {
			return 0, invalidState
		}
		x.epoch++
		x.last, x.state = aborted, complete
		return x.epoch, ok
	}
	if b.bumps {
		x.epoch++
	}
	b.decide(x, want)
	return x.epoch, ok
}

// decide is the point of no return of a transaction; its markers follow in any order.
func (b *broker) decide(x *transactionalID, d decision) {
	t := x.t
	x.t, x.last, x.state = nil, d, preparing
	t.decision = d
	b.check.decision(t)
	for _, l := range t.logs {
		b.markers = append(b.markers, marker{t, l})
	}
	if len(t.offsets) > 0 {
		b.markers = append(b.markers, marker{t, nil})
	}
	t.markers = len(t.logs)
	if len(t.offsets) > 0 {
		t.markers++
	}
	if t.markers == 0 {
		x.state = complete
	}
}

// writeMarker lets the i-th marker reach its partition.
func (b *broker) writeMarker(i int) {
	m := b.markers[i]
	last := len(b.markers) - 1
	b.markers[i] = b.markers[last]
	b.markers = b.markers[:last]
	if m.log != nil {
		b.endOnLog(m)
	} else {
		b.endOnOffsets(m.t)
	}
	m.t.markers--
	if m.t.markers == 0 && m.t.id.state == preparing {
		m.t.id.state = complete
	}
}

func (b *broker) endOnLog(m marker) {
	l := m.log
	for i, o := range l.open {
		if o.t == m.t {
			l.open = append(l.open[:i], l.open[i+1:]...)
			break
		}
	}
	l.entries = append(l.entries, entry{kind: controlEntry, txn: m.t, commit: m.t.decision == committed})
	b.check.visible(l)
}

func (b *broker) endOnOffsets(t *txn) {
	for _, o := range t.offsets {
		list := b.pending[o.task][:0]
		for _, x := range b.pending[o.task] {
			if x != t {
				list = append(list, x)
			}
		}
		b.pending[o.task] = list
		if t.decision == committed {
			b.setCommitted(o)
		}
	}
}

func (b *broker) setCommitted(o pendingOffset) {
	b.check.offset(o.task, b.committed[o.task], o.at)
	b.committed[o.task] = o.at
}

// fetchOffset is a stable fetch: it does not answer while a commit is pending.
func (b *broker) fetchOffset(task int, stable bool) (commit, code) {
	if stable && len(b.pending[task]) > 0 {
		return commit{}, unstable
	}
	return b.committed[task], ok
}

// openIDs lists the ids with a transaction in progress.
func (b *broker) openIDs() []string {
	var open []string
	for _, x := range b.ids {
		if x.state == ongoing || x.state == preparing {
			open = append(open, x.name)
		}
	}
	return open
}

// expireTransactions is transaction.timeout.ms for all that is open.
func (b *broker) expireTransactions(only func(*transactionalID) bool) (n int) {
	for _, x := range b.ids {
		if x.state == ongoing && only(x) {
			x.epoch++
			b.decide(x, aborted)
			n++
		}
	}
	return n
}

func (b *broker) member(id string) *member {
	for _, m := range b.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// joinGroup is a JoinGroup request. The empty id asks for a new one.
func (b *broker) joinGroup(id string, p *process, claims uint32) (string, bool) {
	m := b.member(id)
	if m == nil {
		if id != "" {
			return "", false
		}
		b.nextMember++
		m = &member{id: fmt.Sprintf("m%d", b.nextMember), p: p}
		b.members = append(b.members, m)
	}
	m.joined, m.claims, m.txnID = true, claims, p.txnID
	p.memberID = m.id
	b.rebalancing = true
	b.completeRebalance()
	return m.id, true
}

func (b *broker) removeMember(id string) bool {
	for i, m := range b.members {
		if m.id == id {
			b.members = append(b.members[:i], b.members[i+1:]...)
			b.rebalancing = true
			b.completeRebalance()
			return true
		}
	}
	return false
}

// kickAbsent is the rebalance timeout.
func (b *broker) kickAbsent() (n int) {
	if !b.rebalancing {
		return 0
	}
	kept := b.members[:0:0]
	for _, m := range b.members {
		if m.joined {
			kept = append(kept, m)
		} else {
			n++
		}
	}
	b.members = kept
	b.completeRebalance()
	return n
}

func (b *broker) completeRebalance() {
	if !b.rebalancing || len(b.members) == 0 {
		return
	}
	for _, m := range b.members {
		if !m.joined {
			return
		}
	}
	b.rebalancing = false
	b.generation++
	b.assign()
	live := make([]string, len(b.members))
	for i, m := range b.members {
		live[i] = m.txnID
	}
	for _, m := range b.members {
		m.joined = false
		if m.p.memberID != m.id {
			continue // of an earlier membership of the process: its request to leave was lost
		}
		m.p.sync = &syncReply{m.id, b.generation, m.assigned, live}
	}
}

// assign is sticky and cooperative: a task that moves is withheld until its owner has given it up.
func (b *broker) assign() {
	all := uint32(1)<<len(b.inputs) - 1
	quota := (len(b.inputs) + len(b.members) - 1) / len(b.members)
	free := all
	for _, m := range b.members {
		free &^= m.claims
		m.assigned = m.claims
		for bits.OnesCount32(m.assigned) > quota || b.churn && m.assigned != 0 && b.rng.IntN(4) == 0 {
			m.assigned &^= 1 << b.pick(m.assigned)
		}
	}
	for free != 0 {
		t := b.pick(free)
		free &^= 1 << t
		least := b.members[b.rng.IntN(len(b.members))]
		for _, m := range b.members {
			if bits.OnesCount32(m.assigned) < bits.OnesCount32(least.assigned) {
				least = m
			}
		}
		least.assigned |= 1 << t
	}
}

func (b *broker) pick(mask uint32) int {
	for n := b.rng.IntN(bits.OnesCount32(mask)); n > 0; n-- {
		mask &= mask - 1
	}
	return bits.TrailingZeros32(mask)
}

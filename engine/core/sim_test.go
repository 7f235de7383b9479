// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/streamd/streamd/engine/core"
)

// The simulation runs real machines in model shells over a model of Kafka, on one thread: one seed, one history.
// It first interleaves work and faults at random; then the faults end, and the system must settle within a
// bounded number of steps with every input processed exactly once. The operator counts per key and emits
// (key, count), so that a lost record, a repeated one and a wrong state all show in the output.

var (
	seedFlag  = flag.Uint64("seed", 0, "run the simulation with this seed only, and print its history when it fails")
	seedsFlag = flag.Int("seeds", 4000, "how many seeds the simulation runs")
)

const settleSteps = 60000

type simOptions struct {
	mutation   mutation
	noTimeouts bool // transactions never time out
	oldBroker  bool // transaction.version 1: the producer epoch stays from one transaction to the next
	keepTrace  bool
}

type sim struct {
	simOptions
	rng       *rand.Rand
	broker    *broker
	check     *checker
	disks     []disk
	processes []*process // by slot; nil: down
	wanted    []bool     // by slot: whether it is to be up
	visible   []int      // inputs that have been produced, by task
	calls     []*call
	faults    bool
	faultRate int
	// slowMarkers is by how much markers are slower than requests.
	slowMarkers int
	// impatient clients soon stop waiting for the ack of a revocation, and shells are slow.
	impatient bool
	nextTxnID int
	hits      map[string]int
	trace     []string
}

func (s *sim) hit(what string) { s.hits[what]++ }

func (s *sim) log(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

func newSim(seed uint64, opts simOptions) *sim {
	s := &sim{simOptions: opts, rng: rand.New(rand.NewPCG(seed, 1)), hits: map[string]int{}, faults: true}
	if opts.keepTrace {
		s.trace = []string{}
	}
	tasks := 2 + s.rng.IntN(3)
	inputs := make([][]int, tasks)
	for t := range inputs {
		inputs[t] = make([]int, 10+s.rng.IntN(20))
		for i := range inputs[t] {
			inputs[t][i] = s.rng.IntN(keys)
		}
	}
	b := &broker{rng: s.rng, inputs: inputs, bumps: s.rng.IntN(3) > 0 && !opts.oldBroker, churn: s.rng.IntN(2) == 0}
	s.broker, s.check = b, newChecker(inputs)
	b.check, s.check.b = s.check, b
	for range 1 + s.rng.IntN(2) {
		b.outputs = append(b.outputs, &log{ends: map[appendKey]int{}})
	}
	for range inputs {
		b.changelog = append(b.changelog, &log{ends: map[appendKey]int{}})
		b.committed = append(b.committed, commit{meta: core.Metadata{Incarnation: 1, ChangelogOffset: -1, TransactionalID: "-"}})
	}
	b.pending = make([][]*txn, tasks)
	s.visible = make([]int, tasks)
	slots := 2 + s.rng.IntN(3)
	s.disks, s.processes, s.wanted = make([]disk, slots), make([]*process, slots), make([]bool, slots)
	s.wanted[0] = true
	s.faultRate = []int{5, 15, 30, 60}[s.rng.IntN(4)] // per mille
	s.impatient = s.rng.IntN(4) == 0
	s.slowMarkers = []int{1, 1, 4, 16}[s.rng.IntN(4)]
	return s
}

// run plays one history and returns the promise that it breaks, if any.
func (s *sim) run() (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case violation:
			err = r
		case string:
			if !strings.HasPrefix(r, "core: ") {
				panic(r)
			}
			err = violation{ruleContract, r}
		default:
			panic(r)
		}
	}()
	for range 500 + s.rng.IntN(2500) {
		if s.rng.IntN(1000) < s.faultRate {
			s.fault()
		} else {
			s.act()
		}
	}
	s.settle()
	return nil
}

// settle ends the faults: what is left to do must get done.
func (s *sim) settle() {
	s.faults, s.broker.churn = false, false
	for t := range s.visible {
		s.visible[t] = len(s.broker.inputs[t])
	}
	for n := range settleSteps {
		if n%64 == 0 {
			s.heal()
			if s.settled() {
				s.check.end(s.ownerState)
				return
			}
		}
		if n == settleSteps/2 && !s.noTimeouts {
			s.hits["settled only by a transaction timeout"] += min(1, s.broker.expireTransactions(func(*transactionalID) bool { return true }))
		}
		s.act()
	}
	violate(ruleLive, "not settled within %d steps: %s", settleSteps, s.describe())
}

// heal does what time does: processes are restarted, dead members expire.
func (s *sim) heal() {
	for slot := range s.wanted {
		s.start(slot)
	}
	for _, m := range slices.Clone(s.broker.members) {
		if !m.p.alive || m.p.memberID != m.id {
			s.broker.removeMember(m.id)
		}
	}
}

func (s *sim) settled() bool {
	if len(s.calls) > 0 || len(s.broker.openIDs()) > 0 || s.broker.rebalancing {
		return false
	}
	ready := 0
	for _, p := range s.processes {
		if p == nil || p.sync != nil || p.rejoin || len(p.events)+len(p.inbox) > 0 || p.machine.Phase() != core.Idle || s.broker.member(p.memberID) == nil {
			return false
		}
		_, n := p.machine.Counts()
		ready += n
	}
	for t, in := range s.broker.inputs {
		if s.broker.committed[t].input != len(in) {
			return false
		}
	}
	return ready == len(s.broker.inputs)
}

func (s *sim) ownerState(t int) (localState, bool) {
	for slot, p := range s.processes {
		if p.machine.Running(taskID(t)) {
			return s.disks[slot].tasks[t], s.disks[slot].has&(1<<t) != 0
		}
	}
	return localState{}, false
}

func (s *sim) describe() string {
	var b strings.Builder
	for slot, p := range s.processes {
		if p == nil {
			fmt.Fprintf(&b, "p%d down; ", slot)
			continue
		}
		held, ready := p.machine.Counts()
		fmt.Fprintf(&b, "p%d %s member %q owned %b holds %d runs %d; ", slot, p.machine.Phase(), p.memberID, p.owned, held, ready)
	}
	fmt.Fprintf(&b, "open %v, %d calls, %d markers, rebalancing %v", s.broker.openIDs(), len(s.calls), len(s.broker.markers), s.broker.rebalancing)
	for t, in := range s.broker.inputs {
		fmt.Fprintf(&b, ", task %d at %d of %d", t, s.broker.committed[t].input, len(in))
	}
	return b.String()
}

func (s *sim) start(slot int) {
	s.wanted[slot] = true
	if s.processes[slot] != nil {
		return
	}
	p := &process{s: s, slot: slot, alive: true, machine: core.New(core.Options{}), slow: s.impatient && slot%2 == 0}
	s.processes[slot] = p
	p.begin()
}

// kill ends a process; its requests stay on their way.
func (s *sim) kill(p *process) {
	p.alive = false
	s.processes[p.slot] = nil
}

func (s *sim) send(c *call) { s.calls = append(s.calls, c) }

func (s *sim) resend(c *call) {
	again := *c
	again.abandoned, again.executed, again.code = false, false, ok
	s.send(&again)
}

func (s *sim) abandon(p *process, which func(*call) bool) {
	for _, c := range s.calls {
		if c.p == p && which(c) {
			c.abandoned = true
		}
	}
}

// act does one thing that may happen at any time.
func (s *sim) act() {
	p := s.processes[s.rng.IntN(len(s.processes))]
	n := s.rng.IntN(100)
	switch {
	case n < 36:
		s.network()
	case n < 46:
		if k := len(s.broker.markers); k > 0 && (!s.faults || s.rng.IntN(s.slowMarkers) == 0) {
			s.broker.writeMarker(s.rng.IntN(k))
		}
	case p == nil:
	case n < 58:
		s.deliver(p)
	case n < 68:
		if rt := p.tasks[s.rng.IntN(len(s.visible))]; rt != nil {
			p.advance(rt)
		}
	case n < 78:
		if s.rng.IntN(2) == 0 {
			p.takeSync()
		} else {
			p.heartbeat()
		}
	case n < 81:
		t := s.rng.IntN(len(s.visible))
		s.visible[t] = min(s.visible[t]+2, len(s.broker.inputs[t]))
	case n < 92:
		if s.rng.IntN(3) == 0 || !s.faults {
			p.comeBack()
		}
		p.process()
	default:
		if p.machine.Phase() == core.Outrun && s.rng.IntN(8) == 0 {
			s.hit("no generation came")
			p.step(core.NoGeneration{})
		}
		p.step(core.CommitDue{})
	}
}

// deliver gives a worker its next membership event, or any reply of its shell.
func (s *sim) deliver(p *process) {
	if n := len(p.inbox); n > 0 && (!p.slow || !s.faults || s.rng.IntN(24) == 0) && (len(p.events) == 0 || p.deaf || s.rng.IntN(2) == 0) {
		i := s.rng.IntN(n)
		ev := p.inbox[i]
		p.inbox = slices.Delete(p.inbox, i, i+1)
		p.step(ev)
		return
	}
	if len(p.events) > 0 && (!p.deaf || !s.faults || s.rng.IntN(24) == 0) {
		ev := p.events[0]
		p.events = p.events[1:]
		s.observe(p, ev)
		p.step(ev)
	}
}

// observe counts the meetings of events and phases that the simulation exists for.
func (s *sim) observe(p *process, ev core.Event) {
	switch ev.(type) {
	case core.Lost:
		s.hit("lost while " + p.machine.Phase().String())
	case core.Revoked:
		s.hit("revoked while " + p.machine.Phase().String())
	}
}

// network lets one request be executed, or one reply arrive.
func (s *sim) network() {
	if len(s.calls) == 0 {
		return
	}
	i := s.rng.IntN(len(s.calls))
	c := s.calls[i]
	if !c.executed {
		if s.faults && (c.abandoned || !c.p.alive) && s.rng.IntN(24) > 0 {
			return // stuck somewhere on its way
		}
		s.execute(c)
		if s.trace != nil {
			s.log("   broker: %s of p%d (%s epoch %d, abandoned %v): %s", callNames[c.kind], c.p.slot, c.name, c.epoch, c.abandoned || !c.p.alive, c.code)
		}
		return
	}
	last := len(s.calls) - 1
	s.calls[i] = s.calls[last]
	s.calls = s.calls[:last]
	if !c.abandoned && c.p.alive {
		c.p.answered(c)
	}
}

func (s *sim) execute(c *call) {
	c.executed = true
	b := s.broker
	switch c.kind {
	case produceCall:
		if s.faults && s.rng.IntN(200) == 0 {
			s.hit("produce refused")
			c.code = refused
			break
		}
		c.base, c.code = b.produce(c.name, c.epoch, c.seq, c.log, c.batch)
	case offsetsCall:
		if c.plain {
			c.code = b.commitPlain(c)
		} else {
			c.code = b.commitInTxn(c)
		}
	case endCall:
		c.gave, c.code = b.endTxn(c.name, c.epoch, c.commit)
	case initCall, fenceCall:
		c.gave, c.code = b.initProducer(c.name)
	case fetchCall:
		c.offset, c.code = b.fetchOffset(c.task.id, s.mutation != unstableFetch)
	}
	switch {
	case c.abandoned && c.code == ok:
		s.hit("abandoned request executed: " + callNames[c.kind])
	case !c.p.alive:
		s.hit("dead worker's request arrived: " + callNames[c.kind] + ": " + c.code.String())
	case c.code == fenced:
		s.hit("fenced at: " + callNames[c.kind])
	}
}

// fault does one thing that should not happen.
func (s *sim) fault() {
	slot := s.rng.IntN(len(s.processes))
	p := s.processes[slot]
	switch n := s.rng.IntN(100); {
	case n < 50:
		s.timeout()
	case n < 60:
		if len(s.broker.members) > 0 {
			m := s.broker.members[s.rng.IntN(len(s.broker.members))]
			if m.p.alive {
				s.hit("session of a live worker expired")
			} else {
				s.hit("session of a dead worker expired")
			}
			s.broker.removeMember(m.id)
		}
	case n < 65:
		if s.broker.kickAbsent() > 0 {
			s.hit("member missed a rebalance")
		}
	case n < 67:
		if s.broker.expireTransactions(func(*transactionalID) bool { return s.rng.IntN(2) == 0 }) > 0 {
			s.hit("transaction timed out")
		}
	case p == nil:
		if n%3 == 0 && s.disks[slot].has != 0 {
			s.hit("disk wiped")
			s.disks[slot] = disk{}
		}
		s.hit("worker started")
		s.start(slot)
	case n < 73:
		s.hit("crashed while " + p.machine.Phase().String())
		s.kill(p)
	case n < 75:
		s.hit("stopped while " + p.machine.Phase().String())
		p.step(core.Stop{})
	case n < 76:
		s.hit("task failed")
		p.step(core.TaskFailed{Err: errors.New("task failed")})
	case n < 85:
		for _, p := range s.processes {
			if p != nil && p.goOn() {
				break
			}
		}
	case n < 91:
		s.hit("worker changed pace")
		p.deaf, p.slow = s.rng.IntN(3) == 0, s.rng.IntN(3) == 0
	case n < 94:
		if p.sync != nil {
			s.hit("assignment lost")
			p.sync, p.joining, p.rejoin = nil, false, true
		}
	default:
		if p.memberID != "" {
			s.hit("rebalance asked for")
			p.rejoin = true
		}
	}
}

// timeout lets a client give up waiting for a reply.
func (s *sim) timeout() {
	if len(s.calls) == 0 {
		return
	}
	c := s.calls[s.rng.IntN(len(s.calls))]
	if c.abandoned || !c.p.alive {
		return
	}
	c.abandoned = true
	if s.trace != nil {
		s.log("   p%d gives up %s (executed %v)", c.p.slot, callNames[c.kind], c.executed)
	}
	s.hit("gave up waiting: " + callNames[c.kind])
	c.p.timedOut(c)
}

func TestEveryInputCountsExactlyOnceUnderFaults(t *testing.T) {
	t.Parallel()
	if *seedFlag != 0 {
		runSeed(t, *seedFlag)
		return
	}
	hits := map[string]int{}
	n := *seedsFlag
	if testing.Short() {
		n /= 8
	}
	if seed, err := search(n, simOptions{}, hits); err != nil {
		t.Errorf("seed %d: %v", seed, err)
		runSeed(t, seed)
	}
	for _, what := range slices.Sorted(maps.Keys(hits)) {
		t.Logf("%8d %s", hits[what], what)
	}
	for _, what := range mustHit {
		if n >= 4000 && hits[what] == 0 {
			t.Errorf("in %d seeds it never happened: %s", n, what)
		}
	}
}

// mustHit are the faults and meetings without which a run has proven little.
var mustHit = []string{
	"abandoned request executed: commit offsets",
	"abandoned request executed: end transaction",
	"abandoned request executed: fence",
	"abandoned request executed: init producer",
	"abandoned request executed: produce",
	"assignment lost",
	"changelog marker after the offsets marker",
	"crashed while aborting",
	"crashed while committing offsets",
	"crashed while ending",
	"crashed while flushing",
	"crashed while idle",
	"crashed while preparing",
	"crashed while processing",
	"crashed while resetting",
	"dead worker's request arrived: commit offsets: ok",
	"dead worker's request arrived: commit offsets: refused",
	"dead worker's request arrived: end transaction: fenced",
	"dead worker's request arrived: end transaction: ok",
	"dead worker's request arrived: produce: fenced",
	"dead worker's request arrived: produce: ok",
	"lane overdue",
	"disk wiped",
	"fenced an open transaction of another",
	"fenced at: commit offsets",
	"fenced at: end transaction",
	"fenced at: produce",
	"found itself expelled",
	"lost while aborting",
	"lost while committing offsets",
	"lost while ending",
	"lost while flushing",
	"lost while idle",
	"lost while preparing",
	"lost while processing",
	"lost while resetting",
	"member missed a rebalance",
	"prepare failed",
	"produce refused",
	"rebalance went on without an ack",
	"rejoined after being fenced",
	"replayed the changelog",
	"restore failed for good",
	"restored from local state",
	"retried: unstable offset",
	"revoked while aborting",
	"revoked while committing offsets",
	"revoked while ending",
	"revoked while flushing",
	"revoked while idle",
	"revoked while preparing",
	"revoked while processing",
	"revoked while resetting",
	"session of a dead worker expired",
	"session of a live worker expired",
	"stale generation refused",
	"stale member refused",
	"committed in a later generation than at first",
	"no generation came",
	"stopped while ending",
	"stopped while processing",
	"task failed",
	"transaction timed out",
	"unknown outcome of an end of transaction, executed: false",
	"unknown outcome of an end of transaction, executed: true",
	"unknown outcome of an offset commit",
	"worker changed pace",
	"stuck lane came back",
}

func runSeed(t *testing.T, seed uint64) {
	t.Helper()
	s := newSim(seed, simOptions{keepTrace: true})
	if err := s.run(); err != nil {
		t.Errorf("seed %d: %v\nrepeat with: go test ./engine/core -run TestEveryInput -seed %d\nlast steps:\n%s",
			seed, err, seed, strings.Join(s.trace[max(0, len(s.trace)-150):], "\n"))
	}
}

// search runs the seeds 1..n and returns the smallest that breaks a promise.
func search(n int, opts simOptions, hits map[string]int) (uint64, error) {
	var mu struct {
		sync.Mutex
		next uint64
		seed uint64
		err  error
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				mu.Lock()
				mu.next++
				seed := mu.next
				stop := seed > uint64(n) || mu.err != nil
				mu.Unlock()
				if stop {
					return
				}
				s := newSim(seed, opts)
				err := s.run()
				mu.Lock()
				for k, v := range s.hits {
					hits[k] += v
				}
				if err != nil && (mu.err == nil || seed < mu.seed) {
					mu.seed, mu.err = seed, err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return mu.seed, mu.err
}

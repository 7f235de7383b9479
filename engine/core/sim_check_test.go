// SPDX-License-Identifier: Apache-2.0

package core_test

import "fmt"

// violation is a broken promise.
type violation struct{ rule, detail string }

func (v violation) Error() string { return v.rule + ": " + v.detail }

// The rules that the checker knows; canaries name the one that they expect to see broken.
const (
	ruleLead     = "state never leads the commit"
	ruleSequence = "committed outputs are the oracle's, in order"
	ruleAtomic   = "outputs, offsets and the position record are one fact"
	ruleRegress  = "committed offsets never regress"
	ruleRestore  = "a restore finds the named position record"
	ruleState    = "state is the oracle's at its position"
	ruleLive     = "the system settles"
	ruleEnd      = "at the end everything is processed once"
	ruleContract = "the machine's contract holds"
)

func violate(rule, format string, args ...any) {
	panic(violation{rule, fmt.Sprintf(format, args...)})
}

// checker holds the oracle: what a single thread would have made of the inputs.
type checker struct {
	b       *broker
	oracle  [][]counts // per task and input offset: the state before that record
	decided []int      // per task: inputs covered by decided commits
	seen    []int      // per task: outputs that a read_committed reader has seen
}

func newChecker(inputs [][]int) *checker {
	c := &checker{oracle: make([][]counts, len(inputs)), decided: make([]int, len(inputs)), seen: make([]int, len(inputs))}
	for t, in := range inputs {
		states := make([]counts, len(in)+1)
		for i, k := range in {
			states[i+1] = states[i]
			states[i+1][k]++
		}
		c.oracle[t] = states
	}
	return c
}

// decision checks a transaction at the moment in which the coordinator ends it.
func (c *checker) decision(t *txn) {
	if t.decision != committed {
		return
	}
	for _, o := range t.outputs {
		at := c.decided[o.task]
		if o.input != at || o.count != c.oracle[o.task][at+1][o.key] {
			violate(ruleSequence, "task %d: committed (key %d, count %d) of input %d, expected input %d", o.task, o.key, o.count, o.input, at)
		}
		c.decided[o.task]++
	}
	for _, o := range t.outputs {
		if !t.covers(o.task) {
			violate(ruleAtomic, "task %d: outputs committed without an offset", o.task)
		}
	}
	for _, o := range t.offsets {
		if o.at.input != c.decided[o.task] {
			violate(ruleAtomic, "task %d: offset %d committed with outputs up to %d", o.task, o.at.input, c.decided[o.task])
		}
		c.named(o.task, o.at, t)
	}
}

func (t *txn) covers(task int) bool {
	for _, o := range t.offsets {
		if o.task == task {
			return true
		}
	}
	return false
}

// named checks that the metadata points to a position record of the same transaction.
func (c *checker) named(task int, at commit, t *txn) {
	l := c.b.changelog[task]
	if at.meta.ChangelogOffset < 0 || at.meta.ChangelogOffset >= int64(len(l.entries)) {
		violate(ruleAtomic, "task %d: named position record %d does not exist", task, at.meta.ChangelogOffset)
	}
	e := l.entries[at.meta.ChangelogOffset]
	if e.kind != positionEntry || e.txn != t || e.input != at.input || e.epoch != at.meta.Epoch {
		violate(ruleAtomic, "task %d: record %d is not the position of offset %d", task, at.meta.ChangelogOffset, at.input)
	}
}

// visible reads on, as a read_committed consumer of an output log would.
func (c *checker) visible(l *log) {
	for end := l.stableEnd(); l.read < end; l.read++ {
		e := &l.entries[l.read]
		if e.kind != outputEntry || e.txn.decision != committed {
			continue
		}
		at := c.seen[e.task]
		if e.input != at {
			violate(ruleSequence, "task %d: a reader sees the output of input %d, expected %d", e.task, e.input, at)
		}
		c.seen[e.task]++
	}
}

func (c *checker) offset(task int, before, after commit) {
	if after.input < before.input || after.meta.Epoch <= before.meta.Epoch {
		violate(ruleRegress, "task %d: offset %d (epoch %d) after %d (epoch %d)", task, after.input, after.meta.Epoch, before.input, before.meta.Epoch)
	}
}

// local checks a state that a worker takes for confirmed.
func (c *checker) local(task int, s localState) {
	if s.input < 0 || s.input >= len(c.oracle[task]) || s.counts != c.oracle[task][s.input] {
		violate(ruleState, "task %d: %v at input %d", task, s.counts, s.input)
	}
	if s.changelog < 0 {
		return
	}
	e := c.b.changelog[task].entries[s.changelog]
	if e.txn.decision != committed {
		violate(ruleLead, "task %d: state at changelog record %d, which is not committed", task, s.changelog)
	}
}

// end checks the settled system.
func (c *checker) end(local func(task int) (localState, bool)) {
	for t, in := range c.b.inputs {
		if c.b.committed[t].input != len(in) || c.seen[t] != len(in) {
			violate(ruleEnd, "task %d: committed %d and visible %d of %d inputs", t, c.b.committed[t].input, c.seen[t], len(in))
		}
		l := c.b.changelog[t]
		if len(l.open) > 0 {
			violate(ruleEnd, "task %d: the changelog has an open transaction", t)
		}
		s, found := local(t)
		fold, _ := replay(l, localState{changelog: -1}, len(l.entries), true)
		if !found || s.counts != fold.counts || s.counts != c.oracle[t][len(in)] {
			violate(ruleEnd, "task %d: local state %v (found: %v), changelog %v", t, s.counts, found, fold.counts)
		}
	}
	for _, l := range c.b.outputs {
		if len(l.open) > 0 || l.read != len(l.entries) {
			violate(ruleEnd, "an output log has an open transaction")
		}
	}
	if len(c.b.openIDs()) > 0 {
		violate(ruleEnd, "open transactions: %v", c.b.openIDs())
	}
}

// replay applies the records after s up to end, and returns the last position record among them.
func replay(l *log, s localState, end int, committedOnly bool) (localState, bool) {
	found := false
	for at := int(s.changelog) + 1; at < end; at++ {
		e := &l.entries[at]
		if e.kind == controlEntry || committedOnly && e.txn.decision != committed {
			continue
		}
		if e.kind == deltaEntry {
			for k, n := range e.delta {
				if n >= 0 {
					s.counts[k] = n
				}
			}
			found = false
			continue
		}
		s.input, s.epoch, s.changelog = e.input, e.epoch, int64(at)
		found = at == end-1
	}
	return s, found
}

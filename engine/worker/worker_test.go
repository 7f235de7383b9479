// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/engine/config"
)

func TestBoundedRunOfOneWorkerEqualsTheOracle(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.topics(4)
		rs := r.feed(records(0, 2000))
		r.toEnd(job{})
		r.expect(oracle(rs, byKey))
	})
}

func TestBoundedRunThroughRepartitionTopicsEqualsTheOracle(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.topics(4)
		rs := r.feed(records(0, 2000))
		r.toEnd(job{pipeline: countByWord(r.base)})
		r.expect(oracle(rs, byWord))
	})
}

func TestBoundedRunOfThreeStagesAndThreeWorkersEqualsTheOracle(t *testing.T) {
	t.Parallel()
	r := onDev(t).topics(6)
	rs := r.feed(records(0, 3000))
	var workers []*run
	for range 3 {
		c := r.config()
		c.StateDir = t.TempDir()
		workers = append(workers, r.start(job{pipeline: countCounts(r.base), config: c, untilEnd: true}))
	}
	for _, w := range workers {
		w.ends()
	}
	r.expect(oracle(rs, byLength))
}

func TestBoundedRunOfAnEmptyTopicEnds(t *testing.T) {
	t.Parallel()
	r := onDev(t).topics(2)
	r.toEnd(job{pipeline: countByWord(r.base)})
	r.expect(oracle(nil, byWord))
}

func TestBoundedRunEndsBehindTransactionMarkersAndAbortedRecords(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.topics(3)
		rs := records(0, 500)
		r.feedTransactions(rs)
		r.toEnd(job{})
		r.expect(oracle(rs, byKey))
	})
}

func TestSecondBoundedRunGoesOnWhereTheFirstEnded(t *testing.T) {
	t.Parallel()
	r := onDev(t).topics(3)
	first := r.feed(records(0, 500))
	r.toEnd(job{})
	second := r.feed(records(500, 700))
	again := r.toEnd(job{})
	r.expect(oracle(append(first, second...), byKey))
	for _, s := range again.logs.sources() {
		if s != "local" {
			t.Errorf("state came from %s, want local", s)
		}
	}
}

func TestWorkersThatJoinAndLeaveMidwayChangeNothingInTheOutput(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.topics(6)
		var rs []record
		more := func() { rs = append(rs, r.feed(records(len(rs), 400))...) }
		with := func() job {
			c := r.config()
			c.StateDir = t.TempDir()
			return job{pipeline: countByWord(r.base), config: c}
		}
		a := r.start(with())
		more()
		a.running(12)
		b := r.start(with())
		more()
		b.running(6)
		more()
		c := r.start(with())
		c.running(4)
		more()
		a.stop()
		more()
		b.stop()
		c.running(12)
		more()
		r.expectSoon(oracle(rs, byWord))
		c.stop()
		r.expect(oracle(rs, byWord))
	})
}

func TestAtLeastOnceGivesEveryUpdateAndOnceWhereNothingFails(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.topics(3)
		rs := r.feed(records(0, 1000))
		c := r.config()
		c.Guarantee = config.AtLeastOnce
		r.toEnd(job{pipeline: countByWord(r.base), config: c})
		r.expect(oracle(rs, byWord))
	})
}

func TestAtLeastOnceLosesNothingWhenAWorkerIsKilled(t *testing.T) {
	t.Parallel()
	r := onDev(t).topics(3)
	s := r.spec("count")
	s.Store, s.Guarantee, s.Session = r.useFolder(), config.AtLeastOnce, time.Second
	p := r.launch(s)
	var rs []record
	for round := range 3 {
		for range 5 {
			rs = append(rs, r.feed(records(len(rs), 200))...)
		}
		at := r.progress()
		await(t, "progress", func() bool { return r.progress() > at || r.progress() == int64(len(rs)) })
		p.kill()
		s.UntilEnd = round == 2
		p = r.launch(s)
	}
	p.ends()
	got := r.updates(out(r.base))
	for key, want := range oracle(rs, byKey) {
		have := map[int64]bool{}
		for _, n := range got[key] {
			have[n] = true
		}
		for _, n := range want {
			if !have[n] {
				t.Errorf("update %d of %s is lost; there are %v", n, key, got[key])
			}
		}
		if last := got[key][len(got[key])-1]; last != want[len(want)-1] {
			t.Errorf("the last update of %s is %d, want %d", key, last, want[len(want)-1])
		}
	}
}

func TestKilledWorkersLoseAndRepeatNothing(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.topics(4)
		s := r.spec("two-stage")
		s.Store, s.Checkpoint = r.useFolder(), 300*time.Millisecond
		s.Commit = 200 * time.Millisecond // so that a kill comes while a transaction is open
		other := s
		other.State = t.TempDir()
		a, b := r.launch(s), r.launch(other)
		var rs []record
		inside := 0
		for kill := range 4 {
			for range 4 {
				rs = append(rs, r.feed(records(len(rs), 150))...)
			}
			if r.openTransaction(a, b) {
				inside++
			}
			if kill%2 == 0 {
				a.kill()
				a = r.launch(s)
			} else {
				b.kill()
				b = r.launch(other)
			}
		}
		r.expectSoon(oracle(rs, byWord))
		if inside == 0 {
			t.Error("no worker was killed while a transaction was open")
		}
	})
}

// openTransaction waits until a transaction of the application is open, or nothing is left to do: false.
func (r *rig) openTransaction(ps ...*process) (open bool) {
	r.t.Helper()
	await(r.t, "an open transaction", func() bool {
		for _, p := range ps {
			select {
			case <-p.done:
				r.t.Fatalf("a worker has ended: %v\n%s", p.err, p.logs.tail())
			default:
			}
		}
		listed, err := r.adm.ListTransactions(r.t.Context(), nil, []string{"Ongoing"})
		if err != nil {
			return false
		}
		for _, txn := range listed.Sorted() {
			open = open || txn.State == "Ongoing" && strings.HasPrefix(txn.TxnID, "streamd."+r.base+".")
		}
		return open || r.drained()
	})
	return open
}

// drained says whether everything fed is committed.
func (r *rig) drained() bool {
	ends, err := r.adm.ListEndOffsets(r.t.Context(), in(r.base))
	if err != nil {
		return false
	}
	var total int64
	for _, o := range ends[in(r.base)] {
		total += o.Offset
	}
	return total == r.progress()
}

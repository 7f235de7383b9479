// SPDX-License-Identifier: Apache-2.0

package metamorphic

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/streamtest"
)

// act is what a script does between two records.
type act string

const (
	send           act = "send" // the next record
	process        act = "process"
	commit         act = "commit"
	runAll         act = "run"
	crash          act = "crash"
	commitAndCrash act = "commit and crash"
	loseDisk       act = "lose disk"
	checkpoint     act = "checkpoint"
	restore        act = "restore checkpoint"
	round          act = "begin a round"
	rollback       act = "roll back"
)

// settings are what a run of the kit must not depend on.
type settings struct {
	partitions int
	cache      int64 // -1: without a limit
	order      uint64
	script     []act // 0: all is sent at once
}

// plain are the settings of the run that others are compared with.
var plain = settings{partitions: 1, cache: -1}

// drawSettings draws settings for a plan and a number of records.
func drawSettings(r *rand.Rand, p *plan, records int) settings {
	s := settings{partitions: 1 + r.IntN(5), cache: []int64{-1, 0, 0, 4 << 10}[r.IntN(4)]}
	if r.IntN(2) == 0 {
		s.order = r.Uint64() | 1
	}
	// Restarts open all stores anew, which takes longest: there are few of them, and they come in any run of records.
	small, large := []act{process, process, process, process, commit, commit, runAll}, []act{crash, commitAndCrash, loseDisk, checkpoint, restore, round, round, rollback}
	if !p.mayIdle() {
		small = small[:6]
	}
	often, disasters := 2+r.IntN(6), 2+r.IntN(5)
	for range records {
		s.script = append(s.script, send)
		if r.IntN(often) == 0 {
			s.script = append(s.script, small[r.IntN(len(small))])
		}
		if r.IntN(records/disasters+1) == 0 {
			s.script = append(s.script, large[r.IntN(len(large))])
		}
	}
	return s
}

// String names the settings, and how often each act is in the script.
func (s settings) String() string {
	n := map[act]int{}
	for _, a := range s.script {
		n[a]++
	}
	delete(n, send)
	return fmt.Sprintf("%d partitions, cache of %d bytes, order %d, %v", s.partitions, s.cache, s.order, n)
}

// onKit runs a plan on the test kit and returns what it leaves. The error is what ended the run.
func onKit(p *plan, events []event, s settings) (got outcome, err error) {
	t := &kit{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if what := recover(); what != nil {
				t.err = fmt.Errorf("panic: %v\n%s", what, debug.Stack())
			}
		}()
		got = drive(t, p, events, s)
	}()
	<-done
	for _, f := range t.cleanups {
		f()
	}
	return got, t.err
}

func drive(t *kit, p *plan, events []event, s settings) outcome {
	opts := []streamtest.Option{streamtest.Partitions(s.partitions), streamtest.Cache(s.cache)}
	if s.order != 0 {
		r := rand.New(rand.NewPCG(s.order, 0))
		opts = append(opts, streamtest.Order(r.IntN))
	}
	built, outputs := p.build(nil)
	d := streamtest.New(t, built, opts...)
	k := &player{Driver: d, events: events, rand: rand.New(rand.NewPCG(s.order, 1)), inputs: map[string]*streamtest.Input[string, int64]{}}
	for _, a := range s.script {
		k.do(a)
	}
	for len(k.events) > 0 {
		k.do(send)
	}
	d.Finish()
	got := outcome{}
	for _, o := range outputs {
		for _, r := range d.Out(o.topic, codec.String, codec.Int64).Read() {
			got[o.topic] = append(got[o.topic], record{r.Key, r.Value, r.Null, r.Time.UnixMilli()})
		}
	}
	return got
}

// player does what a script says.
type player struct {
	*streamtest.Driver
	events       []event // that are not sent yet
	inputs       map[string]*streamtest.Input[string, int64]
	rand         *rand.Rand
	checkpointed bool
}

func (k *player) do(a act) {
	switch a {
	case send:
		k.send()
	case process:
		k.Process(1 + k.rand.IntN(20))
	case commit:
		k.Commit()
	case runAll:
		k.Run()
	case crash:
		k.Crash()
	case commitAndCrash:
		k.CommitAndCrash()
	case loseDisk:
		k.LoseDisk()
	case checkpoint:
		k.Checkpoint()
		k.checkpointed = true
	case restore:
		if !k.checkpointed {
			k.do(checkpoint)
		}
		k.RestoreCheckpoint()
	case round:
		k.BeginRound()
	case rollback:
		if k.Rollback() {
			k.checkpointed = false
		}
	}
}

func (k *player) send() {
	if len(k.events) == 0 {
		return
	}
	e := k.events[0]
	k.events = k.events[1:]
	in := k.inputs[e.topic]
	if in == nil {
		in = k.In(e.topic, codec.String, codec.Int64)
		k.inputs[e.topic] = in
	}
	if e.null {
		in.DeleteAt(e.at, e.key)
		return
	}
	in.SendAt(e.at, e.key, e.value)
}

// kit is a streamtest.TB of a run whose failure is looked at.
type kit struct {
	err      error
	cleanups []func()
}

// Helper implements streamtest.TB.
func (*kit) Helper() {}

// Logf implements streamtest.TB.
func (*kit) Logf(string, ...any) {}

// Cleanup implements streamtest.TB.
func (t *kit) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

// Fatalf implements streamtest.TB.
func (t *kit) Fatalf(format string, args ...any) {
	t.err = errors.New(strings.TrimSpace(fmt.Sprintf(format, args...)))
	runtime.Goexit()
}

// SPDX-License-Identifier: Apache-2.0

package streamtest_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// totals sums by key, and again by the group that a key is in: two stages, each with a table and a topic of updates.
func totals() *stream.Pipeline {
	p := stream.NewPipeline("totals")
	in := stream.From(p, "in", codec.Uint64, codec.Int64)
	sum := func(a, b int64) int64 { return a + b }
	in.Group().Reduce("by-key", sum).Stream().To("by-key-totals")
	in.MapKV(func(k uint64, v int64) (uint64, int64) { return k % groups, v }).
		Repartition("to-group").
		Group().
		Reduce("by-group", sum).
		Stream().
		To("by-group-totals")
	return p
}

const groups = 3

// model is the pipeline in plain Go: what was sent, in order.
type model struct{ byKey, byGroup map[uint64][]int64 }

func (m *model) send(k uint64, v int64) {
	for _, to := range []struct {
		totals map[uint64][]int64
		key    uint64
	}{{m.byKey, k}, {m.byGroup, k % groups}} {
		var last int64
		if n := len(to.totals[to.key]); n > 0 {
			last = to.totals[to.key][n-1]
		}
		to.totals[to.key] = append(to.totals[to.key], last+v)
	}
}

// TestAnyScriptAgreesWithTheModel sends, commits and fails in random order. In the end the updates of each key must
// be the model's, each once and in order, and so must the state be. Invariant on the way: what has become visible
// is never more than what the model has.
func TestAnyScriptAgreesWithTheModel(t *testing.T) {
	t.Parallel()
	p := totals()
	rapid.Check(t, func(t *rapid.T) {
		d := streamtest.New(t, p, streamtest.Partitions(rapid.IntRange(1, 4).Draw(t, "partitions")))
		in := d.In("in", codec.Uint64, codec.Int64)
		m := model{map[uint64][]int64{}, map[uint64][]int64{}}
		seen := map[uint64]int{}
		checkpointed := false
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				k, v := rapid.Uint64Range(0, 9).Draw(t, "key"), rapid.Int64Range(-5, 5).Draw(t, "value")
				in.Send(k, v)
				m.send(k, v)
			},
			"process":          func(t *rapid.T) { d.Process(rapid.IntRange(1, 5).Draw(t, "records")) },
			"commit":           func(*rapid.T) { d.Commit() },
			"run":              func(*rapid.T) { d.Run() },
			"crash":            func(*rapid.T) { d.Crash() },
			"commit and crash": func(*rapid.T) { d.CommitAndCrash() },
			"lose disk":        func(*rapid.T) { d.LoseDisk() },
			"checkpoint":       func(*rapid.T) { d.Checkpoint(); checkpointed = true },
			"restore checkpoint": func(t *rapid.T) {
				if !checkpointed {
					t.Skip()
				}
				d.RestoreCheckpoint()
			},
			"": func(t *rapid.T) {
				for _, r := range d.Out("by-key-totals", codec.Uint64, codec.Int64).Read() {
					if n := seen[r.Key]; n >= len(m.byKey[r.Key]) || m.byKey[r.Key][n] != r.Value {
						t.Fatalf("update %d of key %d is %d, the model has %v", n, r.Key, r.Value, m.byKey[r.Key])
					}
					seen[r.Key]++
				}
			},
		})
		d.Run()
		check(t, d, "by-key", m.byKey, seen)
		check(t, d, "by-group", m.byGroup, map[uint64]int{})
	})
}

// check compares the updates from those seen already on, and the table's store.
func check(t *rapid.T, d *streamtest.Driver, table string, want map[uint64][]int64, seen map[uint64]int) {
	got := map[uint64][]int64{}
	newest := map[uint64]int64{}
	for k, all := range want {
		got[k] = append(got[k], all[:seen[k]]...)
		newest[k] = all[len(all)-1]
	}
	for _, r := range d.Out(fmt.Sprintf("%s-totals", table), codec.Uint64, codec.Int64).Read() {
		got[r.Key] = append(got[r.Key], r.Value)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("updates of %s (-model +pipeline):\n%s", table, diff)
	}
	if diff := cmp.Diff(newest, maps.Collect(d.State(table, codec.Uint64, codec.Int64).All())); diff != "" {
		t.Fatalf("state of %s (-model +pipeline):\n%s", table, diff)
	}
}

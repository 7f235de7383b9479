// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"testing"

	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/operators/codec"
)

func TestAClientLearnsWhoHasAKeyAndAsksThatWorker(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	var states []*held
	for p := range int32(tasks) {
		h := c.hold(int(p), p, query.Owner, query.Behind{})
		h.commit(100, map[string]int64{keyOf(p): int64(p + 1)})
		states = append(states, h)
	}
	var endpoints []string
	for _, m := range c.workers {
		endpoints = append(endpoints, m.endpoint)
	}
	client, err := query.NewClient(query.ClientOptions{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// ask asks for a key of each partition, and returns how many of the queries were handed on.
	ask := func(worker ...int) (passed int64) {
		t.Helper()
		for _, m := range c.workers {
			m.passed.Store(0)
		}
		for p := range int32(tasks) {
			a, err := client.Do(t.Context(), query.Query{Store: "count", Key: []byte(keyOf(p)), Raw: true})
			if err != nil {
				t.Fatal(err)
			}
			n, err := codec.Stored(codec.Int64).Decode(a.Rows[0].Value.([]byte))
			if err != nil || n != int64(p+1) || a.Worker != endpoints[worker[p]] {
				t.Errorf("partition %d: %d from %s, %v", p, n, a.Worker, err)
			}
		}
		for _, m := range c.workers {
			passed += m.passed.Load()
		}
		return passed
	}
	ask(0, 1, 2)
	for range 5 {
		if n := ask(0, 1, 2); n != 0 {
			t.Errorf("%d queries were handed on by workers that do not have the key", n)
		}
	}
	// The first task moves to the second worker.
	states[0].move(0)
	c.hold(1, 0, query.Owner, query.Behind{}).commit(100, map[string]int64{keyOf(0): 1})
	if n := ask(1, 1, 2); n == 0 {
		t.Error("nobody was asked who did not have the key any more")
	}
	if n := ask(1, 1, 2); n != 0 {
		t.Errorf("%d queries were handed on after the move", n)
	}
	// The third worker dies, and its task goes to the first.
	states[2].move(2)
	c.workers[2].stop()
	c.hold(0, 2, query.Owner, query.Behind{}).commit(100, map[string]int64{keyOf(2): 3})
	ask(1, 1, 0)
	if n := ask(1, 1, 0); n != 0 {
		t.Errorf("%d queries were handed on after a worker has died", n)
	}
}

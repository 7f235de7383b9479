// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/query"
)

func TestAnyWorkerAnswersForAnyKeyWithTheOwnersPosition(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	for p := range int32(tasks) {
		c.hold(int(p), p, query.Owner, query.Behind{}).commit(int64(100+p), map[string]int64{keyOf(p): int64(p + 1)})
	}
	for worker := range c.workers {
		for p := range int32(tasks) {
			r := c.get(worker, "/count/keys/"+keyOf(p))
			if r.status != http.StatusOK || r.Key != keyOf(p) || r.Value != float64(p+1) || r.Worker != c.workers[p].endpoint || r.Role != query.Owner {
				t.Errorf("worker %d, partition %d: %+v", worker, p, r)
			}
			want := query.Position{Epoch: 1, ChangelogOffset: 10, Inputs: []query.Input{{Topic: "orders", Partition: p, Offset: int64(100 + p)}}}
			if r.Task != fmt.Sprint("0_", p) || r.Position.Epoch != 1 || !slices.Equal(r.Position.Inputs, want.Inputs) || r.Token == "" {
				t.Errorf("worker %d, partition %d: task %s at %+v", worker, p, r.Task, r.Position)
			}
		}
	}
	r := c.get(0, "/count/keys/nobody")
	if r.status != http.StatusNotFound || r.Type != "urn:streamd:problem:no-such-key" || r.Position.Epoch != 1 || r.Retriable {
		t.Errorf("an absent key: %+v", r)
	}
}

func TestWrongQueriesAreRefusedInWords(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	for p := range int32(tasks) {
		c.hold(0, p, query.Owner, query.Behind{})
	}
	for path, want := range map[string]string{
		"/cuont/keys/a":                                "409 did you mean count?",
		"/count/keys/a?sub-key=b":                      "400 no sub-keys",
		"/count/keys/a?as-of=2026-01-31T12:00:00Z":     "400 no versioned table",
		"/count/keys/a?since=2026-01-31T12:00:00Z":     "400 no windows",
		"/count/keys/a?limit=0":                        "400 from 1 on",
		"/count/keys/a?limits=1":                       "400 no parameter",
		"/count/keys/a?stale=yes":                      "400 allow or never",
		"/count/keys/a?stale=allow&stale=never":        "400 2 times",
		"/count/keys/a?timeout=-1s":                    "400 duration",
		"/count/keys/zz?keys=raw":                      "400 hexadecimal",
		"/count/keys/a?from=b":                         "400 the path has one",
		"/count/keys/a?min-position=nonsense":          "400 neither",
		"/count/keys/a?min-position=orders@7":          "400 topic/partition@offset",
		"/count/keys/a?min-position=payments/0@7":      "400 not fed by topic payments",
		"/count/keys?page-token=nonsense":              "400 page-token",
		"/count/keys?task=7_0":                         "400 sub-topology 0",
		"/count/keys?task=0_9":                         "409 has 3",
		"/count/keys?from=a&to=b&prefix=0xzz":          "400 hexadecimal",
		"/count/keys/a?min-position=MToyOjBfMEAx":      "409 life 2",
		"/count/keys/a?min-position=MToxOjBfMEBtYW55":  "400 damaged",
		"/count/keys/a?since=yesterday&until=tomorrow": "400 not a time",
	} {
		r := c.get(0, path)
		if got := fmt.Sprint(r.status, " ", r.Detail); !strings.HasPrefix(got, want[:4]) || !strings.Contains(got, want[4:]) || r.Retriable {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestScansGoTaskByTaskAndOnPages(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	counts := map[int32]map[string]int64{}
	for n := range 50 {
		key := fmt.Sprintf("k%02d", n)
		p := homeOf(key)
		if counts[p] == nil {
			counts[p] = map[string]int64{}
		}
		counts[p][key] = int64(n)
	}
	for p := range int32(tasks) {
		c.hold(int(p), p, query.Owner, query.Behind{}).commit(1, counts[p])
	}
	for name, params := range map[string]string{"pages": "limit=7", "one page": "limit=1000", "a prefix": "limit=3&prefix=k1", "a range": "limit=4&from=k10&to=k20"} {
		var got []string
		pages, page := 0, ""
		for {
			r := c.get(pages%3, "/count/keys?"+params+"&page-token="+page)
			if r.status != http.StatusOK || len(r.Parts) == 0 {
				t.Fatalf("%s: %+v", name, r)
			}
			for _, row := range r.Rows {
				got = append(got, fmt.Sprint(row.Task, " ", row.Key))
			}
			if pages++; r.Next == "" {
				break
			}
			page = r.Next
		}
		if !slices.IsSorted(got) {
			t.Errorf("%s: not in order: %q", name, got)
		}
		want := 50
		if name == "a prefix" || name == "a range" {
			want = 10
		}
		if n := len(slices.Compact(got)); n != want {
			t.Errorf("%s: %d keys, want %d", name, n, want)
		}
	}
	if r := c.get(0, "/count/keys?task=0_1"); len(r.Rows) != len(counts[1]) || len(r.Parts) != 1 {
		t.Errorf("one task: %d rows of %d parts", len(r.Rows), len(r.Parts))
	}
}

func TestAnAnswerWaitsForThePositionThatIsAskedFor(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	h := c.hold(1, 0, query.Owner, query.Behind{})
	h.commit(5, map[string]int64{keyOf(0): 5})
	first := c.get(0, "/count/keys/"+keyOf(0)+"?min-position=orders/0@4&min-position=orders/2@99")
	if first.Value != 5.0 {
		t.Fatalf("a position that is reached, and one of another partition: %+v", first)
	}
	if r := c.get(0, "/count/keys/"+keyOf(0)+"?timeout=20ms&min-position=orders/0@5"); r.status != http.StatusServiceUnavailable || r.Type != "urn:streamd:problem:position-not-reached" || !r.Retriable || r.Position.Epoch != 1 {
		t.Errorf("a position that is not reached: %+v", r)
	}
	got := make(chan reply)
	for _, position := range []string{"orders/0@5", tokenOf(t, first.Token, 2)} {
		go func() {
			r, err := c.try(0, "/count/keys/"+keyOf(0)+"?min-position="+position)
			if err != nil {
				t.Error(err)
			}
			got <- r
		}()
	}
	h.commit(6, map[string]int64{keyOf(0): 6})
	for range 2 {
		if r := <-got; r.Value != 6.0 {
			t.Errorf("after the commit: %+v", r)
		}
	}
}

func TestQueriesWaitForATaskThatMovesAndFindItWhereItIs(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	h := c.hold(0, 0, query.Owner, query.Behind{})
	h.commit(5, map[string]int64{keyOf(0): 5})
	waiting := make(chan reply)
	go func() {
		r, err := c.try(0, "/count/keys/"+keyOf(0)+"?min-position=orders/0@7") // waits at the first owner, or is late for it
		if err != nil {
			t.Error(err)
		}
		waiting <- r
	}()
	h.move(0)
	if r := c.get(1, "/count/keys/"+keyOf(0)+"?timeout=30ms"); r.status != http.StatusServiceUnavailable || r.Type != "urn:streamd:problem:task-is-moving" || !r.Retriable {
		t.Errorf("while nobody has the task: %+v", r)
	}
	moved := c.hold(1, 0, query.Owner, query.Behind{})
	moved.commit(8, map[string]int64{keyOf(0): 8})
	if r := <-waiting; r.Value != 8.0 || r.Worker != c.workers[1].endpoint {
		t.Errorf("a query that began before the move: %+v", r)
	}
}

func TestAStandbyAnswersIfTheCallerAllowsIt(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	c.hold(1, 0, query.Standby, query.Behind{Records: 3, For: 2 * time.Second}).commit(5, map[string]int64{keyOf(0): 5})
	for worker := range c.workers {
		for params, status := range map[string]int{"": 503, "&stale=never": 503, "&stale=allow": 200, "&max-staleness=5s": 200, "&max-staleness=1s": 503} {
			r := c.get(worker, "/count/keys/"+keyOf(0)+"?timeout=30ms"+params)
			if r.status != status || status == 503 && !r.Retriable {
				t.Errorf("worker %d, %q: %+v", worker, params, r)
			}
			if status == 200 && (r.Role != query.Standby || r.Value != 5.0 || r.Staleness == nil || r.Staleness.Records != 3 || r.Staleness.Seconds != 2) {
				t.Errorf("worker %d, %q: %+v", worker, params, r)
			}
		}
	}
	c.hold(2, 0, query.Owner, query.Behind{}).commit(6, map[string]int64{keyOf(0): 6})
	for worker := range c.workers {
		if r := c.get(worker, "/count/keys/"+keyOf(0)+"?stale=allow"); r.Role != query.Owner || r.Value != 6.0 || r.Staleness != nil {
			t.Errorf("worker %d did not ask the owner: %+v", worker, r)
		}
	}
}

func TestAnswersHaveLimits(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, func(cfg *config.Config) {
		cfg.QueryMaxConcurrent, cfg.QueryMaxRows, cfg.QueryMaxBytes = 1, 3, 1<<10
	})
	for p := range int32(tasks) {
		h := c.hold(0, p, query.Owner, query.Behind{})
		counts := map[string]int64{keyOf(p): 1, strings.Repeat("long", 400): 1}
		for n := range 10 {
			counts[fmt.Sprint("n", n)] = 1
		}
		h.commit(1, counts)
	}
	if r := c.get(0, "/count/keys?task=0_0&limit=1000&prefix=n"); len(r.Rows) != 3 || r.Next == "" {
		t.Errorf("more rows than query.max-rows: %d, next %q", len(r.Rows), r.Next)
	}
	if r := c.get(0, "/count/keys?task=0_0&prefix=long"); r.status != http.StatusRequestEntityTooLarge || !strings.Contains(r.Detail, "query.max-bytes") {
		t.Errorf("an entry that is too large: %+v", r)
	}
	waits := make(chan reply)
	for range 2 {
		go func() {
			r, err := c.try(0, "/count/keys/"+keyOf(0)+"?timeout=300ms&min-position=orders/0@9")
			if err != nil {
				t.Error(err)
			}
			waits <- r
		}()
	}
	first, second := <-waits, <-waits
	if first.status != http.StatusTooManyRequests || !first.Retriable || second.status != http.StatusServiceUnavailable {
		t.Errorf("two queries at a time where one is allowed: %+v and %+v", first, second)
	}
}

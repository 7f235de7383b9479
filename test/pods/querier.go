// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/test/fleet"
)

const (
	// askers is how many queries can be on their way at a time.
	askers = 1024
	// One query in so many allows an answer of a standby, and one in so many asks for its key's newest record to be reflected.
	staleEvery, newestEvery = 4, 10
)

// querier asks the workers for the state of random keys at a constant rate while it is on, whether or not answers come, and
// checks each against its own position. It knows the addresses of the workers that there are, as a client of a Service does.
type querier struct {
	opts   *options
	faults *fleet.Faults
	input  *feeder
	on     atomic.Bool
	client atomic.Pointer[query.Client]
	due    chan time.Time
	mu     struct {
		sync.Mutex
		asked   []asked // in the order of their ends
		skipped []time.Time
	}
}

// asked is a query that has ended.
type asked struct {
	ended   time.Time
	took    time.Duration // since it was due
	standby bool          // has answered
	failed  error         // and may be asked again
}

func newQuerier(o *options, faults *fleet.Faults, input *feeder) *querier {
	return &querier{opts: o, faults: faults, input: input, due: make(chan time.Time, askers)}
}

// direct makes the workers that there are those that are asked.
func (q *querier) direct(all []*fleet.Process) {
	var endpoints []string
	for _, p := range all {
		endpoints = append(endpoints, p.Endpoint())
	}
	var next *query.Client
	if len(endpoints) > 0 {
		var err error
		if next, err = query.NewClient(query.ClientOptions{Endpoints: endpoints}); err != nil {
			panic(err) // the endpoints are addresses of our own
		}
	}
	if before := q.client.Swap(next); before != nil {
		before.Close()
	}
}

// ask asks until ctx ends.
func (q *querier) ask(ctx context.Context) {
	var routines sync.WaitGroup
	for n := range askers {
		chance := rand.New(rand.NewPCG(q.opts.Seed, 1<<32+uint64(n)))
		routines.Go(func() {
			for due := range q.due {
				q.one(ctx, chance, due)
			}
		})
	}
	paced(ctx, q.opts.Queries, func(n int) {
		for ; q.on.Load() && n > 0; n-- {
			select {
			case q.due <- time.Now():
			default:
				q.skip()
			}
		}
	})
	close(q.due)
	routines.Wait()
}

// skip notes a query that was due while as many as can be were on their way.
func (q *querier) skip() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.skipped = append(q.mu.skipped, time.Now())
}

// one asks for a key and checks the answer.
func (q *querier) one(ctx context.Context, chance *rand.Rand, due time.Time) {
	client := q.client.Load()
	if client == nil {
		q.skip()
		return
	}
	key := chance.Uint64N(q.opts.keys())
	ask := query.Query{Store: "account", Key: binary.BigEndian.AppendUint64(nil, key), Raw: true, Stale: chance.IntN(staleEvery) == 0}
	least := uint64(0)
	if chance.IntN(newestEvery) == 0 {
		var place string
		place, least = q.input.newest(key)
		if err := ask.Min.Require(place); err != nil {
			panic(err) // the place is ours
		}
	}
	answer, err := client.Do(ctx, ask)
	if ctx.Err() != nil {
		return
	}
	end := asked{ended: time.Now(), took: time.Since(due), failed: err}
	var p *api.Problem
	switch {
	case err == nil:
		end.standby = answer.Role == query.Standby
		if err := q.check(key, answer, least); err != nil {
			q.faults.Add("query: key %d: %v", key, err)
		}
	case errors.As(err, &p) && p.Retry == 0:
		q.faults.Add("query: key %d: failed for good: %v", key, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.asked = append(q.mu.asked, end)
}

// check compares an answer with what the input has for the key below the answer's position.
func (q *querier) check(key uint64, a *query.Answer, least uint64) error {
	var got account
	if len(a.Rows) == 1 {
		value, _ := a.Rows[0].Value.([]byte)
		var err error
		if got, err = codec.Stored(accountCodec).Decode(value); err != nil {
			return err
		}
	}
	switch {
	case len(a.Rows) > 1 || len(a.Position.Inputs) != 1:
		return fmt.Errorf("%d rows at %+v, expected one at the offset of one partition", len(a.Rows), a.Position)
	case got.Faults > 0 || got.Count > 0 && !slices.Equal(got.Filler, filler(key, got.Count, q.opts.ValueBytes)):
		return fmt.Errorf("the account at count %d is not what follows from the input", got.Count)
	case got.Count < least:
		return fmt.Errorf("count %d was asked for, and %d is the answer", least, got.Count)
	}
	if want := q.input.countBelow(key, a.Position.Inputs[0].Offset); got.Count != want {
		return fmt.Errorf("the %v says count %d at %+v, where it is %d", a.Role, got.Count, a.Position, want)
	}
	return nil
}

// answers is what queries had of an incident.
type answers struct {
	Asked    int           `json:"asked"`
	Skipped  int           `json:"skipped"` // were due and could not be asked
	Standbys int           `json:"standbys"`
	Failed   int           `json:"failed"`
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	Max      time.Duration `json:"max"`
	Failure  string        `json:"failure,omitempty"` // one of them
}

// during sums up the queries that ended in an incident.
func (q *querier) during(s span) *answers {
	sum := &answers{}
	q.mu.Lock()
	first, _ := slices.BinarySearchFunc(q.mu.asked, s.From, func(a asked, t time.Time) int { return a.ended.Compare(t) })
	all := slices.Clone(q.mu.asked[first:])
	for _, t := range q.mu.skipped {
		if t.After(s.From) && t.Before(s.To) {
			sum.Skipped++
		}
	}
	q.mu.Unlock()
	var took []time.Duration
	for _, a := range all {
		if a.ended.After(s.To) {
			break
		}
		took = append(took, a.took)
		if a.standby {
			sum.Standbys++
		}
		if a.failed != nil {
			sum.Failed++
			sum.Failure = a.failed.Error()
		}
	}
	sum.Asked, sum.P50, sum.P99, sum.Max = len(took), percentile(took, 50), percentile(took, 99), percentile(took, 100)
	return sum
}

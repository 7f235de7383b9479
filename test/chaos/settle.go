// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
	"github.com/streamd/streamd/test/fleet"
)

// stuckLimit is how long the application may make no progress before the run gives up.
const stuckLimit = 60 * time.Second

// settle lets the workers finish the input and checks everything.
func (r *run) settle(ctx context.Context) error {
	r.Say("all %d records are written; waiting for the end", r.opts.Records)
	processed, err := r.drained(ctx)
	if err != nil {
		return err
	}
	ends, err := r.admin.EndOffsets(ctx, counts, totals)
	if err != nil {
		return err
	}
	r.Say("all input is processed and committed; comparing")
	truth, err := r.evaluate(ctx)
	if err != nil {
		return err
	}
	truth.processed = processed
	if err := r.checkState(ctx, truth); err != nil {
		return err
	}
	if err := r.workers.StopAll(ctx); err != nil {
		return err
	}
	open, err := r.openTransactions(ctx)
	if err != nil {
		return err
	}
	for _, t := range open {
		r.Faults.Add("transaction %s is still open: %s for %v, in %v", t.ID, t.State, t.Age, t.Touching)
	}
	for deadline := time.Now().Add(stuckLimit); !r.watcher.reached(ends); {
		if time.Now().After(deadline) {
			r.Faults.Add("the output cannot be read to its end %v by a read_committed reader", ends)
			break
		}
		if err := fleet.Wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	r.checkOutput(truth)
	return nil
}

// drained waits until everything written is processed and committed, stage by stage, and returns where that is in each
// input of each stage.
func (r *run) drained(ctx context.Context) (map[partition.TopicPartition]int64, error) {
	repartition := worker.Names{App: app, Incarnation: 1}.Repartition("by-group")
	last, lastMoved := int64(-1), time.Now()
	for {
		if err := r.workers.reap(); err != nil {
			return nil, err
		}
		group, err := r.admin.GroupOf(ctx, app)
		if err != nil {
			return nil, err
		}
		// After the offsets: what is written up to here while the first stage has nothing left is all there is.
		ends, err := r.admin.HighWatermarks(ctx, clicks, orders, repartition)
		if err != nil {
			return nil, err
		}
		lag := int64(0)
		for tp, end := range ends {
			lag += max(0, end-group.Committed[tp].Offset)
		}
		if lag == 0 {
			return ends, nil
		}
		if lag != last {
			last, lastMoved = lag, time.Now()
		}
		if time.Since(lastMoved) > stuckLimit {
			return nil, fmt.Errorf("no progress for %v with %d records to go: %s", stuckLimit, lag, r.describe(ctx))
		}
		if err := fleet.Wait(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// truth is the single-threaded evaluation of the input.
type truth struct {
	counts []uint64 // by key
	keys   []seen   // by key
	totals []total  // by group: Updates and Sum only, since which key came last depends on the run
	inputs map[partition.TopicPartition]int64

	processed map[partition.TopicPartition]int64 // where every stage has processed everything
}

// evaluate reads the input from its beginning.
func (r *run) evaluate(ctx context.Context) (*truth, error) {
	t := &truth{counts: make([]uint64, r.opts.Keys), keys: make([]seen, r.opts.Keys), totals: make([]total, r.opts.Groups)}
	var err error
	if t.inputs, err = r.admin.EndOffsets(ctx, clicks, orders); err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.Broker.Addr()), kgo.ConsumeTopics(clicks, orders), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var left int64
	for _, end := range t.inputs {
		left += end
	}
	if left != r.opts.Records {
		r.Faults.Add("the input holds %d records, %d were written", left, r.opts.Records)
	}
	for left > 0 {
		fetches := cl.PollRecords(ctx, 50_000)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errs := fetches.Errors(); len(errs) > 0 {
			return nil, fmt.Errorf("read the input: %w", errs[0].Err)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			left--
			key, number := binary.BigEndian.Uint64(rec.Key), binary.BigEndian.Uint64(rec.Value)
			if rec.Topic == clicks {
				t.counts[key]++
				return
			}
			s := see(t.keys[key], number)
			t.keys[key] = s
			t.totals[key%r.opts.Groups] = add(t.totals[key%r.opts.Groups], step{key, s.Count, s.Faults})
		})
	}
	return t, nil
}

// checkOutput compares the newest update of each key and group with the evaluation. That no update before it is
// missing, repeated or misplaced, the watcher has seen.
func (r *run) checkOutput(t *truth) {
	for key, n := range t.counts {
		if got := r.watcher.counts[key]; got != n {
			r.Faults.Add("output: the last count of key %d is %d, the input holds %d", key, got, n)
		}
		if got := r.watcher.steps[key]; got != t.keys[key].Count {
			r.Faults.Add("output: the last update of key %d in its group is %d, the input holds %d", key, got, t.keys[key].Count)
		}
	}
	for g, want := range t.totals {
		if got := r.watcher.totals[g]; got.Updates != want.Updates || got.Sum != want.Sum || got.Faults != want.Faults {
			r.Faults.Add("output: group %d ends at %+v, the input gives %d updates with the sum %d", g, got, want.Updates, want.Sum)
		}
	}
	r.result.Outputs = r.watcher.seen.Load()
	if want := r.opts.Records; r.result.Outputs != want {
		r.Faults.Add("output: %d records are committed, %d input records give as many updates", r.result.Outputs, want)
	}
}

// checkState waits for a checkpoint of the end, restores it and compares it with the evaluation.
func (r *run) checkState(ctx context.Context, t *truth) error {
	store, err := open.Open(ctx, r.store.URL(), open.Options{})
	if err != nil {
		return err
	}
	repo := checkpoint.NewRepository(store, app)
	manifests, err := r.finalCheckpoint(ctx, repo, t)
	if err != nil {
		return err
	}
	found := map[string]int{}
	for _, m := range manifests {
		dir := filepath.Join(r.Dir, "restored", m.Task.String())
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return err
		}
		if _, err := repo.Restore(ctx, m, dir); err != nil {
			return err
		}
		if err := r.compareState(m, dir, t, found); err != nil {
			return err
		}
	}
	want := map[string]int{}
	for key := range t.counts {
		if t.counts[key] > 0 {
			want["count"]++
		}
		if t.keys[key].Count > 0 {
			want["per-key"]++
		}
	}
	for g := range t.totals {
		if t.totals[g].Updates > 0 {
			want["per-group"]++
		}
	}
	if !maps.Equal(found, want) {
		r.Faults.Add("state: it has entries %v, expected %v", found, want)
	}
	r.Say("state of %d tasks restored from the object store and compared: %v entries", len(manifests), found)
	return nil
}

// finalCheckpoint waits for a complete round in which every task has processed everything.
func (r *run) finalCheckpoint(ctx context.Context, repo *checkpoint.Repository, t *truth) ([]checkpoint.Manifest, error) {
	deadline := time.Now().Add(comebackLimit)
	for {
		var newest checkpoint.Round
		for round, err := range repo.Rounds(ctx, 1) {
			if err != nil {
				return nil, err
			}
			if round.Complete && round.Number > newest.Number {
				newest = round
			}
		}
		manifests, atEnd := []checkpoint.Manifest{}, newest.Number > 0
		for _, id := range newest.Tasks {
			m, err := repo.Manifest(ctx, 1, newest.Number, id)
			if err != nil {
				return nil, err
			}
			manifests, atEnd = append(manifests, m), atEnd && holdsAll(m, t)
		}
		if atEnd {
			return manifests, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.New("no complete checkpoint of the end has come within a minute")
		}
		if err := fleet.Wait(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// holdsAll says whether a checkpoint is of the end of the task's input.
func holdsAll(m checkpoint.Manifest, t *truth) bool {
	for topic, ps := range m.Position.Inputs {
		for p, at := range ps {
			if at < t.processed[partition.TopicPartition{Topic: topic, Partition: p}] {
				return false
			}
		}
	}
	return true
}

// stateTimeBytes is what a table's row begins with: the newest time of its records.
const stateTimeBytes = 8

func (r *run) compareState(m checkpoint.Manifest, dir string, t *truth, found map[string]int) error {
	reader, err := statestore.OpenReadOnly(dir)
	if err != nil {
		return err
	}
	defer reader.Close()
	for name, id := range m.Stores {
		rows, failed := reader.Scan(statestore.StoreID(id), nil)
		for key, row := range rows {
			found[name]++
			r.compareRow(m.Task, name, key, row, t)
		}
		if err := failed(); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) compareRow(id partition.TaskID, store string, rawKey, row []byte, t *truth) {
	key, err := codec.Uint64.Decode(rawKey)
	if err != nil || len(row) < stateTimeBytes {
		r.Faults.Add("state: task %v, store %s: key %x, row of %d bytes: %v", id, store, rawKey, len(row), err)
		return
	}
	differs := false
	var got, want any
	switch value := row[stateTimeBytes:]; store {
	case "count":
		n, decodeErr := codec.Stored(codec.Int64).Decode(value)
		got, want, err = n, int64(t.counts[key]), decodeErr
		differs = got != want
	case "per-key":
		s, decodeErr := codec.Stored(seenCodec).Decode(value)
		got, want, err = s, t.keys[key], decodeErr
		differs = got != want
	case "per-group":
		g, decodeErr := codec.Stored(totalCodec).Decode(value)
		got, want, err = g, t.totals[key], decodeErr
		differs = g.Updates != t.totals[key].Updates || g.Sum != t.totals[key].Sum || g.Faults != t.totals[key].Faults
	}
	if differs || err != nil {
		r.Faults.Add("state: task %v, store %s, key %d is %+v, the input gives %+v (%v)", id, store, key, got, want, err)
	}
}

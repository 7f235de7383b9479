// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/examples/nexmark/wire"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/statestore"
)

// rowTimeBytes is what the row of an aggregate begins with: the newest time of its records.
const rowTimeBytes = 8

// stateOf restores what the stage that counts held at a cut.
func (r *run) stateOf(ctx context.Context, cut checkpoint.Cut) (state, error) {
	s := state{counts: map[uint64]tally{}, watermarks: watermarksOf(cut)}
	repo := checkpoint.NewRepository(r.store, cut.App)
	for _, m := range cut.Manifests {
		id, ok := m.Stores[countStep]
		if !ok {
			continue
		}
		dir, err := os.MkdirTemp(r.dir, "restored-")
		if err != nil {
			return s, err
		}
		_, err = repo.Restore(ctx, m, filepath.Join(dir, "state"))
		if err == nil {
			err = s.read(filepath.Join(dir, "state"), statestore.StoreID(id))
		}
		if err != nil {
			return s, fmt.Errorf("read task %v of %v: %w", m.Task, cut, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			return s, err
		}
	}
	return s, nil
}

// watermarksOf is how far event time had come at a cut, by task of the stage that counts.
func watermarksOf(cut checkpoint.Cut) (at []int64) {
	for _, m := range cut.Manifests { // in the order of tasks
		if _, ok := m.Stores[countStep]; ok {
			at = append(at, m.Position.Watermark)
		}
	}
	return at
}

func (s state) read(dir string, store statestore.StoreID) error {
	reader, err := statestore.OpenReadOnly(dir)
	if err != nil {
		return err
	}
	defer reader.Close()
	rows, failed := reader.Scan(store, nil)
	for key, row := range rows {
		if len(row) < rowTimeBytes {
			return fmt.Errorf("row %x of key %x is too short", row, key)
		}
		c, err := codec.Uint64.Decode(key)
		if err != nil {
			return err
		}
		if s.counts[c], err = codec.Stored(tallyCodec).Decode(row[rowTimeBytes:]); err != nil {
			return err
		}
	}
	return failed()
}

// complete lists the complete rounds of an application, oldest first.
func complete(ctx context.Context, repo *checkpoint.Repository) (numbers []int64, err error) {
	for round, err := range repo.Rounds(ctx, 1) {
		if err != nil {
			return nil, err
		}
		if round.Complete {
			numbers = append(numbers, round.Number)
		}
	}
	return numbers, nil
}

// outputsOf reads all that is committed of an application's results.
func (r *run) outputsOf(ctx context.Context, prefix string) (outputs, error) {
	out := outputs{map[uint64][]tally{}, map[uint64][]total{}}
	cl, err := r.client(wire.ReadOptions()...)
	if err != nil {
		return out, err
	}
	defer cl.Close()
	if err := wire.ReadAll(ctx, cl, prefix+counts, func(rec *kgo.Record) error { return take(out.counts, tallyCodec, rec) }); err != nil {
		return out, err
	}
	return out, wire.ReadAll(ctx, cl, prefix+totals, func(rec *kgo.Record) error { return take(out.totals, totalCodec, rec) })
}

func take[V any](to map[uint64][]V, c codec.Codec[V], rec *kgo.Record) error {
	key, err := codec.Uint64.Decode(rec.Key)
	if err != nil {
		return err
	}
	v, err := c.Decode(rec.Value)
	to[key] = append(to[key], v)
	return err
}

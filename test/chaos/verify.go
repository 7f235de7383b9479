// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore/open"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// report is what a run has shown.
type report struct {
	Seed             uint64          `json:"seed,string"`
	Records          int64           `json:"records"`
	Outputs          int64           `json:"outputs"`
	Entries          int             `json:"stateEntries"`
	Kills            int             `json:"kills"`
	OpenTransactions int             `json:"killsInsideAnOpenTransaction"`
	Zombies          int             `json:"zombies"`
	Session          time.Duration   `json:"sessionTimeout,format:nano"`
	Comebacks        []time.Duration `json:"-"`
	ComebackMillis   []int64         `json:"comebackMillis"`
	Wiped            time.Duration   `json:"outputAfterWipe,format:nano"`
	OutageOutputs    int64           `json:"outputsDuringOutage"`
	OutageAge        time.Duration   `json:"checkpointAgeDuringOutage,format:nano"`
	Faults           []string        `json:"faults"`
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "seed               %d\n", r.Seed)
	fmt.Fprintf(w, "input, output      %d records, %d committed updates, %d state entries compared\n", r.Records, r.Outputs, r.Entries)
	fmt.Fprintf(w, "kills              %d, of which %d inside an open transaction\n", r.Kills, r.OpenTransactions)
	if n := len(r.Comebacks); n > 0 {
		sorted := slices.Sorted(slices.Values(r.Comebacks))
		within := 0
		for _, d := range sorted {
			if d <= r.Session+time.Second {
				within++
			}
		}
		fmt.Fprintf(w, "back after a kill  median %v, longest %v; %d of %d within the session timeout and a second (%v)\n",
			sorted[n/2].Round(time.Millisecond), sorted[n-1].Round(time.Millisecond), within, n, r.Session+time.Second)
	}
	if r.Wiped > 0 {
		fmt.Fprintf(w, "all state deleted  output again after %v\n", r.Wiped.Round(time.Millisecond))
	}
	if r.Zombies > 0 {
		fmt.Fprintf(w, "zombies            %d\n", r.Zombies)
	}
	if r.OutageAge > 0 {
		fmt.Fprintf(w, "store away         %d updates meanwhile, oldest checkpoint %v\n", r.OutageOutputs, r.OutageAge.Round(time.Second))
	}
	if len(r.Faults) == 0 {
		fmt.Fprintln(w, "result             no loss, no repetition, order kept, state equal, no open transaction")
		return
	}
	for _, f := range r.Faults {
		fmt.Fprintln(w, "BROKEN             "+f)
	}
}

// settle waits until everything is processed, ends the workers, and compares.
func (s *scenario) settle(ctx context.Context) error {
	want := s.opts.Records
	s.say("input is complete, waiting for its %d updates", want)
	last, quiet := int64(-1), time.Now()
	err := s.until(ctx, "the last output", 10*time.Minute, func() bool {
		seen := s.watcher.seen.Load()
		if seen != last {
			last, quiet = seen, time.Now()
		}
		return seen >= want && time.Since(quiet) > time.Second || time.Since(quiet) > 90*time.Second
	})
	if err != nil {
		return err
	}
	if err := s.freshCheckpoint(ctx); err != nil {
		return err
	}
	if err := s.fleet.reap(); err != nil {
		return err
	}
	if err := s.fleet.stopAll(ctx); err != nil {
		return err
	}
	s.rep.Outputs = s.watcher.seen.Load()
	for _, d := range s.rep.Comebacks {
		s.rep.ComebackMillis = append(s.rep.ComebackMillis, d.Milliseconds())
	}
	s.compareOutput()
	if ids, err := s.applicationTransactions(ctx); err != nil {
		return err
	} else if len(ids) > 0 {
		s.faults.add("open transactions are left: %v", ids)
	}
	return s.compareState(ctx)
}

// freshCheckpoint waits for two rounds that begin after the last record.
func (s *scenario) freshCheckpoint(ctx context.Context) error {
	repo, err := s.repository(ctx)
	if err != nil {
		return err
	}
	latest, err := repo.LatestRound(ctx, 1)
	if err != nil {
		return err
	}
	return s.until(ctx, "a checkpoint of the final state", 2*time.Minute, func() bool {
		for round, err := range repo.Rounds(ctx, 1) {
			if err == nil && round.Complete && round.Number >= latest.Number+2 {
				return true
			}
		}
		return false
	})
}

func (s *scenario) repository(ctx context.Context) (*checkpoint.Repository, error) {
	store, err := open.Open(ctx, s.storeURL)
	if err != nil {
		return nil, err
	}
	return checkpoint.NewRepository(store, app), nil
}

// groupsByPartition returns where each group lives.
func (s *scenario) groupsByPartition() []int32 {
	at := make([]int32, s.opts.Groups)
	for g := range at {
		at[g] = partition.ForKey(binary.BigEndian.AppendUint64(nil, uint64(g)), int32(s.opts.Partitions))
	}
	return at
}

// expected is the single-threaded evaluation: the state of each group. Those of keys are in the feeder.
func (s *scenario) expected() []total {
	groups := make([]total, s.opts.Groups)
	for key, n := range s.feeder.next[1] {
		g := &groups[uint64(key)%s.opts.Groups]
		g.Updates += n
		g.Sum += n * (n + 1) / 2
	}
	return groups
}

func (s *scenario) compareOutput() {
	for key := range s.opts.Keys {
		if got, want := s.watcher.counts[key], s.feeder.next[0][key]; got != want {
			s.faults.add("clicks of key %d: the newest count is %d, the input has %d", key, got, want)
		}
		if got, want := s.watcher.steps[key], s.feeder.next[1][key]; got != want {
			s.faults.add("orders of key %d: the newest update in its group is %d, the input has %d", key, got, want)
		}
	}
	for g, want := range s.expected() {
		if got := s.watcher.totals[g]; got.Updates != want.Updates || got.Sum != want.Sum {
			s.faults.add("group %d: %d updates adding up to %d, expected %d and %d", g, got.Updates, got.Sum, want.Updates, want.Sum)
		}
	}
}

// compareState restores the newest complete checkpoint and compares every entry.
func (s *scenario) compareState(ctx context.Context) error {
	repo, err := s.repository(ctx)
	if err != nil {
		return err
	}
	var newest checkpoint.Round
	for round, err := range repo.Rounds(ctx, 1) {
		if err != nil {
			return err
		}
		if round.Complete {
			newest = round
		}
	}
	groups, entries := s.expected(), 0
	for _, id := range newest.Tasks {
		n, err := s.compareTask(ctx, repo, newest.Number, id, groups)
		if err != nil {
			return fmt.Errorf("compare the state of task %v in checkpoint %d: %w", id, newest.Number, err)
		}
		entries += n
	}
	want := 0
	for i := range s.feeder.next {
		for _, n := range s.feeder.next[i] {
			want += int(min(n, 1))
		}
	}
	for _, g := range groups {
		want += int(min(g.Updates, 1))
	}
	if s.rep.Entries = entries; entries != want {
		s.faults.add("checkpoint %d holds %d entries, expected %d", newest.Number, entries, want)
	}
	return nil
}

func (s *scenario) compareTask(ctx context.Context, repo *checkpoint.Repository, round int64, id partition.TaskID, groups []total) (entries int, err error) {
	m, err := repo.Manifest(ctx, 1, round, id)
	if err != nil || len(m.Stores) == 0 {
		return 0, err
	}
	dir := filepath.Join(s.dir, "restored", id.String())
	if _, err := repo.Restore(ctx, m, dir); err != nil {
		return 0, err
	}
	reader, err := statestore.OpenReadOnly(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	for name, store := range m.Stores {
		rows, ended := reader.Scan(statestore.StoreID(store), nil)
		for key, row := range rows {
			entries++
			if len(key) != 8 || len(row) < 8 {
				s.faults.add("store %s of task %v: an entry of %d and %d bytes", name, id, len(key), len(row))
				continue
			}
			s.compareEntry(name, binary.BigEndian.Uint64(key), row[8:], groups) // a row begins with its time
		}
		if err := ended(); err != nil {
			return entries, err
		}
	}
	return entries, nil
}

func (s *scenario) compareEntry(store string, key uint64, value []byte, groups []total) {
	switch store {
	case "count":
		if got, want := binary.BigEndian.Uint64(value)^1<<63, s.feeder.next[0][key]; got != want {
			s.faults.add("store count, key %d: %d, expected %d", key, got, want)
		}
	case "per-key":
		want := s.feeder.next[1][key]
		if got, err := seenCodec.Decode(value); err != nil || got != (seen{Count: want, Last: want}) {
			s.faults.add("store per-key, key %d: %+v, expected %d (%v)", key, got, want, err)
		}
	case "per-group":
		if got, err := totalCodec.Decode(value); err != nil || got.Updates != groups[key].Updates || got.Sum != groups[key].Sum || got.Faults != 0 {
			s.faults.add("store per-group, group %d: %+v, expected %+v (%v)", key, got, groups[key], err)
		}
	default:
		s.faults.add("store %s is not of this pipeline", store)
	}
}

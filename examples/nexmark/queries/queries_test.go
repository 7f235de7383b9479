// SPDX-License-Identifier: Apache-2.0

package queries_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/examples/nexmark/queries"
	"github.com/streamd/streamd/examples/nexmark/reference"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/streamtest"
)

const out = "results"

var topics = model.TopicsOf("")

// send puts events into the topics that the query reads, one topic after the other. Where bids come first, everything
// that they refer to is late.
func send(d *streamtest.Driver, reads []string, in reference.Input, bidsFirst bool) {
	sends := []func(){
		func() {
			if slices.Contains(reads, topics.Person) {
				sendAll(d.In(topics.Person, model.Key, model.People), in.People, func(p model.Person) (int64, int64) { return p.DateTime, p.ID })
			}
		},
		func() {
			if slices.Contains(reads, topics.Auction) {
				sendAll(d.In(topics.Auction, model.Key, model.Auctions), in.Auctions, func(a model.Auction) (int64, int64) { return a.DateTime, a.ID })
			}
		},
		func() {
			if slices.Contains(reads, topics.Bid) {
				sendAll(d.In(topics.Bid, model.Key, model.Bids), in.Bids, func(b model.Bid) (int64, int64) { return b.DateTime, b.Auction })
			}
		},
	}
	if bidsFirst {
		slices.Reverse(sends)
	}
	for _, send := range sends {
		send()
	}
}

func sendAll[T any](to *streamtest.Input[int64, T], events []T, of func(T) (at, key int64)) {
	for _, e := range events {
		at, key := of(e)
		to.SendAt(time.UnixMilli(at), key, e)
	}
}

// events makes the first n events of a seed at a rate.
func events(n, rate int64) reference.Input {
	g := model.NewGenerator(7, rate, model.DefaultBase)
	return reference.Generate(g, 0, n)
}

func check(t *testing.T, name string, d *streamtest.Driver, in reference.Input) {
	t.Helper()
	q, err := reference.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	var records []reference.Record
	for _, r := range d.Out(out, codec.Bytes, codec.Bytes).Read() {
		records = append(records, reference.Record{Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value})
	}
	got, err := q.Read(records)
	if err != nil {
		t.Fatal(err)
	}
	want := q.Evaluate(in)
	if len(want) == 0 {
		t.Fatal("the events give no rows: the test shows nothing")
	}
	if diff := q.Compare(want, got); diff.Missing+diff.Unexpected > 0 {
		t.Errorf("%d of %d rows are missing, %d of %d found are unexpected:\n%s", diff.Missing, len(want), diff.Unexpected, len(got), diff)
	}
}

func TestEveryQueryGivesTheRowsOfTheReference(t *testing.T) {
	t.Parallel()
	in := events(20_000, 200) // 100 seconds, over midnight
	for _, name := range queries.Names() {
		for _, partitions := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s/partitions=%d", name, partitions), func(t *testing.T) {
				t.Parallel()
				p, err := queries.Pipeline(name, topics, out)
				if err != nil {
					t.Fatal(err)
				}
				reads, err := queries.Sources(name, topics)
				if err != nil {
					t.Fatal(err)
				}
				d := streamtest.New(t, p, streamtest.Partitions(partitions))
				// Commits on the way, and a crash with records processed and not committed.
				send(d, reads, in, partitions == 1)
				d.Process(3000)
				d.Commit()
				d.Process(1500)
				d.Crash()
				d.Process(5000)
				d.Commit()
				d.Finish()
				check(t, name, d, in)
			})
		}
	}
}

// With the clock of the test the windows of q12 are known, too.
func TestQ12CountsInWindowsOfTheClock(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 3} {
		t.Run(fmt.Sprint("partitions=", partitions), func(t *testing.T) {
			t.Parallel()
			p, err := queries.Pipeline("q12", topics, out)
			if err != nil {
				t.Fatal(err)
			}
			d := streamtest.New(t, p, streamtest.Partitions(partitions))
			bids := d.In(topics.Bid, model.Key, model.Bids)
			want := map[queries.BidderBids]int64{}
			all := events(3000, 200).Bids
			for at := 0; at < len(all); at += 100 {
				second := d.Now().Unix()
				start := (second - second%10) * 1000
				for _, b := range all[at:min(at+100, len(all))] {
					bids.SendAt(time.UnixMilli(b.DateTime), b.Auction, b)
					want[queries.BidderBids{Bidder: b.Bidder, Start: start, End: start + 10_000}]++
				}
				d.Run()
				if at%700 == 0 {
					d.Crash()
				}
				d.Advance(3 * time.Second)
			}
			d.Advance(20 * time.Second)
			d.Run() // the clock alone closes what is open
			got := map[queries.BidderBids]int64{}
			for _, r := range d.Out(out, codec.Bytes, codec.JSON[queries.BidderBids]()).Read() {
				n := r.Value.Bids
				r.Value.Bids = 0
				got[r.Value] += n
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

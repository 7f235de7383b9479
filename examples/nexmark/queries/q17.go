// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q17 keeps the statistics of the prices of each auction and day. All bids of an auction are in one partition, so the
// days of an auction are kept together, and nothing has to move.
func q17(s *site) {
	s.bids(model.NoTexts).
		Group().
		Aggregate("days", func() PriceDays { return PriceDays{} }, PriceDays.add, codec.JSON[PriceDays]()).
		Stream(stream.EmitPerCommit()).
		FlatMapKV(func(auction int64, d PriceDays, yield func(pair, PriceRow)) {
			for _, day := range d.Days {
				yield(pair{auction, day.Day}, day.row(auction))
			}
		}).
		WithKey(pairs).
		To(s.out, codec.JSON[PriceRow]())
}

// PriceDays are the statistics of an auction, for each day with a bid.
type PriceDays struct {
	Days []PriceDay `json:"days"`
}

// PriceDay are the statistics of an auction on a day.
type PriceDay struct {
	Day   int64        `json:"day"`
	Bids  int64        `json:"bids"`
	Ranks [ranks]int64 `json:"ranks"` // bids of each rank
	Min   int64        `json:"min"`
	Max   int64        `json:"max"`
	Sum   int64        `json:"sum"`
}

// add counts a bid in place.
func (d PriceDays) add(b model.Bid) PriceDays {
	day := dayOf(b.DateTime)
	for i := range d.Days {
		if d.Days[i].Day == day {
			d.Days[i].add(b.Price)
			return d
		}
	}
	first := PriceDay{Day: day, Min: b.Price, Max: b.Price}
	first.add(b.Price)
	return PriceDays{append(d.Days, first)}
}

func (d *PriceDay) add(price int64) {
	d.Bids++
	d.Ranks[rankOf(price)]++
	d.Min, d.Max = min(d.Min, price), max(d.Max, price)
	d.Sum += price
}

// PriceRow is a result of q17.
type PriceRow struct {
	Auction   int64  `json:"auction"`
	Day       string `json:"day"`
	Bids      int64  `json:"total_bids"`
	Rank1Bids int64  `json:"rank1_bids"`
	Rank2Bids int64  `json:"rank2_bids"`
	Rank3Bids int64  `json:"rank3_bids"`
	Min       int64  `json:"min_price"`
	Max       int64  `json:"max_price"`
	Mean      int64  `json:"avg_price"`
	Sum       int64  `json:"sum_price"`
}

func (d *PriceDay) row(auction int64) PriceRow {
	return PriceRow{auction, dayText(d.Day), d.Bids, d.Ranks[0], d.Ranks[1], d.Ranks[2], d.Min, d.Max, d.Sum / d.Bids, d.Sum}
}

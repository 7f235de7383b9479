// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"slices"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q19 keeps the ten highest bids of each auction. Those of an auction that got a bid are written once per commit.
func q19(s *site) {
	s.bids(model.AllTexts).
		Group().
		Aggregate("top-ten", func() TopTen { return TopTen{} }, TopTen.add, codec.JSON[TopTen]()).
		Stream(stream.EmitPerCommit()).
		FlatMapKV(func(auction int64, t TopTen, yield func(pair, rankedBid)) {
			for i, b := range t.Bids {
				yield(pair{auction, int64(i + 1)}, rankedBid{b, int64(i + 1)})
			}
		}).
		WithKey(pairs).
		To(s.out, rows(writeRankedBid))
}

// TopTen are the highest bids of an auction, the highest first; of equal ones the earlier.
type TopTen struct {
	Bids []model.Bid `json:"bids"`
}

// add puts a bid in its place.
func (t TopTen) add(b model.Bid) TopTen {
	const most = 10
	place := len(t.Bids)
	for place > 0 && t.Bids[place-1].Price < b.Price {
		place--
	}
	if place == most {
		return t
	}
	bids := slices.Insert(t.Bids, place, b)
	return TopTen{bids[:min(len(bids), most)]}
}

type rankedBid struct {
	model.Bid
	rank int64
}

func writeRankedBid(dst []byte, b rankedBid) ([]byte, error) {
	w := model.Write(dst)
	w.Int(`{"auction":`, b.Auction)
	w.Int(`,"bidder":`, b.Bidder)
	w.Int(`,"price":`, b.Price)
	w.Text(`,"channel":`, b.Channel)
	w.Text(`,"url":`, b.URL)
	w.Int(`,"dateTime":`, b.DateTime)
	w.Text(`,"extra":`, b.Extra)
	w.Int(`,"rank_number":`, b.rank)
	return w.End()
}

// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q5 finds the auctions with the most bids in the last ten seconds, every two seconds. Bids are counted where their
// auctions are; the counts of a window then come together to be compared.
func q5(s *site) {
	const every = 2 * time.Second
	s.bids(model.NoTexts).
		Group().
		Window(stream.Hopping(10*time.Second, every).EmitOnClose()).
		Count("bids").
		Stream().
		Map(func(w stream.Windowed[int64], bids int64) AuctionBids {
			return AuctionBids{w.Key, bids, w.Start, w.End}
		}).
		WithValue(codec.New("json:AuctionBids", writeAuctionBids, codec.JSON[AuctionBids]().Decode)).
		KeyBy("by-window", func(a AuctionBids) int64 { return a.Start }, model.Key).
		Group().
		// Counts have the last instant of their window as time, so each of these holds the counts of one.
		Window(stream.Tumbling(every).EmitOnClose()).
		Aggregate("most", func() Hottest { return Hottest{} }, Hottest.add, nil, codec.JSON[Hottest]()).
		Stream().
		Map(func(_ stream.Windowed[int64], h Hottest) Hottest { return h }).
		FlatMap(func(h Hottest, yield func(AuctionBids)) {
			for _, a := range h.Auctions {
				yield(a)
			}
		}).
		To(s.out, rows(writeAuctionBids))
}

// AuctionBids is how many bids an auction got in a window, and a result of q5.
type AuctionBids struct {
	Auction int64 `json:"auction"`
	Bids    int64 `json:"num"`
	Start   int64 `json:"starttime"`
	End     int64 `json:"endtime"`
}

func writeAuctionBids(dst []byte, a AuctionBids) ([]byte, error) {
	w := model.Write(dst)
	w.Int(`{"auction":`, a.Auction)
	w.Int(`,"num":`, a.Bids)
	w.Int(`,"starttime":`, a.Start)
	w.Int(`,"endtime":`, a.End)
	return w.End()
}

// Hottest are the auctions with the most bids of a window.
type Hottest struct {
	Auctions []AuctionBids `json:"auctions"`
}

func (h Hottest) add(a AuctionBids) Hottest {
	switch {
	case len(h.Auctions) == 0 || a.Bids > h.Auctions[0].Bids:
		return Hottest{append(h.Auctions[:0], a)}
	case a.Bids == h.Auctions[0].Bids:
		return Hottest{append(h.Auctions, a)}
	}
	return h
}
